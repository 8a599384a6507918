//! Inserts of several rows: what a table and its indexes cost without Meed.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use meed_host::clock::Clock;
use meed_host::db::{Db, Engine, Json};
use serde_json::{Value, json};
use uuid::Uuid;

/// Rows of one transaction, as an import has.
const BATCH: u64 = 1_000;
/// 2026-10-01T10:00:00Z
const AT: i64 = 1_790_848_800_000;

/// For each table: its name in the statement, for PostgreSQL and for SQLite.
type Statements = [(&'static str, &'static str); 2];

const USERS: Statements = [
    (
        "INSERT INTO user_directory (kind, value, user_id) SELECT 'EXTERNAL_ID', external_id, id \
            FROM jsonb_to_recordset($1) AS i (id UUID, external_id TEXT)",
        "INSERT INTO user_directory (kind, value, user_id) \
            SELECT 'EXTERNAL_ID', value ->> 'external_id', unhex(value ->> 'id') FROM json_each($1)",
    ),
    (
        "INSERT INTO users (id, external_id, role, disabled, created_at) SELECT id, external_id, 'USER', FALSE, at \
            FROM jsonb_to_recordset($1) AS i (id UUID, external_id TEXT, at BIGINT)",
        "INSERT INTO users (id, external_id, role, disabled, created_at) \
            SELECT unhex(value ->> 'id'), value ->> 'external_id', 'USER', FALSE, value ->> 'at' FROM json_each($1)",
    ),
];

const ACTIVITIES: Statements = [
    (
        "INSERT INTO activity_directory (source, source_id, user_id) SELECT 'raw', source_id, user_id \
            FROM jsonb_to_recordset($1) AS i (source_id TEXT, user_id UUID)",
        "INSERT INTO activity_directory (source, source_id, user_id) \
            SELECT 'raw', value ->> 'source_id', unhex(value ->> 'user_id') FROM json_each($1)",
    ),
    (
        "INSERT INTO activities (id, source, source_id, user_id, kind, amount, attributes, occurred_at, recorded_at) \
            SELECT id, 'raw', source_id, user_id, 'raw', amount, attributes, at, at \
            FROM jsonb_to_recordset($1) AS i (id UUID, source_id TEXT, user_id UUID, amount BIGINT, attributes JSONB, \
                at BIGINT)",
        "INSERT INTO activities (id, source, source_id, user_id, kind, amount, attributes, occurred_at, recorded_at) \
            SELECT unhex(value ->> 'id'), 'raw', value ->> 'source_id', unhex(value ->> 'user_id'), 'raw', \
            value ->> 'amount', value -> 'attributes', value ->> 'at', value ->> 'at' FROM json_each($1)",
    ),
];

pub(crate) async fn users(db: &Db, round: u64, count: u64) -> anyhow::Result<Duration> {
    let row = |number: u64| {
        let id = Clock::System.new_id().simple().to_string();
        json!({"id": id, "external_id": format!("raw-{round}-{number}"), "at": AT})
    };
    insert(db, &USERS, count, row).await
}

pub(crate) async fn activities(db: &Db, round: u64, count: u64) -> anyhow::Result<Duration> {
    let users: Vec<(Uuid,)> = db
        .query("SELECT id FROM users ORDER BY id DESC LIMIT 20000")
        .fetch_all(db)
        .await?;
    let users: Vec<String> = users.iter().map(|(id,)| id.simple().to_string()).collect();
    let row = |number: u64| {
        let user = number.wrapping_mul(2_654_435_761) % users.len() as u64;
        let user = usize::try_from(user).unwrap_or_default();
        json!({
            "id": Clock::System.new_id().simple().to_string(),
            "source_id": format!("{round}-{number}"), "user_id": users[user], "amount": number % 1000,
            "attributes": {"category": "hats"}, "at": AT,
        })
    };
    insert(db, &ACTIVITIES, count, row).await
}

async fn insert(db: &Db, statements: &Statements, count: u64, row: impl Fn(u64) -> Value) -> anyhow::Result<Duration> {
    let batches: Vec<Value> = (0..count.div_ceil(BATCH))
        .map(|batch| (batch * BATCH..count.min((batch + 1) * BATCH)).map(&row).collect())
        .collect();
    let started = Instant::now();
    for batch in batches {
        let mut tx = db.begin().await?;
        for (postgres, sqlite) in statements {
            let sql = match db.engine() {
                Engine::Postgres => *postgres,
                Engine::Sqlite => *sqlite,
            };
            tx.query(sql)
                .bind(Json(batch.clone()))
                .execute(&mut tx)
                .await
                .context(sql)?;
        }
        tx.commit().await?;
    }
    Ok(started.elapsed())
}
