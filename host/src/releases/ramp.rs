//! What the server does by itself: it activates at the time that was set, goes from step to step, and holds.
//!
//! A look reads without a lock. Each change locks the row of the release and requires the revision that was read, so several
//! processes can do this at once: the first one makes the change, and the others find nothing to do.

use std::time::Duration;

use uuid::Uuid;

use super::activation::Cause;
use super::error::ReleaseError;
use super::guard::{Bounds, Look, Verdict, judge};
use super::plan::Step;
use super::service::{ReleaseService, Transition};
use super::state::{Action, State};
use super::store::{self, ReleaseRow};
use crate::clock::Timestamp;
use crate::events::EventError;

/// Releases that one run looks at.
const AT_ONCE: i64 = 100;
/// How often the server looks at a ramp.
const LOOK_EVERY: Duration = Duration::from_secs(10);

impl ReleaseService {
    /// Looks at every release that is due, and returns how many there were. A failure of one does not stop the others.
    pub async fn run_due(&self) -> Result<usize, ReleaseError> {
        let due = store::due(&self.db, self.clock.now(), AT_ONCE).await?;
        let count = due.len();
        for (id,) in due {
            match self.look(id).await {
                // Another process was first.
                Ok(()) | Err(ReleaseError::Changed { .. }) => {}
                Err(error) => {
                    tracing::warn!(release.id = %id, %error, "a release cannot be advanced now; the server tries again");
                    self.postpone(id).await?;
                }
            }
        }
        Ok(count)
    }

    async fn look(&self, id: Uuid) -> Result<(), ReleaseError> {
        let row = store::find(&self.db, id).await?.ok_or(ReleaseError::NotFound(id))?;
        let now = self.clock.now();
        match row.state {
            State::Draft | State::Review => {
                let why = "It was not approved when its time came.".to_owned();
                self.miss_schedule(id, why, now).await
            }
            State::Approved => match self.activate(id, Cause::Armed).await {
                // It is in the review again.
                Ok(_) | Err(ReleaseError::Outdated { .. }) => Ok(()),
                Err(error) if is_passing(&error) => Err(error),
                Err(error) => self.miss_schedule(id, error.to_string(), now).await,
            },
            State::Ramping => self.advance(row, now).await,
            _ => Ok(()),
        }
    }

    async fn advance(&self, row: ReleaseRow, now: Timestamp) -> Result<(), ReleaseError> {
        let by = row.created_by;
        let held = |why: String| Transition {
            action: Action::Held,
            by: None,
            text: Some(why),
        };
        let event = match self.events.get(row.event_id).await {
            Ok(event) => event,
            Err(EventError::NotFound(_)) => {
                let change = Transition {
                    action: Action::RolledBack,
                    by: None,
                    text: Some("The event was deleted.".to_owned()),
                };
                self.stop(row.id, Some(row.revision), change, by).await?;
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        };
        if Some(event.revision) != row.trial_revision {
            let why = format!("The event changed to revision {} during the ramp.", event.revision);
            self.stop(row.id, Some(row.revision), held(why), by).await?;
            return Ok(());
        }
        match self.verdict(&row, now).await? {
            Verdict::Waiting => return self.postpone(row.id).await,
            Verdict::Failed(finding) | Verdict::Inconclusive(finding) => {
                self.stop(row.id, Some(row.revision), held(finding.to_string()), by)
                    .await?;
                return Ok(());
            }
            Verdict::Successful => {}
        }
        let next = usize::try_from(row.step + 1).unwrap_or(usize::MAX);
        if next < row.plan.0.steps.len() {
            return self.next_step(row, by).await;
        }
        let change = Transition {
            action: Action::Activated,
            by: None,
            text: None,
        };
        match self.go_live(row.clone(), change, by).await {
            Ok(_) => Ok(()),
            Err(error) if is_passing(&error) => Err(error),
            Err(error) => {
                self.stop(row.id, Some(row.revision), held(error.to_string()), by)
                    .await?;
                Ok(())
            }
        }
    }

    /// What the guard says of the current step, with what was counted until a few seconds ago.
    async fn verdict(&self, row: &ReleaseRow, now: Timestamp) -> Result<Verdict, ReleaseError> {
        let plan = &row.plan.0;
        let at = usize::try_from(row.step).unwrap_or(usize::MAX);
        let (Some(step), Some(since)) = (plan.steps.get(at), row.step_at) else {
            return Ok(Verdict::Successful);
        };
        let elapsed = Duration::from_millis(u64::try_from(now.as_millis() - since.as_millis()).unwrap_or(0));
        let Some(bounds) = &plan.guard else {
            return Ok(if elapsed < length(*step) {
                Verdict::Waiting
            } else {
                Verdict::Successful
            });
        };
        self.judged(row, (bounds, *step), elapsed).await
    }

    async fn judged(
        &self,
        row: &ReleaseRow,
        (bounds, step): (&Bounds, Step),
        elapsed: Duration,
    ) -> Result<Verdict, ReleaseError> {
        let revision = row.trial_revision.unwrap_or(row.event_revision);
        let (stable, candidate) = self.trials.totals(row.id, revision).await?;
        let at = usize::try_from(row.step).unwrap_or(usize::MAX);
        let were_shadows = row.plan.0.steps.iter().take(at).all(|step| step.permille == 0);
        // Each step is one revision of the event, unless the ramp began again.
        let is_first_ramp = revision == row.event_revision + 1 + row.step;
        Ok(judge(&Look {
            bounds,
            stable: &stable,
            candidate: &candidate,
            permille: step.permille,
            is_first_canary: were_shadows && is_first_ramp,
            elapsed,
            length: length(step),
            forecast: self.forecast(row.backtest_id).await?,
        }))
    }

    async fn next_step(&self, row: ReleaseRow, by: Uuid) -> Result<(), ReleaseError> {
        let checked = self.checked(&row).await?;
        let mut tx = self.db.begin().await?;
        let locked = self.lock(&mut tx, row.id, Some(row.revision)).await?;
        let now = self.clock.now();
        let mut advanced = ReleaseRow {
            step: locked.step + 1,
            step_at: Some(now),
            due_at: Some(now.plus(LOOK_EVERY)),
            ..locked.clone()
        };
        let expected = locked.trial_revision.unwrap_or(locked.event_revision);
        advanced.trial_revision = Some(self.try_step(&mut tx, &advanced, &checked, expected, by).await?);
        let change = Transition {
            action: Action::Advanced,
            by: None,
            text: None,
        };
        self.step(&mut tx, locked, advanced, change).await?;
        tx.commit().await?;
        self.events.announce(row.event_id).await;
        Ok(())
    }

    /// Looks again a little later.
    async fn postpone(&self, id: Uuid) -> Result<(), ReleaseError> {
        let mut tx = self.db.begin().await?;
        let at = self.clock.now().plus(LOOK_EVERY);
        store::postpone(&mut tx, id, at).await?;
        Ok(tx.commit().await?)
    }
}

fn length(step: Step) -> Duration {
    Duration::from_secs(step.seconds.into())
}

/// Whether the same call may succeed later without a change by a person.
fn is_passing(error: &ReleaseError) -> bool {
    match error {
        ReleaseError::OtherRunning { .. } | ReleaseError::Changed { .. } | ReleaseError::Db(_) => true,
        ReleaseError::Event(error) => matches!(
            error,
            EventError::FactsNotReady(_) | EventError::Db(_) | EventError::Sealed(_)
        ),
        _ => false,
    }
}
