//! The database goes away under load and comes back, or another takes its place.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::json;

use super::claims::{Answer, Ask, Clients, View};
use super::cluster::Cluster;
use super::fleet::Fleet;
use super::invariants;
use super::proxy::Proxy;
use super::seed::{is_long, seeded, size};
use super::stage::{daily, limited};
use crate::support::{TestApp, TestUser};

/// A fleet must be of use again so soon after its database is.
const RECOVERY: Duration = Duration::from_secs(30);

const WIDTH: usize = 16;

/// Claims of all kinds, until told to stop.
async fn claim_on(
    rng: &mut fastrand::Rng,
    clients: &Clients<'_>,
    users: &[TestUser],
    event: &serde_json::Value,
    stop: &AtomicBool,
) -> Vec<Answer> {
    let workers = (0..WIDTH).map(|_| {
        let mut rng = rng.fork();
        async move {
            let mut answers = Vec::new();
            while !stop.load(Ordering::Relaxed) {
                let user = rng.choice(users).expect("users");
                let ask = Ask::new(user, event).under(rng.u64(..));
                answers.push(clients.insist(&mut rng, &ask).await);
            }
            answers
        }
    });
    join_all(workers).await.concat()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fleet_outlives_the_crash_of_its_database_and_loses_nothing() {
    let mut rng = seeded();
    let cluster = Cluster::create();
    let stage = TestApp::on_postgres_at(&cluster.url()).await.in_real_time();
    let fleet = Fleet::start(&stage, 2).await;
    let users = stage.crowd(60).await;
    let reward = limited(&stage, 1_000_000).await;
    let event = daily(&stage, &[&reward], 1000).await;
    let clients = Clients::new(&fleet);
    let stop = AtomicBool::new(false);
    let mut claims_rng = rng.fork();
    let crash = async {
        for _ in 0..size(2, 10) {
            tokio::time::sleep(Duration::from_millis(rng.u64(500..1000))).await;
            tokio::task::block_in_place(|| cluster.crash());
            tokio::time::sleep(Duration::from_millis(rng.u64(0..2000))).await;
            tokio::task::block_in_place(|| cluster.start());
            for number in 0..fleet.size() {
                fleet.ready(number, RECOVERY).await;
            }
        }
        tokio::time::timeout(RECOVERY, clients.answered(clients.count() + WIDTH))
            .await
            .expect("claims go on");
        stop.store(true, Ordering::Relaxed);
    };
    let (answers, ()) = tokio::join!(claim_on(&mut claims_rng, &clients, &users, &event, &stop), crash);
    let view = View { answers };
    println!("{} grants told, {} broken off", view.granted(), clients.broken());
    assert!(view.granted() > 20, "the crashes hit nobody");
    invariants::check(&stage, &view, &[]).await;
}

/// What a process says: the status, the header `Retry-After` and the problem's code.
async fn ask(request: reqwest::RequestBuilder) -> (u16, String, String) {
    let response = request.send().await.expect("an answer");
    let status = response.status().as_u16();
    let retry_after = response.headers().get("retry-after");
    let retry_after = retry_after.map(|seconds| seconds.to_str().expect("text").to_owned());
    let body: serde_json::Value = response.json().await.unwrap_or_default();
    let code = body["code"].as_str().unwrap_or_default().to_owned();
    (status, retry_after.unwrap_or_default(), code)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_its_database_is_stopped_a_process_lives_and_is_not_ready_and_says_come_back() {
    let cluster = Cluster::create();
    let stage = TestApp::on_postgres_at(&cluster.url()).await.in_real_time();
    let fleet = Fleet::start(&stage, 1).await;
    let users = stage.crowd(20).await;
    let reward = limited(&stage, 100).await;
    let event = daily(&stage, &[&reward], 10).await;
    let http = super::fleet::client();
    let url = |path: &str| format!("{}{path}", fleet.address(0));
    let claim = |user: &TestUser| {
        let call = http.post(url("/reward-requests")).bearer_auth(&user.token);
        ask(call.json(&json!({"eventId": event["id"]})))
    };
    let log_in = |user: &TestUser| {
        let body = json!({"email": user.email, "password": user.password});
        ask(http.post(url("/auth/login")).json(&body))
    };
    assert_eq!(claim(&users[0]).await.0, 201);
    assert_eq!(log_in(&users[0]).await.0, 200);

    tokio::task::block_in_place(|| cluster.crash());
    // What was found holds for a second.
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    let unavailable = |retry_after: &str| (503, retry_after.to_owned(), "unavailable".to_owned());
    let stopped = Instant::now();
    // Users whom the process knows and others, all at the same time, and again.
    for _ in 0..2 {
        let claims = join_all(users.iter().map(claim));
        let (claims, login, ready, lives) = tokio::join!(
            claims,
            log_in(&users[1]),
            ask(http.get(url("/readyz"))),
            ask(http.get(url("/livez")))
        );
        for answer in claims.into_iter().chain([login]) {
            assert_eq!(answer, unavailable("1"));
        }
        assert_eq!(ready, unavailable("2"));
        assert_eq!(lives.0, 200);
    }
    assert!(stopped.elapsed() < Duration::from_secs(20), "{:?}", stopped.elapsed());

    tokio::task::block_in_place(|| cluster.start());
    fleet.ready(0, RECOVERY).await;
    for user in &users {
        assert_eq!(claim(user).await.0, 201);
    }
    assert_eq!(log_in(&users[0]).await.0, 200);
    assert_eq!(stage.count("SELECT remaining FROM reward_stock").await, 79);
}

/// Nothing that was acknowledged is lost when a synchronous standby takes over. Only in a long run.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_synchronous_standby_takes_over_and_nothing_is_lost() {
    if !is_long() {
        println!("a long run only: set MEED_TEST_LONG=1");
        return;
    }
    let mut rng = seeded();
    for _ in 0..10 {
        let primary = Cluster::create();
        let standby = primary.standby();
        let proxy = Proxy::start(rng.fork(), &primary.address()).await;
        let app = TestApp::on_postgres_at(&proxy.before(&primary.url())).await;
        let stage = app.in_real_time();
        let wait_for_standby = "ALTER SYSTEM SET synchronous_standby_names = 'standby'";
        let admin = sqlx::PgPool::connect(&format!("{}/postgres", primary.url()))
            .await
            .expect("the primary");
        for sql in [wait_for_standby, "SELECT pg_reload_conf()"] {
            sqlx::query(sql).execute(&admin).await.expect("a setting");
        }
        admin.close().await;
        let fleet = Fleet::start(&stage, 2).await;
        let users = stage.crowd(60).await;
        let reward = limited(&stage, 1_000_000).await;
        let event = daily(&stage, &[&reward], 1000).await;
        let clients = Clients::new(&fleet);
        let stop = AtomicBool::new(false);
        let mut claims_rng = rng.fork();
        let fail_over = async {
            tokio::time::sleep(Duration::from_millis(rng.u64(500..1500))).await;
            tokio::task::block_in_place(|| {
                primary.crash();
                standby.promote();
            });
            proxy.move_to(&standby.address());
            for number in 0..fleet.size() {
                fleet.ready(number, RECOVERY).await;
            }
            tokio::time::timeout(RECOVERY, clients.answered(clients.count() + WIDTH))
                .await
                .expect("claims go on");
            stop.store(true, Ordering::Relaxed);
        };
        let (answers, ()) = tokio::join!(claim_on(&mut claims_rng, &clients, &users, &event, &stop), fail_over);
        let view = View { answers };
        println!("{} grants told, {} broken off", view.granted(), clients.broken());
        assert!(view.granted() > 20, "the failover hit nobody");
        invariants::check(&stage, &view, &[]).await;
    }
}
