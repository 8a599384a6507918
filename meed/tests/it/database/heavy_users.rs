//! Reads about a user with much data delay no reads about others. Only PostgreSQL joins the reads of several users.

use std::time::{Duration, Instant};

use meed_host::db::{Db, DbError};
use uuid::Uuid;

use crate::support::TestApp;

/// A read about a user that takes as many seconds as `$2` says.
async fn read(db: Db, user: Uuid, seconds: i64) -> Result<Duration, DbError> {
    const SQL: &str = "SELECT CAST(1 AS BIGINT) FROM pg_sleep($2) WHERE $1 IS NOT NULL";
    let started = Instant::now();
    let read = db.batched_read(SQL).about(user).id(user).number(seconds);
    let rows: Vec<(i64,)> = read.fetch_all().await?;
    assert_eq!(rows.len(), 1);
    Ok(started.elapsed())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_reads_about_some_users_delay_nobody_else() {
    let app = TestApp::on_postgres().await;
    let db = &app.app.db;
    let heavy = Uuid::now_v7();
    // Its first read takes longer than a joined one may, and is repeated alone.
    let first = read(db.clone(), heavy, 2).await.expect("an answer");
    assert!(first >= Duration::from_secs(3), "{first:?}");
    let slow = tokio::spawn(read(db.clone(), heavy, 4));
    let second = tokio::spawn(read(db.clone(), heavy, 4));
    tokio::time::sleep(Duration::from_millis(100)).await;
    let others: Vec<_> = (0..40)
        .map(|_| tokio::spawn(read(db.clone(), Uuid::now_v7(), 0)))
        .collect();
    for other in others {
        let took = other.await.expect("no panic").expect("an answer");
        assert!(took < Duration::from_secs(2), "{took:?}");
    }
    // The third lane has one connection. The read that comes second is refused while its client still waits.
    let (slow, second) = (slow.await.expect("no panic"), second.await.expect("no panic"));
    let (answered, refused) = if slow.is_ok() { (slow, second) } else { (second, slow) };
    assert!(answered.is_ok(), "{answered:?}");
    let refused = refused.expect_err("no connection");
    assert!(refused.is_unavailable(), "{refused}");
}
