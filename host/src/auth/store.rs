//! `sessions` and `refresh_tokens`. A session is read together with the role and state of its user, which `users` owns,
//! so that the check of a request is one statement.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{EndReason, Role};
use crate::clock::Timestamp;
use crate::db::{Db, Engine, Query, Result, Tx, placeholders, row};
use crate::mutations;

row! {
    #[derive(Clone, Debug, Serialize, Deserialize)]
    pub(super) struct SessionRow {
        pub user_id: Uuid,
        pub role: Role,
        pub disabled: bool,
        pub expires_at: Timestamp,
        pub ended_at: Option<Timestamp>,
        pub second_factor: bool,
    }
}

row! {
    pub(super) struct ConsumedRow {
        pub user_id: Uuid,
        pub session_id: Uuid,
        pub expires_at: Timestamp,
    }
}

/// SHA-256 of a refresh token.
pub(super) type Hash = Vec<u8>;

pub(super) async fn insert_session(
    tx: &mut Tx,
    id: Uuid,
    user_id: Uuid,
    created_at: Timestamp,
    expires_at: Timestamp,
) -> Result<()> {
    const SQL: &str = "INSERT INTO sessions (id, user_id, created_at, expires_at) VALUES ($1, $2, $3, $4)";
    tx.query(SQL)
        .bind(id)
        .bind(user_id)
        .bind(created_at)
        .bind(expires_at)
        .execute(tx)
        .await?;
    Ok(())
}

const SESSION: &str = "SELECT s.user_id, u.role, u.disabled, s.expires_at, s.ended_at, s.second_factor \
    FROM sessions s JOIN users u ON u.id = s.user_id WHERE s.user_id = $1 AND s.id = $2";

pub(super) async fn find_session(tx: &mut Tx, user_id: Uuid, id: Uuid) -> Result<Option<SessionRow>> {
    tx.query(SESSION).bind(user_id).bind(id).fetch_optional(tx).await
}

/// The same outside of a transaction, as most requests need it.
pub(super) async fn read_session(db: &Db, user_id: Uuid, id: Uuid) -> Result<Option<SessionRow>> {
    db.batched_read(SESSION).id(user_id).id(id).fetch_optional().await
}

/// Notes when the user of a session proved who they are, and how.
pub(super) async fn prove(tx: &mut Tx, user_id: Uuid, id: Uuid, at: Timestamp, second_factor: bool) -> Result<()> {
    const SQL: &str = "UPDATE sessions SET proved_at = $3, second_factor = $4 WHERE user_id = $1 AND id = $2";
    let query = tx.query(SQL).bind(user_id).bind(id).bind(at);
    query.bind(second_factor).execute(tx).await?;
    Ok(())
}

pub(super) async fn proved_at(db: &Db, user_id: Uuid, id: Uuid) -> Result<Option<Timestamp>> {
    const SQL: &str = "SELECT proved_at FROM sessions WHERE user_id = $1 AND id = $2";
    let query = db.query(SQL).bind(user_id).bind(id);
    Ok(query.fetch_optional::<(Timestamp,)>(db).await?.map(|(at,)| at))
}

pub(super) async fn end_session(tx: &mut Tx, user_id: Uuid, id: Uuid, reason: EndReason, at: Timestamp) -> Result<()> {
    const SQL: &str = "UPDATE sessions SET ended_at = $3, ended_reason = $4 \
        WHERE user_id = $1 AND id = $2 AND ended_at IS NULL";
    tx.query(SQL)
        .bind(user_id)
        .bind(id)
        .bind(at)
        .bind(reason.to_string())
        .execute(tx)
        .await?;
    Ok(())
}

pub(super) async fn end_sessions_of(tx: &mut Tx, user_id: Uuid, reason: EndReason, at: Timestamp) -> Result<Vec<Uuid>> {
    const SQL: &str = "UPDATE sessions SET ended_at = $2, ended_reason = $3 \
        WHERE user_id = $1 AND ended_at IS NULL RETURNING id";
    let rows: Vec<(Uuid,)> = tx
        .query(SQL)
        .bind(user_id)
        .bind(at)
        .bind(reason.to_string())
        .fetch_all(tx)
        .await?;
    Ok(rows.into_iter().map(|(id,)| id).collect())
}

pub(super) async fn end_other_sessions(
    tx: &mut Tx,
    user_id: Uuid,
    kept: Uuid,
    reason: EndReason,
    at: Timestamp,
) -> Result<Vec<Uuid>> {
    const SQL: &str = "UPDATE sessions SET ended_at = $3, ended_reason = $4 \
        WHERE user_id = $1 AND id <> $2 AND ended_at IS NULL RETURNING id";
    let rows: Vec<(Uuid,)> = tx
        .query(SQL)
        .bind(user_id)
        .bind(kept)
        .bind(at)
        .bind(reason.to_string())
        .fetch_all(tx)
        .await?;
    Ok(rows.into_iter().map(|(id,)| id).collect())
}

row! {
    pub(super) struct OpenSessionRow {
        pub id: Uuid,
        pub created_at: Timestamp,
        pub expires_at: Timestamp,
    }
}

/// The living sessions of a user, newest first.
pub(super) async fn open_sessions(
    db: &Db,
    user_id: Uuid,
    now: Timestamp,
    after: Option<Uuid>,
    limit: i64,
) -> Result<Vec<OpenSessionRow>> {
    const SQL: &str = "SELECT id, created_at, expires_at FROM sessions WHERE ended_at IS NULL";
    db.select(SQL)
        .and("user_id = $?", Some(user_id))
        .and("expires_at > $?", Some(now))
        .and("id < $?", after)
        .end("ORDER BY id DESC LIMIT $?", limit)
        .fetch_all(db)
        .await
}

/// Whether this refresh token was consumed at or after `since`, and its successor with the hash `next` is unused.
pub(super) async fn was_just_consumed(
    tx: &mut Tx,
    (user_id, hash): (Uuid, Hash),
    next: Hash,
    since: Timestamp,
) -> Result<bool> {
    const SQL: &str = "SELECT 1 FROM refresh_tokens old JOIN refresh_tokens next \
            ON next.user_id = old.user_id AND next.session_id = old.session_id \
        WHERE old.user_id = $1 AND old.hash = $2 AND old.consumed_at >= $4 \
        AND next.user_id = $1 AND next.hash = $3 AND next.consumed_at IS NULL";
    let query = tx.query(SQL).bind(user_id).bind(hash).bind(next).bind(since);
    Ok(query.fetch_optional::<(i32,)>(tx).await?.is_some())
}

pub(super) async fn insert_refresh_token(
    tx: &mut Tx,
    hash: Hash,
    (user_id, session_id): (Uuid, Uuid),
    created_at: Timestamp,
    expires_at: Timestamp,
) -> Result<()> {
    const SQL: &str = "INSERT INTO refresh_tokens (user_id, hash, session_id, created_at, expires_at) \
        VALUES ($1, $2, $3, $4, $5)";
    tx.query(SQL)
        .bind(user_id)
        .bind(hash)
        .bind(session_id)
        .bind(created_at)
        .bind(expires_at)
        .execute(tx)
        .await?;
    Ok(())
}

/// Consumes a refresh token. Of concurrent attempts, one gets the row.
pub(super) async fn consume_refresh_token(tx: &mut Tx, hash: Hash, at: Timestamp) -> Result<Option<ConsumedRow>> {
    const SQL: &str = "UPDATE refresh_tokens SET consumed_at = $2 WHERE hash = $1 AND consumed_at IS NULL \
        RETURNING user_id, session_id, expires_at";
    if mutations::active("refresh-read-then-write") {
        const READ: &str =
            "SELECT user_id, session_id, expires_at FROM refresh_tokens WHERE hash = $1 AND consumed_at IS NULL";
        const WRITE: &str = "UPDATE refresh_tokens SET consumed_at = $2 WHERE hash = $1";
        let found = tx.query(READ).bind(hash.clone()).fetch_optional(&mut *tx).await?;
        tx.query(WRITE).bind(hash).bind(at).execute(tx).await?;
        return Ok(found);
    }
    tx.query(SQL).bind(hash).bind(at).fetch_optional(tx).await
}

/// The user and session that a refresh token belongs to, consumed or not.
pub(super) async fn session_of_refresh_token(tx: &mut Tx, hash: Hash) -> Result<Option<(Uuid, Uuid)>> {
    tx.query("SELECT user_id, session_id FROM refresh_tokens WHERE hash = $1")
        .bind(hash)
        .fetch_optional(tx)
        .await
}

/// Deletes up to `limit` refresh tokens that expired before `cutoff`, and returns their number.
///
/// SQLite would find the rows of a list of pairs by a scan, so it deletes by `rowid`.
pub(super) async fn delete_expired_tokens(tx: &mut Tx, cutoff: Timestamp, limit: i64) -> Result<u64> {
    const POSTGRES: &str = "WITH expired AS MATERIALIZED (SELECT user_id, hash FROM refresh_tokens WHERE expires_at < $1 \
        ORDER BY expires_at LIMIT $2 FOR UPDATE SKIP LOCKED) \
        DELETE FROM refresh_tokens WHERE (user_id, hash) IN (SELECT user_id, hash FROM expired)";
    const SQLITE: &str = "DELETE FROM refresh_tokens WHERE rowid IN (SELECT rowid FROM refresh_tokens \
        WHERE expires_at < $1 ORDER BY expires_at LIMIT $2)";
    delete_expired(tx, POSTGRES, SQLITE, cutoff, limit).await
}

/// Deletes up to `limit` sessions that expired before `cutoff` and have no refresh token, and returns their number.
pub(super) async fn delete_expired_sessions(tx: &mut Tx, cutoff: Timestamp, limit: i64) -> Result<u64> {
    const POSTGRES: &str = "WITH expired AS MATERIALIZED (SELECT s.user_id, s.id FROM sessions s WHERE s.expires_at < $1 \
        AND NOT EXISTS (SELECT 1 FROM refresh_tokens t WHERE t.user_id = s.user_id AND t.session_id = s.id) \
        ORDER BY s.expires_at LIMIT $2 FOR UPDATE OF s SKIP LOCKED) \
        DELETE FROM sessions WHERE (user_id, id) IN (SELECT user_id, id FROM expired)";
    const SQLITE: &str = "DELETE FROM sessions WHERE rowid IN (SELECT s.rowid FROM sessions s WHERE s.expires_at < $1 \
        AND NOT EXISTS (SELECT 1 FROM refresh_tokens t WHERE t.user_id = s.user_id AND t.session_id = s.id) \
        ORDER BY s.expires_at LIMIT $2)";
    delete_expired(tx, POSTGRES, SQLITE, cutoff, limit).await
}

async fn delete_expired(
    tx: &mut Tx,
    postgres: &'static str,
    sqlite: &'static str,
    cutoff: Timestamp,
    limit: i64,
) -> Result<u64> {
    let sql = match tx.engine() {
        Engine::Postgres => postgres,
        Engine::Sqlite => sqlite,
    };
    tx.query(sql).bind(cutoff).bind(limit).execute(tx).await
}

row! {
    pub(super) struct PastSessionRow {
        pub id: Uuid,
        pub created_at: Timestamp,
        pub expires_at: Timestamp,
        pub ended_at: Option<Timestamp>,
    }
}

/// All sessions of a user, by id.
pub(super) async fn all_sessions(db: &Db, user_id: Uuid, after: Uuid, limit: i64) -> Result<Vec<PastSessionRow>> {
    const SQL: &str = "SELECT id, created_at, expires_at, ended_at FROM sessions WHERE user_id = $1 AND id > $2 \
        ORDER BY id LIMIT $3";
    db.query(SQL).bind(user_id).bind(after).bind(limit).fetch_all(db).await
}

/// Deletes up to `limit` refresh tokens of a user, and when there are no more, up to `limit` sessions. Returns the number.
pub(super) async fn erase(tx: &mut Tx, user_id: Uuid, limit: i64) -> Result<u64> {
    const TOKENS: &str = "DELETE FROM refresh_tokens WHERE user_id = $1 \
        AND hash IN (SELECT hash FROM refresh_tokens WHERE user_id = $1 LIMIT $2)";
    const SESSIONS: &str = "DELETE FROM sessions WHERE user_id = $1 \
        AND id IN (SELECT id FROM sessions WHERE user_id = $1 LIMIT $2)";
    let deleted = tx.query(TOKENS).bind(user_id).bind(limit).execute(&mut *tx).await?;
    if deleted > 0 {
        return Ok(deleted);
    }
    tx.query(SESSIONS).bind(user_id).bind(limit).execute(tx).await
}

/// The role of each user, of these sessions that have not ended.
pub(super) async fn living_sessions(db: &Db, keys: &[(Uuid, Uuid)], now: Timestamp) -> Result<Vec<(Uuid, Role)>> {
    let keys = placeholders::padded(keys.iter().copied());
    let sql = format!(
        "SELECT s.id, u.role FROM {} JOIN sessions s ON s.user_id = pair.column1 AND s.id = pair.column2 \
         JOIN users u ON u.id = s.user_id WHERE s.ended_at IS NULL AND s.expires_at > $1 AND NOT u.disabled",
        placeholders::pairs(2, keys.len())
    );
    let query = db.query_assembled(sql).bind(now);
    let query = keys
        .into_iter()
        .fold(query, |query, (user_id, id)| query.bind(user_id).bind(id));
    query.fetch_all(db).await
}

/// Those of these users that are not disabled, and their roles.
pub(super) async fn enabled_users(db: &Db, ids: &[Uuid]) -> Result<Vec<(Uuid, Role)>> {
    let ids = placeholders::padded(ids.iter().copied());
    let sql = format!(
        "SELECT id, role FROM users WHERE id IN ({}) AND NOT disabled",
        placeholders::list(1, ids.len())
    );
    let query = db.query_assembled(sql);
    ids.into_iter().fold(query, Query::bind).fetch_all(db).await
}
