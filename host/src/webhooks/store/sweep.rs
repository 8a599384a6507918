//! Forgetting what was sent long ago: messages of the outbox, and their deliveries with them.
//!
//! The statements here read and write another table than this feature's own: a message stays as long as an endpoint or a
//! topic has not got it, and the outbox does not know endpoints.

use crate::clock::Timestamp;
use crate::db::{Result, Tx};

/// Forgets up to `limit` messages that were handed on before `cutoff`, whose deliveries are all done since before it and that
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

/// Forgets up to `limit` messages of before `cutoff` that nobody wanted, because there is neither an endpoint nor a topic.
pub(in crate::webhooks) async fn unwanted(tx: &mut Tx, cutoff: Timestamp, limit: i64) -> Result<u64> {
    const SQL: &str = "DELETE FROM outbox WHERE id IN (SELECT id FROM outbox \
        WHERE sent_at IS NULL AND created_at < $1 ORDER BY created_at, id LIMIT $2) \
        AND NOT EXISTS (SELECT 1 FROM webhook_endpoints WHERE deleted_at IS NULL) \
        AND NOT EXISTS (SELECT 1 FROM outbox_topics)";
    tx.query(SQL).bind(cutoff).bind(limit).execute(tx).await
}
