//! The statements that write one commit record row by row: every record on SQLite, and a refused pending claim on both
//! engines. `commit_postgres` writes the same rows in bulk.

use super::CommitRecord;
use crate::db::{Result, Tx};
use crate::outbox;

/// `false` if the user's slot in the period or number in the event group is taken, the user was told the same before, or this very request exists.
pub(in crate::claims) async fn insert_request(tx: &mut Tx, record: &CommitRecord) -> Result<bool> {
    const SQL: &str = concat!(
        "INSERT INTO reward_requests (",
        columns!(reward_requests),
        ") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, \
         $23, $24, $25, $26) \
         ON CONFLICT DO NOTHING"
    );
    let (row, receipt, seal) = (record.request.clone(), record.receipt.clone(), record.seal.clone());
    let spending = record.spending.as_ref();
    let inserted = tx
        .query(SQL)
        .bind(row.id)
        .bind(row.event_id)
        .bind(row.event_revision)
        .bind(row.user_id)
        .bind(row.plugin_digest)
        .bind(row.status)
        .bind(row.period)
        .bind(row.slot)
        .bind(row.reasons)
        .bind(row.progress)
        .bind(row.retry_at)
        .bind(row.received_at)
        .bind(row.decided_at)
        .bind(row.fuel)
        .bind(receipt.text)
        .bind(receipt.salt.to_vec())
        .bind(receipt.digest.as_bytes().to_vec())
        .bind(seal.path)
        .bind(seal.key_id)
        .bind(seal.signature)
        .bind(spending.map(|spending| spending.period.clone()))
        .bind(spending.map(|spending| spending.amount))
        .bind(record.refusal.clone())
        .bind(record.group.as_ref().map(|(name, _)| name.clone()))
        .bind(record.group.as_ref().map(|(_, slot)| *slot))
        .bind(row.make_good_id)
        .execute(tx)
        .await?;
    Ok(inserted == 1)
}

/// Removes a pending claim from its queue. `false`: it is not pending, or the queue belongs to another process. A claim
/// that was never pending has nothing to remove.
pub(in crate::claims) async fn take_from_queue(tx: &mut Tx, record: &CommitRecord) -> Result<bool> {
    const SQL: &str = "DELETE FROM pending_claims WHERE user_id = $1 AND id = $2 \
        AND EXISTS (SELECT 1 FROM claim_queues WHERE event_id = $3 AND fence = $4)";
    let Some(fence) = record.fence else {
        return Ok(true);
    };
    let request = &record.request;
    let query = tx.query(SQL).bind(request.user_id).bind(request.id);
    let query = query.bind(request.event_id).bind(fence);
    Ok(query.execute(tx).await? == 1)
}

pub(in crate::claims) async fn insert_grants(tx: &mut Tx, record: &CommitRecord) -> Result<()> {
    const SQL: &str = concat!(
        "INSERT INTO grants (",
        columns!(grants),
        ") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, (SELECT since FROM reward_stock WHERE reward_id = $4))"
    );
    for row in &record.grants {
        tx.query(SQL)
            .bind(row.user_id)
            .bind(row.id)
            .bind(row.request_id)
            .bind(row.reward_id)
            .bind(record.request.event_id)
            .bind(row.quantity)
            .bind(row.reward.clone())
            .bind(record.request.decided_at)
            .execute(tx)
            .await?;
    }
    Ok(())
}

pub(in crate::claims) async fn insert_messages(tx: &mut Tx, record: &CommitRecord) -> Result<()> {
    for message in &record.messages {
        outbox::write(tx, message.clone()).await?;
    }
    Ok(())
}

/// `false` if the key has a response. A claim without a key stores none.
pub(in crate::claims) async fn insert_response(tx: &mut Tx, record: &CommitRecord) -> Result<bool> {
    const SQL: &str = concat!(
        "INSERT INTO idempotency_keys (",
        columns!(idempotency_keys),
        ") VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (user_id, key) DO NOTHING"
    );
    let Some(row) = record.response.clone() else {
        return Ok(true);
    };
    let inserted = tx
        .query(SQL)
        .bind(row.user_id)
        .bind(row.key)
        .bind(row.fingerprint)
        .bind(row.request_id)
        .bind(row.response)
        .bind(row.created_at)
        .bind(row.expires_at)
        .execute(tx)
        .await?;
    Ok(inserted == 1)
}

pub(in crate::claims) async fn savepoint(tx: &mut Tx) -> Result<()> {
    tx.query("SAVEPOINT claim").execute(tx).await.map(drop)
}

pub(in crate::claims) async fn roll_back_to_savepoint(tx: &mut Tx) -> Result<()> {
    tx.query("ROLLBACK TO SAVEPOINT claim").execute(tx).await.map(drop)
}

pub(in crate::claims) async fn release_savepoint(tx: &mut Tx) -> Result<()> {
    tx.query("RELEASE SAVEPOINT claim").execute(tx).await.map(drop)
}
