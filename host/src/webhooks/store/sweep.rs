//! The sweep: deletes messages of the outbox that are no longer needed, and their deliveries with them.
//!
//! These statements delete from `outbox`, which this feature does not own: a message is kept as long as an endpoint or a
//! topic waits for it, and the outbox does not know endpoints.

use crate::clock::Timestamp;
use crate::db::{Result, Tx};

/// Deletes up to `limit` messages that were fanned out before `cutoff`, whose deliveries were all done before it, and that
/// wait for no topic.
pub(in crate::webhooks) async fn sent(tx: &mut Tx, cutoff: Timestamp, limit: i64) -> Result<u64> {
    const SQL: &str = "DELETE FROM outbox WHERE id IN (SELECT o.id FROM outbox o \
        WHERE o.sent_at IS NOT NULL AND o.sent_at < $1 AND NOT EXISTS ( \
            SELECT 1 FROM webhook_deliveries d JOIN webhook_endpoints e ON e.id = d.endpoint_id \
            WHERE d.message_id = o.id AND e.deleted_at IS NULL AND (d.finished_at IS NULL OR d.finished_at >= $1)) \
        AND NOT EXISTS (SELECT 1 FROM outbox_topic_messages q WHERE q.message_id = o.id AND q.refused IS NULL) \
        LIMIT $2)";
    tx.query(SQL).bind(cutoff).bind(limit).execute(tx).await
}

/// Deletes up to `limit` messages from before `cutoff` while there is neither an endpoint nor a topic.
pub(in crate::webhooks) async fn without_receiver(tx: &mut Tx, cutoff: Timestamp, limit: i64) -> Result<u64> {
    const SQL: &str = "DELETE FROM outbox WHERE id IN (SELECT id FROM outbox \
        WHERE sent_at IS NULL AND created_at < $1 ORDER BY created_at, id LIMIT $2) \
        AND NOT EXISTS (SELECT 1 FROM webhook_endpoints WHERE deleted_at IS NULL) \
        AND NOT EXISTS (SELECT 1 FROM outbox_topics)";
    tx.query(SQL).bind(cutoff).bind(limit).execute(tx).await
}
