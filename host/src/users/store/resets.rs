//! SQL for `password_resets`.

use uuid::Uuid;

use crate::clock::Timestamp;
use crate::db::{Db, Result, Tx};

/// Stores the only valid token of a user, by its hash.
pub(in crate::users) async fn put(
    tx: &mut Tx,
    user_id: Uuid,
    hash: Vec<u8>,
    now: Timestamp,
    expires_at: Timestamp,
) -> Result<()> {
    const SQL: &str = "INSERT INTO password_resets (user_id, hash, created_at, expires_at) VALUES ($1, $2, $3, $4) \
        ON CONFLICT (user_id) DO UPDATE SET hash = $2, created_at = $3, expires_at = $4";
    let query = tx.query(SQL).bind(user_id).bind(hash);
    query.bind(now).bind(expires_at).execute(tx).await?;
    Ok(())
}

pub(in crate::users) async fn is_valid(db: &Db, user_id: Uuid, hash: Vec<u8>, now: Timestamp) -> Result<bool> {
    const SQL: &str = "SELECT 1 FROM password_resets WHERE user_id = $1 AND hash = $2 AND expires_at > $3";
    let query = db.query(SQL).bind(user_id).bind(hash).bind(now);
    Ok(query.fetch_optional::<(i32,)>(db).await?.is_some())
}

/// Uses a token. Of concurrent attempts, one gets `true`.
pub(in crate::users) async fn take(tx: &mut Tx, user_id: Uuid, hash: Vec<u8>, now: Timestamp) -> Result<bool> {
    const SQL: &str = "DELETE FROM password_resets WHERE user_id = $1 AND hash = $2 AND expires_at > $3";
    let query = tx.query(SQL).bind(user_id).bind(hash).bind(now);
    Ok(query.execute(tx).await? == 1)
}
