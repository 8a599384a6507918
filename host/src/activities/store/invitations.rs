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
    // Each row is looked up by its key, whatever the database expects of the list.
    const SQLITE: &str = "DELETE FROM pending_invitations WHERE rowid IN ( \
            SELECT p.rowid FROM json_each($1) AS item CROSS JOIN pending_invitations p ON p.user_id = unhex(item.value)) \
        RETURNING user_id, inviter_id";
    // Locked in order, so that two calls cannot deadlock.
    const POSTGRES: &str = "DELETE FROM pending_invitations WHERE ctid = ANY (ARRAY( \
            SELECT found.ctid FROM ( \
                SELECT CAST(value AS UUID) AS user_id FROM jsonb_array_elements_text($1) ORDER BY 1) AS item \
            CROSS JOIN LATERAL ( \
                SELECT p.ctid FROM pending_invitations p WHERE p.user_id = item.user_id FOR UPDATE) AS found)) \
        RETURNING user_id, inviter_id";
    let sql = match tx.engine() {
        Engine::Sqlite => SQLITE,
        Engine::Postgres => POSTGRES,
    };
    let users: Vec<String> = users.iter().map(|id| id.simple().to_string()).collect();
    tx.query(sql).bind(Json(users)).fetch_all(tx).await
}
