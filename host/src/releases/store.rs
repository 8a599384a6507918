//! SQL for `releases` and `release_entries`; `logged` reads what the transparency log has digests of.

pub(super) mod logged;

use uuid::Uuid;

use super::plan::Plan;
use super::state::{Action, State};
use crate::clock::Timestamp;
use crate::db::{Db, Engine, Executor, Json, Result, Tx, row};
use crate::events::NewEvent;
use crate::sandbox::Digest;

row! {
    #[derive(Clone)]
    pub(super) struct ReleaseRow {
        pub id: Uuid,
        pub event_id: Uuid,
        pub revision: i64,
        pub state: State,
        pub title: String,
        pub content: Json<NewEvent>,
        pub event_revision: i64,
        pub plugin_digest: Digest,
        pub plan: Json<Plan>,
        pub backtest_id: Option<Uuid>,
        pub report_digest: Option<String>,
        pub waiver: Option<String>,
        pub waived_by: Option<Uuid>,
        pub authors: Json<Vec<Uuid>>,
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
        pub due_at: Option<Timestamp>,
    }
}

macro_rules! select_releases {
    ($tail:literal) => {
        concat!(
            "SELECT id, event_id, revision, state, title, content, event_revision, plugin_digest, plan, backtest_id, report_digest, \
             waiver, waived_by, authors, created_by, created_at, updated_at, approved_hash, approved_by, approved_at, step, \
             step_at, trial_revision, previous_revision, reason, entries, due_at FROM releases ",
            $tail
        )
    };
}

pub(super) async fn insert(tx: &mut Tx, row: ReleaseRow) -> Result<()> {
    const SQL: &str = "INSERT INTO releases (id, event_id, revision, state, title, content, event_revision, plugin_digest, plan, \
        backtest_id, report_digest, authors, created_by, created_at, updated_at, due_at, entries) \
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)";
    tx.query(SQL)
        .bind(row.id)
        .bind(row.event_id)
        .bind(row.revision)
        .bind(row.state)
        .bind(row.title)
        .bind(row.content)
        .bind(row.event_revision)
        .bind(row.plugin_digest)
        .bind(row.plan)
        .bind(row.backtest_id)
        .bind(row.report_digest)
        .bind(row.authors)
        .bind(row.created_by)
        .bind(row.created_at)
        .bind(row.updated_at)
        .bind(row.due_at)
        .bind(row.entries)
        .execute(tx)
        .await?;
    Ok(())
}

/// Writes everything that changes. The caller holds the lock of the row.
pub(super) async fn update(tx: &mut Tx, row: ReleaseRow) -> Result<()> {
    const SQL: &str = "UPDATE releases SET revision = $2, state = $3, title = $4, content = $5, event_revision = $6, \
        plugin_digest = $7, plan = $8, backtest_id = $9, report_digest = $10, waiver = $11, waived_by = $12, authors = $13, \
        updated_at = $14, approved_hash = $15, approved_by = $16, approved_at = $17, step = $18, step_at = $19, \
        trial_revision = $20, previous_revision = $21, reason = $22, due_at = $23, entries = $24 WHERE id = $1";
    tx.query(SQL)
        .bind(row.id)
        .bind(row.revision)
        .bind(row.state)
        .bind(row.title)
        .bind(row.content)
        .bind(row.event_revision)
        .bind(row.plugin_digest)
        .bind(row.plan)
        .bind(row.backtest_id)
        .bind(row.report_digest)
        .bind(row.waiver)
        .bind(row.waived_by)
        .bind(row.authors)
        .bind(row.updated_at)
        .bind(row.approved_hash)
        .bind(row.approved_by)
        .bind(row.approved_at)
        .bind(row.step)
        .bind(row.step_at)
        .bind(row.trial_revision)
        .bind(row.previous_revision)
        .bind(row.reason)
        .bind(row.due_at)
        .bind(row.entries)
        .execute(tx)
        .await?;
    Ok(())
}

pub(super) async fn find(on: impl Executor, id: Uuid) -> Result<Option<ReleaseRow>> {
    const SQL: &str = select_releases!("WHERE id = $1");
    on.statement(SQL).bind(id).fetch_optional(on).await
}

/// Reads a release and locks it until the transaction ends.
pub(super) async fn lock(tx: &mut Tx, id: Uuid) -> Result<Option<ReleaseRow>> {
    // SQLite has one writer, which holds the lock already.
    const SQLITE: &str = select_releases!("WHERE id = $1");
    const POSTGRES: &str = select_releases!("WHERE id = $1 FOR NO KEY UPDATE");
    let sql = match tx.engine() {
        Engine::Sqlite => SQLITE,
        Engine::Postgres => POSTGRES,
    };
    tx.query(sql).bind(id).fetch_optional(tx).await
}

#[derive(Debug, Default)]
pub(super) struct Filter {
    pub event_id: Option<Uuid>,
    pub state: Option<State>,
}

pub(super) async fn list(db: &Db, filter: Filter, after: Option<Uuid>, limit: i64) -> Result<Vec<ReleaseRow>> {
    db.select(select_releases!("WHERE TRUE"))
        .and("event_id = $?", filter.event_id)
        .and("state = $?", filter.state)
        .and("id < $?", after)
        .end("ORDER BY id DESC LIMIT $?", limit)
        .fetch_all(db)
        .await
}

/// The number of releases of an event that are neither live nor over.
pub(super) async fn count_open(tx: &mut Tx, event_id: Uuid) -> Result<i64> {
    const SQL: &str = "SELECT COUNT(*) FROM releases \
        WHERE event_id = $1 AND state IN ('DRAFT', 'REVIEW', 'APPROVED', 'RAMPING', 'HELD')";
    let (count,): (i64,) = tx.query(SQL).bind(event_id).fetch_one(tx).await?;
    Ok(count)
}

/// The release that tries a condition for the event now.
pub(super) async fn running(tx: &mut Tx, event_id: Uuid) -> Result<Option<Uuid>> {
    const SQL: &str = "SELECT id FROM releases WHERE event_id = $1 AND state IN ('RAMPING', 'HELD')";
    let found: Option<(Uuid,)> = tx.query(SQL).bind(event_id).fetch_optional(tx).await?;
    Ok(found.map(|(id,)| id))
}

/// A live release of the event that changed it after this revision.
pub(super) async fn live_after(tx: &mut Tx, event_id: Uuid, revision: Option<i64>) -> Result<Option<Uuid>> {
    const SQL: &str = "SELECT id FROM releases WHERE event_id = $1 AND state = 'LIVE' AND trial_revision > $2 \
        ORDER BY trial_revision DESC LIMIT 1";
    let query = tx.query(SQL).bind(event_id).bind(revision);
    let found: Option<(Uuid,)> = query.fetch_optional(tx).await?;
    Ok(found.map(|(id,)| id))
}

/// The server looks at the release at this time, if it has to look at all.
pub(super) async fn postpone(tx: &mut Tx, id: Uuid, at: Timestamp) -> Result<()> {
    const SQL: &str = "UPDATE releases SET due_at = $2 WHERE id = $1 AND due_at IS NOT NULL";
    tx.query(SQL).bind(id).bind(at).execute(tx).await?;
    Ok(())
}

/// Releases at which the server has to look, the longest overdue first.
pub(super) async fn due(db: &Db, now: Timestamp, limit: i64) -> Result<Vec<(Uuid,)>> {
    const SQL: &str = "SELECT id FROM releases WHERE due_at IS NOT NULL AND due_at <= $1 ORDER BY due_at LIMIT $2";
    db.query(SQL).bind(now).bind(limit).fetch_all(db).await
}

/// The numbers of releases by state, of those that wait for a person or run.
pub(super) async fn count_by_state(db: &Db) -> Result<Vec<(State, i64)>> {
    const SQL: &str = "SELECT state, COUNT(*) FROM releases \
        WHERE state IN ('REVIEW', 'APPROVED', 'RAMPING', 'HELD') GROUP BY state";
    db.query(SQL).fetch_all(db).await
}

row! {
    #[derive(Clone, Debug)]
    pub(super) struct EntryRow {
        pub number: i64,
        pub action: Action,
        pub made_by: Option<Uuid>,
        pub made_at: Timestamp,
        pub text: Option<String>,
        pub hash: String,
    }
}

/// The entry has an id of its own in the transparency log, and the digest of the release's row after it.
pub(super) async fn insert_entry(
    tx: &mut Tx,
    release_id: Uuid,
    row: EntryRow,
    (id, release_digest): (Uuid, Digest),
) -> Result<()> {
    const SQL: &str = "INSERT INTO release_entries (release_id, number, action, made_by, made_at, text, hash, id, \
        release_digest) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)";
    tx.query(SQL)
        .bind(release_id)
        .bind(row.number)
        .bind(row.action)
        .bind(row.made_by)
        .bind(row.made_at)
        .bind(row.text)
        .bind(row.hash)
        .bind(id)
        .bind(release_digest)
        .execute(tx)
        .await?;
    Ok(())
}

pub(super) async fn entries(db: &Db, release_id: Uuid, before: Option<i64>, limit: i64) -> Result<Vec<EntryRow>> {
    db.select("SELECT number, action, made_by, made_at, text, hash FROM release_entries WHERE TRUE")
        .and("release_id = $?", Some(release_id))
        .and("number < $?", before)
        .end("ORDER BY number DESC LIMIT $?", limit)
        .fetch_all(db)
        .await
}
