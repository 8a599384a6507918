//! Processes are killed at random, or stopped, while claims are queued and decided: every claim answered with 202
//! is decided once, in the order of arrival.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use rstest_reuse::apply;
use serde_json::{Value, json};

use super::claims::{Answer, Ask, Clients, View, id_of};
use super::fixtures::{daily, event, limited, points};
use super::fleet::Fleet;
use super::invariants;
use super::kill::keep_killing;
use super::run::Run;
use super::seed::size;
use crate::support::{TestApp, on_both_engines, with};

const WIDTH: usize = 24;
/// More than fit into one batch.
const CROWD: usize = 400;
const STOCK: usize = 40;
const PLACES: usize = 200;

/// The first and the final response to a claim.
struct Responses {
    first: Answer,
    last: Answer,
}

/// Several clients claim until stopped: each sends a claim, then polls until it is decided.
async fn claims(
    width: usize,
    clients: &Clients<'_>,
    rng: &mut fastrand::Rng,
    stop: &AtomicBool,
    ask: impl Fn(&mut fastrand::Rng) -> Ask,
) -> Vec<Responses> {
    let workers = (0..width).map(|_| {
        let (ask, mut rng) = (&ask, rng.fork());
        async move {
            let mut responses: Vec<Responses> = Vec::new();
            while !stop.load(Ordering::Relaxed) {
                // Every fourth claim repeats an earlier one with its key.
                let repeated = (rng.u8(..4) == 0).then(|| rng.choice(&responses)).flatten();
                let ask = repeated.map_or_else(|| ask(&mut rng), |responses| responses.first.ask.clone());
                let first = clients.insist(&mut rng, &ask).await;
                let last = clients.decided(&mut rng, &first).await;
                responses.push(Responses { first, last });
            }
            responses
        }
    });
    join_all(workers).await.into_iter().flatten().collect()
}

/// If one claim on the scarce event was answered before another was sent, the later one must not be granted
/// when the earlier one was rejected.
fn overtaken(responses: &[Responses], scarce: &Value) -> Vec<String> {
    let asked = |responses: &&Responses| responses.first.ask.event == id_of(scarce) && responses.first.status == 202;
    let responses: Vec<&Responses> = responses.iter().filter(asked).collect();
    let mut overtaken = Vec::new();
    for denied in responses.iter().filter(|responses| responses.last.is_turned_away()) {
        for granted in responses.iter().filter(|responses| responses.last.is_granted()) {
            // The order in the database has a resolution of one millisecond.
            let gap = granted
                .first
                .sent_at
                .saturating_duration_since(denied.first.answered_at);
            if gap.as_millis() >= 2 && granted.last.body["id"] != denied.last.body["id"] {
                overtaken.push(format!("{} overtook {}", granted.last.text, denied.last.text));
            }
        }
    }
    overtaken
}

#[apply(on_both_engines)]
async fn queued_claims_are_decided_once_and_in_order(app: TestApp) {
    let mut run = Run::begin("A21 kill -9 of processes while claims are queued and decided");
    let mut rng = run.round();
    let fixtures = app.in_real_time();
    let fleet = Fleet::start(&fixtures, 2).await;
    let users = fixtures.crowd(size(150, 600)).await;
    let (scarce, plenty) = (limited(&fixtures, STOCK).await, limited(&fixtures, 1_000_000).await);
    let unlimited = points(&fixtures, 5).await;
    let rush = json!({"respondAsync": true});
    let few = event(&fixtures, &[&scarce], rush.clone()).await;
    // Claims with and without `Prefer: respond-async`, interleaved.
    let many = daily(&fixtures, &[&plenty, &unlimited], PLACES).await;
    let budget = json!({"budget": {"period": "DAILY", "grants": 100, "amount": 400},
        "recurrence": {"period": "DAILY", "count": PLACES}});
    let spent = event(&fixtures, &[&unlimited], with(rush, budget)).await;

    let clients = Clients::new(&fleet);
    let stop = AtomicBool::new(false);
    let mut killer = rng.fork();
    let kill = async {
        let kills = keep_killing(&mut killer, &fleet, size(20, 200)).await;
        stop.store(true, Ordering::Relaxed);
        kills
    };
    let newcomers = AtomicUsize::new(0);
    let claim = claims(WIDTH, &clients, &mut rng, &stop, |rng| {
        // Every user claims the scarce event once.
        let newcomer = (rng.u8(..3) == 0)
            .then(|| users.get(newcomers.fetch_add(1, Ordering::Relaxed)))
            .flatten();
        let ask = match newcomer {
            Some(user) => Ask::new(user, &few),
            None => Ask::new(rng.choice(&users).expect("users"), [&many, &spent][rng.usize(..2)]),
        };
        let ask = if rng.bool() { ask.without_waiting() } else { ask };
        if rng.u8(..4) == 0 { ask } else { ask.under(rng.u64(..)) }
    });
    let (mut responses, kills) = tokio::join!(claim, kill);
    // The remaining users claim now, so that the stock is used up.
    for user in &users[newcomers.load(Ordering::Relaxed).min(users.len())..] {
        let first = clients.insist(&mut rng, &Ask::new(user, &few)).await;
        let last = clients.decided(&mut rng, &first).await;
        responses.push(Responses { first, last });
    }
    run.count("kills", kills);
    run.count("broken off", clients.broken());
    run.count(
        "received",
        responses
            .iter()
            .filter(|responses| responses.first.status == 202)
            .count(),
    );
    let overtaken = overtaken(&responses, &few);
    assert!(
        overtaken.is_empty(),
        "{} were overtaken: {:#?}",
        overtaken.len(),
        &overtaken[..overtaken.len().min(5)]
    );
    let view = View::of(responses.into_iter().map(|responses| responses.last).collect());
    assert!(
        view.granted() > 50,
        "only {} grants: the kills left no time for claims",
        view.granted()
    );
    run.saw(&view);
    assert_eq!(fixtures.count("SELECT COUNT(*) FROM pending_claims").await, 0);
    invariants::check(&fixtures, &view, &[&scarce]).await;
}

#[apply(on_both_engines)]
async fn queued_claims_of_a_stopped_process_are_decided_by_the_next(app: TestApp) {
    let mut run = Run::begin("A35 SIGTERM while claims are queued and decided");
    let mut rng = run.round();
    let fixtures = app.in_real_time();
    let at_once = [("MEED__HTTP__DRAIN_SECONDS", "0")];
    let fleet = Fleet::start_on(&fixtures, &fixtures.database_url(), 1, &at_once).await;
    let users = fixtures.crowd(size(1200, 4000)).await;
    let scarce = limited(&fixtures, STOCK).await;
    let few = event(&fixtures, &[&scarce], json!({"respondAsync": true})).await;
    let plenty = limited(&fixtures, 1_000_000).await;
    let many = event(
        &fixtures,
        &[&plenty],
        json!({"respondAsync": true, "recurrence": {"period": "DAILY", "count": PLACES}}),
    )
    .await;

    let clients = Clients::new(&fleet);
    let stop = AtomicBool::new(false);
    let mut operator = rng.fork();
    let restart = async {
        let mut left = 0;
        for _ in 0..size(4, 40) {
            tokio::time::sleep(Duration::from_millis(operator.u64(300..900))).await;
            let status = fleet.stop(0).await;
            assert!(status.success(), "it ended with {status}");
            left += fixtures.count("SELECT COUNT(*) FROM pending_claims").await;
            let held_until = fixtures
                .count("SELECT COALESCE(MAX(lease_until), 0) FROM claim_queues")
                .await;
            assert_eq!(held_until, 0, "the stopped process still holds the lease of a queue");
            fleet.revive(0).await;
        }
        stop.store(true, Ordering::Relaxed);
        left
    };
    let newcomers = AtomicUsize::new(0);
    let claim = claims(CROWD, &clients, &mut rng, &stop, |rng| {
        match users.get(newcomers.fetch_add(1, Ordering::Relaxed)) {
            Some(user) => Ask::new(user, &few),
            None => Ask::new(rng.choice(&users).expect("users"), &many),
        }
    });
    let (responses, left) = tokio::join!(claim, restart);
    run.count("left waiting", usize::try_from(left).expect("a small number"));
    assert!(left > 0, "no claim was queued when the process ended");
    let overtaken = overtaken(&responses, &few);
    assert!(
        overtaken.is_empty(),
        "{} were overtaken: {:#?}",
        overtaken.len(),
        &overtaken[..overtaken.len().min(5)]
    );
    let view = View::of(responses.into_iter().map(|responses| responses.last).collect());
    run.saw(&view);
    assert_eq!(fixtures.count("SELECT COUNT(*) FROM pending_claims").await, 0);
    invariants::check(&fixtures, &view, &[&scarce]).await;
}
