//! Old refusals in `reward_requests`.

use uuid::Uuid;

use super::{RequestKey, bind_key};
use crate::db::{Db, Result, Tx, placeholders};

/// The lists of refusals, one per status. With literals, so that a range of each can be read.
pub(in crate::claims) const KINDS: [&str; 2] = [
    "SELECT user_id, id FROM reward_requests WHERE status = 'REJECTED' AND id > $1 AND id < $2 ORDER BY id LIMIT $3",
    "SELECT user_id, id FROM reward_requests WHERE status = 'FAILED' AND id > $1 AND id < $2 ORDER BY id LIMIT $3",
];

/// Refusals of one of [`KINDS`] after an id and before another, the oldest first.
pub(in crate::claims) async fn old(
    db: &Db,
    kind: &'static str,
    after: Uuid,
    before: Uuid,
    limit: i64,
) -> Result<Vec<RequestKey>> {
    db.query(kind).bind(after).bind(before).bind(limit).fetch_all(db).await
}

/// Deletes those of these refusals to which no stored response refers, and returns their number.
pub(in crate::claims) async fn delete(db: &Db, tx: &mut Tx, requests: &[RequestKey]) -> Result<u64> {
    let requests = placeholders::padded(requests.iter().copied());
    let sql = format!(
        "DELETE FROM reward_requests WHERE id IN (SELECT r.id FROM {} \
             JOIN reward_requests r ON r.user_id = pair.column1 AND r.id = pair.column2 \
             WHERE r.status IN ('REJECTED', 'FAILED') AND NOT EXISTS (SELECT 1 FROM idempotency_keys k \
                WHERE k.user_id = r.user_id AND k.request_id = r.id))",
        placeholders::pairs(1, requests.len())
    );
    let query = db.query_assembled(sql);
    requests.into_iter().fold(query, bind_key).execute(tx).await
}
