//! Changes of an event's candidate. Each is a new revision of the event. The candidate becomes the condition of the event by
//! `events/change.rs` alone.
//!
//! The functions that take a transaction are parts of the caller's: lock the event first, commit, and then call
//! [`EventService::announce`]. Must not know: who may change what, and when.

use uuid::Uuid;

use super::{Candidate, JointPlan, StoredCandidate};
use crate::audit::{self, Entry};
use crate::db::{Json, Tx};
use crate::events::error::EventError;
use crate::events::model::Event;
use crate::events::service::{EventService, after, need_facts};
use crate::events::store::{self, EventRow};
use crate::plugins::BoundCondition;

impl EventService {
    /// Whether the event can try the condition now. If its facts are not maintained yet, they are built from now on, and the
    /// error is [`EventError::FactsNotReady`]: repeat the call later.
    pub async fn prepare_candidate(&self, id: Uuid, condition: &BoundCondition) -> Result<(), EventError> {
        let row = store::find(&self.db, id).await?.ok_or(EventError::NotFound(id))?;
        let joint = JointPlan::new(&row.queries.0, &condition.plan)?;
        let wanted = EventRow {
            queries: Json(joint.plan().clone()),
            candidate: None,
            ..row
        };
        let mut tx = self.db.begin().await?;
        store::lock(&mut tx, id).await?.ok_or(EventError::NotFound(id))?;
        let building = need_facts(&mut tx, &wanted, wanted.end_at, self.clock.now()).await?;
        if building > 0 {
            drop(tx);
            return Err(self.build_facts(&wanted, building).await?);
        }
        // What the event needs is written with its candidate.
        Ok(())
    }

    /// Lets claims try a condition, or changes how the candidate of the same release is tried.
    pub async fn set_candidate(
        &self,
        tx: &mut Tx,
        id: Uuid,
        expected: Option<i64>,
        candidate: Candidate,
        by: Uuid,
    ) -> Result<Event, EventError> {
        let current = self.lock(tx, id, expected).await?;
        match Self::candidate_of(&current)? {
            Some(other) if other.release_id != candidate.release_id => Err(EventError::HasCandidate {
                release: other.release_id,
            }),
            Some(same) if same == candidate => self.event_of(current),
            _ => {
                JointPlan::new(&current.queries.0, &candidate.condition.plan)?;
                let row = EventRow {
                    candidate_digest: Some(candidate.condition.digest),
                    candidate: Some(Json(StoredCandidate::from(candidate))),
                    ..current.clone()
                };
                self.write_change(tx, current, row, by).await
            }
        }
    }

    /// Ends the trial of a release. Nothing changes if the release has no candidate there.
    pub async fn clear_candidate(
        &self,
        tx: &mut Tx,
        id: Uuid,
        release_id: Uuid,
        by: Uuid,
    ) -> Result<Event, EventError> {
        let current = self.lock(tx, id, None).await?;
        let candidate = Self::candidate_of(&current)?;
        if candidate.is_none_or(|candidate| candidate.release_id != release_id) {
            return self.event_of(current);
        }
        let row = EventRow {
            candidate: None,
            candidate_digest: None,
            ..current.clone()
        };
        self.write_change(tx, current, row, by).await
    }

    /// To be called after the commit of a change.
    pub async fn announce(&self, id: Uuid) {
        self.changed(id).await;
    }

    async fn write_change(
        &self,
        tx: &mut Tx,
        current: EventRow,
        mut row: EventRow,
        by: Uuid,
    ) -> Result<Event, EventError> {
        row.revision = current.revision + 1;
        let now = self.clock.now();
        row.updated_at = after(current.updated_at, now);
        // A file does not contain the candidate, so its next application must not take the trial for a change by others.
        let is_same_content = row.plugin_digest == current.plugin_digest && row.params.0 == current.params.0;
        if is_same_content && current.applied_revision == Some(current.revision) {
            row.applied_revision = Some(row.revision);
        }
        let before = self.event_of(current)?;
        store::update(tx, &row).await?;
        if row.is_active {
            store::live::note(tx, row.id, row.revision).await?;
        }
        need_facts(tx, &row, row.end_at, now).await?;
        let event = self.event_of(row)?;
        self.record_revision(tx, &event, by).await?;
        let entry = Entry::about("event", &event.id).between(&before, &event);
        audit::record(tx, &self.clock, entry).await?;
        Ok(event)
    }
}
