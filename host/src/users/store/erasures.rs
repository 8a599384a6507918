//! `user_erasures`, and the content of a user's rows.

use uuid::Uuid;

use crate::clock::Timestamp;
use crate::db::{Db, Engine, Executor, Result, Tx, row};
use crate::transparency::{self, ERASURE};

row! {
    #[derive(Clone, Debug)]
    pub(in crate::users) struct ErasureRow {
        pub user_id: Uuid,
        pub requested_at: Timestamp,
        pub due_at: Timestamp,
        pub was_disabled: bool,
        pub begun_at: Option<Timestamp>,
        pub completed_at: Option<Timestamp>,
    }
}

pub(in crate::users) async fn find(on: impl Executor, user_id: Uuid) -> Result<Option<ErasureRow>> {
    const SQL: &str = "SELECT user_id, requested_at, due_at, was_disabled, begun_at, completed_at FROM user_erasures \
        WHERE user_id = $1";
    on.statement(SQL).bind(user_id).fetch_optional(on).await
}

pub(in crate::users) async fn insert(tx: &mut Tx, row: &ErasureRow, by: Uuid) -> Result<()> {
    const SQL: &str = "INSERT INTO user_erasures (user_id, requested_at, requested_by, due_at, was_disabled) \
        VALUES ($1, $2, $3, $4, $5)";
    let query = tx.query(SQL).bind(row.user_id).bind(row.requested_at).bind(by);
    query.bind(row.due_at).bind(row.was_disabled).execute(tx).await?;
    Ok(())
}

/// Deletes a request whose erasure has not begun; `false` if it has.
pub(in crate::users) async fn cancel(tx: &mut Tx, user_id: Uuid) -> Result<bool> {
    const SQL: &str = "DELETE FROM user_erasures WHERE user_id = $1 AND begun_at IS NULL";
    Ok(tx.query(SQL).bind(user_id).execute(tx).await? == 1)
}

/// Erasures that are due and not complete.
pub(in crate::users) async fn due(db: &Db, now: Timestamp, limit: i64) -> Result<Vec<ErasureRow>> {
    const SQL: &str = "SELECT user_id, requested_at, due_at, was_disabled, begun_at, completed_at FROM user_erasures \
        WHERE completed_at IS NULL AND due_at <= $1 ORDER BY due_at LIMIT $2";
    db.query(SQL).bind(now).bind(limit).fetch_all(db).await
}

/// Of concurrent attempts, one begins the erasure.
pub(in crate::users) async fn begin(tx: &mut Tx, user_id: Uuid, now: Timestamp) -> Result<bool> {
    const SQL: &str = "UPDATE user_erasures SET begun_at = $2 WHERE user_id = $1 AND begun_at IS NULL";
    let has_begun = tx.query(SQL).bind(user_id).bind(now).execute(&mut *tx).await? == 1;
    if has_begun {
        transparency::enqueue(tx, ERASURE, user_id).await?;
    }
    Ok(has_begun)
}

/// Of concurrent attempts, one completes the erasure.
pub(in crate::users) async fn complete(tx: &mut Tx, user_id: Uuid, now: Timestamp) -> Result<bool> {
    const SQL: &str = "UPDATE user_erasures SET completed_at = $2 WHERE user_id = $1 AND completed_at IS NULL";
    Ok(tx.query(SQL).bind(user_id).bind(now).execute(tx).await? == 1)
}

/// Erases names and credentials. The row of the user stays without content, so that foreign keys hold.
pub(in crate::users) async fn erase_account(tx: &mut Tx, user_id: Uuid) -> Result<()> {
    for sql in [
        "DELETE FROM mails WHERE email_key IN \
            (SELECT value FROM user_directory WHERE user_id = $1 AND kind = 'EMAIL')",
        "DELETE FROM user_directory WHERE user_id = $1",
        "DELETE FROM password_resets WHERE user_id = $1",
        "DELETE FROM email_confirmations WHERE user_id = $1",
        "DELETE FROM recovery_codes WHERE user_id = $1",
        "DELETE FROM second_factors WHERE user_id = $1",
        "UPDATE users SET email = NULL, password_hash = NULL, external_id = NULL, invite_code = NULL, \
            invited_by = NULL, email_unconfirmed = FALSE, role = 'USER', disabled = TRUE WHERE id = $1",
    ] {
        tx.query(sql).bind(user_id).execute(&mut *tx).await?;
    }
    Ok(())
}

/// Deletes up to `limit` values of attributes, and returns their number.
pub(in crate::users) async fn erase_attributes(tx: &mut Tx, user_id: Uuid, limit: i64) -> Result<u64> {
    const SQLITE: &str = "DELETE FROM user_attributes WHERE rowid IN \
        (SELECT rowid FROM user_attributes WHERE user_id = $1 LIMIT $2)";
    const POSTGRES: &str = "DELETE FROM user_attributes WHERE ctid = ANY(ARRAY( \
        SELECT ctid FROM user_attributes WHERE user_id = $1 LIMIT $2))";
    let sql = match tx.engine() {
        Engine::Sqlite => SQLITE,
        Engine::Postgres => POSTGRES,
    };
    tx.query(sql).bind(user_id).bind(limit).execute(tx).await
}

/// Those of these users whose erasure has begun.
pub(in crate::users) async fn begun(db: &Db, ids: &[Uuid]) -> Result<Vec<ErasureRow>> {
    const SQL: &str = "SELECT user_id, requested_at, due_at, was_disabled, begun_at, completed_at FROM user_erasures \
        WHERE begun_at IS NOT NULL";
    let select = db.select(SQL).and_in("user_id IN ($?)", ids.iter().copied());
    select.query().fetch_all(db).await
}

/// The users whose erasure has begun, after this one.
pub(in crate::users) async fn begun_ids(db: &Db, after: Uuid, limit: i64) -> Result<Vec<Uuid>> {
    const SQL: &str = "SELECT user_id FROM user_erasures WHERE user_id > $1 AND begun_at IS NOT NULL \
        ORDER BY user_id LIMIT $2";
    let rows: Vec<(Uuid,)> = db.query(SQL).bind(after).bind(limit).fetch_all(db).await?;
    Ok(rows.into_iter().map(|(id,)| id).collect())
}
