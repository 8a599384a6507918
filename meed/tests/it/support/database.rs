//! A fresh, migrated database for every test. `MEED_TEST_POSTGRES_URL` names the PostgreSQL server; `cargo xtask test`
//! sets it. Without it a test fails.
//!
//! The schema is migrated once per server into a template, and each test gets a copy: copying is cheaper than
//! migrating.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::Path;

use meed_host::db::Db;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use tempfile::TempDir;

const CONNECTIONS: u32 = 8;

/// The advisory lock of the process that makes the template.
const TEMPLATE_LOCK: i64 = 0x006d_6565_645f_6974;

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
    let mut admin = admin(server).await;
    let template = template(server, &mut admin).await;
    let url = create(server, &mut admin, &template).await;
    admin.close().await.expect("close the connection");
    Db::connect(&url, CONNECTIONS).await.expect("open PostgreSQL")
}

/// The URL of a server, without a database, on which this user may create databases.
pub fn postgres_server() -> String {
    std::env::var("MEED_TEST_POSTGRES_URL")
        .expect("MEED_TEST_POSTGRES_URL is not set: run the tests with `cargo xtask test`, which starts PostgreSQL")
}

/// A database without tables.
pub async fn postgres_url() -> String {
    postgres_url_on(&postgres_server()).await
}

/// An empty database on this server.
pub async fn postgres_url_on(server: &str) -> String {
    let mut admin = admin(server).await;
    let url = create(server, &mut admin, "template1").await;
    admin.close().await.expect("close the connection");
    url
}

async fn admin(server: &str) -> PgConnection {
    PgConnection::connect(&format!("{server}/postgres"))
        .await
        .expect("connect to PostgreSQL")
}

async fn create(server: &str, admin: &mut PgConnection, template: &str) -> String {
    let name = format!("it_{}", uuid::Uuid::now_v7().simple());
    execute(admin, format!("CREATE DATABASE {name} TEMPLATE {template}")).await;
    format!("{server}/{name}")
}

/// The name of the migrated template. One test process makes it while the others wait.
async fn template(server: &str, admin: &mut PgConnection) -> String {
    const IS_READY: &str = "SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1 AND datistemplate)";
    let name = template_name();
    if exists(admin, IS_READY, &name).await {
        return name;
    }
    execute(admin, format!("SELECT pg_advisory_lock({TEMPLATE_LOCK})")).await;
    if !exists(admin, IS_READY, &name).await {
        // A killed run may have left half of it.
        execute(admin, format!("DROP DATABASE IF EXISTS {name}")).await;
        execute(admin, format!("CREATE DATABASE {name}")).await;
        let db = Db::connect(&format!("{server}/{name}"), 1)
            .await
            .expect("open PostgreSQL");
        db.migrate().await.expect("migrate PostgreSQL");
        // PostgreSQL does not copy a database that has connections.
        db.close().await;
        execute(admin, format!("ALTER DATABASE {name} IS_TEMPLATE true")).await;
    }
    execute(admin, format!("SELECT pg_advisory_unlock({TEMPLATE_LOCK})")).await;
    name
}

/// Other migrations, or a mutation of them, make another template.
fn template_name() -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../migrations/postgres");
    let entries = std::fs::read_dir(folder).expect("the migrations");
    let mut files: Vec<_> = entries.map(|entry| entry.expect("a file").path()).collect();
    files.sort();
    let mut hasher = DefaultHasher::new();
    for file in files {
        std::fs::read(file).expect("a migration").hash(&mut hasher);
    }
    std::env::var_os("MEED_MUTATION").hash(&mut hasher);
    format!("it_template_{:016x}", hasher.finish())
}

async fn exists(admin: &mut PgConnection, sql: &'static str, name: &str) -> bool {
    let found = sqlx::query_scalar(sql).bind(name).fetch_one(admin).await;
    found.expect("the databases")
}

async fn execute(admin: &mut PgConnection, sql: String) {
    let statement = sqlx::query(AssertSqlSafe(sql.clone()));
    statement
        .execute(admin)
        .await
        .unwrap_or_else(|error| panic!("{sql}: {error}"));
}
