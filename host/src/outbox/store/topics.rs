//! `outbox_topics`, `outbox_topic_messages`: messages that wait to be published to a topic, and the lease for publishing.
//!
//! The first process that publishes to a topic adds it, so that every process fans out to it, regardless of its own
//! settings. Must not know: what a broker is.

use serde_json::Value;
use uuid::Uuid;

use super::Addressed;
use crate::background::lease;
use crate::clock::Timestamp;
use crate::db::{Db, Json, Query, Result, Tx, placeholders, row};

/// The right to publish to a topic.
pub const LEASES: lease::Table = lease::table!("outbox_topics", "name");

row! {
    #[derive(Clone, Debug)]
    pub struct Topic {
        pub name: String,
        /// The topic receives messages from this instant on.
        pub created_at: Timestamp,
    }
}

/// All topics. The caller has the right to fan out, so none is added meanwhile.
pub async fn all(tx: &mut Tx) -> Result<Vec<Topic>> {
    const SQL: &str = "SELECT name, created_at FROM outbox_topics ORDER BY name";
    tx.query(SQL).fetch_all(tx).await
}

/// Whether there is a topic.
pub async fn any(db: &Db) -> Result<bool> {
    const SQL: &str = "SELECT name FROM outbox_topics LIMIT 1";
    Ok(db.query(SQL).fetch_optional::<(String,)>(db).await?.is_some())
}

/// Adds a topic if it does not exist. The caller has the right to fan out.
pub async fn add(tx: &mut Tx, name: &str, now: Timestamp) -> Result<()> {
    const SQL: &str = "INSERT INTO outbox_topics (name, created_at, used_at, fence, lease_until) \
        VALUES ($1, $2, $2, 0, 0) ON CONFLICT DO NOTHING";
    tx.query(SQL).bind(name.to_owned()).bind(now).execute(tx).await?;
    Ok(())
}

/// Records that a process publishes to the topic, so that [`sweep`] keeps it. `false`: there is no such topic.
pub async fn mark_used(tx: &mut Tx, name: &str, now: Timestamp) -> Result<bool> {
    const SQL: &str = "UPDATE outbox_topics SET used_at = $2 WHERE name = $1";
    let marked = tx.query(SQL).bind(name.to_owned()).bind(now).execute(tx).await?;
    Ok(marked == 1)
}

/// Adds messages to the queue of a topic, except those that are in it.
pub async fn queue(db: &Db, tx: &mut Tx, topic: &str, messages: impl IntoIterator<Item = &Addressed>) -> Result<()> {
    let messages = placeholders::padded(messages.into_iter().cloned());
    if messages.is_empty() {
        return Ok(());
    }
    let sql = format!(
        "INSERT INTO outbox_topic_messages (topic, message_id, ordering_key, created_at) VALUES {} ON CONFLICT DO NOTHING",
        placeholders::rows(1, messages.len(), 4)
    );
    let query = messages.into_iter().fold(db.query_assembled(sql), |query, message| {
        query
            .bind(topic.to_owned())
            .bind(message.id)
            .bind(message.ordering_key)
            .bind(message.created_at)
    });
    query.execute(tx).await?;
    Ok(())
}

/// Queues those of these messages again that the topic refused.
pub async fn put_back(db: &Db, tx: &mut Tx, topic: &str, ids: impl IntoIterator<Item = Uuid>) -> Result<()> {
    let ids = placeholders::padded(ids);
    if ids.is_empty() {
        return Ok(());
    }
    let sql = format!(
        "UPDATE outbox_topic_messages SET refused = NULL \
         WHERE topic = $1 AND refused IS NOT NULL AND message_id IN ({})",
        placeholders::list(2, ids.len())
    );
    let query = db.query_assembled(sql).bind(topic.to_owned());
    ids.into_iter().fold(query, Query::bind).execute(tx).await?;
    Ok(())
}

row! {
    /// A message that waits to be published.
    #[derive(Clone, Debug)]
    pub struct Waiting {
        pub id: Uuid,
        pub ordering_key: Uuid,
        pub kind: String,
        pub user_id: Option<Uuid>,
        pub subject_id: Option<Uuid>,
        pub payload: Json<Value>,
        pub http_request_id: Option<String>,
        pub created_at: Timestamp,
    }
}

/// The queue of a topic, in the order in which the messages became true.
pub async fn waiting(db: &Db, topic: &str, limit: i64) -> Result<Vec<Waiting>> {
    const SQL: &str = "SELECT o.id, q.ordering_key, o.kind, o.user_id, o.subject_id, o.payload, o.http_request_id, \
            o.created_at \
        FROM outbox_topic_messages q JOIN outbox o ON o.id = q.message_id \
        WHERE q.topic = $1 AND q.refused IS NULL ORDER BY q.created_at, q.message_id LIMIT $2";
    db.query(SQL).bind(topic.to_owned()).bind(limit).fetch_all(db).await
}

/// Removes published messages from the queue of a topic.
pub async fn published(db: &Db, tx: &mut Tx, topic: &str, ids: impl IntoIterator<Item = Uuid>) -> Result<()> {
    let ids = placeholders::padded(ids);
    if ids.is_empty() {
        return Ok(());
    }
    let sql = format!(
        "DELETE FROM outbox_topic_messages WHERE topic = $1 AND message_id IN ({})",
        placeholders::list(2, ids.len())
    );
    let query = db.query_assembled(sql).bind(topic.to_owned());
    ids.into_iter().fold(query, Query::bind).execute(tx).await?;
    Ok(())
}

/// Sets a message aside that the topic will never accept, so that later messages can be published.
pub async fn refuse(tx: &mut Tx, topic: &str, id: Uuid, because: String) -> Result<()> {
    const SQL: &str = "UPDATE outbox_topic_messages SET refused = $3 WHERE topic = $1 AND message_id = $2";
    tx.query(SQL)
        .bind(topic.to_owned())
        .bind(id)
        .bind(because)
        .execute(tx)
        .await?;
    Ok(())
}

row! {
    /// The counts are at most `COUNTED`.
    #[derive(Clone, Copy, Debug)]
    pub struct Depth {
        pub waiting: i64,
        pub refused: i64,
        /// When the oldest queued message became true.
        pub oldest: Option<Timestamp>,
    }
}

/// Messages of one topic that are counted: a backlog must not make its count slow.
const COUNTED: i64 = 10_000;

pub async fn depth(db: &Db, topic: &str) -> Result<Depth> {
    const SQL: &str = "SELECT (SELECT COUNT(*) FROM (SELECT 1 FROM outbox_topic_messages \
            WHERE topic = $1 AND refused IS NULL LIMIT $2) AS counted) AS waiting, \
        (SELECT COUNT(*) FROM (SELECT 1 FROM outbox_topic_messages \
            WHERE topic = $1 AND refused IS NOT NULL LIMIT $2) AS counted) AS refused, \
        (SELECT created_at FROM outbox_topic_messages \
            WHERE topic = $1 AND refused IS NULL ORDER BY created_at, message_id LIMIT 1) AS oldest";
    db.query(SQL).bind(topic.to_owned()).bind(COUNTED).fetch_one(db).await
}

/// Deletes topics that no process has published to since `cutoff`, with their queues.
pub async fn sweep(tx: &mut Tx, cutoff: Timestamp) -> Result<u64> {
    const SQL: &str = "DELETE FROM outbox_topics WHERE used_at < $1";
    tx.query(SQL).bind(cutoff).execute(tx).await
}
