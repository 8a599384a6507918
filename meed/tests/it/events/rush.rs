//! Changes of an event that many users claim

use std::time::Duration;

use meed_host::auth::Role;
use serde_json::json;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

use crate::support::{TestApp, each, text};

/// A shared lock on a row would be given to every claim that asks, so the change would wait as long as claims arrive. SQLite
/// has one writer, whose queue is fair.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn claims_that_arrive_later_wait_for_a_change_of_their_event() {
    let app = TestApp::on_postgres().await;
    let event = app.event("first-come", json!({}), json!({})).await;
    let user = app.user(Role::User).await;
    app.operator().await;
    let mut earlier = PgConnection::connect(&app.database_url()).await.expect("a connection");
    let lock = format!(
        "BEGIN; SELECT id FROM events WHERE id = '{}' FOR SHARE",
        text(&event, "id")
    );
    sqlx::raw_sql(AssertSqlSafe(lock))
        .execute(&mut earlier)
        .await
        .expect("a shared lock");
    let change = app.change_event(&event, json!({"isActive": false}));
    let claim = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        app.claim(&user.token, &event).send().await
    };
    let release = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        sqlx::raw_sql("ROLLBACK")
            .execute(&mut earlier)
            .await
            .expect("the end of the lock");
    };
    let (changed, claimed, ()) = tokio::join!(change, claim, release);
    assert_eq!(changed.expect(200)["isActive"], false);
    let claimed = claimed.expect(201);
    assert_eq!(each(&claimed["reasons"], "code"), ["event-inactive"]);
}
