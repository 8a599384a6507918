//! The timeouts of every connection to PostgreSQL

use std::time::{Duration, Instant};

use serde_json::json;

use meed_host::db::Db;

use crate::support::{TestApp, text};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_kind_of_connection_has_timeouts() {
    const SQL: &str = "SELECT current_setting('lock_timeout') || ' ' || current_setting('statement_timeout') || ' ' \
        || current_setting('idle_in_transaction_session_timeout')";
    let app = TestApp::on_postgres().await;
    let db = &app.app.db;
    let pool: Vec<(String,)> = db.query(SQL).fetch_all(db).await.expect("the settings");
    let reads: Vec<(String,)> = db
        .batched_read(format!("{SQL} WHERE $1 = 0"))
        .number(0)
        .fetch_all()
        .await
        .expect("the settings");
    let Db::Postgres { bulk, .. } = db else {
        panic!("not PostgreSQL")
    };
    let sets = bulk.statement(SQL).fetch_all().await.expect("the settings");
    for settings in [pool, reads, sets] {
        assert_eq!(settings, [("2s 10s 10s".to_owned(),)]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_waits_too_long_for_a_lock_gets_retry_after() {
    let app = TestApp::on_postgres().await;
    let reward = app.reward(json!({"type": "ITEM", "stock": 5})).await;
    let operator = app.operator().await;
    let mut tx = app.begin().await;
    let held = tx.query("SELECT id FROM rewards FOR UPDATE");
    let held: Vec<(uuid::Uuid,)> = held.fetch_all(&mut tx).await.expect("the lock");
    assert_eq!(held.len(), 1);
    let started = Instant::now();
    let call = app.put(&format!("/rewards/{}", text(&reward, "id"))).bearer(&operator);
    let call = call.header("if-match", "*").json(&json!({"type": "ITEM", "stock": 6}));
    let reply = call.send().await;
    let waited = started.elapsed();
    assert_eq!(reply.header("retry-after"), "1");
    reply.expect_problem(503, "unavailable");
    assert!(
        (Duration::from_secs(2)..Duration::from_secs(8)).contains(&waited),
        "{waited:?}"
    );
    drop(tx);
    assert_eq!(app.read(&format!("/rewards/{}", text(&reward, "id"))).await, reward);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn endless_statements_and_idle_transactions_are_terminated() {
    let app = TestApp::on_postgres().await;
    let db = &app.app.db;
    let mut forgotten = app.begin().await;
    let started = Instant::now();
    let endless = db
        .query("SELECT CAST(1 AS BIGINT) FROM pg_sleep(60)")
        .fetch_all::<(i64,)>(db);
    let error = endless.await.expect_err("it is ended");
    assert!(error.is_unavailable(), "{error}");
    let ended = started.elapsed();
    assert!(
        (Duration::from_secs(10)..Duration::from_secs(20)).contains(&ended),
        "{ended:?}"
    );
    tokio::time::sleep(Duration::from_secs(1)).await;
    let late = forgotten
        .query("SELECT CAST(1 AS BIGINT)")
        .fetch_all::<(i64,)>(&mut forgotten);
    let error = late.await.expect_err("it was ended");
    assert!(error.is_unavailable(), "{error}");
}
