//! The sweep: deletes messages of the outbox that are no longer needed, and their deliveries with them.
//!
//! These statements delete from `outbox`, which this feature does not own: a message is kept as long as an endpoint or a
//! topic waits for it, and the outbox does not know endpoints.

use uuid::Uuid;

use crate::clock::Timestamp;
use crate::db::{Db, Query, Result, Tx, placeholders, row};

/// Whether an endpoint or a topic needs the message `o`: it waits, or its delivery was done at or after `$1`. For `EXISTS`
/// PostgreSQL would hash all deliveries.
macro_rules! is_needed {
    () => {
        "((SELECT 1 FROM webhook_deliveries d JOIN webhook_endpoints e ON e.id = d.endpoint_id \
            WHERE d.message_id = o.id AND e.deleted_at IS NULL AND (d.finished_at IS NULL OR d.finished_at >= $1) \
            LIMIT 1) IS NOT NULL \
        OR (SELECT 1 FROM outbox_topic_messages q WHERE q.message_id = o.id AND q.refused IS NULL LIMIT 1) IS NOT NULL)"
    };
}

row! {
    /// A message that was fanned out long ago.
    #[derive(Clone, Copy, Debug)]
    pub(in crate::webhooks) struct OldRow {
        pub id: Uuid,
        pub sent_at: Timestamp,
        pub is_needed: bool,
    }
}

/// Messages that were fanned out before `cutoff`, the oldest first, after the position `after`.
pub(in crate::webhooks) async fn old(
    db: &Db,
    cutoff: Timestamp,
    after: (Timestamp, Uuid),
    limit: i64,
) -> Result<Vec<OldRow>> {
    const SQL: &str = concat!(
        "SELECT o.id, o.sent_at, ",
        is_needed!(),
        " AS is_needed FROM outbox o WHERE o.sent_at IS NOT NULL AND o.sent_at < $1 AND (o.sent_at, o.id) > ($2, $3) \
        ORDER BY o.sent_at, o.id LIMIT $4"
    );
    let query = db.query(SQL).bind(cutoff).bind(after.0).bind(after.1);
    query.bind(limit).fetch_all(db).await
}

/// Deletes those of these messages that nothing needs, and returns their number.
pub(in crate::webhooks) async fn delete(db: &Db, tx: &mut Tx, ids: Vec<Uuid>, cutoff: Timestamp) -> Result<u64> {
    let ids = placeholders::padded(ids);
    let sql = format!(
        concat!(
            "DELETE FROM outbox WHERE id IN (SELECT o.id FROM outbox o WHERE o.id IN ({}) AND NOT ",
            is_needed!(),
            ")"
        ),
        placeholders::list(2, ids.len())
    );
    let query = db.query_assembled(sql).bind(cutoff);
    ids.into_iter().fold(query, Query::bind).execute(tx).await
}

/// Deletes up to `limit` messages from before `cutoff` while there is neither an endpoint nor a topic.
pub(in crate::webhooks) async fn without_receiver(tx: &mut Tx, cutoff: Timestamp, limit: i64) -> Result<u64> {
    const SQL: &str = "DELETE FROM outbox WHERE id IN (SELECT id FROM outbox \
        WHERE sent_at IS NULL AND created_at < $1 ORDER BY created_at, id LIMIT $2) \
        AND NOT EXISTS (SELECT 1 FROM webhook_endpoints WHERE deleted_at IS NULL) \
        AND NOT EXISTS (SELECT 1 FROM outbox_topics)";
    tx.query(SQL).bind(cutoff).bind(limit).execute(tx).await
}
