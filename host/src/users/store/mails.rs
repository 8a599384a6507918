//! SQL for `mails` and `email_confirmations`.

use uuid::Uuid;

use crate::clock::Timestamp;
use crate::db::{Db, Engine, Executor, Result, Tx, row};
use crate::users::mail::{MailKind, MailState};

row! {
    #[derive(Clone, Debug)]
    pub(in crate::users) struct MailRow {
        pub id: Uuid,
        pub kind: MailKind,
        pub email_key: String,
        pub attempts: i64,
        pub next_at: Timestamp,
    }
}

pub(in crate::users) async fn insert(tx: &mut Tx, row: &MailRow, now: Timestamp) -> Result<()> {
    const SQL: &str = "INSERT INTO mails (id, kind, email_key, state, attempts, created_at, next_at) \
        VALUES ($1, $2, $3, 'PENDING', 0, $4, $4)";
    tx.query(SQL)
        .bind(row.id)
        .bind(row.kind)
        .bind(row.email_key.clone())
        .bind(now)
        .execute(tx)
        .await?;
    Ok(())
}

/// Until the transaction ends, no other one has the lock of this address.
pub(in crate::users) async fn lock_address(tx: &mut Tx, key: String) -> Result<()> {
    // The prefix keeps these locks apart from those of other features.
    const SQL: &str = "SELECT 1 FROM (SELECT pg_advisory_xact_lock(hashtextextended('mail:' || $1, 0))) AS gate";
    // SQLite has one writer, and this transaction is it.
    if tx.engine() == Engine::Postgres {
        tx.query(SQL).bind(key).fetch_optional::<(i32,)>(&mut *tx).await?;
    }
    Ok(())
}

/// How many mails to this address were asked for since this instant, up to `limit`.
pub(in crate::users) async fn count_since(on: impl Executor, key: String, since: Timestamp, limit: i64) -> Result<i64> {
    const SQL: &str =
        "SELECT COUNT(*) FROM (SELECT 1 FROM mails WHERE email_key = $1 AND created_at > $2 LIMIT $3) AS m";
    let (count,): (i64,) = on
        .statement(SQL)
        .bind(key)
        .bind(since)
        .bind(limit)
        .fetch_one(on)
        .await?;
    Ok(count)
}

/// How many mails wait, up to `limit`.
pub(in crate::users) async fn count_pending(on: impl Executor, limit: i64) -> Result<i64> {
    const SQL: &str = "SELECT COUNT(*) FROM (SELECT 1 FROM mails WHERE state = 'PENDING' LIMIT $1) AS m";
    let (count,): (i64,) = on.statement(SQL).bind(limit).fetch_one(on).await?;
    Ok(count)
}

pub(in crate::users) async fn due(db: &Db, now: Timestamp, limit: i64) -> Result<Vec<MailRow>> {
    const SQL: &str = "SELECT id, kind, email_key, attempts, next_at FROM mails \
        WHERE state = 'PENDING' AND next_at <= $1 ORDER BY next_at LIMIT $2";
    db.query(SQL).bind(now).bind(limit).fetch_all(db).await
}

/// Takes a mail for one attempt, until which it is not due again. Of concurrent processes, one gets `true`.
pub(in crate::users) async fn take(tx: &mut Tx, row: &MailRow, next_at: Timestamp) -> Result<bool> {
    const SQL: &str = "UPDATE mails SET attempts = attempts + 1, next_at = $2 \
        WHERE id = $1 AND state = 'PENDING' AND next_at = $3";
    let query = tx.query(SQL).bind(row.id).bind(next_at).bind(row.next_at);
    Ok(query.execute(tx).await? == 1)
}

/// Writes how an attempt ended.
pub(in crate::users) async fn end_attempt(
    tx: &mut Tx,
    id: Uuid,
    state: MailState,
    next_at: Timestamp,
    error: Option<String>,
) -> Result<()> {
    const SQL: &str = "UPDATE mails SET state = $2, next_at = $3, last_error = $4 WHERE id = $1";
    let query = tx.query(SQL).bind(id).bind(state).bind(next_at);
    query.bind(error).execute(tx).await?;
    Ok(())
}

/// The ids of up to `limit` mails after this one that were asked for before `cutoff`, in their order.
pub(in crate::users) async fn old(db: &Db, after: Uuid, cutoff: Timestamp, limit: i64) -> Result<Vec<(Uuid,)>> {
    const SQL: &str = "SELECT id FROM mails WHERE id > $1 AND id < $2 ORDER BY id LIMIT $3";
    let query = db.query(SQL).bind(after).bind(cutoff.first_id());
    query.bind(limit).fetch_all(db).await
}

/// Deletes the mails after `after` up to `last`, and returns their number.
pub(in crate::users) async fn delete(tx: &mut Tx, after: Uuid, last: Uuid) -> Result<u64> {
    const SQL: &str = "DELETE FROM mails WHERE id > $1 AND id <= $2";
    tx.query(SQL).bind(after).bind(last).execute(tx).await
}

/// Stores the only valid token that confirms the e-mail of a user, by its hash.
pub(in crate::users) async fn put_confirmation(
    tx: &mut Tx,
    user_id: Uuid,
    hash: Vec<u8>,
    expires_at: Timestamp,
) -> Result<()> {
    const SQL: &str = "INSERT INTO email_confirmations (user_id, hash, expires_at) VALUES ($1, $2, $3) \
        ON CONFLICT (user_id) DO UPDATE SET hash = $2, expires_at = $3";
    tx.query(SQL)
        .bind(user_id)
        .bind(hash)
        .bind(expires_at)
        .execute(tx)
        .await?;
    Ok(())
}

/// Uses a token. Of concurrent attempts, one gets `true`.
pub(in crate::users) async fn take_confirmation(
    tx: &mut Tx,
    user_id: Uuid,
    hash: Vec<u8>,
    now: Timestamp,
) -> Result<bool> {
    const SQL: &str = "DELETE FROM email_confirmations WHERE user_id = $1 AND hash = $2 AND expires_at > $3";
    let query = tx.query(SQL).bind(user_id).bind(hash).bind(now);
    Ok(query.execute(tx).await? == 1)
}

/// Whether the account must confirm its e-mail before it can log in.
pub(in crate::users) async fn is_unconfirmed(on: impl Executor, user_id: Uuid) -> Result<bool> {
    const SQL: &str = "SELECT 1 FROM users WHERE id = $1 AND email_unconfirmed = TRUE";
    let query = on.statement(SQL).bind(user_id);
    Ok(on.fetch_optional::<(i32,)>(query).await?.is_some())
}

pub(in crate::users) async fn set_unconfirmed(tx: &mut Tx, user_id: Uuid, unconfirmed: bool) -> Result<()> {
    const SQL: &str = "UPDATE users SET email_unconfirmed = $2 WHERE id = $1";
    tx.query(SQL).bind(user_id).bind(unconfirmed).execute(tx).await?;
    Ok(())
}
