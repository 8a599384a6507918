//! SQL that erases what claims hold about a user. What stays: the requests with their statuses, grants, digests and signatures.

use uuid::Uuid;

use crate::clock::Timestamp;
use crate::db::{Result, Tx};

/// Deletes up to `limit` stored responses, and pending claims.
pub(in crate::claims) async fn erase_open(tx: &mut Tx, user_id: Uuid, limit: i64) -> Result<u64> {
    const RESPONSES: &str = "DELETE FROM idempotency_keys WHERE user_id = $1 \
        AND key IN (SELECT key FROM idempotency_keys WHERE user_id = $1 LIMIT $2)";
    const PENDING: &str = "DELETE FROM pending_claims WHERE user_id = $1 \
        AND id IN (SELECT id FROM pending_claims WHERE user_id = $1 LIMIT $2)";
    let responses = tx.query(RESPONSES).bind(user_id).bind(limit).execute(&mut *tx).await?;
    Ok(responses + tx.query(PENDING).bind(user_id).bind(limit).execute(tx).await?)
}

/// Lets the reviews of held claims end now. Returns how many are still held.
pub(in crate::claims) async fn end_reviews(tx: &mut Tx, user_id: Uuid, now: Timestamp) -> Result<u64> {
    const END: &str = "UPDATE reward_requests SET retry_at = $2 \
        WHERE user_id = $1 AND status = 'HELD' AND retry_at > $2";
    const HELD: &str = "SELECT id FROM reward_requests WHERE user_id = $1 AND status = 'HELD'";
    tx.query(END).bind(user_id).bind(now).execute(&mut *tx).await?;
    let held: Vec<(Uuid,)> = tx.query(HELD).bind(user_id).fetch_all(tx).await?;
    Ok(held.len() as u64)
}

/// Erases the content of up to `limit` requests after this one, and of their reversals. Returns the number of changed rows,
/// and the last request, if there may be more.
pub(in crate::claims) async fn erase_content(
    tx: &mut Tx,
    user_id: Uuid,
    after: Uuid,
    limit: i64,
) -> Result<(u64, Option<Uuid>)> {
    const NEXT: &str = "SELECT id FROM reward_requests WHERE user_id = $1 AND id > $2 ORDER BY id LIMIT $3";
    const REQUESTS: &str = "UPDATE reward_requests SET receipt = NULL, receipt_salt = NULL, reasons = '[]', \
        progress = '[]', review = NULL, refusal = NULL \
        WHERE user_id = $1 AND id > $2 AND id <= $3 AND status <> 'HELD' AND receipt IS NOT NULL";
    const REVERSALS: &str = "UPDATE reversals SET receipt = NULL, receipt_salt = NULL, reason = '' \
        WHERE user_id = $1 AND request_id > $2 AND request_id <= $3 AND receipt IS NOT NULL";
    let next = tx.query(NEXT).bind(user_id).bind(after).bind(limit);
    let requests: Vec<(Uuid,)> = next.fetch_all(&mut *tx).await?;
    let Some((last,)) = requests.last().copied() else {
        return Ok((0, None));
    };
    let mut rows = 0;
    for sql in [REQUESTS, REVERSALS] {
        let erase = tx.query(sql).bind(user_id).bind(after).bind(last);
        rows += erase.execute(&mut *tx).await?;
    }
    let more = i64::try_from(requests.len()).is_ok_and(|count| count == limit);
    Ok((rows, more.then_some(last)))
}
