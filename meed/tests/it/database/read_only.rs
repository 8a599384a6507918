//! A read-only PostgreSQL server, such as a standby, and connections that still lead to one

use std::time::Duration;

use meed_host::auth::Role;
use meed_host::db::Db;
use serde_json::{Value, json};

use crate::support::{TestApp, TestUser};

/// Makes new connections to the database read-only, or writable again. Existing connections do not change.
async fn make_new_connections(app: &TestApp, read_only: &str) {
    let url = app.database_url();
    let admin = sqlx::PgPool::connect(&url).await.expect("the server");
    let name = url.rsplit('/').next().expect("a name");
    let sql =
        format!("BEGIN READ WRITE; ALTER DATABASE {name} SET default_transaction_read_only = {read_only}; COMMIT");
    sqlx::raw_sql(sqlx::AssertSqlSafe(sql))
        .execute(&admin)
        .await
        .expect("the setting");
    admin.close().await;
}

/// Another process on the same database, with new connections.
async fn newcomer(app: &TestApp) -> TestApp {
    let db = Db::connect(&app.database_url(), 4).await.expect("the database");
    app.on(db)
}

async fn prepare() -> (TestApp, Value, Vec<TestUser>) {
    let app = TestApp::on_postgres().await;
    let reward = app.reward(json!({"type": "ITEM", "stock": 100})).await;
    let event = app
        .event("first-come", json!({}), json!({"rewardIds": [reward["id"]]}))
        .await;
    let users = app.crowd(12).await;
    (app, event, users)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_a_read_only_server_writes_get_retry_after_and_the_process_is_not_ready() {
    let (app, event, users) = prepare().await;
    make_new_connections(&app, "on").await;
    let process = newcomer(&app).await;
    let claims: Vec<_> = users
        .iter()
        .map(|user| tokio::spawn(process.claim(&user.token, &event).send()))
        .collect();
    for claim in claims {
        let reply = claim.await.expect("an answer");
        assert_eq!(reply.header("retry-after"), "1");
        reply.expect_problem(503, "unavailable");
    }
    let ready = process.get("/readyz").send().await.expect_problem(503, "unavailable");
    assert!(ready["detail"].to_string().contains("read-only"), "{ready:#}");
    // Reads still work.
    process
        .get("/users/me")
        .bearer(&users[0].token)
        .send()
        .await
        .expect(200);
    assert_eq!(app.count("SELECT COUNT(*) FROM reward_requests").await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_to_a_read_only_server_are_replaced() {
    let (app, event, users) = prepare().await;
    make_new_connections(&app, "on").await;
    let process = newcomer(&app).await;
    process
        .claim(&users[0].token, &event)
        .send()
        .await
        .expect_problem(503, "unavailable");
    let admin = app.token(Role::Admin).await;
    let role = json!({"role": "OPERATOR"});
    let path = format!("/users/{}", users[0].id);
    process
        .patch(&path)
        .bearer(&admin)
        .json(&role)
        .send()
        .await
        .expect_problem(503, "unavailable");
    make_new_connections(&app, "off").await;
    // No unusable connection stays in the pool.
    for user in &users[1..] {
        assert_eq!(
            process.claim(&user.token, &event).send().await.expect(201)["status"],
            "GRANTED"
        );
    }
    process.patch(&path).bearer(&admin).json(&role).send().await.expect(200);
    // The readiness is cached for one second.
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    process.get("/readyz").send().await.expect(200);
}
