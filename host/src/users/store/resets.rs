//! SQL for `password_resets`.

use uuid::Uuid;

use crate::clock::Timestamp;
use crate::db::{Db, Result, Tx};

/// Stores a token of a user by its hash. It replaces an earlier one of the same way, so that a stranger who asks for mails
/// does not invalidate the token of an ADMIN.
pub(in crate::users) async fn put(
    tx: &mut Tx,
    (user_id, by_mail): (Uuid, bool),
    hash: Vec<u8>,
    now: Timestamp,
    expires_at: Timestamp,
) -> Result<()> {
    const SQL: &str = "INSERT INTO password_resets (user_id, by_mail, hash, created_at, expires_at) \
        VALUES ($1, $2, $3, $4, $5) \
        ON CONFLICT (user_id, by_mail) DO UPDATE SET hash = $3, created_at = $4, expires_at = $5";
    let query = tx.query(SQL).bind(user_id).bind(by_mail).bind(hash);
    query.bind(now).bind(expires_at).execute(tx).await?;
    Ok(())
}

pub(in crate::users) async fn is_valid(db: &Db, user_id: Uuid, hash: Vec<u8>, now: Timestamp) -> Result<bool> {
    const SQL: &str = "SELECT 1 FROM password_resets WHERE user_id = $1 AND hash = $2 AND expires_at > $3";
    let query = db.query(SQL).bind(user_id).bind(hash).bind(now);
    Ok(query.fetch_optional::<(i32,)>(db).await?.is_some())
}

/// Uses a token, and invalidates the other one of the user. Of concurrent attempts, one gets `true`.
pub(in crate::users) async fn take(tx: &mut Tx, user_id: Uuid, hash: Vec<u8>, now: Timestamp) -> Result<bool> {
    const SQL: &str = "DELETE FROM password_resets WHERE user_id = $1 AND hash = $2 AND expires_at > $3";
    const OTHER: &str = "DELETE FROM password_resets WHERE user_id = $1";
    let query = tx.query(SQL).bind(user_id).bind(hash).bind(now);
    if query.execute(&mut *tx).await? == 0 {
        return Ok(false);
    }
    tx.query(OTHER).bind(user_id).execute(tx).await?;
    Ok(true)
}
