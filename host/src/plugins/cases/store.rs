//! SQL that writes a case's history to a temporary database.

use uuid::Uuid;

use super::PastActivity;
use crate::clock::Timestamp;
use crate::db::{Json, Result, Tx};

pub(super) async fn add_user(tx: &mut Tx, id: Uuid, invited_by: Option<Uuid>, registered: Timestamp) -> Result<()> {
    const SQL: &str = "INSERT INTO users \
        (id, email, password_hash, role, invite_code, invited_by, disabled, created_at) \
        VALUES ($1, $2, '', 'USER', $2, $3, $4, $5)";
    tx.query(SQL)
        .bind(id)
        .bind(id.to_string())
        .bind(invited_by)
        .bind(false)
        .bind(registered)
        .execute(tx)
        .await?;
    Ok(())
}

pub(super) async fn add_activity(tx: &mut Tx, id: Uuid, user_id: Uuid, activity: PastActivity) -> Result<()> {
    const SQL: &str = "INSERT INTO activities \
        (id, source, source_id, user_id, kind, amount, attributes, occurred_at, recorded_at, inviter_id) \
        VALUES ($1, 'case', $2, $3, $4, $5, $6, $7, $7, (SELECT invited_by FROM users WHERE id = $3))";
    tx.query(SQL)
        .bind(id)
        .bind(id.to_string())
        .bind(user_id)
        .bind(activity.kind)
        .bind(activity.amount)
        .bind(Json(activity.attributes.0))
        .bind(activity.occurred_at)
        .execute(tx)
        .await?;
    Ok(())
}

pub(super) async fn add_attribute(
    tx: &mut Tx,
    id: Uuid,
    user_id: Uuid,
    name: String,
    value: String,
    set_at: Timestamp,
) -> Result<()> {
    const SQL: &str = "INSERT INTO user_attributes (id, user_id, name, value, set_at) VALUES ($1, $2, $3, $4, $5)";
    tx.query(SQL)
        .bind(id)
        .bind(user_id)
        .bind(name)
        .bind(value)
        .bind(set_at)
        .execute(tx)
        .await?;
    Ok(())
}
