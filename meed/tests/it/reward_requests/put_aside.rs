//! Pending claims that cannot be decided now: they are tried again, and hold no others.

use std::time::Duration;

use meed_host::auth::Role;
use meed_host::clock::Timestamp;
use rstest_reuse::apply;
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

use super::received::{Working, decided, receive};
use crate::support::{TestApp, each, on_both_engines};

async fn sql(connection: &mut PgConnection, sql: &str) {
    let statement = sqlx::raw_sql(AssertSqlSafe(sql.to_owned()));
    statement
        .execute(connection)
        .await
        .unwrap_or_else(|error| panic!("{sql}: {error}"));
}

fn later(app: &TestApp, by: Duration) -> Timestamp {
    let later = app.clock.now().plus(by);
    app.clock.set(later);
    later
}

/// SQLite has no locks of rows.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_whose_user_is_locked_holds_no_other_claim() {
    let app = TestApp::on_postgres().await;
    let event = app.event("first-come", json!({}), json!({})).await;
    let users = [
        app.user(Role::User).await,
        app.user(Role::User).await,
        app.user(Role::User).await,
    ];
    let mut requests = Vec::new();
    for user in &users {
        requests.push(receive(&app, user, &event).await.expect(202));
    }
    let mut other = PgConnection::connect(&app.database_url()).await.expect("a connection");
    sql(
        &mut other,
        &format!("BEGIN; SELECT id FROM users WHERE id = '{}' FOR UPDATE", users[0].id),
    )
    .await;
    let _working = Working::start(&app);
    for request in &requests[1..] {
        assert_eq!(decided(&app, request).await["status"], "GRANTED");
    }
    for _ in 0..400 {
        if app.count("SELECT attempts FROM pending_claims").await == 1 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    assert_eq!(app.count("SELECT attempts FROM pending_claims").await, 1);
    // The queue goes on meanwhile.
    let next = app.user(Role::User).await;
    let next = receive(&app, &next, &event).await.expect(202);
    assert_eq!(decided(&app, &next).await["status"], "GRANTED");
    sql(&mut other, "ROLLBACK").await;
    later(&app, Duration::from_secs(1));
    assert_eq!(decided(&app, &requests[0]).await["status"], "GRANTED");
}

/// Only PostgreSQL cancels statements that take too long.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_that_cannot_be_decided_fails_after_ten_attempts() {
    const SLOW: &str = "CREATE FUNCTION slow() RETURNS TRIGGER LANGUAGE plpgsql AS $$ BEGIN \
            IF NEW.status = 'GRANTED' THEN RAISE EXCEPTION 'too slow' USING ERRCODE = '57014'; END IF; \
            RETURN NEW; END $$; \
        CREATE TRIGGER slow BEFORE INSERT ON reward_requests FOR EACH ROW EXECUTE FUNCTION slow()";
    let app = TestApp::on_postgres().await;
    let event = app.event("first-come", json!({}), json!({})).await;
    let user = app.user(Role::User).await;
    let request = receive(&app, &user, &event).await.expect(202);
    let mut other = PgConnection::connect(&app.database_url()).await.expect("a connection");
    sql(&mut other, SLOW).await;
    let _working = Working::start(&app);
    for attempt in 1..10 {
        for _ in 0..400 {
            if app.count("SELECT attempts FROM pending_claims").await == attempt {
                break;
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        assert_eq!(app.count("SELECT attempts FROM pending_claims").await, attempt);
        later(&app, Duration::from_secs(1 << (attempt - 1)));
    }
    let failed = decided(&app, &request).await;
    assert_eq!(
        (&failed["status"], &failed["retryable"]),
        (&json!("FAILED"), &json!(true))
    );
    assert_eq!(each(&failed["reasons"], "code"), ["undecidable"]);
}

#[apply(on_both_engines)]
async fn more_queues_than_a_process_holds_are_all_decided_and_left(app: TestApp) {
    let user = app.user(Role::User).await;
    let app = app.replica(&[("claims.max_pending_per_user", "1000")]);
    let mut requests: Vec<Value> = Vec::new();
    for _ in 0..80 {
        let event = app.event("first-come", json!({}), json!({})).await;
        requests.push(receive(&app, &user, &event).await.expect(202));
    }
    let working = Working::start(&app);
    for request in &requests {
        assert_eq!(decided(&app, request).await["status"], "GRANTED");
    }
    working.stop().await;
    assert_eq!(app.count("SELECT COUNT(*) FROM claim_queues").await, 80);
    assert_eq!(
        app.count("SELECT COUNT(*) FROM claim_queues WHERE lease_until > 0")
            .await,
        0
    );
}
