//! `outbox`. The bulk commit of claims on PostgreSQL inserts its messages in its own statement.

pub mod topics;

use serde_json::Value;
use uuid::Uuid;

use super::Message;
use crate::clock::Timestamp;
use crate::db::{Db, Engine, Executor, Json, Query, Result, Tx, placeholders, row};

/// Writes a message in the transaction that makes it true.
pub async fn write(tx: &mut Tx, message: Message) -> Result<()> {
    const SQL: &str = "INSERT INTO outbox (id, kind, user_id, subject_id, payload, http_request_id, created_at, once_key) \
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (once_key) WHERE once_key IS NOT NULL DO NOTHING";
    tx.query(SQL)
        .bind(message.id)
        .bind(message.kind)
        .bind(message.user_id)
        .bind(message.subject_id)
        .bind(Json(message.payload))
        .bind(message.http_request_id)
        .bind(message.created_at)
        .bind(message.once_key)
        .execute(tx)
        .await?;
    Ok(())
}

row! {
    /// The data of a message that fan-out needs.
    #[derive(Clone, Debug)]
    pub struct Addressed {
        pub id: Uuid,
        pub kind: String,
        /// The ordering key: the user, or what the message is about when it belongs to no user.
        pub ordering_key: Uuid,
        pub created_at: Timestamp,
    }
}

row! {
    /// A message as it was written.
    #[derive(Clone, Debug)]
    pub struct OutboxMessage {
        pub id: Uuid,
        pub kind: String,
        pub user_id: Option<Uuid>,
        pub subject_id: Option<Uuid>,
        pub payload: Json<Value>,
        pub http_request_id: Option<String>,
        pub created_at: Timestamp,
    }
}

/// The right to fan out, until the transaction ends. One transaction at a time has it, so that a transaction that sees a
/// message also sees all earlier ones of its ordering key. `false`: another transaction has it.
pub async fn try_lock_fan_out(tx: &mut Tx) -> Result<bool> {
    // An arbitrary number that Meed uses for nothing else. SQLite has one writer, and this transaction is it.
    const SQL: &str = "SELECT pg_try_advisory_xact_lock(7305808869231650157)";
    match tx.engine() {
        Engine::Sqlite => Ok(true),
        Engine::Postgres => {
            let (is_locked,): (bool,) = tx.query(SQL).fetch_one(tx).await?;
            Ok(is_locked)
        }
    }
}

/// Messages that were not fanned out, the oldest first. Found by this mark and never by "later than the last one", because
/// transactions do not commit in the order of their ids or times.
pub async fn unsent(tx: &mut Tx, limit: i64) -> Result<Vec<Addressed>> {
    const SQL: &str = "SELECT id, kind, COALESCE(user_id, subject_id, id) AS ordering_key, created_at FROM outbox \
        WHERE sent_at IS NULL ORDER BY created_at, id LIMIT $1";
    tx.query(SQL).bind(limit).fetch_all(tx).await
}

pub async fn mark_sent(db: &Db, tx: &mut Tx, ids: impl IntoIterator<Item = Uuid>, at: Timestamp) -> Result<()> {
    let ids = placeholders::padded(ids);
    let sql = format!(
        "UPDATE outbox SET sent_at = $1 WHERE sent_at IS NULL AND id IN ({})",
        placeholders::list(2, ids.len())
    );
    let query = db.query_assembled(sql).bind(at);
    ids.into_iter().fold(query, Query::bind).execute(tx).await?;
    Ok(())
}

/// Marks up to `limit` messages from before the first receiver as fanned out; returns their number.
pub async fn skip_before(tx: &mut Tx, since: Timestamp, limit: i64, at: Timestamp) -> Result<u64> {
    const SQL: &str = "UPDATE outbox SET sent_at = $1 WHERE id IN (SELECT id FROM outbox \
        WHERE sent_at IS NULL AND created_at < $2 ORDER BY created_at, id LIMIT $3)";
    tx.query(SQL).bind(at).bind(since).bind(limit).execute(tx).await
}

/// Messages with a later id, fanned out or not, the oldest first. Ids begin with the time at which they were minted.
pub async fn written_after(tx: &mut Tx, after: Uuid, limit: i64) -> Result<Vec<Addressed>> {
    const SQL: &str = "SELECT id, kind, COALESCE(user_id, subject_id, id) AS ordering_key, created_at FROM outbox \
        WHERE id > $1 ORDER BY id LIMIT $2";
    tx.query(SQL).bind(after).bind(limit).fetch_all(tx).await
}

row! {
    /// A message, and what it belongs to.
    #[derive(Clone, Debug)]
    pub struct Belonging {
        pub id: Uuid,
        pub kind: String,
        pub user_id: Option<Uuid>,
        pub subject_id: Option<Uuid>,
    }
}

/// Messages of all users from this id on, fanned out or not, in the order of their ids.
pub async fn tail(db: &Db, from: Uuid, limit: i64) -> Result<Vec<Belonging>> {
    const SQL: &str = "SELECT id, kind, user_id, subject_id FROM outbox WHERE id >= $1 ORDER BY id LIMIT $2";
    db.query(SQL).bind(from).bind(limit).fetch_all(db).await
}

/// Messages of a user from this id on, fanned out or not, in the order of their ids.
pub async fn of_user(db: &Db, user_id: Uuid, from: Uuid, limit: i64) -> Result<Vec<OutboxMessage>> {
    const SQL: &str = "SELECT id, kind, user_id, subject_id, payload, http_request_id, created_at FROM outbox \
        WHERE user_id = $1 AND id >= $2 ORDER BY id LIMIT $3";
    let query = db.query(SQL).bind(user_id).bind(from).bind(limit);
    query.fetch_all(db).await
}

/// Those of these messages that still exist.
pub async fn messages(db: &Db, on: impl Executor, ids: &[Uuid]) -> Result<Vec<OutboxMessage>> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let ids = placeholders::padded(ids.iter().copied());
    let sql = format!(
        "SELECT id, kind, user_id, subject_id, payload, http_request_id, created_at FROM outbox WHERE id IN ({})",
        placeholders::list(1, ids.len())
    );
    let query = db.query_assembled(sql);
    ids.into_iter().fold(query, Query::bind).fetch_all(on).await
}

/// When the oldest message that was not fanned out became true.
pub async fn oldest_unsent(db: &Db) -> Result<Option<Timestamp>> {
    const SQL: &str = "SELECT created_at FROM outbox WHERE sent_at IS NULL ORDER BY created_at, id LIMIT 1";
    let oldest: Option<(Timestamp,)> = db.query(SQL).fetch_optional(db).await?;
    Ok(oldest.map(|(at,)| at))
}
