//! More claims than stock, at two processes concurrently.

use rstest_reuse::apply;
use serde_json::{Value, json};

use super::claims::{Ask, Clients, View, id_of};
use super::fixtures::{daily, event, limited};
use super::fleet::{self, Fleet};
use super::invariants;
use super::run::Run;
use super::seed::size;
use crate::support::{TestApp, TestUser, event_input, on_both_engines, text, with};

/// Clients at the same time.
const WIDTH: usize = 48;

/// The largest stock, in every twentieth run. Small stocks are used up before all users have claimed once.
const LARGE: usize = 40;

/// The number of runs, each with new events.
const SHORT: usize = 12;
const LONG: usize = 200;

/// Two claims of every user, some with the same key.
pub(super) fn twice(rng: &mut fastrand::Rng, users: &[TestUser], event: &Value) -> Vec<Ask> {
    let mut asks = Vec::new();
    for user in users {
        let ask = Ask::new(user, event);
        match rng.u8(..3) {
            0 => asks.extend([ask.clone(), ask]),
            1 => asks.extend([ask.clone().under(rng.u64(..)), ask.under(rng.u64(..))]),
            _ => {
                let ask = ask.under(rng.u64(..));
                asks.extend([ask.clone(), ask]);
            }
        }
    }
    asks
}

/// Shuffles claims, but keeps the two claims of a user close together.
pub(super) fn mixed(rng: &mut fastrand::Rng, asks: Vec<Ask>) -> Vec<Ask> {
    let mut placed: Vec<_> = asks
        .into_iter()
        .enumerate()
        .map(|(place, ask)| (place + rng.usize(..24), ask))
        .collect();
    placed.sort_by_key(|(place, _)| *place);
    placed.into_iter().map(|(_, ask)| ask).collect()
}

async fn change(clients: &reqwest::Client, address: &str, token: &str, path: &str, revision: i64, body: &Value) -> u16 {
    let request = clients.put(format!("{address}{path}")).bearer_auth(token);
    let request = request.header("if-match", format!("\"{revision}\"")).json(body);
    request.send().await.expect("an answer").status().as_u16()
}

#[apply(on_both_engines)]
async fn the_whole_stock_is_granted_and_never_more(app: TestApp) {
    let mut run = Run::begin("A1 stock race at two processes");
    let fixtures = app.in_real_time();
    let fleet = Fleet::start(&fixtures, 2).await;
    let users = fixtures.crowd(3 * LARGE).await;
    let mut view = View::default();
    for round in 0..size(SHORT, LONG) {
        let mut rng = run.round();
        let stock = if round % 20 == 0 {
            LARGE
        } else {
            rng.usize(4..LARGE / 3)
        };
        let users = &users[..3 * stock];
        let (one, scarce, scarcer, daily_one) = (
            limited(&fixtures, stock).await,
            limited(&fixtures, stock / 2).await,
            limited(&fixtures, stock / 3).await,
            limited(&fixtures, stock).await,
        );
        let single = event(&fixtures, &[&one], json!({})).await;
        let together = event(&fixtures, &[&scarce, &scarcer], json!({})).await;
        let twice_a_day = daily(&fixtures, &[&daily_one], 2).await;
        let mut asks = twice(&mut rng, users, &single);
        asks.extend(twice(&mut rng, &users[..2 * stock], &together));
        asks.extend(twice(&mut rng, &users[stock..], &twice_a_day));
        let clients = Clients::new(&fleet);
        let asks = mixed(&mut rng, asks);
        let answers = clients.all(&mut rng, &asks, WIDTH).await;
        clients.are_all_answered();
        for (event, given) in [(&single, stock), (&together, stock / 3), (&twice_a_day, stock)] {
            let event = id_of(event);
            let requests: std::collections::BTreeSet<_> = answers
                .iter()
                .filter(|answer| answer.ask.event == event && answer.is_granted())
                .map(|answer| id_of(&answer.body))
                .collect();
            assert_eq!(requests.len(), given);
        }
        let seen = View::of(answers);
        run.saw(&seen);
        view.add(seen);
        invariants::check(&fixtures, &view, &[&one, &scarcer, &daily_one]).await;
    }
}

#[apply(on_both_engines)]
async fn stock_is_raised_and_the_event_paused_while_claims_run(app: TestApp) {
    let mut run = Run::begin("A1 stock raised and event paused in a race");
    let fixtures = app.in_real_time();
    let fleet = Fleet::start(&fixtures, 2).await;
    let users = fixtures.crowd(3 * LARGE).await;
    let operator = fixtures.operator().await;
    let http = fleet::client();
    let mut view = View::default();
    for round in 0..size(SHORT, LONG) {
        let mut rng = run.round();
        let stock = if round % 20 == 0 {
            LARGE / 2
        } else {
            rng.usize(4..LARGE / 3)
        };
        let users = &users[..6 * stock];
        let reward = limited(&fixtures, stock).await;
        let event = event(&fixtures, &[&reward], json!({})).await;
        let clients = Clients::new(&fleet);
        let asks = mixed(&mut rng.fork(), twice(&mut rng, users, &event));
        let (addresses, mut clients_rng) = ([fleet.any(&mut rng), fleet.any(&mut rng)], rng.fork());
        let operate = async {
            let path = format!("/rewards/{}", text(&reward, "id"));
            for revision in 1_i64..=4 {
                clients.answered(rng.usize(..stock)).await;
                // Finally enough for all users, so that only the pause stops them.
                let raised = stock * (1 + 2 * usize::try_from(revision).expect("small"));
                let raised = json!({"type": "ITEM", "stock": raised});
                assert_eq!(
                    change(&http, &addresses[0], &operator, &path, revision, &raised).await,
                    200
                );
            }
            clients.answered(rng.usize(stock..4 * stock)).await;
            let paused = with(event_input(&event), json!({"isActive": false}));
            let path = format!("/events/{}", text(&event, "id"));
            assert_eq!(change(&http, &addresses[1], &operator, &path, 1, &paused).await, 200);
            fixtures.count("SELECT COUNT(*) FROM grants").await
        };
        let (granted, answers) = tokio::join!(operate, clients.all(&mut clients_rng, &asks, WIDTH));
        clients.are_all_answered();
        assert_eq!(
            fixtures.count("SELECT COUNT(*) FROM grants").await,
            granted,
            "granted after the pause"
        );
        let seen = View::of(answers);
        run.saw(&seen);
        view.add(seen);
        invariants::check(&fixtures, &view, &[]).await;
    }
}
