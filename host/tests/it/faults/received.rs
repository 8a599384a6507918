//! Processes are killed at random, or stopped in order, while claims are taken in and settled: whoever was answered with 202
//! is decided, once, and those who came first are served first.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use meed_host::clock::Clock;
use rstest_reuse::apply;
use serde_json::{Value, json};

use super::claims::{Answer, Ask, Clients, View, id_of};
use super::fleet::Fleet;
use super::invariants;
use super::kill::keep_killing;
use super::run::Run;
use super::seed::size;
use super::stage::{daily, event, limited, points};
use crate::support::{TestApp, on_both_engines, with};

const WIDTH: usize = 24;
/// More than are settled in one set.
const CROWD: usize = 400;
const STOCK: usize = 40;
const PLACES: usize = 200;

/// What a client was told first, and in the end.
struct Told {
    first: Answer,
    last: Answer,
}

/// So many clients claim until told to stop: each asks, and then looks until its request is decided.
async fn claims(
    width: usize,
    clients: &Clients<'_>,
    rng: &mut fastrand::Rng,
    stop: &AtomicBool,
    ask: impl Fn(&mut fastrand::Rng) -> Ask,
) -> Vec<Told> {
    let workers = (0..width).map(|_| {
        let (ask, mut rng) = (&ask, rng.fork());
        async move {
            let mut told: Vec<Told> = Vec::new();
            while !stop.load(Ordering::Relaxed) {
                // Every fourth time something that was asked before, under its key.
                let repeated = (rng.u8(..4) == 0).then(|| rng.choice(&told)).flatten();
                let ask = repeated.map_or_else(|| ask(&mut rng), |told| told.first.ask.clone());
                let first = clients.insist(&mut rng, &ask).await;
                let last = clients.decided(&mut rng, &first).await;
                told.push(Told { first, last });
            }
            told
        }
    });
    join_all(workers).await.into_iter().flatten().collect()
}

/// Of two claims on the scarce event of which one was answered before the other was made, the later one was not granted
/// what the earlier one was denied.
fn overtaken(told: &[Told], scarce: &Value) -> Vec<String> {
    let asked = |told: &&Told| told.first.ask.event == id_of(scarce) && told.first.status == 202;
    let told: Vec<&Told> = told.iter().filter(asked).collect();
    let mut overtaken = Vec::new();
    for denied in told.iter().filter(|told| told.last.is_turned_away()) {
        for granted in told.iter().filter(|told| told.last.is_granted()) {
            // One instant of the database's order is a millisecond.
            let gap = granted.first.asked.saturating_duration_since(denied.first.told);
            if gap.as_millis() >= 2 && granted.last.body["id"] != denied.last.body["id"] {
                overtaken.push(format!("{} overtook {}", granted.last.text, denied.last.text));
            }
        }
    }
    overtaken
}

#[apply(on_both_engines)]
async fn whoever_was_received_is_decided_once_and_in_order(app: TestApp) {
    let mut run = Run::begin("A21 kill -9 of processes while they receive and settle");
    let mut rng = run.round();
    let stage = app.in_real_time();
    let fleet = Fleet::start(&stage, 2).await;
    let users = stage.crowd(size(150, 600)).await;
    let (scarce, plenty) = (limited(&stage, STOCK).await, limited(&stage, 1_000_000).await);
    let unlimited = points(&stage, 5).await;
    let rush = json!({"respondAsync": true});
    let few = event(&stage, &[&scarce], rush.clone()).await;
    // Claims that wait for their answer and claims that do not, side by side.
    let many = daily(&stage, &[&plenty, &unlimited], PLACES).await;
    let budget = json!({"budget": {"period": "DAILY", "grants": 100, "amount": 400},
        "recurrence": {"period": "DAILY", "count": PLACES}});
    let spent = event(&stage, &[&unlimited], with(rush, budget)).await;

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
        // Everybody comes to the scarce event once.
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
    let (mut told, kills) = tokio::join!(claim, kill);
    // Whoever has not come yet does now, so that the stock is gone.
    for user in &users[newcomers.load(Ordering::Relaxed).min(users.len())..] {
        let first = clients.insist(&mut rng, &Ask::new(user, &few)).await;
        let last = clients.decided(&mut rng, &first).await;
        told.push(Told { first, last });
    }
    run.count("kills", kills);
    run.count("broken off", clients.broken());
    run.count("received", told.iter().filter(|told| told.first.status == 202).count());
    let overtaken = overtaken(&told, &few);
    assert!(
        overtaken.is_empty(),
        "{} were overtaken: {:#?}",
        overtaken.len(),
        &overtaken[..overtaken.len().min(5)]
    );
    let view = View::of(told.into_iter().map(|told| told.last).collect());
    assert!(
        view.granted() > 50,
        "only {} grants: the kills left no time for claims",
        view.granted()
    );
    run.saw(&view);
    assert_eq!(stage.count("SELECT COUNT(*) FROM received_claims").await, 0);
    invariants::check(&stage, &view, &[&scarce]).await;
}

#[apply(on_both_engines)]
async fn whoever_waits_while_a_process_is_stopped_is_settled_by_the_next_one(app: TestApp) {
    let mut run = Run::begin("A35 SIGTERM while claims are received and settled");
    let mut rng = run.round();
    let stage = app.in_real_time();
    let at_once = [("MEED__HTTP__DRAIN_SECONDS", "0")];
    let fleet = Fleet::start_on(&stage, &stage.database_url(), 1, &at_once).await;
    let users = stage.crowd(size(1200, 4000)).await;
    let scarce = limited(&stage, STOCK).await;
    let few = event(&stage, &[&scarce], json!({"respondAsync": true})).await;
    let plenty = limited(&stage, 1_000_000).await;
    let many = event(
        &stage,
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
            left += stage.count("SELECT COUNT(*) FROM received_claims").await;
            let held_until = stage
                .count("SELECT COALESCE(MAX(lease_until), 0) FROM claim_lines")
                .await;
            assert!(
                held_until <= Clock::System.now().as_millis(),
                "a line is still in the hands of the process"
            );
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
    let (told, left) = tokio::join!(claim, restart);
    run.count("left waiting", usize::try_from(left).expect("a small number"));
    assert!(left > 0, "nobody waited when the process ended");
    let overtaken = overtaken(&told, &few);
    assert!(
        overtaken.is_empty(),
        "{} were overtaken: {:#?}",
        overtaken.len(),
        &overtaken[..overtaken.len().min(5)]
    );
    let view = View::of(told.into_iter().map(|told| told.last).collect());
    run.saw(&view);
    assert_eq!(stage.count("SELECT COUNT(*) FROM received_claims").await, 0);
    invariants::check(&stage, &view, &[&scarce]).await;
}
