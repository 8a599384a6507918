//! `outbox_topics`, `outbox_topic_messages`: what waits to be published to a topic, and which process does it.
//!
//! A topic is here from the first time that a process publishes to it, so that whoever hands messages on knows of it,
//! whatever its own settings say. Must not know: what a broker is.

use serde_json::Value;
use uuid::Uuid;

use super::Addressed;
use crate::clock::Timestamp;
use crate::db::{Db, Json, Query, Result, Tx, places, row};

row! {
    #[derive(Clone, Debug)]
    pub struct Topic {
        pub name: String,
        /// It is told what happened from here on.
        pub created_at: Timestamp,
    }
}

/// Every topic. Whoever hands messages on has the turn, and so has whoever adds a topic.
pub async fn all(tx: &mut Tx) -> Result<Vec<Topic>> {
    const SQL: &str = "SELECT name, created_at FROM outbox_topics ORDER BY name";
    tx.query(SQL).fetch_all(tx).await
}

/// Whether there is any.
pub async fn any(db: &Db) -> Result<bool> {
    const SQL: &str = "SELECT name FROM outbox_topics LIMIT 1";
    Ok(db.query(SQL).fetch_optional::<(String,)>(db).await?.is_some())
}

/// Adds a topic that is not there yet.
pub async fn add(tx: &mut Tx, name: &str, now: Timestamp) -> Result<()> {
    const SQL: &str =
        "INSERT INTO outbox_topics (name, created_at, lease_until) VALUES ($1, $2, $2) ON CONFLICT DO NOTHING";
    tx.query(SQL).bind(name.to_owned()).bind(now).execute(tx).await?;
    Ok(())
}

/// What came of asking for the right to publish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    Ours,
    Others,
    /// There is no such topic.
    Unknown,
}

/// Takes or keeps the right to publish to a topic until then.
pub async fn hold(tx: &mut Tx, name: &str, holder: Uuid, now: Timestamp, until: Timestamp) -> Result<Hold> {
    const SQL: &str = "UPDATE outbox_topics SET holder = $2, lease_until = $4 \
        WHERE name = $1 AND (holder = $2 OR lease_until <= $3)";
    const IS_THERE: &str = "SELECT name FROM outbox_topics WHERE name = $1";
    let taken = tx.query(SQL).bind(name.to_owned()).bind(holder).bind(now).bind(until);
    if taken.execute(tx).await? > 0 {
        return Ok(Hold::Ours);
    }
    let there: Option<(String,)> = tx.query(IS_THERE).bind(name.to_owned()).fetch_optional(tx).await?;
    Ok(there.map_or(Hold::Unknown, |_| Hold::Others))
}

/// Gives the right back, so that nobody waits for it.
pub async fn let_go(tx: &mut Tx, name: &str, holder: Uuid, now: Timestamp) -> Result<()> {
    const SQL: &str = "UPDATE outbox_topics SET holder = NULL, lease_until = $3 WHERE name = $1 AND holder = $2";
    tx.query(SQL)
        .bind(name.to_owned())
        .bind(holder)
        .bind(now)
        .execute(tx)
        .await?;
    Ok(())
}

/// Puts messages into the queue of a topic, those that are not there.
pub async fn queue(db: &Db, tx: &mut Tx, topic: &str, messages: impl IntoIterator<Item = &Addressed>) -> Result<()> {
    let messages = places::padded(messages.into_iter().cloned());
    if messages.is_empty() {
        return Ok(());
    }
    let sql = format!(
        "INSERT INTO outbox_topic_messages (topic, message_id, line, told_at) VALUES {} ON CONFLICT DO NOTHING",
        places::rows(messages.len(), 4)
    );
    let query = messages.into_iter().fold(db.query_assembled(sql), |query, message| {
        query
            .bind(topic.to_owned())
            .bind(message.id)
            .bind(message.line)
            .bind(message.created_at)
    });
    query.execute(tx).await?;
    Ok(())
}

/// Tries those of these again that the topic refused.
pub async fn put_back(db: &Db, tx: &mut Tx, topic: &str, ids: impl IntoIterator<Item = Uuid>) -> Result<()> {
    let ids = places::padded(ids);
    if ids.is_empty() {
        return Ok(());
    }
    let sql = format!(
        "UPDATE outbox_topic_messages SET refused = NULL \
         WHERE topic = $1 AND refused IS NOT NULL AND message_id IN ({})",
        places::list(2, ids.len())
    );
    let query = db.query_assembled(sql).bind(topic.to_owned());
    ids.into_iter().fold(query, Query::bind).execute(tx).await?;
    Ok(())
}

row! {
    /// A message that waits, whole.
    #[derive(Clone, Debug)]
    pub struct Waiting {
        pub id: Uuid,
        pub line: Uuid,
        pub kind: String,
        pub user_id: Option<Uuid>,
        pub subject_id: Option<Uuid>,
        pub payload: Json<Value>,
        pub http_request_id: Option<String>,
        pub created_at: Timestamp,
    }
}

/// What waits for a topic, in the order in which it became true.
pub async fn waiting(db: &Db, topic: &str, limit: i64) -> Result<Vec<Waiting>> {
    const SQL: &str = "SELECT o.id, q.line, o.kind, o.user_id, o.subject_id, o.payload, o.http_request_id, \
            o.created_at \
        FROM outbox_topic_messages q JOIN outbox o ON o.id = q.message_id \
        WHERE q.topic = $1 AND q.refused IS NULL ORDER BY q.told_at, q.message_id LIMIT $2";
    db.query(SQL).bind(topic.to_owned()).bind(limit).fetch_all(db).await
}

/// The topic has these.
pub async fn published(db: &Db, tx: &mut Tx, topic: &str, ids: impl IntoIterator<Item = Uuid>) -> Result<()> {
    let ids = places::padded(ids);
    if ids.is_empty() {
        return Ok(());
    }
    let sql = format!(
        "DELETE FROM outbox_topic_messages WHERE topic = $1 AND message_id IN ({})",
        places::list(2, ids.len())
    );
    let query = db.query_assembled(sql).bind(topic.to_owned());
    ids.into_iter().fold(query, Query::bind).execute(tx).await?;
    Ok(())
}

/// The topic will never take this one, so that those behind it go on.
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
    #[derive(Clone, Copy, Debug)]
    pub struct Depth {
        pub waiting: i64,
        pub refused: i64,
        /// Of what waits.
        pub oldest: Option<Timestamp>,
    }
}

pub async fn depth(db: &Db, topic: &str) -> Result<Depth> {
    const SQL: &str = "SELECT COUNT(CASE WHEN refused IS NULL THEN 1 END) AS waiting, \
        COUNT(refused) AS refused, MIN(CASE WHEN refused IS NULL THEN told_at END) AS oldest \
        FROM outbox_topic_messages WHERE topic = $1";
    db.query(SQL).bind(topic.to_owned()).fetch_one(db).await
}

/// Forgets topics that no process published to since `cutoff`, with what waited for them.
pub async fn forget(tx: &mut Tx, cutoff: Timestamp) -> Result<u64> {
    const SQL: &str = "DELETE FROM outbox_topics WHERE lease_until < $1";
    tx.query(SQL).bind(cutoff).execute(tx).await
}
