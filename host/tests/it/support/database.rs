//! A new database for every test. `cargo xtask test` starts a temporary PostgreSQL server and
//! sets `MEED_TEST_POSTGRES` to its URL. Without it the tests fail; they are not skipped.

use meed_host::db::Db;
use tempfile::TempDir;

const CONNECTIONS: u32 = 8;

pub async fn sqlite(directory: &TempDir) -> Db {
    let db = Db::connect(&sqlite_url(directory), CONNECTIONS)
        .await
        .expect("open SQLite");
    db.migrate().await.expect("migrate SQLite");
    db
}

pub fn sqlite_url(directory: &TempDir) -> String {
    format!("sqlite:{}", directory.path().join("meed.db").display())
}

pub async fn postgres() -> Db {
    postgres_on(&postgres_server()).await
}

/// On this server instead of the shared one.
pub async fn postgres_on(server: &str) -> Db {
    let db = Db::connect(&postgres_url_on(server).await, CONNECTIONS)
        .await
        .expect("open PostgreSQL");
    db.migrate().await.expect("migrate PostgreSQL");
    db
}

/// `MEED_TEST_POSTGRES` is the URL of a server on which this user may create databases, without a database name.
pub fn postgres_server() -> String {
    std::env::var("MEED_TEST_POSTGRES")
        .expect("MEED_TEST_POSTGRES is not set: run the tests with `cargo xtask test`, which starts PostgreSQL")
}

/// A database without tables.
pub async fn postgres_url() -> String {
    postgres_url_on(&postgres_server()).await
}

/// An empty database on this server.
pub async fn postgres_url_on(server: &str) -> String {
    let name = format!("it_{}", uuid::Uuid::now_v7().simple());
    let admin = sqlx::PgPool::connect(&format!("{server}/postgres"))
        .await
        .expect("connect to PostgreSQL");
    sqlx::query(sqlx::AssertSqlSafe(format!("CREATE DATABASE {name}")))
        .execute(&admin)
        .await
        .expect("create database");
    admin.close().await;
    format!("{server}/{name}")
}
