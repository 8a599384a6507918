//! Writes, lists and deletes entries.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;
use uuid::Uuid;

use super::context::{self, Actor, ActorKind, Origin};
use super::entry::{Entry, Outcome};
use super::leaves::KIND;
use super::refusals::{Counted, Key, Refusals};
use super::store::{self, AuditRow, Filter};
use crate::auth::Role;
use crate::clock::{Clock, Timestamp};
use crate::correlation;
use crate::db::{Db, Json, Result, Tx};
use crate::transparency;

/// Rows that one transaction deletes, so that it does not hold SQLite's write lock for long.
const DELETED_AT_ONCE: i64 = 1_000;

/// One entry of the audit log.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct AuditRecord {
    pub id: Uuid,
    pub at: Timestamp,
    pub actor_kind: ActorKind,
    /// The id of the user or service key
    pub actor_id: Option<Uuid>,
    /// The actor's role at that time
    pub actor_role: Option<Role>,
    /// The name of the service key at that time
    #[schema(example = "shop back end")]
    pub actor_name: Option<String>,
    /// The client's address; of a repeated refusal, its network
    #[schema(example = "203.0.113.7")]
    pub address: Option<String>,
    pub request_id: Option<String>,
    /// The method and path of the route, or the command
    #[schema(example = "PUT /events/{id}")]
    pub action: String,
    #[schema(example = "event")]
    pub target_kind: Option<String>,
    /// The id of the target, or the path of the request
    pub target_id: Option<String>,
    pub outcome: Outcome,
    /// The code of the problem, if it was not done
    #[schema(example = "forbidden")]
    pub reason: Option<String>,
    /// The changed fields
    #[schema(value_type = HashMap<String, Value>, example = json!({"isActive": {"old": true, "new": false}}))]
    pub changes: Value,
    /// Equal refusals of the same minute
    #[schema(example = 1)]
    pub occurrences: i64,
}

impl From<AuditRow> for AuditRecord {
    fn from(row: AuditRow) -> Self {
        Self {
            id: row.id,
            at: row.at,
            actor_kind: row.actor_kind,
            actor_id: row.actor_id,
            actor_role: row.actor_role,
            actor_name: row.actor_name,
            address: row.address,
            request_id: row.request_id,
            action: row.action,
            target_kind: row.target_kind,
            target_id: row.target_id,
            outcome: row.outcome,
            reason: row.reason,
            changes: row.changes.0,
            occurrences: row.occurrences,
        }
    }
}

/// Records an action. Part of the caller's transaction.
pub async fn record(tx: &mut Tx, clock: &Clock, entry: Entry) -> Result<()> {
    let origin = context::current();
    let (actor, address, action) = match (entry.task, &origin) {
        (Some(task), _) => (Actor::SYSTEM, None, task.to_owned()),
        (None, Some(origin)) => (origin.actor.clone(), origin.address.clone(), origin.action.clone()),
        (None, None) => (Actor::SYSTEM, None, "server".to_owned()),
    };
    let outcome = match entry.refused {
        Some(_) => Outcome::Refused,
        None => Outcome::Done,
    };
    let (kind, id) = entry.target;
    let row = AuditRow {
        id: clock.new_id(),
        at: clock.now(),
        actor_kind: actor.kind,
        actor_id: actor.id,
        actor_role: actor.role,
        actor_name: actor.name,
        address,
        request_id: correlation::current(),
        action,
        target_kind: Some(kind.to_owned()),
        target_id: Some(id),
        outcome,
        reason: entry.refused.map(str::to_owned),
        changes: Json(Value::Object(entry.changes)),
        occurrences: 1,
    };
    store::insert(tx, row).await?;
    if let (None, Some(origin)) = (entry.task, origin) {
        origin.set_recorded();
    }
    Ok(())
}

/// Cheap to clone.
#[derive(Clone, Debug)]
pub struct AuditService {
    db: Db,
    clock: Clock,
    /// How long entries are kept; `None`: for ever.
    retention: Option<Duration>,
    refusals: Arc<Mutex<Refusals>>,
}

impl AuditService {
    pub fn new(db: Db, clock: Clock, retention: Option<Duration>) -> Self {
        Self {
            db,
            clock,
            retention,
            refusals: Arc::default(),
        }
    }

    /// Newest first, up to `size + 1`.
    pub(super) async fn list(&self, filter: Filter, after: Option<Uuid>, size: u32) -> Result<Vec<AuditRecord>> {
        let rows = store::list(&self.db, filter, after, i64::from(size) + 1).await?;
        Ok(rows.into_iter().map(AuditRecord::from).collect())
    }

    /// Records an action that no service recorded: it stored nothing, or its own tables hold the details. Separate from
    /// its transaction, so a failure to record is only logged.
    pub(super) async fn done(&self, origin: &Origin, path: &str) {
        let row = self.row(origin, path, self.clock.new_id(), Outcome::Done, None);
        self.write(row).await;
    }

    /// Records an attempt that was refused or failed. Equal ones of the same minute share a row.
    pub(super) async fn refused(
        &self,
        origin: &Origin,
        path: &str,
        network: Option<String>,
        outcome: Outcome,
        reason: Option<&'static str>,
    ) {
        let key = Key {
            actor: origin.actor.clone(),
            network: network.clone(),
            action: origin.action.clone(),
            outcome,
            reason,
        };
        let counted = self
            .refusals
            .lock()
            .count(key, self.clock.now(), || self.clock.new_id());
        let row = match counted {
            Counted::Again => return,
            Counted::First(id) => AuditRow {
                address: network,
                ..self.row(origin, path, id, outcome, reason)
            },
            Counted::FirstOfTheRest(id) => AuditRow {
                actor_kind: ActorKind::Anonymous,
                actor_id: None,
                actor_role: None,
                actor_name: None,
                address: None,
                request_id: None,
                action: "further refusals of this minute".to_owned(),
                target_kind: None,
                target_id: None,
                reason: None,
                ..self.row(origin, path, id, outcome, reason)
            },
        };
        self.write(row).await;
    }

    fn row(&self, origin: &Origin, path: &str, id: Uuid, outcome: Outcome, reason: Option<&'static str>) -> AuditRow {
        let (target_kind, target_id) = match origin.target.get() {
            Some((kind, id)) => (*kind, id.clone()),
            None => ("path", path.to_owned()),
        };
        AuditRow {
            id,
            at: self.clock.now(),
            actor_kind: origin.actor.kind,
            actor_id: origin.actor.id,
            actor_role: origin.actor.role,
            actor_name: origin.actor.name.clone(),
            address: origin.address.clone(),
            request_id: correlation::current(),
            action: origin.action.clone(),
            target_kind: Some(target_kind.to_owned()),
            target_id: Some(target_id),
            outcome,
            reason: reason.map(str::to_owned),
            changes: Json(Value::Object(Map::new())),
            occurrences: 1,
        }
    }

    async fn write(&self, row: AuditRow) {
        let written = async {
            let mut tx = self.db.begin().await?;
            store::insert(&mut tx, row.clone()).await?;
            tx.commit().await
        };
        if let Err(error) = written.await {
            tracing::error!(%error, audit = ?row, "cannot write audit entry");
        }
    }

    /// Writes how often refusals were repeated.
    pub async fn write_repetitions(&self) -> Result<()> {
        let unwritten = self.refusals.lock().take_unwritten();
        if unwritten.is_empty() {
            return Ok(());
        }
        let mut tx = self.db.begin().await?;
        for (id, occurrences) in unwritten {
            store::set_occurrences(&mut tx, id, occurrences).await?;
        }
        tx.commit().await
    }

    /// Deletes the entries that are older than the retention; returns how many.
    pub async fn sweep(&self) -> Result<u64> {
        let Some(retention) = self.retention else { return Ok(0) };
        let before = self.clock.now().minus(retention);
        let mut deleted = 0;
        loop {
            let mut tx = self.db.begin().await?;
            let count = store::delete_before(&mut tx, before, DELETED_AT_ONCE).await?;
            if count > 0 {
                transparency::removed(&mut tx, &self.clock, KIND.name, before.first_id()).await?;
            }
            tx.commit().await?;
            deleted += count;
            if count < DELETED_AT_ONCE.unsigned_abs() {
                return Ok(deleted);
            }
        }
    }
}
