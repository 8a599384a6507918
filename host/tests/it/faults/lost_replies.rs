//! Commits of which nobody knows whether they happened: the connection to PostgreSQL is cut around them.

use std::collections::BTreeMap;
use std::time::Duration;

use meed_host::db::Db;
use serde_json::{Value, json};

use super::claims::{Ask, Clients, View, id_of};
use super::fleet::Fleet;
use super::invariants;
use super::mix::Mix;
use super::proxy::{Proxy, Toxics};
use super::run::Run;
use super::seed::size;
use super::stage::{daily, event, limited, points};
use crate::support::{TestApp, with};

const WIDTH: usize = 16;

/// Two processes behind a proxy.
async fn behind_a_proxy(rng: &mut fastrand::Rng, stage: &TestApp) -> (Proxy, Fleet) {
    let proxy = Proxy::start(rng.fork(), server_of(&stage.database_url())).await;
    let fleet = Fleet::start_on(stage, &proxy.before(&stage.database_url()), 2, &[]).await;
    (proxy, fleet)
}

/// `HOST:PORT` of a URL.
pub(super) fn server_of(url: &str) -> &str {
    let (_, rest) = url.split_once('@').expect("a user");
    rest.split('/').next().expect("a host")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_under_a_key_is_neither_lost_nor_repeated() {
    let mut run = Run::begin("A3 replies to COMMIT are lost");
    let mut rng = run.round();
    let stage = TestApp::on_postgres().await.in_real_time();
    let (proxy, fleet) = behind_a_proxy(&mut rng, &stage).await;
    let stock = size(80, 300);
    let users = stage.crowd(2 * stock).await;
    let scarce = limited(&stage, stock).await;
    let five = points(&stage, 5).await;
    let once = event(&stage, &[&scarce], json!({})).await;
    // Exactly what is asked for, so that whatever is counted twice is refused.
    let budget = json!({"budget": {"period": "DAILY", "grants": 3 * users.len(), "amount": 15 * users.len()}});
    let places = json!({"recurrence": {"period": "DAILY", "count": 4}});
    let often = event(&stage, &[&five], with(budget, places)).await;
    proxy.set(Toxics {
        lost_commits: 0.2,
        ..Toxics::default()
    });
    let mut asks = Vec::new();
    for user in &users {
        asks.push(Ask::new(user, &once).under(rng.u64(..)));
        for _ in 0..3 {
            asks.push(Ask::new(user, &often).under(rng.u64(..)));
        }
    }
    rng.shuffle(&mut asks);
    let clients = Clients::new(&fleet);
    let mut view = View::of(clients.all(&mut rng, &asks, WIDTH).await);
    assert!(proxy.cuts() >= 10, "only {} commits were cut off", proxy.cuts());
    let refused: Vec<_> = view.answers.iter().filter(|answer| answer.status != 201).collect();
    assert!(refused.is_empty(), "refused, though nobody asked twice: {refused:#?}");
    let granted = view
        .answers
        .iter()
        .filter(|answer| answer.is_granted() && answer.ask.event == id_of(&often));
    assert_eq!(granted.count(), 3 * users.len());
    assert_eq!(
        stage.count("SELECT COUNT(*) FROM reward_requests").await.unsigned_abs(),
        asks.len() as u64
    );
    // A reversal whose answer was lost can be repeated, too, and what it frees is given once.
    let operator = stage.operator().await;
    let mix = Mix {
        clients: &clients,
        operator: &operator,
        taken_back: 0,
        width: WIDTH,
    };
    let grants = view.answers.iter().filter(|answer| answer.is_granted());
    let grants: Vec<_> = grants.map(|answer| (answer.ask.clone(), id_of(&answer.body))).collect();
    for (ask, request) in grants.iter().take(size(40, 200)) {
        mix.take_back(&mut rng, ask, *request, &mut view).await;
    }
    run.count("commits cut off", proxy.cuts());
    proxy.set(Toxics::default());
    view.answers
        .extend(clients.all(&mut rng, &asks[..asks.len() / 2], WIDTH).await);
    let again: Vec<_> = users
        .iter()
        .map(|user| Ask::new(user, &once).under(rng.u64(..)))
        .collect();
    view.answers.extend(clients.all(&mut rng, &again, WIDTH).await);
    run.count("broken off", clients.broken());
    run.saw(&view);
    invariants::check(&stage, &view, &[&scarce]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_without_a_key_that_is_asked_once_is_written_once() {
    let mut run = Run::begin("A3 replies to COMMIT are lost, claims without a key");
    let mut rng = run.round();
    let stage = TestApp::on_postgres().await.in_real_time();
    let (proxy, fleet) = behind_a_proxy(&mut rng, &stage).await;
    let users = stage.crowd(size(250, 1000)).await;
    let reward = limited(&stage, 10 * users.len()).await;
    // There are places enough that a claim which is made again finds one.
    let event = daily(&stage, &[&reward], 20).await;
    let clients = Clients::new(&fleet);
    proxy.set(Toxics {
        lost_commits: 0.3,
        ..Toxics::default()
    });
    let asks: Vec<_> = users.iter().map(|user| Ask::new(user, &event)).collect();
    let mut view = View::default();
    let mut unknown = Vec::new();
    for crowd in asks.chunks(WIDTH) {
        let addresses: Vec<_> = crowd.iter().map(|_| fleet.any(&mut rng)).collect();
        let tries = crowd
            .iter()
            .zip(&addresses)
            .map(|(ask, address)| clients.ask(address, ask));
        for (ask, answer) in crowd.iter().zip(futures_util::future::join_all(tries).await) {
            match answer {
                Ok(answer) => view.answers.push(answer),
                Err(_) => unknown.push(ask.user),
            }
        }
    }
    run.count("commits cut off", proxy.cuts());
    run.count("unknown", unknown.len());
    run.saw(&view);
    assert!(proxy.cuts() >= 5, "only {} commits were cut off", proxy.cuts());
    proxy.set(Toxics::default());
    let mut written: BTreeMap<_, usize> = BTreeMap::new();
    let rows: Vec<(uuid::Uuid,)> = stage
        .app
        .db
        .query("SELECT user_id FROM reward_requests")
        .fetch_all(&stage.app.db)
        .await
        .expect("requests");
    for (user,) in rows {
        *written.entry(user).or_default() += 1;
    }
    for answer in &view.answers {
        assert!(answer.is_granted(), "asked once and refused: {answer:#?}");
        assert_eq!(written.get(&answer.ask.user), Some(&1), "asked once: {answer:#?}");
    }
    for user in &unknown {
        assert!(
            written.get(user).is_none_or(|written| *written == 1),
            "asked once: {user}"
        );
    }
    invariants::check(&stage, &view, &[]).await;
}

/// The server is still at work on a commit when it is looked up: it is not there yet, and then it is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_that_ends_after_it_was_looked_up_is_not_made_again() {
    let mut run = Run::begin("A3 a COMMIT ends after it was looked up");
    let mut rng = run.round();
    let stage = TestApp::on_postgres().await.in_real_time();
    let (proxy, fleet) = behind_a_proxy(&mut rng, &stage).await;
    let reward = limited(&stage, 100).await;
    let event = daily(&stage, &[&reward], 20).await;
    let users = stage.crowd(4).await;
    let clients = Clients::new(&fleet);
    // So that everything is read and prepared.
    let mut view = View::of(clients.all(&mut rng, &vec![Ask::new(&users[0], &event); 8], 1).await);
    for user in &users[1..] {
        let mut tx = stage.begin().await;
        let held: Vec<(uuid::Uuid,)> = tx
            .query("SELECT id FROM events FOR UPDATE")
            .fetch_all(&mut tx)
            .await
            .expect("the event");
        assert_eq!(held.len(), 1);
        proxy.set(Toxics {
            leave_commits: true,
            ..Toxics::default()
        });
        let before = proxy.cuts();
        let ask = Ask::new(user, &event);
        let address = fleet.any(&mut rng);
        let let_go = async {
            while proxy.cuts() == before {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            proxy.set(Toxics::default());
            // The claim is looked up meanwhile, and written a second time, which waits as the first does.
            tokio::time::sleep(Duration::from_millis(700)).await;
            drop(tx);
        };
        let (answer, ()) = tokio::join!(clients.ask(&address, &ask), let_go);
        view.answers.push(answer.expect("an answer"));
    }
    for answer in &view.answers {
        assert!(answer.is_granted(), "asked once and refused: {answer:#?}");
    }
    assert_eq!(
        stage.count("SELECT COUNT(*) FROM reward_requests").await,
        8 + 3,
        "each was asked once"
    );
    run.count("commits cut off", proxy.cuts());
    run.saw(&view);
    invariants::check(&stage, &view, &[]).await;
}

/// Asks for a reversal until it is told something definite: its status, and how often it was told nothing.
async fn insist_on_reversal(process: &TestApp, operator: &str, request: &Value) -> (u16, usize) {
    let path = format!("/reward-requests/{}/reversal", id_of(request));
    for unknown in 0..50 {
        let call = process
            .post(&path)
            .bearer(operator)
            .json(&json!({"reason": "Returned"}));
        let reply = call.send().await;
        match reply.status.as_u16() {
            status @ (201 | 409) => return (status, unknown),
            _ => reply.expect_problem(503, "unavailable"),
        };
    }
    panic!("no definite answer");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reversal_is_made_once_and_its_user_may_claim_again_at_once() {
    let mut run = Run::begin("A3 replies to the COMMIT of a reversal are lost");
    let mut rng = run.round();
    let stage = TestApp::on_postgres().await.in_real_time();
    let proxy = Proxy::start(rng.fork(), server_of(&stage.database_url())).await;
    let db = Db::connect(&proxy.before(&stage.database_url()), 8)
        .await
        .expect("the database");
    let process = stage.on(db);
    let users = stage.crowd(size(25, 200)).await;
    let reward = limited(&stage, users.len()).await;
    let event = event(&stage, &[&reward], json!({})).await;
    let operator = process.operator().await;
    let mut unknown = 0;
    for (number, user) in users.iter().enumerate() {
        let token = process.log_in(user).await;
        let request = process.claim(&token, &event).send().await.expect(201);
        let repeat = process.claim(&token, &event).send().await;
        repeat.expect_problem(409, "already-granted");
        let before = proxy.cuts();
        // The first is committed, and its answer lost. Of the others anything may become.
        proxy.set(Toxics {
            leave_commits: number == 0,
            lost_commits: 0.7,
            ..Toxics::default()
        });
        let (status, broken) = insist_on_reversal(&process, &operator, &request).await;
        proxy.set(Toxics::default());
        unknown += broken;
        // Only who was told nothing may find that it was made already.
        assert!(status == 201 || broken > 0, "{status} after {broken} without an answer");
        if number == 0 {
            assert_eq!((status, broken, proxy.cuts()), (201, 0, before + 1));
        }
        let again = process.claim(&token, &event).send().await.expect(201);
        assert_eq!(again["status"], "GRANTED", "{again:#}");
    }
    run.count("reversals", users.len());
    run.count("commits cut off", proxy.cuts());
    run.count("unknown", unknown);
    assert!(
        proxy.cuts() > users.len() / 2,
        "only {} commits were cut off",
        proxy.cuts()
    );
    let count = i64::try_from(users.len()).expect("a number");
    assert_eq!(stage.count("SELECT COUNT(*) FROM reversals").await, count);
    assert_eq!(
        stage
            .count("SELECT COUNT(*) FROM outbox WHERE kind = 'reward.reversed'")
            .await,
        count
    );
    assert_eq!(stage.count("SELECT remaining FROM reward_stock").await, 0);
    invariants::check(&stage, &View::default(), &[&reward]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_way_in_pieces_that_breaks_off_costs_time_and_nothing_else() {
    let mut run = Run::begin("A3 a slow way in pieces that breaks off");
    let mut rng = run.round();
    let stage = TestApp::on_postgres().await.in_real_time();
    let (proxy, fleet) = behind_a_proxy(&mut rng, &stage).await;
    let users = stage.crowd(size(60, 300)).await;
    let scarce = limited(&stage, users.len() / 2).await;
    let event = event(&stage, &[&scarce], json!({})).await;
    proxy.set(Toxics {
        lost_commits: 0.1,
        resets: 0.002,
        latency: Duration::from_millis(2),
        sliced: true,
        ..Toxics::default()
    });
    let asks: Vec<_> = users
        .iter()
        .map(|user| Ask::new(user, &event).under(rng.u64(..)))
        .collect();
    let clients = Clients::new(&fleet);
    let view = View::of(clients.all(&mut rng, &asks, WIDTH).await);
    run.count("commits cut off", proxy.cuts());
    run.count("broken off", clients.broken());
    run.saw(&view);
    let refused: Vec<_> = view.answers.iter().filter(|answer| answer.status != 201).collect();
    assert!(refused.is_empty(), "{refused:#?}");
    proxy.set(Toxics::default());
    invariants::check(&stage, &view, &[&scarce]).await;
}
