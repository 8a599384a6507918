//! Connections that fall silent, as when a cable is pulled or a machine vanishes: nothing comes back, not even an end.

use std::time::{Duration, Instant};

use super::claims::{Ask, Clients, View};
use super::fleet::Fleet;
use super::invariants;
use super::lost_replies::server_of;
use super::proxy::{Proxy, Toxics};
use super::run::Run;
use super::stage::{daily, limited};
use crate::support::TestApp;

/// After this a fleet must have given up on connections that do not answer.
const PATIENCE: Duration = Duration::from_secs(40);

/// `after`: so many claims are answered when the connections fall silent.
async fn claim_through_silence(mut run: Run, after: fn(&mut fastrand::Rng) -> usize) {
    let mut rng = run.round();
    let stage = TestApp::on_postgres().await.in_real_time();
    let proxy = Proxy::start(rng.fork(), server_of(&stage.database_url())).await;
    let settings = [("MEED__HTTP__TIMEOUT_SECONDS", "5")];
    let fleet = Fleet::start_on(&stage, &proxy.before(&stage.database_url()), 2, &settings).await;
    let users = stage.crowd(60).await;
    let reward = limited(&stage, 1000).await;
    let event = daily(&stage, &[&reward], 20).await;
    let clients = Clients::new(&fleet);
    let mut asks = || -> Vec<Ask> {
        let under_a_key = |user| Ask::new(user, &event).under(rng.u64(..));
        users.iter().map(under_a_key).collect()
    };
    let (before, during) = (asks(), asks());
    let mut view = View::default();
    view.answers.extend(clients.all(&mut rng, &before, 16).await);
    // So that, while claims run, statements are on their way at any moment.
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
        // The first of them only once it is silent, when nothing is to be on its way.
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
    invariants::check(&stage, &view, &[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn claims_go_on_after_idle_connections_fell_silent() {
    claim_through_silence(Run::begin("A3 idle connections fall silent"), |_| 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn claims_go_on_after_busy_connections_fell_silent() {
    claim_through_silence(Run::begin("A3 busy connections fall silent"), |rng| rng.usize(10..40)).await;
}
