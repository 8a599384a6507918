//! More requests than the server can process concurrently

use std::collections::HashSet;
use std::time::Duration;

use meed_host::auth::Role;
use meed_host::db::{Db, Engine, Tx};
use rstest_reuse::apply;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::support::{Reply, TestApp, on_both_engines, text};

/// Blocks every commit on this event until this is dropped, as another process may.
pub async fn hold_commits(app: &TestApp, event: &Value) -> Tx {
    let other = Db::connect(&app.database_url(), 1).await.expect("the database");
    let mut tx = other.begin().await.expect("a transaction");
    if tx.engine() == Engine::Postgres {
        // On a slow machine it takes longer than Meed's own limit until the queue is full.
        const PATIENT: &str = "SELECT set_config('idle_in_transaction_session_timeout', '0', TRUE)";
        let _: (String,) = tx.query(PATIENT).fetch_one(&mut tx).await.expect("the setting");
        let id: uuid::Uuid = text(event, "id").parse().expect("an id");
        let lock = tx.query("SELECT id FROM events WHERE id = $1 FOR UPDATE").bind(id);
        let _: (uuid::Uuid,) = lock.fetch_one(&mut tx).await.expect("the event");
    }
    tx
}

async fn keys(app: &TestApp) -> Reply {
    app.get("/.well-known/jwks.json").send().await
}

#[apply(on_both_engines)]
async fn excess_requests_are_refused_immediately_and_the_others_answered(app: TestApp) {
    let event = app.event("first-come", json!({}), json!({})).await;
    let users = app.crowd(3).await;
    let process = app.replica(&[("http.max_in_flight", "3")]);
    let held = hold_commits(&app, &event).await;
    let mut running = JoinSet::new();
    for user in &users {
        running.spawn(process.claim(&user.token, &event).send());
    }
    let full = async {
        while process.app.overload.in_flight() < 3 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), full)
        .await
        .expect("the server is full");

    for _ in 0..5 {
        let refused = keys(&process).await;
        assert_eq!(refused.header("retry-after"), "1");
        let problem = refused.expect_problem(503, "overloaded");
        assert!(
            problem["detail"].to_string().contains("busy with 3 requests"),
            "{problem:#}"
        );
    }
    for path in ["/openapi.json", "/swagger/", "/nowhere"] {
        process.get(path).send().await.expect_problem(503, "overloaded");
    }
    // Liveness checks are still answered.
    for path in ["/livez", "/readyz"] {
        assert_eq!(process.get(path).send().await.status, 200, "{path}");
    }

    drop(held);
    while let Some(reply) = running.join_next().await {
        reply.expect("an answer").expect(201);
    }
    for _ in 0..4 {
        keys(&process).await.expect(200);
    }
}

#[apply(on_both_engines)]
async fn documents_and_unknown_paths_count_as_requests(app: TestApp) {
    let app = app.replica(&[("limits.anonymous.burst", "3"), ("limits.anonymous.per_minute", "1")]);
    for path in ["/openapi.json", "/swagger/", "/nowhere"] {
        assert_ne!(app.get(path).send().await.status, 429, "{path}");
    }
    for path in ["/openapi.json", "/swagger/", "/swagger/swagger-ui.css", "/nowhere"] {
        app.get(path).send().await.expect_problem(429, "rate-limited");
    }
}

#[apply(on_both_engines)]
async fn claims_beyond_the_commit_queue_are_refused_immediately_and_write_nothing(app: TestApp) {
    // The host rejects these claims without the condition, so they are decided fast.
    let event = app.event("first-come", json!({}), json!({"isActive": false})).await;
    let user = app.user(Role::User).await;
    // A slow machine needs long for the claims that wait.
    let process = app.replica(&[("http.max_in_flight", "1000000"), ("http.timeout_seconds", "600")]);
    let path = format!("/events/{}/progress", text(&event, "id"));
    let progress = || process.get(&path).bearer(&user.token).send();
    progress().await.expect(200);
    let held = hold_commits(&app, &event).await;
    let (mut waiting, mut is_full) = (JoinSet::new(), false);
    while !is_full {
        assert!(waiting.len() < 20_000, "nothing bounds what waits");
        for _ in 0..256 {
            waiting.spawn(process.claim(&user.token, &event).send());
        }
        // A progress request uses the same reads as claims and is queued behind them.
        progress().await.expect(200);
        while let Some(reply) = waiting.try_join_next() {
            let reply = reply.expect("an answer");
            assert_eq!(reply.header("retry-after"), "1");
            let problem = reply.expect_problem(503, "unavailable");
            // On a slow machine the first claims may have reached the lock timeout meanwhile.
            is_full |= text(&problem, "detail").contains("Too many claims wait");
        }
    }
    drop(held);
    let (mut decided, mut requests) = (0, HashSet::new());
    while let Some(reply) = waiting.join_next().await {
        let reply = reply.expect("an answer");
        // 200: the same rejection as another claim's.
        if [200, 201].contains(&reply.status.as_u16()) {
            decided += 1;
            requests.insert(text(&reply.json, "id").to_owned());
        } else {
            reply.expect_problem(503, "unavailable");
        }
    }
    assert!(decided > 100, "{decided}");
    let stored = app.count("SELECT COUNT(*) FROM reward_requests").await;
    assert_eq!(stored, i64::try_from(requests.len()).expect("a number"));
}

#[apply(on_both_engines)]
async fn a_lost_database_makes_the_server_unready(app: TestApp) {
    app.get("/readyz").send().await.expect(200);
    app.app.db.close().await;
    // The readiness is cached for one second.
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    for _ in 0..2 {
        let reply = app.get("/readyz").send().await;
        assert_eq!(reply.header("retry-after"), "2");
        let problem = reply.expect_problem(503, "unavailable");
        assert_eq!(problem["detail"], json!("The database does not respond."));
    }
    assert_eq!(app.get("/livez").send().await.status, 200);
}
