//! Silent connections, like after a pulled cable: nothing arrives any more, not even a close.

use std::time::{Duration, Instant};

use super::claims::{Ask, Clients, View};
use super::fixtures::{daily, limited};
use super::fleet::Fleet;
use super::invariants;
use super::lost_replies::server_of;
use super::proxy::{Proxy, Toxics};
use super::run::Run;
use crate::support::TestApp;

/// The time after which a fleet must have closed silent connections.
const PATIENCE: Duration = Duration::from_secs(50);

/// `after`: the number of answered claims before the connections go silent.
async fn claim_through_silence(mut run: Run, after: fn(&mut fastrand::Rng) -> usize) {
    let mut rng = run.round();
    let fixtures = TestApp::on_postgres().await.in_real_time();
    let proxy = Proxy::start(rng.fork(), server_of(&fixtures.database_url())).await;
    let settings = [("MEED__HTTP__TIMEOUT_SECONDS", "5")];
    let fleet = Fleet::start_on(&fixtures, &proxy.before(&fixtures.database_url()), 2, &settings).await;
    let users = fixtures.crowd(60).await;
    let reward = limited(&fixtures, 1000).await;
    let event = daily(&fixtures, &[&reward], 20).await;
    let clients = Clients::new(&fleet);
    let mut asks = || -> Vec<Ask> {
        let under_a_key = |user| Ask::new(user, &event).under(rng.u64(..));
        users.iter().map(under_a_key).collect()
    };
    let (before, during) = (asks(), asks());
    let mut view = View::default();
    view.answers.extend(clients.all(&mut rng, &before, 16).await);
    // Statements are in flight at any time while claims run.
    proxy.set(Toxics {
        latency: Duration::from_millis(5),
        ..Toxics::default()
    });
    let started = Instant::now();
    let (count, mut claims_rng) = (before.len() + after(&mut rng), rng.fork());
    let silence = async {
        clients.answered(count).await;
        proxy.silence();
    };
    let claim = async {
        // The first claim is sent only after the silence begins, so that no statement is in flight.
        if count == before.len() {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        clients.all(&mut claims_rng, &during, 16).await
    };
    let ((), answers) = tokio::join!(silence, claim);
    view.answers.extend(answers);
    run.count("broken off", clients.broken());
    run.saw(&view);
    assert!(started.elapsed() < PATIENCE, "claims took {:?}", started.elapsed());
    assert!(view.answers.iter().all(super::claims::Answer::is_granted));
    invariants::check(&fixtures, &view, &[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn claims_continue_after_idle_connections_go_silent() {
    claim_through_silence(Run::begin("A3 idle connections go silent"), |_| 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn claims_continue_after_busy_connections_go_silent() {
    claim_through_silence(Run::begin("A3 busy connections go silent"), |rng| rng.usize(10..40)).await;
}
