//! `audit_log`.

use serde_json::Value;
use uuid::Uuid;

use super::context::ActorKind;
use super::entry::Outcome;
use super::leaves::QUEUED;
use crate::auth::Role;
use crate::clock::Timestamp;
use crate::db::{Db, Json, Result, Tx, row};
use crate::transparency;

row! {
    #[derive(Clone, Debug)]
    pub(super) struct AuditRow {
        pub id: Uuid,
        pub at: Timestamp,
        pub actor_kind: ActorKind,
        pub actor_id: Option<Uuid>,
        pub actor_role: Option<Role>,
        pub actor_name: Option<String>,
        pub address: Option<String>,
        pub request_id: Option<String>,
        pub action: String,
        pub target_kind: Option<String>,
        pub target_id: Option<String>,
        pub outcome: Outcome,
        pub reason: Option<String>,
        pub changes: Json<Value>,
        pub occurrences: i64,
    }
}

/// The rows to list; `from` inclusive, `to` exclusive.
#[derive(Clone, Debug, Default)]
pub(super) struct Filter {
    pub actor: Option<Uuid>,
    pub action: Option<String>,
    pub target: Option<String>,
    pub outcome: Option<Outcome>,
    pub from: Option<Timestamp>,
    pub to: Option<Timestamp>,
}

pub(super) async fn insert(tx: &mut Tx, row: AuditRow) -> Result<()> {
    const SQL: &str = "INSERT INTO audit_log (id, at, actor_kind, actor_id, actor_role, actor_name, address, request_id, \
        action, target_kind, target_id, outcome, reason, changes, occurrences) \
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)";
    let id = row.id;
    tx.query(SQL)
        .bind(row.id)
        .bind(row.at)
        .bind(row.actor_kind)
        .bind(row.actor_id)
        .bind(row.actor_role)
        .bind(row.actor_name)
        .bind(row.address)
        .bind(row.request_id)
        .bind(row.action)
        .bind(row.target_kind)
        .bind(row.target_id)
        .bind(row.outcome)
        .bind(row.reason)
        .bind(row.changes)
        .bind(row.occurrences)
        .execute(&mut *tx)
        .await?;
    transparency::enqueue(tx, QUEUED, id).await
}

pub(super) async fn set_occurrences(tx: &mut Tx, id: Uuid, occurrences: i64) -> Result<()> {
    const SQL: &str = "UPDATE audit_log SET occurrences = $2 WHERE id = $1";
    tx.query(SQL).bind(id).bind(occurrences).execute(tx).await?;
    Ok(())
}

/// Newest first. Instants are compared by id, which begins with the time, so that every filter has an index.
pub(super) async fn list(db: &Db, filter: Filter, after: Option<Uuid>, limit: i64) -> Result<Vec<AuditRow>> {
    const SQL: &str = "SELECT id, at, actor_kind, actor_id, actor_role, actor_name, address, request_id, action, \
        target_kind, target_id, outcome, reason, changes, occurrences FROM audit_log WHERE TRUE";
    db.select(SQL)
        .and("actor_id = $?", filter.actor)
        .and("action = $?", filter.action)
        .and("target_id = $?", filter.target)
        .and("outcome = $?", filter.outcome)
        .and("id >= $?", filter.from.map(Timestamp::first_id))
        .and("id < $?", filter.to.map(Timestamp::first_id))
        .and("id < $?", after)
        .end("ORDER BY id DESC LIMIT $?", limit)
        .fetch_all(db)
        .await
}

/// Deletes up to `limit` of the oldest rows from before the instant; returns how many.
pub(super) async fn delete_before(tx: &mut Tx, before: Timestamp, limit: i64) -> Result<u64> {
    const SQL: &str = "DELETE FROM audit_log WHERE id IN (SELECT id FROM audit_log WHERE id < $1 ORDER BY id LIMIT $2)";
    let before = before.first_id();
    tx.query(SQL).bind(before).bind(limit).execute(tx).await
}

/// The entries with these ids.
pub(super) async fn by_ids(db: &Db, ids: &[Uuid]) -> Result<Vec<AuditRow>> {
    const SQL: &str = "SELECT id, at, actor_kind, actor_id, actor_role, actor_name, address, request_id, action, \
        target_kind, target_id, outcome, reason, changes, occurrences FROM audit_log WHERE TRUE";
    let select = db.select(SQL).and_in("id IN ($?)", ids.iter().copied());
    select.query().fetch_all(db).await
}

/// The ids of entries after this one.
pub(super) async fn ids(db: &Db, after: Uuid, limit: i64) -> Result<Vec<Uuid>> {
    const SQL: &str = "SELECT id FROM audit_log WHERE id > $1 ORDER BY id LIMIT $2";
    let rows: Vec<(Uuid,)> = db.query(SQL).bind(after).bind(limit).fetch_all(db).await?;
    Ok(rows.into_iter().map(|(id,)| id).collect())
}
