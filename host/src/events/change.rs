//! The content of an event changes: by a request, by a release, and back to an earlier revision.
//!
//! A release changes an event in its own transaction, because its state and the event must change together. Must not know:
//! what a release is made of, or how it is approved.

use uuid::Uuid;

use super::error::{EventError, taken};
use super::model::{Event, NewCondition, NewEvent};
use super::protection::{Release, Terms, Way};
use super::row::{Created, row_of};
use super::service::{EventService, after, need_facts};
use super::store::{self, EventRow, live};
use crate::audit::{self, Entry};
use crate::db::Tx;
use crate::plugins::BoundCondition;

/// A valid content with its params bound.
#[derive(Clone, Debug)]
pub struct Checked {
    pub new: NewEvent,
    pub condition: BoundCondition,
}

/// How a change ended that may have to wait for facts.
enum Changed {
    Done(Box<Event>),
    /// So much of what the row needs is still being built.
    FactsMissing(Box<EventRow>, usize),
}

impl EventService {
    pub async fn replace(&self, id: Uuid, expected: Option<i64>, new: NewEvent, by: Uuid) -> Result<Event, EventError> {
        let checked = self.checked(id, new).await?;
        let mut tx = self.db.begin().await?;
        match self.change(&mut tx, (id, expected), checked, by, Way::Direct).await? {
            Changed::Done(event) => {
                tx.commit().await?;
                self.changed(id).await;
                Ok(*event)
            }
            Changed::FactsMissing(row, building) => {
                drop(tx);
                Err(self.build_facts(&row, building).await?)
            }
        }
    }

    /// Validates a new content of a stored event, and binds the params.
    pub async fn checked(&self, id: Uuid, new: NewEvent) -> Result<Checked, EventError> {
        let condition = self.get(id).await?.condition;
        let kept = (condition.plugin.as_str(), condition.version.as_str());
        let (new, condition) = self.check(new, Some(kept)).await?;
        Ok(Checked { new, condition })
    }

    /// Whether a release could change the event at this revision, and whether the setting protects the event then. Writes
    /// nothing but what lets its facts be built, if they are missing: then the error is [`EventError::FactsNotReady`], and the
    /// call succeeds later.
    pub async fn try_release(&self, id: Uuid, expected: i64, checked: Checked, by: Uuid) -> Result<bool, EventError> {
        let mut tx = self.db.begin().await?;
        let way = Way::Release;
        match self.change(&mut tx, (id, Some(expected)), checked, by, way).await? {
            Changed::Done(_) => self.is_protected(&mut tx, id).await,
            Changed::FactsMissing(row, building) => {
                drop(tx);
                Err(self.build_facts(&row, building).await?)
            }
        }
    }

    /// Changes the event at the expected revision. Its candidate, if it has one, is gone. Part of the caller's transaction:
    /// commit, and then call [`Self::announce`].
    pub async fn change_by_release(
        &self,
        tx: &mut Tx,
        (id, expected): (Uuid, Option<i64>),
        checked: Checked,
        by: Uuid,
        release: Release,
    ) -> Result<Event, EventError> {
        match self.change(tx, (id, expected), checked, by, Way::Release).await? {
            Changed::Done(event) => {
                if let Some(revision) = release.back_to.filter(|_| !event.is_active) {
                    // A paused event stays paused, and may go on with what it is led back to.
                    live::note(tx, id, revision).await?;
                }
                Ok(*event)
            }
            Changed::FactsMissing(_, building) => Err(EventError::FactsNotReady(building)),
        }
    }

    /// The current revision of the event, and the one at which it was active last. The event cannot change until the caller's
    /// transaction ends.
    pub async fn revisions_in(&self, tx: &mut Tx, id: Uuid) -> Result<(i64, Option<i64>), EventError> {
        let current = self.lock(tx, id, None).await?;
        let live = if current.is_active {
            Some(current.revision)
        } else {
            live::revision(tx, id).await?
        };
        Ok((current.revision, live))
    }

    /// The content of an event as it was active at this revision: who got what then, and the rest as it is now. `None`: the
    /// event was never active, so it becomes inactive.
    pub async fn as_at(&self, id: Uuid, revision: Option<i64>) -> Result<Checked, EventError> {
        let current = self.get(id).await?;
        let mut new = NewEvent::from(&current);
        // What was live once had its facts; those of busy users are built meanwhile.
        new.accept_slow_reads = true;
        let Some(revision) = revision else {
            new.is_active = false;
            let (new, condition) = self.check(new, Some(version_of(&current.condition))).await?;
            return Ok(Checked { new, condition });
        };
        let mut tx = self.db.begin().await?;
        let snapshot = live::at(&mut tx, id, revision).await?;
        drop(tx);
        let terms = snapshot.and_then(Terms::of_snapshot).filter(|terms| terms.is_active);
        let terms = terms.ok_or(EventError::NeverLive(id, revision))?;
        let kept = (terms.condition.plugin.clone(), terms.condition.version.clone());
        let digest = terms.condition.digest.clone();
        terms.write_to(&mut new);
        new.is_active = current.is_active;
        if current.start_date <= self.clock.now() {
            // Earlier grants depend on these.
            new.start_date = current.start_date;
            new.time_zone.clone_from(&current.time_zone);
            new.recurrence.period = current.recurrence.period;
        }
        let (new, condition) = self.check(new, Some((&kept.0, &kept.1))).await?;
        if condition.digest.to_string() != digest {
            return Err(EventError::Snapshot(id, revision));
        }
        Ok(Checked { new, condition })
    }

    async fn change(
        &self,
        tx: &mut Tx,
        (id, expected): (Uuid, Option<i64>),
        Checked { new, condition }: Checked,
        by: Uuid,
        way: Way,
    ) -> Result<Changed, EventError> {
        let accepts_slow_reads = new.accept_slow_reads;
        let current = self.lock(tx, id, expected).await?;
        // Read the clock after acquiring the lock, for which it may have waited.
        let now = self.clock.now();
        if current.end_at <= now && (current.start_at, current.end_at) != (new.start_date, new.end_date) {
            return Err(EventError::Over(current.end_at));
        }
        let fixed = (current.start_at, current.time_zone.as_str(), current.recurrence);
        if current.start_at <= now && fixed != (new.start_date, new.time_zone.as_str(), new.recurrence.period) {
            return Err(EventError::Started(current.start_at));
        }
        let before = self.event_of(current.clone())?;
        if let Some(candidate) = &before.candidate
            && way == Way::Direct
            && before.condition != condition
        {
            return Err(EventError::HasCandidate {
                release: candidate.release_id,
            });
        }
        let changed_at = after(current.updated_at, now);
        let created = Created {
            id,
            name: current.name.clone(),
            applied_revision: current.applied_revision,
            candidate: current.candidate.clone().filter(|_| way == Way::Direct),
            sealed_secret: current.seed_secret.clone(),
            by: current.created_by,
            at: current.created_at,
        };
        let row = row_of(new, condition, created, current.revision + 1, changed_at);
        self.enter_group(tx, row.group_name.as_deref()).await?;
        let updated = store::update(tx, &row).await;
        updated.map_err(|error| taken(error, &row.name))?;
        let building = need_facts(tx, &row, row.end_at, now).await?;
        if row.is_active && building > 0 && !accepts_slow_reads {
            return Ok(Changed::FactsMissing(Box::new(row), building));
        }
        self.set_offer(tx, &row).await?;
        self.guard_change(tx, way, Some(&current), &row).await?;
        let event = self.event_of(row)?;
        self.record_revision(tx, &event, by).await?;
        let entry = Entry::about("event", &id).between(&before, &event);
        audit::record(tx, &self.clock, entry).await?;
        Ok(Changed::Done(Box::new(event)))
    }
}

fn version_of(condition: &BoundCondition) -> (&str, &str) {
    (&condition.plugin, &condition.version)
}

impl Terms {
    /// Replaces the members of a content that these terms have.
    fn write_to(self, new: &mut NewEvent) {
        new.start_date = self.start_date;
        new.end_date = self.end_date;
        new.is_active = self.is_active;
        new.reward_ids = self.reward_ids;
        new.time_zone = self.time_zone;
        new.condition = NewCondition {
            plugin: self.condition.plugin,
            version: self.condition.version,
            params: self.condition.params,
        };
        new.recurrence = self.recurrence;
        new.budget = self.budget;
        new.group = self.group;
        new.max_quantity = self.max_quantity;
    }
}
