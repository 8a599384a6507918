//! SQL for `events` and `event_revisions`; `budget` has that for `event_budgets`, `groups` that for `event_groups`.

pub(super) mod budget;
pub(super) mod groups;
pub(super) mod live;

use serde_json::Value;
use uuid::Uuid;

use super::candidate::StoredCandidate;
use crate::clock::Timestamp;
use crate::db::{Db, Engine, Executor, Json, Result, Tx, row};
use crate::facts::{Period, Plan};
use crate::sandbox::Digest;

row! {
    #[derive(Clone)]
    pub(super) struct EventRow {
        pub id: Uuid,
        pub name: String,
        pub title: String,
        pub description: String,
        pub start_at: Timestamp,
        pub end_at: Timestamp,
        pub is_active: bool,
        pub tags: Json<Vec<String>>,
        pub reward_ids: Json<Vec<Uuid>>,
        pub time_zone: String,
        pub plugin_digest: Digest,
        pub plugin_name: String,
        pub plugin_version: String,
        pub params: Json<Value>,
        pub queries: Json<Plan>,
        pub state: Vec<u8>,
        pub candidate: Option<Json<StoredCandidate>>,
        pub candidate_digest: Option<Digest>,
        pub recurrence: Period,
        pub recurrence_count: i64,
        pub max_quantity: i64,
        pub respond_async: bool,
        pub budget_period: Option<Period>,
        pub budget_grants: Option<i64>,
        pub budget_amount: Option<i64>,
        pub group_name: Option<String>,
        pub seed_secret: Vec<u8>,
        pub revision: i64,
        pub applied_revision: Option<i64>,
        pub created_by: Uuid,
        pub created_at: Timestamp,
        pub updated_at: Timestamp,
    }
}

macro_rules! select_events {
    ($tail:literal) => {
        concat!(
            "SELECT id, name, title, description, start_at, end_at, is_active, tags, reward_ids, time_zone, plugin_digest, \
             plugin_name, plugin_version, params, queries, state, candidate, candidate_digest, recurrence, recurrence_count, \
             max_quantity, budget_period, budget_grants, budget_amount, group_name, respond_async, seed_secret, revision, applied_revision, \
             created_by, created_at, updated_at FROM events ",
            $tail
        )
    };
}
use select_events;

pub(super) async fn insert(tx: &mut Tx, row: &EventRow) -> Result<()> {
    const SQL: &str = "INSERT INTO events (id, title, description, start_at, end_at, is_active, tags, reward_ids, \
        time_zone, plugin_digest, plugin_name, plugin_version, params, queries, state, recurrence, recurrence_count, \
        max_quantity, budget_period, budget_grants, budget_amount, respond_async, seed_secret, revision, created_by, \
        created_at, updated_at, group_name, name, applied_revision) \
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24, \
        $25, $26, $27, $28, $29, $30)";
    let row = row.clone();
    tx.query(SQL)
        .bind(row.id)
        .bind(row.title)
        .bind(row.description)
        .bind(row.start_at)
        .bind(row.end_at)
        .bind(row.is_active)
        .bind(row.tags)
        .bind(row.reward_ids)
        .bind(row.time_zone)
        .bind(row.plugin_digest)
        .bind(row.plugin_name)
        .bind(row.plugin_version)
        .bind(row.params)
        .bind(row.queries)
        .bind(row.state)
        .bind(row.recurrence)
        .bind(row.recurrence_count)
        .bind(row.max_quantity)
        .bind(row.budget_period)
        .bind(row.budget_grants)
        .bind(row.budget_amount)
        .bind(row.respond_async)
        .bind(row.seed_secret)
        .bind(row.revision)
        .bind(row.created_by)
        .bind(row.created_at)
        .bind(row.updated_at)
        .bind(row.group_name)
        .bind(row.name)
        .bind(row.applied_revision)
        .execute(tx)
        .await?;
    Ok(())
}

pub(super) async fn update(tx: &mut Tx, row: &EventRow) -> Result<()> {
    const SQL: &str = "UPDATE events SET title = $2, description = $3, start_at = $4, end_at = $5, is_active = $6, \
        tags = $7, reward_ids = $8, time_zone = $9, plugin_digest = $10, plugin_name = $11, plugin_version = $12, \
        params = $13, queries = $14, state = $15, recurrence = $16, recurrence_count = $17, max_quantity = $18, \
        budget_period = $19, budget_grants = $20, budget_amount = $21, revision = $22, updated_at = $23, respond_async = $24, \
        group_name = $25, name = $26, applied_revision = $27, candidate = $28, candidate_digest = $29 \
        WHERE id = $1";
    let row = row.clone();
    tx.query(SQL)
        .bind(row.id)
        .bind(row.title)
        .bind(row.description)
        .bind(row.start_at)
        .bind(row.end_at)
        .bind(row.is_active)
        .bind(row.tags)
        .bind(row.reward_ids)
        .bind(row.time_zone)
        .bind(row.plugin_digest)
        .bind(row.plugin_name)
        .bind(row.plugin_version)
        .bind(row.params)
        .bind(row.queries)
        .bind(row.state)
        .bind(row.recurrence)
        .bind(row.recurrence_count)
        .bind(row.max_quantity)
        .bind(row.budget_period)
        .bind(row.budget_grants)
        .bind(row.budget_amount)
        .bind(row.revision)
        .bind(row.updated_at)
        .bind(row.respond_async)
        .bind(row.group_name)
        .bind(row.name)
        .bind(row.applied_revision)
        .bind(row.candidate)
        .bind(row.candidate_digest)
        .execute(tx)
        .await?;
    Ok(())
}

pub(super) async fn find(on: impl Executor, id: Uuid) -> Result<Option<EventRow>> {
    const SQL: &str = select_events!("WHERE id = $1 AND deleted_at IS NULL");
    on.statement(SQL).bind(id).fetch_optional(on).await
}

pub(super) async fn find_also_deleted(on: impl Executor, id: Uuid) -> Result<Option<EventRow>> {
    const SQL: &str = select_events!("WHERE id = $1");
    on.statement(SQL).bind(id).fetch_optional(on).await
}

/// The sealed secrets of all events, also of deleted ones, in the order of the ids.
pub(super) async fn sealed(db: &Db, after: Uuid, limit: i64) -> Result<Vec<(Uuid, Vec<u8>)>> {
    const SQL: &str = "SELECT id, seed_secret FROM events WHERE id > $1 ORDER BY id LIMIT $2";
    db.query(SQL).bind(after).bind(limit).fetch_all(db).await
}

/// Replaces a sealed secret, unless it is another one by now.
pub(super) async fn replace_secret(tx: &mut Tx, id: Uuid, new: Vec<u8>, old: Vec<u8>) -> Result<()> {
    const SQL: &str = "UPDATE events SET seed_secret = $2 WHERE id = $1 AND seed_secret = $3";
    raise_lock_timeout(tx).await?;
    enter_gate(tx, id).await?;
    tx.query(SQL).bind(id).bind(new).bind(old).execute(tx).await?;
    Ok(())
}

/// Queues before the claims that arrive from now on; see `claims/store/commit_postgres`.
async fn enter_gate(tx: &mut Tx, id: Uuid) -> Result<()> {
    const GATE: &str = "SELECT id FROM (SELECT $1 AS id, pg_advisory_xact_lock(hashtextextended($1::TEXT, 0))) AS gate";
    if tx.engine() == Engine::Postgres {
        tx.query(GATE).bind(id).fetch_optional::<(Uuid,)>(&mut *tx).await?;
    }
    Ok(())
}

/// Reads an event and locks it against changes, and against commits of claims on it, until the transaction ends.
pub(super) async fn lock(tx: &mut Tx, id: Uuid) -> Result<Option<EventRow>> {
    const SQLITE: &str = select_events!("WHERE id = $1 AND deleted_at IS NULL");
    const POSTGRES: &str = select_events!("WHERE id = $1 AND deleted_at IS NULL FOR NO KEY UPDATE");
    enter_gate(tx, id).await?;
    let sql = match tx.engine() {
        Engine::Sqlite => SQLITE,
        Engine::Postgres => POSTGRES,
    };
    tx.query(sql).bind(id).fetch_optional(tx).await
}

/// Raises the lock timeout: the change of a popular event waits for the claims that hold a shared lock on it.
pub(super) async fn raise_lock_timeout(tx: &mut Tx) -> Result<()> {
    if tx.engine() == Engine::Postgres {
        tx.query("SET LOCAL lock_timeout = '9s'").execute(tx).await?;
    }
    Ok(())
}

/// The revision of an event, which stays the same until the transaction ends.
pub(super) async fn revision(tx: &mut Tx, id: Uuid) -> Result<Option<i64>> {
    const SQLITE: &str = "SELECT revision FROM events WHERE id = $1 AND deleted_at IS NULL";
    // Queues behind a change of the event, as a batch of claims does; see `claims/store/commit_postgres`.
    const GATE: &str =
        "SELECT id FROM (SELECT $1 AS id, pg_advisory_xact_lock_shared(hashtextextended($1::TEXT, 0))) AS gate";
    const POSTGRES: &str = "SELECT revision FROM events WHERE id = $1 AND deleted_at IS NULL FOR SHARE";
    if tx.engine() == Engine::Postgres {
        tx.query(GATE).bind(id).fetch_optional::<(Uuid,)>(&mut *tx).await?;
    }
    let sql = match tx.engine() {
        Engine::Sqlite => SQLITE,
        Engine::Postgres => POSTGRES,
    };
    let row: Option<(i64,)> = tx.query(sql).bind(id).fetch_optional(tx).await?;
    Ok(row.map(|(revision,)| revision))
}

#[derive(Debug, Default)]
pub struct Filter {
    pub name: Option<String>,
    pub is_active: Option<bool>,
    pub tag: Option<String>,
    pub plugin: Option<String>,
    pub version: Option<String>,
    /// Only events that run at this time.
    pub at: Option<Timestamp>,
}

pub(super) async fn list(db: &Db, filter: Filter, after: Option<Uuid>, limit: i64) -> Result<Vec<EventRow>> {
    // A tag contains no quotes, so its quoted form occurs in the JSON text exactly if the event has the tag.
    const TAGGED: &str = "REPLACE(CAST(tags AS TEXT), $?, '') <> CAST(tags AS TEXT)";
    db.select(select_events!("WHERE deleted_at IS NULL"))
        .and("name = $?", filter.name)
        .and("is_active = $?", filter.is_active)
        .and(TAGGED, filter.tag.map(|tag| format!("\"{tag}\"")))
        .and("plugin_name = $?", filter.plugin)
        .and("plugin_version = $?", filter.version)
        .and("start_at <= $?", filter.at)
        .and("end_at > $?", filter.at)
        .and("id < $?", after)
        .end("ORDER BY id DESC LIMIT $?", limit)
        .fetch_all(db)
        .await
}

/// The running events among these.
pub(super) async fn running(db: &Db, ids: &[Uuid], now: Timestamp) -> Result<Vec<EventRow>> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    db.select(select_events!("WHERE deleted_at IS NULL"))
        .and("is_active = $?", Some(true))
        .and("start_at <= $?", Some(now))
        .and("end_at > $?", Some(now))
        .and_in("id IN ($?)", ids.iter().copied())
        .query()
        .fetch_all(db)
        .await
}

/// The number of events that use a plugin version, and the newest of them. `trying`: only those whose candidate uses it, and
/// whose condition does not.
pub(super) async fn using(db: &Db, plugin: Digest, trying: bool, limit: i64) -> Result<(i64, Vec<Uuid>)> {
    const COUNT: &str = "SELECT COUNT(*) FROM events WHERE plugin_digest = $1 AND deleted_at IS NULL";
    const NEWEST: &str =
        "SELECT id FROM events WHERE plugin_digest = $1 AND deleted_at IS NULL ORDER BY id DESC LIMIT $2";
    const COUNT_TRYING: &str = "SELECT COUNT(*) FROM events WHERE candidate_digest = $1 AND plugin_digest <> $1";
    const NEWEST_TRYING: &str = "SELECT id FROM events WHERE candidate_digest = $1 AND plugin_digest <> $1 \
        ORDER BY id DESC LIMIT $2";
    let (count, newest) = if trying {
        (COUNT_TRYING, NEWEST_TRYING)
    } else {
        (COUNT, NEWEST)
    };
    let (count,): (i64,) = db.query(count).bind(plugin).fetch_one(db).await?;
    let newest: Vec<(Uuid,)> = db.query(newest).bind(plugin).bind(limit).fetch_all(db).await?;
    Ok((count, newest.into_iter().map(|(id,)| id).collect()))
}

pub(super) async fn mark_deleted(tx: &mut Tx, id: Uuid, revision: i64, at: Timestamp) -> Result<()> {
    const SQL: &str = "UPDATE events SET deleted_at = $3, revision = $2, updated_at = $3, group_name = NULL, candidate = NULL, \
        candidate_digest = NULL WHERE id = $1";
    tx.query(SQL).bind(id).bind(revision).bind(at).execute(tx).await?;
    Ok(())
}

row! {
    #[derive(Clone, Debug)]
    pub(super) struct RevisionRow {
        pub revision: i64,
        pub snapshot: Json<Value>,
        pub changed_by: Uuid,
        pub changed_at: Timestamp,
    }
}

/// `plugins` are the plugin versions of the snapshot's condition and of its candidate. The references prevent their deletion.
pub(super) async fn insert_revision(
    tx: &mut Tx,
    event_id: Uuid,
    row: RevisionRow,
    plugins: (Option<Digest>, Option<Digest>),
) -> Result<()> {
    const SQL: &str = "INSERT INTO event_revisions (event_id, revision, snapshot, plugin_digest, changed_by, changed_at, \
        candidate_digest) VALUES ($1, $2, $3, $4, $5, $6, $7)";
    tx.query(SQL)
        .bind(event_id)
        .bind(row.revision)
        .bind(row.snapshot)
        .bind(plugins.0)
        .bind(row.changed_by)
        .bind(row.changed_at)
        .bind(plugins.1)
        .execute(tx)
        .await?;
    Ok(())
}

pub(super) async fn revisions(db: &Db, event_id: Uuid, before: Option<i64>, limit: i64) -> Result<Vec<RevisionRow>> {
    db.select("SELECT revision, snapshot, changed_by, changed_at FROM event_revisions WHERE TRUE")
        .and("event_id = $?", Some(event_id))
        .and("revision < $?", before)
        .end("ORDER BY revision DESC LIMIT $?", limit)
        .fetch_all(db)
        .await
}
