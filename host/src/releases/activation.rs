//! The one way by which a release becomes live, and the one way back. Requests, files, schedules and the ramp all come here.
//!
//! The state of the release and the content of the event change in one transaction, so a process that dies leaves either
//! both or neither.

use uuid::Uuid;

use super::actor::Actor;
use super::content;
use super::error::ReleaseError;
use super::model::Release;
use super::service::{ReleaseService, Transition, because};
use super::state::{Action, State};
use super::store::{self, ReleaseRow};
use crate::clock::Timestamp;
use crate::db::Tx;
use crate::events::{self, Candidate, Checked, EventError, Mode};

/// How often a rollback is tried again when the event changes meanwhile.
const ROLLBACK_ATTEMPTS: usize = 5;

/// Why a release is activated.
#[derive(Clone, Copy, Debug)]
pub enum Cause {
    Person(Actor),
    /// Its author armed it, or set a time. The event then names the author's principal, who asked for the change.
    Armed,
}

impl ReleaseService {
    /// Activates an approved release: its ramp begins, or the event has its content.
    pub async fn activate(&self, id: Uuid, cause: Cause) -> Result<Release, ReleaseError> {
        let row = store::find(&self.db, id).await?.ok_or(ReleaseError::NotFound(id))?;
        let has_ramp = !row.plan.0.steps.is_empty();
        let action = if has_ramp { Action::Started } else { Action::Activated };
        if row.state != State::Approved {
            let state = row.state;
            return Err(ReleaseError::WrongState { state, action });
        }
        let (by, principal) = match cause {
            Cause::Person(actor) => (Some(actor.id), actor.id),
            Cause::Armed => (None, row.created_by),
        };
        let change = Transition { action, by, text: None };
        let activated = if has_ramp {
            self.start(row, change, principal).await
        } else {
            self.go_live(row, change, principal).await
        };
        match activated {
            Err(ReleaseError::Event(EventError::Changed { is, expected })) => {
                self.outdate(id).await?;
                Err(ReleaseError::Outdated { from: expected, is })
            }
            activated => activated,
        }
    }

    /// Begins the first step of the ramp.
    pub(super) async fn start(&self, row: ReleaseRow, change: Transition, by: Uuid) -> Result<Release, ReleaseError> {
        let checked = self.checked(&row).await?;
        self.events.prepare_candidate(row.event_id, &checked.condition).await?;
        let mut tx = self.db.begin().await?;
        let row = self.confirmed(&mut tx, row.id).await?;
        self.require_no_other(&mut tx, &row).await?;
        let (current, _) = self.events.revisions_in(&mut tx, row.event_id).await?;
        // A release that was held changed the event itself.
        let expected = row.trial_revision.unwrap_or(row.event_revision);
        let now = self.clock.now();
        let mut started = ReleaseRow {
            step: 0,
            step_at: Some(now),
            reason: None,
            ..row.clone()
        };
        if row.state == State::Approved {
            started.previous_revision = Some(current);
        }
        started.trial_revision = Some(self.try_step(&mut tx, &started, &checked, expected, by).await?);
        started.due_at = Some(now);
        let event_id = row.event_id;
        let release = self.step(&mut tx, row, started, change).await?;
        tx.commit().await?;
        self.events.announce(event_id).await;
        Ok(release)
    }

    /// Sets the candidate of the current step, and returns the event's revision.
    pub(super) async fn try_step(
        &self,
        tx: &mut Tx,
        row: &ReleaseRow,
        checked: &Checked,
        expected: i64,
        by: Uuid,
    ) -> Result<i64, ReleaseError> {
        let step = usize::try_from(row.step)
            .ok()
            .and_then(|step| row.plan.0.steps.get(step));
        let mode = match step.map_or(0, |step| step.permille) {
            0 => Mode::Shadow,
            permille => Mode::Canary { permille },
        };
        let candidate = Candidate {
            release_id: row.id,
            condition: checked.condition.clone(),
            mode,
        };
        let event = self
            .events
            .set_candidate(tx, row.event_id, Some(expected), candidate, by)
            .await?;
        Ok(event.revision)
    }

    /// Gives the event the content of the release.
    pub(super) async fn go_live(&self, row: ReleaseRow, change: Transition, by: Uuid) -> Result<Release, ReleaseError> {
        let checked = self.checked(&row).await?;
        if row.state == State::Approved {
            // Lets missing facts be built outside of the transaction.
            self.events
                .try_release(row.event_id, row.event_revision, checked.clone(), by)
                .await?;
        }
        let mut tx = self.db.begin().await?;
        let row = self.confirmed(&mut tx, row.id).await?;
        if !matches!(row.state, State::Approved | State::Ramping) {
            let (state, action) = (row.state, change.action);
            return Err(ReleaseError::WrongState { state, action });
        }
        self.require_no_other(&mut tx, &row).await?;
        let (_, live) = self.events.revisions_in(&mut tx, row.event_id).await?;
        let expected = row.trial_revision.unwrap_or(row.event_revision);
        let event = self
            .events
            .change_by_release(
                &mut tx,
                (row.event_id, Some(expected)),
                checked,
                by,
                events::Release::confirmed(),
            )
            .await?;
        let mut done = ReleaseRow {
            trial_revision: Some(event.revision),
            reason: None,
            ..row.clone()
        };
        if row.state == State::Approved {
            done.previous_revision = live;
        }
        let release = self.step(&mut tx, row, done, change).await?;
        tx.commit().await?;
        self.events.announce(event.id).await;
        Ok(release)
    }

    /// Ends a ramp, or gives the event the content from before a live release. One call, by one person, and only back to what
    /// was live.
    pub async fn roll_back(&self, id: Uuid, reason: String, actor: Actor) -> Result<Release, ReleaseError> {
        let mut attempts = 0;
        loop {
            attempts += 1;
            let row = store::find(&self.db, id).await?.ok_or(ReleaseError::NotFound(id))?;
            let change = because(Action::RolledBack, reason.clone(), actor);
            // A ramp may become live meanwhile, and then the content of the event must be restored, too.
            let rolled_back = if row.state == State::Live {
                self.restore(&row, change, actor.id).await
            } else {
                self.stop(id, Some(row.revision), change, actor.id).await
            };
            match rolled_back {
                Err(ReleaseError::Changed { .. } | ReleaseError::Event(EventError::Changed { .. }))
                    if attempts < ROLLBACK_ATTEMPTS => {}
                rolled_back => return rolled_back,
            }
        }
    }

    async fn restore(&self, row: &ReleaseRow, change: Transition, by: Uuid) -> Result<Release, ReleaseError> {
        let event = self.events.get(row.event_id).await?;
        if event.end_date <= self.clock.now() {
            return Err(ReleaseError::Over(event.end_date));
        }
        let checked = self.events.as_at(row.event_id, row.previous_revision).await?;
        let mut tx = self.db.begin().await?;
        let row = self.lock(&mut tx, row.id, None).await?;
        if let Some(other) = store::live_after(&mut tx, row.event_id, row.trial_revision).await? {
            return Err(ReleaseError::Superseded { other });
        }
        if row.state != State::Live {
            let (state, action) = (row.state, change.action);
            return Err(ReleaseError::WrongState { state, action });
        }
        let expected = (row.event_id, Some(event.revision));
        let restored = self
            .events
            .change_by_release(
                &mut tx,
                expected,
                checked,
                by,
                events::Release::rolled_back(row.previous_revision),
            )
            .await?;
        let rolled_back = ReleaseRow {
            trial_revision: Some(restored.revision),
            reason: change.text.clone(),
            ..row.clone()
        };
        let release = self.step(&mut tx, row, rolled_back, change).await?;
        tx.commit().await?;
        self.events.announce(restored.id).await;
        Ok(release)
    }

    /// Takes the candidate away from the event: the release is held or rolled back. `expected`: the revision of the release
    /// that was judged; a person stops any revision.
    pub(super) async fn stop(
        &self,
        id: Uuid,
        expected: Option<i64>,
        change: Transition,
        by: Uuid,
    ) -> Result<Release, ReleaseError> {
        let mut tx = self.db.begin().await?;
        let row = self.lock(&mut tx, id, expected).await?;
        let trial_revision = if row.state.is_running() {
            let cleared = self.events.clear_candidate(&mut tx, row.event_id, row.id, by).await;
            match cleared {
                Ok(event) if row.trial_revision.is_some_and(|trial| event.revision <= trial + 1) => {
                    Some(event.revision)
                }
                // Another change of the event came first: a resumption must not overlook it.
                Ok(_) | Err(EventError::NotFound(_)) => row.trial_revision,
                Err(error) => return Err(error.into()),
            }
        } else {
            row.trial_revision
        };
        let stopped = ReleaseRow {
            trial_revision,
            reason: change.text.clone(),
            due_at: None,
            ..row.clone()
        };
        let event_id = row.event_id;
        let release = self.step(&mut tx, row, stopped, change).await?;
        tx.commit().await?;
        self.events.announce(event_id).await;
        Ok(release)
    }

    pub async fn hold(&self, id: Uuid, reason: String, actor: Actor) -> Result<Release, ReleaseError> {
        self.stop(id, None, because(Action::Held, reason, actor), actor.id)
            .await
    }

    /// The event changed since the approval: back to the review.
    pub(super) async fn outdate(&self, id: Uuid) -> Result<(), ReleaseError> {
        let mut tx = self.db.begin().await?;
        let row = self.lock(&mut tx, id, None).await?;
        if !matches!(row.state, State::Review | State::Approved) {
            return Ok(());
        }
        let change = Transition {
            action: Action::Outdated,
            by: None,
            text: None,
        };
        self.step(&mut tx, row.clone(), row, change).await?;
        Ok(tx.commit().await?)
    }

    /// The time that was set passed before the approval: a person must activate the release now, or set another time.
    pub(super) async fn miss_schedule(&self, id: Uuid, why: String, now: Timestamp) -> Result<(), ReleaseError> {
        let mut tx = self.db.begin().await?;
        let row = self.lock(&mut tx, id, None).await?;
        if row.state.is_running() || row.state.is_closed() || row.due_at.is_none_or(|due| due > now) {
            return Ok(());
        }
        let missed = ReleaseRow {
            due_at: None,
            ..row.clone()
        };
        let change = Transition {
            action: Action::ScheduleMissed,
            by: None,
            text: Some(why),
        };
        self.step(&mut tx, row, missed, change).await?;
        Ok(tx.commit().await?)
    }

    /// The content of the release, bound again. The bytes are those that were approved.
    pub(super) async fn checked(&self, row: &ReleaseRow) -> Result<Checked, ReleaseError> {
        let checked = self.events.checked(row.event_id, row.content.0.clone()).await?;
        if checked.condition.digest != row.plugin_digest {
            return Err(ReleaseError::Field {
                pointer: "/condition/version",
                message: format!(
                    "is {} now, but {} was approved; edit the release",
                    checked.condition.digest, row.plugin_digest
                ),
            });
        }
        Ok(checked)
    }

    /// Locks a release and confirms that exactly its content was approved, by a person who did not write it.
    async fn confirmed(&self, tx: &mut Tx, id: Uuid) -> Result<ReleaseRow, ReleaseError> {
        let row = self.lock(tx, id, None).await?;
        let is = content::hash(&row).map_err(|error| ReleaseError::Content(id, error))?;
        let by_another = row
            .approved_by
            .is_some_and(|approver| !row.authors.0.contains(&approver));
        match &row.approved_hash {
            Some(approved) if *approved == is && by_another => Ok(row),
            Some(approved) if by_another => Err(ReleaseError::OtherHash {
                sent: approved.clone(),
                is,
            }),
            _ => Err(ReleaseError::WrongState {
                state: row.state,
                action: Action::Activated,
            }),
        }
    }

    async fn require_no_other(&self, tx: &mut Tx, row: &ReleaseRow) -> Result<(), ReleaseError> {
        match store::running(tx, row.event_id).await? {
            Some(other) if other != row.id => Err(ReleaseError::OtherRunning {
                event: row.event_id,
                other,
            }),
            _ => Ok(()),
        }
    }
}
