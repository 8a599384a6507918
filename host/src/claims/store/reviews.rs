//! Held claims in `reward_requests`, and the statement that lets one of several concurrent reviews of a claim win.
//!
//! Of `users` it reads whether an account is disabled: such a user is granted nothing.

use uuid::Uuid;

use super::{CommitRecord, RequestKey};
use crate::claims::logged::REVIEW;
use crate::claims::review::Review;
use crate::clock::Timestamp;
use crate::db::{Db, Json, Result, Tx};
use crate::mutations;
use crate::transparency;

/// The user's held claim on an event; there is at most one.
pub(in crate::claims) async fn held(db: &Db, user_id: Uuid, event_id: Uuid) -> Result<Option<Uuid>> {
    const SQL: &str = "SELECT id FROM reward_requests WHERE user_id = $1 AND event_id = $2 AND status = 'HELD'";
    let row: Option<(Uuid,)> = db.query(SQL).bind(user_id).bind(event_id).fetch_optional(db).await?;
    Ok(row.map(|(id,)| id))
}

/// The newest review of a user's claims on an event.
pub(in crate::claims) async fn newest(db: &Db, user_id: Uuid, event_id: Uuid) -> Result<Option<Review>> {
    const SQL: &str = "SELECT review FROM reward_requests WHERE user_id = $1 AND event_id = $2 AND review IS NOT NULL \
        ORDER BY decided_at DESC LIMIT 1";
    let query = db.query(SQL).bind(user_id).bind(event_id);
    let row: Option<(Json<Review>,)> = query.fetch_optional(db).await?;
    Ok(row.map(|(review,)| review.0))
}

/// Held claims that were not reviewed in time, the oldest first. Skips `skipped` of them.
pub(in crate::claims) async fn expired(db: &Db, now: Timestamp, skipped: i64, limit: i64) -> Result<Vec<RequestKey>> {
    const SQL: &str = "SELECT user_id, id FROM reward_requests WHERE status = 'HELD' AND retry_at <= $1 \
        ORDER BY retry_at, id LIMIT $2 OFFSET $3";
    db.query(SQL).bind(now).bind(limit).bind(skipped).fetch_all(db).await
}

pub(in crate::claims) async fn is_disabled(tx: &mut Tx, user_id: Uuid) -> Result<bool> {
    const SQL: &str = "SELECT disabled FROM users WHERE id = $1";
    let row: Option<(bool,)> = tx.query(SQL).bind(user_id).fetch_optional(tx).await?;
    Ok(row.is_none_or(|(disabled,)| disabled))
}

/// Replaces a held request by its decision after the review. `false`: it is not HELD. Concurrent reviews wait here until the
/// transaction ends.
pub(in crate::claims) async fn replace(tx: &mut Tx, record: &CommitRecord, review: &Review) -> Result<bool> {
    const SQL: &str = "UPDATE reward_requests SET status = $3, reasons = $4, retry_at = $5, decided_at = $6, review = $7, \
        receipt = $8, receipt_salt = $9, receipt_digest = $10, receipt_path = $11, receipt_key_id = $12, \
        receipt_signature = $13, budget_period = $14, budget_amount = $15 \
        WHERE user_id = $1 AND id = $2 AND status = 'HELD'";
    let (row, receipt, seal) = (record.request.clone(), record.receipt.clone(), record.seal.clone());
    let spending = record.spending.as_ref();
    let replaced = tx
        .query(SQL)
        .bind(row.user_id)
        .bind(row.id)
        .bind(row.status)
        .bind(row.reasons)
        .bind(row.retry_at)
        .bind(row.decided_at)
        .bind(Json(review.clone()))
        .bind(receipt.text)
        .bind(receipt.salt.to_vec())
        .bind(receipt.digest.as_bytes().to_vec())
        .bind(seal.path)
        .bind(seal.key_id)
        .bind(seal.signature)
        .bind(spending.map(|spending| spending.period.clone()))
        .bind(spending.map(|spending| spending.amount))
        .execute(&mut *tx)
        .await?;
    if replaced == 1 && !mutations::active("review-not-logged") {
        transparency::enqueue(tx, REVIEW, record.request.id).await?;
    }
    Ok(replaced == 1)
}
