//! The server retries after conflicts that the database reports, and waiting clients get a response

use std::time::{Duration, Instant};

use meed_host::auth::Role;
use meed_host::db::Db;
use serde_json::{Value, json};
use sqlx::AssertSqlSafe;
use uuid::Uuid;

use crate::support::{TestApp, text};

/// Serialisation failure, deadlock, lock timeout.
const CODES: [&str; 3] = ["40001", "40P01", "55P03"];

/// Makes the next changes of `reward_requests`, up to this number, fail with this SQLSTATE. All are counted, also those
/// that were rolled back.
async fn fail_first(app: &TestApp, code: &str, count: u32) {
    let admin = sqlx::PgPool::connect(&app.database_url()).await.expect("the server");
    let sql = format!(
        "DROP SEQUENCE IF EXISTS tries; CREATE SEQUENCE tries; \
         CREATE OR REPLACE FUNCTION fail() RETURNS TRIGGER LANGUAGE plpgsql AS $$ BEGIN \
             IF nextval('tries') <= {count} THEN RAISE EXCEPTION 'a conflict' USING ERRCODE = '{code}'; END IF; \
             RETURN NEW; END $$; \
         CREATE OR REPLACE TRIGGER fail BEFORE INSERT OR UPDATE ON reward_requests \
             FOR EACH ROW EXECUTE FUNCTION fail();"
    );
    sqlx::raw_sql(AssertSqlSafe(sql))
        .execute(&admin)
        .await
        .expect("a trigger");
    admin.close().await;
}

async fn tries(app: &TestApp) -> i64 {
    app.count("SELECT last_value FROM tries").await
}

/// An event with one limited reward, and the ids of both.
async fn limited_event(app: &TestApp) -> (Value, Uuid, Uuid) {
    let reward = app.reward(json!({"type": "ITEM", "stock": 100})).await;
    let event = app
        .event("first-come", json!({}), json!({"rewardIds": [reward["id"]]}))
        .await;
    let id = |body: &Value| text(body, "id").parse().expect("an id");
    (event.clone(), id(&event), id(&reward))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_is_retried_after_every_kind_of_conflict() {
    let app = TestApp::on_postgres().await;
    let (event, ..) = limited_event(&app).await;
    for code in CODES {
        let token = app.token(Role::User).await;
        fail_first(&app, code, 3).await;
        assert_eq!(
            app.claim(&token, &event).send().await.expect(201)["status"],
            "GRANTED",
            "{code}"
        );
        assert_eq!(tries(&app).await, 4, "{code}");
    }
    assert_eq!(app.count("SELECT COUNT(*) FROM reward_requests").await, 3);
    assert_eq!(app.count("SELECT remaining FROM reward_stock").await, 97);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn claims_of_one_group_commit_are_retried_together() {
    let app = TestApp::on_postgres().await;
    let (event, ..) = limited_event(&app).await;
    let users = app.crowd(30).await;
    fail_first(&app, "40001", 4).await;
    let claims: Vec<_> = users
        .iter()
        .map(|user| tokio::spawn(app.claim(&user.token, &event).send()))
        .collect();
    for claim in claims {
        assert_eq!(claim.await.expect("an answer").expect(201)["status"], "GRANTED");
    }
    assert!(tries(&app).await > 30);
    assert_eq!(app.count("SELECT COUNT(*) FROM reward_requests").await, 30);
    assert_eq!(app.count("SELECT remaining FROM reward_stock").await, 70);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reversal_is_retried_after_every_kind_of_conflict() {
    let app = TestApp::on_postgres().await;
    let (event, ..) = limited_event(&app).await;
    let operator = app.operator().await;
    for code in CODES {
        let token = app.token(Role::User).await;
        let request = app.claim(&token, &event).send().await.expect(201);
        fail_first(&app, code, 3).await;
        let call = app.post(&format!("/reward-requests/{}/reversal", text(&request, "id")));
        call.bearer(&operator)
            .json(&json!({"reason": "Returned"}))
            .send()
            .await
            .expect(201);
        assert_eq!(tries(&app).await, 4, "{code}");
    }
    assert_eq!(app.count("SELECT COUNT(*) FROM reversals").await, 3);
    assert_eq!(app.count("SELECT remaining FROM reward_stock").await, 100);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_persistent_conflict_is_answered_and_writes_nothing() {
    let app = TestApp::on_postgres().await;
    let (event, ..) = limited_event(&app).await;
    let token = app.token(Role::User).await;
    for code in CODES {
        fail_first(&app, code, 1_000_000).await;
        let reply = app.claim(&token, &event).send().await;
        assert_eq!(reply.header("retry-after"), "1", "{code}");
        reply.expect_problem(503, "unavailable");
        let tries = tries(&app).await;
        assert!((2..100).contains(&tries), "{code}: {tries} tries");
    }
    for table in [
        "SELECT COUNT(*) FROM reward_requests",
        "SELECT COUNT(*) FROM grants",
        "SELECT COUNT(*) FROM outbox WHERE user_id IS NOT NULL",
    ] {
        assert_eq!(app.count(table).await, 0, "{table}");
    }
    assert_eq!(app.count("SELECT remaining FROM reward_stock").await, 100);
}

/// Locks one row until the transaction ends.
async fn lock(tx: &mut meed_host::db::Tx, sql: &'static str, id: Uuid) {
    let row: Option<(Uuid,)> = tx.query(sql).bind(id).fetch_optional(tx).await.expect("a lock");
    assert_eq!(row, Some((id,)));
}

const LOCK_STOCK: &str = "SELECT reward_id FROM reward_stock WHERE reward_id = $1 FOR UPDATE";
const LOCK_EVENT: &str = "SELECT id FROM events WHERE id = $1 FOR UPDATE";

async fn a_lock_is_waited_for(app: &TestApp) {
    const WAITING: &str = "SELECT COUNT(*) FROM pg_stat_activity \
        WHERE datname = current_database() AND wait_event_type = 'Lock'";
    let waiting = async {
        while app.count(WAITING).await == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), waiting)
        .await
        .expect("a connection waits for a lock");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_succeeds_after_a_deadlock() {
    let app = TestApp::on_postgres().await;
    let (event, event_id, reward_id) = limited_event(&app).await;
    let token = app.token(Role::User).await;
    // In the opposite order of the claim: first the stock, for which the claim then waits, then the event, which the
    // claim has locked.
    let mut tx = app.begin().await;
    // The claim must be the one that PostgreSQL ends, also on a slow machine.
    let patience = tx.query("SET LOCAL deadlock_timeout = '1min'");
    patience.execute(&mut tx).await.expect("a setting");
    lock(&mut tx, LOCK_STOCK, reward_id).await;
    let claim = tokio::spawn(app.claim(&token, &event).send());
    a_lock_is_waited_for(&app).await;
    lock(&mut tx, LOCK_EVENT, event_id).await;
    tx.commit().await.expect("a commit");
    assert_eq!(claim.await.expect("an answer").expect(201)["status"], "GRANTED");
    assert_eq!(app.count("SELECT remaining FROM reward_stock").await, 99);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_succeeds_although_a_lock_is_held_beyond_the_lock_timeout() {
    let app = TestApp::on_postgres().await;
    let (event, _, reward_id) = limited_event(&app).await;
    let token = app.token(Role::User).await;
    let mut tx = app.begin().await;
    lock(&mut tx, LOCK_STOCK, reward_id).await;
    let claim = tokio::spawn(app.claim(&token, &event).send());
    tokio::time::sleep(Duration::from_millis(2_800)).await;
    assert!(!claim.is_finished());
    tx.commit().await.expect("a commit");
    assert_eq!(claim.await.expect("an answer").expect(201)["status"], "GRANTED");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_succeeds_although_another_process_holds_sqlite_beyond_the_lock_timeout() {
    let app = TestApp::on_sqlite().await;
    let event = app.event("first-come", json!({}), json!({})).await;
    let token = app.token(Role::User).await;
    let other = Db::connect(&app.database_url(), 1).await.expect("the database");
    let tx = other.begin().await.expect("the lock");
    let started = Instant::now();
    let claim = tokio::spawn(app.claim(&token, &event).send());
    tokio::time::sleep(Duration::from_millis(5_800)).await;
    assert!(!claim.is_finished());
    drop(tx);
    assert_eq!(claim.await.expect("an answer").expect(201)["status"], "GRANTED");
    assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
}
