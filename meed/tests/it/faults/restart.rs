//! The database stops under load and restarts, or a standby takes over.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::{Value, json};

use super::claims::{Ask, Clients};
use super::cluster::Cluster;
use super::fixtures::{daily, event, limited, points};
use super::fleet::Fleet;
use super::invariants;
use super::mix::Mix;
use super::proxy::Proxy;
use super::run::Run;
use super::seed::size;
use crate::support::{TestApp, TestUser, with};

/// The maximum time in which a fleet recovers after its database.
const RECOVERY: Duration = Duration::from_secs(30);

const WIDTH: usize = 16;

/// The number of grants per day.
const PLACES: usize = 1000;

/// An event without limits, and one with a budget that is used up.
async fn events(fixtures: &TestApp) -> [Value; 2] {
    let (reward, five) = (limited(fixtures, 1_000_000).await, points(fixtures, 5).await);
    let budget = json!({"budget": {"period": "DAILY", "grants": 500, "amount": 2000}});
    let places = json!({"recurrence": {"period": "DAILY", "count": PLACES}});
    [
        daily(fixtures, &[&reward], PLACES).await,
        event(fixtures, &[&five], with(budget, places)).await,
    ]
}

fn any_claim(rng: &mut fastrand::Rng, users: &[TestUser], events: &[Value]) -> Ask {
    let user = rng.choice(users).expect("users");
    Ask::new(user, rng.choice(events).expect("events")).under(rng.u64(..))
}

/// Waits until every process is ready and answers claims, asserts the maximum time, and returns the time.
async fn recover(fleet: &Fleet, clients: &Clients<'_>) -> Duration {
    let started = Instant::now();
    let before = clients.count();
    join_all((0..fleet.size()).map(|number| fleet.ready_again(number, RECOVERY))).await;
    tokio::time::timeout(RECOVERY, clients.answered(before + WIDTH))
        .await
        .expect("claims go on");
    started.elapsed()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fleet_survives_a_database_crash_without_loss() {
    let mut run = Run::begin("A2 PostgreSQL crashes and restarts");
    let mut rng = run.round();
    let cluster = Cluster::create();
    let fixtures = TestApp::on_postgres_at(&cluster.url()).await.in_real_time();
    let fleet = Fleet::start(&fixtures, 2).await;
    let users = fixtures.crowd(60).await;
    let operator = fixtures.operator().await;
    let events = events(&fixtures).await;
    let clients = Clients::new(&fleet);
    let mix = Mix {
        clients: &clients,
        operator: &operator,
        reversed: 10,
        width: WIDTH,
    };
    let stop = AtomicBool::new(false);
    let mut claims_rng = rng.fork();
    let crashes = size(2, 10);
    let crash = async {
        for _ in 0..crashes {
            tokio::time::sleep(Duration::from_millis(rng.u64(500..1000))).await;
            tokio::task::block_in_place(|| cluster.crash());
            tokio::time::sleep(Duration::from_millis(rng.u64(0..2000))).await;
            tokio::task::block_in_place(|| cluster.start());
            recover(&fleet, &clients).await;
        }
        stop.store(true, Ordering::Relaxed);
    };
    let claim = mix.until(&mut claims_rng, &stop, |rng| any_claim(rng, &users, &events));
    let (view, ()) = tokio::join!(claim, crash);
    run.count("crashes", crashes);
    run.count("broken off", clients.broken());
    run.saw(&view);
    assert!(view.granted() > 20, "there were no grants despite the crashes");
    assert!(clients.broken() > 0, "no client noticed the crashes");
    invariants::check(&fixtures, &view, &[]).await;
}

/// The status, the header `Retry-After` and the code of a response.
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
async fn without_its_database_a_process_is_alive_and_not_ready_and_sends_retry_after() {
    let cluster = Cluster::create();
    let fixtures = TestApp::on_postgres_at(&cluster.url()).await.in_real_time();
    let fleet = Fleet::start(&fixtures, 1).await;
    let users = fixtures.crowd(20).await;
    let reward = limited(&fixtures, 100).await;
    let event = daily(&fixtures, &[&reward], 10).await;
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
    // The readiness is cached for one second.
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    let unavailable = |retry_after: &str| (503, retry_after.to_owned(), "unavailable".to_owned());
    let stopped = Instant::now();
    // Users with and without a cached session, concurrently, twice.
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
    fleet.ready_again(0, RECOVERY).await;
    for user in &users {
        assert_eq!(claim(user).await.0, 201);
    }
    assert_eq!(log_in(&users[0]).await.0, 200);
    assert_eq!(fixtures.count("SELECT remaining FROM reward_stock").await, 79);
}

/// Waits until replication is synchronous; only then a failover loses no acknowledged commit.
async fn is_synchronous(admin: &sqlx::PgPool) {
    let started = Instant::now();
    loop {
        let state: Option<String> =
            sqlx::query_scalar("SELECT sync_state FROM pg_stat_replication WHERE application_name = 'standby'")
                .fetch_optional(admin)
                .await
                .expect("the standby's state");
        if state.as_deref() == Some("sync") {
            return;
        }
        assert!(started.elapsed() < RECOVERY, "the standby is {state:?} and not sync");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A failover to a synchronous standby loses no acknowledged claim.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failover_to_a_synchronous_standby_loses_nothing() {
    let mut run = Run::begin("A19 failover to a synchronous standby");
    for _ in 0..size(1, 10) {
        let mut rng = run.round();
        let primary = Cluster::create();
        let standby = primary.standby();
        let proxy = Proxy::start(rng.fork(), &primary.address()).await;
        let app = TestApp::on_postgres_at(&proxy.before(&primary.url())).await;
        let fixtures = app.in_real_time();
        let wait_for_standby = "ALTER SYSTEM SET synchronous_standby_names = 'standby'";
        let admin = sqlx::PgPool::connect(&format!("{}/postgres", primary.url()))
            .await
            .expect("the primary");
        for sql in [wait_for_standby, "SELECT pg_reload_conf()"] {
            sqlx::query(sql).execute(&admin).await.expect("a setting");
        }
        is_synchronous(&admin).await;
        let fleet = Fleet::start(&fixtures, 2).await;
        let users = fixtures.crowd(60).await;
        let operator = fixtures.operator().await;
        let events = events(&fixtures).await;
        let clients = Clients::new(&fleet);
        let mix = Mix {
            clients: &clients,
            operator: &operator,
            reversed: 10,
            width: WIDTH,
        };
        let stop = AtomicBool::new(false);
        let mut claims_rng = rng.fork();
        let fail_over = async {
            clients.answered(WIDTH).await;
            tokio::time::sleep(Duration::from_millis(rng.u64(500..1500))).await;
            is_synchronous(&admin).await;
            admin.close().await;
            tokio::task::block_in_place(|| {
                primary.crash();
                standby.promote();
            });
            proxy.move_to(&standby.address());
            let took = recover(&fleet, &clients).await;
            stop.store(true, Ordering::Relaxed);
            took
        };
        let claim = mix.until(&mut claims_rng, &stop, |rng| any_claim(rng, &users, &events));
        let (view, took) = tokio::join!(claim, fail_over);
        println!("of use again after {took:?}");
        run.count("broken off", clients.broken());
        run.saw(&view);
        assert!(view.granted() > 20, "there were no grants despite the failover");
        assert!(clients.broken() > 0, "no client noticed the failover");
        invariants::check(&fixtures, &view, &[]).await;
    }
}
