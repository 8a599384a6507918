//! Entries and releases as they are stored, for the transparency log. JSON is read as it is, so that a later release of Meed
//! computes the same digests.

use serde_json::Value;
use uuid::Uuid;

use crate::clock::Timestamp;
use crate::db::{Db, Json, Result, Tx, row};
use crate::sandbox::Digest;

row! {
    #[derive(Clone, Debug)]
    pub(in crate::releases) struct StoredRow {
        pub id: Uuid,
        pub event_id: Uuid,
        pub revision: i64,
        pub state: String,
        pub title: String,
        pub content: Json<Value>,
        pub event_revision: i64,
        pub plugin_digest: String,
        pub plan: Json<Value>,
        pub backtest_id: Option<Uuid>,
        pub report_digest: Option<String>,
        pub waiver: Option<String>,
        pub waived_by: Option<Uuid>,
        pub authors: Json<Value>,
        pub created_by: Uuid,
        pub created_at: Timestamp,
        pub updated_at: Timestamp,
        pub approved_hash: Option<String>,
        pub approved_by: Option<Uuid>,
        pub approved_at: Option<Timestamp>,
        pub step: i64,
        pub step_at: Option<Timestamp>,
        pub trial_revision: Option<i64>,
        pub previous_revision: Option<i64>,
        pub reason: Option<String>,
        pub entries: i64,
    }
}

row! {
    #[derive(Clone, Debug)]
    pub(in crate::releases) struct LoggedEntryRow {
        pub id: Uuid,
        pub release_id: Uuid,
        pub number: i64,
        pub action: String,
        pub made_by: Option<Uuid>,
        pub made_at: Timestamp,
        pub text: Option<String>,
        pub hash: String,
        pub release_digest: Digest,
        /// Whether the release has an entry after it.
        pub is_followed: bool,
    }
}

macro_rules! select_stored {
    ($tail:literal) => {
        concat!(
            "SELECT id, event_id, revision, state, title, content, event_revision, plugin_digest, plan, backtest_id, \
             report_digest, waiver, waived_by, authors, created_by, created_at, updated_at, approved_hash, approved_by, \
             approved_at, step, step_at, trial_revision, previous_revision, reason, entries FROM releases ",
            $tail
        )
    };
}

/// A release as the transaction has written it.
pub(in crate::releases) async fn stored(tx: &mut Tx, id: Uuid) -> Result<StoredRow> {
    const SQL: &str = select_stored!("WHERE id = $1");
    tx.query(SQL).bind(id).fetch_one(tx).await
}

pub(in crate::releases) async fn releases(db: &Db, ids: &[Uuid]) -> Result<Vec<StoredRow>> {
    let select = db.select(select_stored!("WHERE TRUE"));
    let query = select.and_in("id IN ($?)", ids.iter().copied()).query();
    query.fetch_all(db).await
}

/// The entries with these ids.
pub(in crate::releases) async fn entries(db: &Db, ids: &[Uuid]) -> Result<Vec<LoggedEntryRow>> {
    const SQL: &str = "SELECT e.id, e.release_id, e.number, e.action, e.made_by, e.made_at, e.text, e.hash, \
        e.release_digest, EXISTS (SELECT 1 FROM release_entries n \
        WHERE n.release_id = e.release_id AND n.number = e.number + 1) AS is_followed FROM release_entries e WHERE TRUE";
    let select = db.select(SQL).and_in("e.id IN ($?)", ids.iter().copied());
    select.query().fetch_all(db).await
}

/// The ids of entries after this one.
pub(in crate::releases) async fn entry_ids(db: &Db, after: Uuid, limit: i64) -> Result<Vec<Uuid>> {
    const SQL: &str = "SELECT id FROM release_entries WHERE id > $1 ORDER BY id LIMIT $2";
    let rows: Vec<(Uuid,)> = db.query(SQL).bind(after).bind(limit).fetch_all(db).await?;
    Ok(rows.into_iter().map(|(id,)| id).collect())
}
