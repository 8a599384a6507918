//! A transaction whose beginning was abandoned does not stay open on a pooled connection. On SQLite the pool asks the
//! connection itself.

use std::time::Duration;

use meed_host::db::Db;

use crate::support::TestApp;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_with_an_open_transaction_is_not_used_again() {
    const OPEN: &str = "SELECT COUNT(*) FROM pg_stat_activity \
        WHERE datname = current_database() AND state LIKE 'idle in transaction%'";
    let app = TestApp::on_postgres().await;
    let Db::Postgres { pool, .. } = &app.app.db else {
        panic!("not PostgreSQL")
    };
    let mut connection = pool.acquire().await.expect("a connection");
    // The driver does not know of this transaction, as after a client hung up.
    sqlx::raw_sql("BEGIN")
        .execute(&mut *connection)
        .await
        .expect("a transaction");
    assert_eq!(app.count(OPEN).await, 1);
    drop(connection);
    for _ in 0..100 {
        if app.count(OPEN).await == 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(app.count(OPEN).await, 0);
}
