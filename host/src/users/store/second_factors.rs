//! SQL for `second_factors` and `recovery_codes`.

use uuid::Uuid;

use crate::clock::Timestamp;
use crate::db::{Db, Executor, Result, Tx, row};

row! {
    #[derive(Clone)]
    pub(in crate::users) struct SecondFactorRow {
        /// Sealed.
        pub secret: Vec<u8>,
        pub confirmed_at: Option<Timestamp>,
    }
}

pub(in crate::users) async fn find(on: impl Executor, user_id: Uuid) -> Result<Option<SecondFactorRow>> {
    const SQL: &str = "SELECT secret, confirmed_at FROM second_factors WHERE user_id = $1";
    on.statement(SQL).bind(user_id).fetch_optional(on).await
}

/// Stores an unconfirmed secret, in place of an earlier unconfirmed one.
pub(in crate::users) async fn put(tx: &mut Tx, user_id: Uuid, secret: Vec<u8>, now: Timestamp) -> Result<()> {
    const SQL: &str = "INSERT INTO second_factors (user_id, secret, created_at, last_step) VALUES ($1, $2, $3, 0) \
        ON CONFLICT (user_id) DO UPDATE SET secret = $2, created_at = $3, last_step = 0 \
        WHERE second_factors.confirmed_at IS NULL";
    tx.query(SQL).bind(user_id).bind(secret).bind(now).execute(tx).await?;
    Ok(())
}

/// Confirms a secret with the code of this step; `false` if it is confirmed already.
pub(in crate::users) async fn confirm(tx: &mut Tx, user_id: Uuid, step: i64, now: Timestamp) -> Result<bool> {
    const SQL: &str = "UPDATE second_factors SET confirmed_at = $3, last_step = $2 \
        WHERE user_id = $1 AND confirmed_at IS NULL";
    Ok(tx.query(SQL).bind(user_id).bind(step).bind(now).execute(tx).await? == 1)
}

/// Uses the code of a step. Of concurrent attempts, one gets `true`; a code of the same or an earlier step is refused.
pub(in crate::users) async fn use_step(tx: &mut Tx, user_id: Uuid, step: i64) -> Result<bool> {
    const SQL: &str = "UPDATE second_factors SET last_step = $2 \
        WHERE user_id = $1 AND confirmed_at IS NOT NULL AND last_step < $2";
    Ok(tx.query(SQL).bind(user_id).bind(step).execute(tx).await? == 1)
}

/// Deletes the secret and the recovery codes of a user; `false` if there is no secret.
pub(in crate::users) async fn delete(tx: &mut Tx, user_id: Uuid) -> Result<bool> {
    const SQL: &str = "DELETE FROM second_factors WHERE user_id = $1";
    delete_recovery_codes(tx, user_id).await?;
    Ok(tx.query(SQL).bind(user_id).execute(tx).await? == 1)
}

pub(in crate::users) async fn delete_recovery_codes(tx: &mut Tx, user_id: Uuid) -> Result<()> {
    const SQL: &str = "DELETE FROM recovery_codes WHERE user_id = $1";
    tx.query(SQL).bind(user_id).execute(tx).await?;
    Ok(())
}

pub(in crate::users) async fn insert_recovery_code(tx: &mut Tx, user_id: Uuid, hash: Vec<u8>) -> Result<()> {
    const SQL: &str = "INSERT INTO recovery_codes (user_id, hash) VALUES ($1, $2)";
    tx.query(SQL).bind(user_id).bind(hash).execute(tx).await?;
    Ok(())
}

/// Uses a recovery code. Of concurrent attempts, one gets `true`.
pub(in crate::users) async fn use_recovery_code(tx: &mut Tx, user_id: Uuid, hash: Vec<u8>) -> Result<bool> {
    const SQL: &str = "DELETE FROM recovery_codes WHERE user_id = $1 AND hash = $2";
    Ok(tx.query(SQL).bind(user_id).bind(hash).execute(tx).await? == 1)
}

pub(in crate::users) async fn count_recovery_codes(on: impl Executor, user_id: Uuid) -> Result<i64> {
    const SQL: &str = "SELECT COUNT(*) FROM recovery_codes WHERE user_id = $1";
    let (count,): (i64,) = on.statement(SQL).bind(user_id).fetch_one(on).await?;
    Ok(count)
}

/// The sealed secrets of all accounts, in the order of the accounts.
pub(in crate::users) async fn sealed(db: &Db, after: Uuid, limit: i64) -> Result<Vec<(Uuid, Vec<u8>)>> {
    const SQL: &str = "SELECT user_id, secret FROM second_factors WHERE user_id > $1 ORDER BY user_id LIMIT $2";
    db.query(SQL).bind(after).bind(limit).fetch_all(db).await
}

/// Replaces a sealed secret, unless it is another one by now.
pub(in crate::users) async fn replace_secret(tx: &mut Tx, user_id: Uuid, new: Vec<u8>, old: Vec<u8>) -> Result<()> {
    const SQL: &str = "UPDATE second_factors SET secret = $2 WHERE user_id = $1 AND secret = $3";
    tx.query(SQL).bind(user_id).bind(new).bind(old).execute(tx).await?;
    Ok(())
}
