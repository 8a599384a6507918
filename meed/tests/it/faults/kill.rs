//! Processes are killed at random with SIGKILL while claims run and grants are reversed. Clients retry
//! until they get a response.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use rstest_reuse::apply;
use serde_json::json;

use super::claims::{Ask, Clients};
use super::fixtures::{daily, event, limited, points};
use super::fleet::Fleet;
use super::invariants;
use super::mix::Mix;
use super::run::Run;
use super::seed::size;
use crate::support::{TestApp, on_both_engines, with};

const WIDTH: usize = 24;

/// The number of grants per day in the event without a stock.
const PLACES: usize = 200;

pub(super) async fn keep_killing(rng: &mut fastrand::Rng, fleet: &Fleet, kills: usize) -> usize {
    let mut killed = 0;
    while killed < kills {
        tokio::time::sleep(Duration::from_millis(rng.u64(50..300))).await;
        let first = rng.usize(..fleet.size());
        // Sometimes all at once.
        let victims: Vec<_> = if rng.u8(..5) == 0 {
            (0..fleet.size()).collect()
        } else {
            vec![first]
        };
        for victim in &victims {
            fleet.kill(*victim);
        }
        join_all(victims.iter().map(|victim| fleet.revive(*victim))).await;
        killed += victims.len();
    }
    killed
}

#[apply(on_both_engines)]
async fn acknowledged_grants_survive_kills_and_every_key_has_one_response(app: TestApp) {
    let mut run = Run::begin("A2 kill -9 of processes during claims and reversals");
    let mut rng = run.round();
    let fixtures = app.in_real_time();
    let fleet = Fleet::start(&fixtures, 2).await;
    let users = fixtures.crowd(size(60, 300)).await;
    let operator = fixtures.operator().await;
    let (scarce, plenty) = (limited(&fixtures, 40).await, limited(&fixtures, 1_000_000).await);
    let unlimited = points(&fixtures, 5).await;
    let few = event(&fixtures, &[&scarce], json!({})).await;
    let many = daily(&fixtures, &[&plenty, &unlimited], PLACES).await;
    let budget = json!({"budget": {"period": "DAILY", "grants": 200, "amount": 800}});
    let places = json!({"recurrence": {"period": "DAILY", "count": PLACES}});
    let spent = event(&fixtures, &[&unlimited], with(budget, places)).await;

    let clients = Clients::new(&fleet);
    let mix = Mix {
        clients: &clients,
        operator: &operator,
        reversed: 10,
        width: WIDTH,
    };
    let stop = AtomicBool::new(false);
    let mut killer = rng.fork();
    let kill = async {
        let kills = keep_killing(&mut killer, &fleet, size(30, 300)).await;
        stop.store(true, Ordering::Relaxed);
        kills
    };
    let claim = mix.until(&mut rng, &stop, |rng| {
        let event = [&few, &many, &many, &spent][rng.usize(..4)];
        let ask = Ask::new(rng.choice(&users).expect("users"), event);
        if rng.u8(..8) == 0 { ask } else { ask.under(rng.u64(..)) }
    });
    let (mut view, kills) = tokio::join!(claim, kill);
    run.count("kills", kills);
    run.count("broken off", clients.broken());
    assert!(
        view.granted() > 50,
        "only {} grants: the kills left no time for claims",
        view.granted()
    );
    assert!(view.reversed() > 5, "only {} grants were reversed", view.reversed());

    rng.shuffle(&mut view.answers);
    let again: Vec<_> = view.answers.iter().take(200).map(|answer| answer.ask.clone()).collect();
    view.answers.extend(clients.all(&mut rng, &again, WIDTH).await);
    run.saw(&view);
    invariants::check(&fixtures, &view, &[]).await;
}
