//! What protocols call on behalf of a principal: reports, all or nothing or part by part. Must not know: any protocol.

use std::time::Duration;

use super::batch::{Batch, faults_of};
use super::open_streams::StreamPermit;
use super::report::NewActivity;
use super::service::{ActivityService, ItemOutcome, Recorded};
use super::sources::require_allowed;
use crate::audit;
use crate::auth::{LongLived, Principal};
use crate::problem::{FieldError, Problem};

/// A stream of activities ends if its client sends nothing for so long.
pub const IDLE: Duration = Duration::from_secs(30);
/// A stream of activities ends after so long, so that its place becomes free.
pub const MAX_DURATION: Duration = Duration::from_mins(15);
/// Errors that one stream describes; further ones are counted.
pub const MAX_STREAM_ERRORS: u64 = 1_000;

impl ActivityService {
    /// Records all activities of a call, or none.
    pub async fn report(&self, batch: Batch, by: &Principal) -> Result<Recorded, Problem> {
        recorded_elsewhere(by);
        let shape = batch.shape();
        if let Some(holder) = by.key_holder() {
            require_allowed(holder, batch.activities()).map_err(|error| shape.problem(error))?;
        }
        let recorded = self.record(batch.into_activities(), Some(by.id()));
        recorded.await.map_err(|error| shape.problem(error))
    }

    /// Begins a stream of activities, which ends when its principal may not go on.
    pub fn open_stream(&self, by: &Principal, long_lived: LongLived) -> Result<StreamPermit, Problem> {
        recorded_elsewhere(by);
        self.streams.open(by, long_lived)
    }

    /// Records the valid activities of a part of a stream, and returns the outcome of each.
    pub async fn report_part(
        &self,
        part: Vec<Result<NewActivity, FieldError>>,
        by: &Principal,
    ) -> Result<Vec<Result<ItemOutcome, FieldError>>, Problem> {
        let checked = part.into_iter().map(|activity| {
            let activity = activity?;
            faults_of(&activity).into_iter().next().map_or(Ok(activity), Err)
        });
        let (mut outcomes, mut valid) = (Vec::new(), Vec::new());
        for activity in checked {
            match activity {
                Ok(activity) => {
                    outcomes.push(None);
                    valid.push(activity);
                }
                Err(error) => outcomes.push(Some(Err(error))),
            }
        }
        let mut recorded = self.record_leniently(valid, by).await?.into_iter();
        let outcomes = outcomes.into_iter().filter_map(|refused| {
            if refused.is_some() {
                return refused;
            }
            let outcome = recorded.next()?;
            Some(outcome.map_err(|(field, message)| FieldError {
                pointer: format!("/{field}"),
                message,
            }))
        });
        Ok(outcomes.collect())
    }
}

/// Each activity names its reporter, and there are too many for the audit log.
fn recorded_elsewhere(by: &Principal) {
    if by.key_holder().is_some() {
        audit::recorded_elsewhere();
    }
}
