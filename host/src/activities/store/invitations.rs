//! SQL for `pending_invitations`.

use uuid::Uuid;

use crate::clock::Timestamp;
use crate::db::{Engine, Json, Result, Tx};

pub(in crate::activities) async fn insert(tx: &mut Tx, user_id: Uuid, inviter: Uuid, at: Timestamp) -> Result<()> {
    const SQL: &str = "INSERT INTO pending_invitations (user_id, inviter_id, registered_at) VALUES ($1, $2, $3)";
    tx.query(SQL).bind(user_id).bind(inviter).bind(at).execute(tx).await?;
    Ok(())
}

/// Deletes the pending invitations of these users, and returns the users with their inviters. Of concurrent calls, one
/// gets a row.
pub(in crate::activities) async fn take(tx: &mut Tx, users: &[Uuid]) -> Result<Vec<(Uuid, Uuid)>> {
    const SQLITE: &str = "DELETE FROM pending_invitations \
        WHERE user_id IN (SELECT unhex(value) FROM json_each($1)) RETURNING user_id, inviter_id";
    // Locked in order, so that two calls cannot deadlock.
    const POSTGRES: &str = "DELETE FROM pending_invitations WHERE user_id IN (SELECT user_id FROM pending_invitations \
        WHERE user_id IN (SELECT CAST(value AS UUID) FROM jsonb_array_elements_text($1)) ORDER BY user_id FOR UPDATE) \
        RETURNING user_id, inviter_id";
    let sql = match tx.engine() {
        Engine::Sqlite => SQLITE,
        Engine::Postgres => POSTGRES,
    };
    let users: Vec<String> = users.iter().map(|id| id.simple().to_string()).collect();
    tx.query(sql).bind(Json(users)).fetch_all(tx).await
}
