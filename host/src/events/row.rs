//! The row of an event and its content, in both directions. Must not know: when an event may change.

use uuid::Uuid;

use super::budget::Budget;
use super::candidate::StoredCandidate;
use super::model::{Event, NewEvent, Recurrence};
use super::seed::Secret;
use super::store::EventRow;
use crate::clock::Timestamp;
use crate::db::Json;
use crate::plugins::BoundCondition;

/// Without its candidate.
pub(super) fn event_with(row: EventRow, secret: Secret, revealed: bool) -> Event {
    Event {
        id: row.id,
        name: row.name,
        title: row.title,
        description: row.description,
        start_date: row.start_at,
        end_date: row.end_at,
        is_active: row.is_active,
        tags: row.tags.0,
        reward_ids: row.reward_ids.0,
        time_zone: row.time_zone,
        condition: BoundCondition {
            plugin: row.plugin_name,
            version: row.plugin_version,
            digest: row.plugin_digest,
            params: row.params.0,
            plan: row.queries.0,
            state: row.state,
        },
        candidate: None,
        recurrence: Recurrence {
            period: row.recurrence,
            count: u32::try_from(row.recurrence_count).unwrap_or(u32::MAX),
        },
        budget: row.budget_period.map(|period| Budget {
            period,
            grants: row.budget_grants,
            amount: row.budget_amount,
        }),
        group: row.group_name,
        max_quantity: u32::try_from(row.max_quantity).unwrap_or(u32::MAX),
        respond_async: row.respond_async,
        seed_commitment: secret.commitment(),
        seed_secret: revealed.then(|| secret.reveal()),
        revision: row.revision,
        applied_revision: row.applied_revision,
        created_by: row.created_by,
        created_at: row.created_at,
        updated_at: row.updated_at,
        secret,
    }
}

/// Values of an event that its new content does not have.
pub(super) struct Created {
    pub id: Uuid,
    /// Unless the new content has a name.
    pub name: String,
    /// Unless the new content comes from a file.
    pub applied_revision: Option<i64>,
    pub candidate: Option<Json<StoredCandidate>>,
    pub sealed_secret: Vec<u8>,
    pub by: Uuid,
    pub at: Timestamp,
}

pub(super) fn row_of(
    new: NewEvent,
    condition: BoundCondition,
    created: Created,
    revision: i64,
    now: Timestamp,
) -> EventRow {
    EventRow {
        id: created.id,
        name: new.name.unwrap_or(created.name),
        title: new.title,
        description: new.description,
        start_at: new.start_date,
        end_at: new.end_date,
        is_active: new.is_active,
        tags: Json(new.tags),
        reward_ids: Json(new.reward_ids),
        time_zone: new.time_zone,
        plugin_digest: condition.digest,
        plugin_name: condition.plugin,
        plugin_version: condition.version,
        params: Json(condition.params),
        queries: Json(condition.plan),
        state: condition.state,
        candidate_digest: created.candidate.as_ref().map(|candidate| candidate.0.digest),
        candidate: created.candidate,
        recurrence: new.recurrence.period,
        recurrence_count: i64::from(new.recurrence.count),
        max_quantity: i64::from(new.max_quantity),
        respond_async: new.respond_async,
        budget_period: new.budget.map(|budget| budget.period),
        budget_grants: new.budget.and_then(|budget| budget.grants),
        budget_amount: new.budget.and_then(|budget| budget.amount),
        group_name: new.group,
        seed_secret: created.sealed_secret,
        revision,
        applied_revision: if new.applied {
            Some(revision)
        } else {
            created.applied_revision
        },
        created_by: created.by,
        created_at: created.at,
        updated_at: now,
    }
}
