//! Records the valid activities of many, and says what is wrong with each of the others.

use super::report::NewActivity;
use super::service::{ActivityError, ActivityService, ItemError, ItemOutcome};
use super::sources::require_allowed;
use crate::auth::Principal;

/// Whether an activity was recorded; otherwise the field and what is wrong with it.
pub(super) type Outcome = Result<ItemOutcome, (&'static str, String)>;

impl ActivityService {
    /// Records those activities that can be recorded, in one transaction, and returns the outcome of each.
    pub(super) async fn record_leniently(
        &self,
        activities: Vec<NewActivity>,
        by: &Principal,
    ) -> Result<Vec<Outcome>, ActivityError> {
        let mut outcomes: Vec<Option<Outcome>> = vec![None; activities.len()];
        let checked = by.key_holder().map(|holder| require_allowed(holder, &activities));
        let mut rest: Vec<(usize, NewActivity)> = activities.into_iter().enumerate().collect();
        if let Some(Err(error)) = checked {
            reject(&mut rest, &mut outcomes, error)?;
        }
        // Each round leaves out what the one before refused, so the number of activities bounds the rounds.
        while !rest.is_empty() {
            let attempt = rest.iter().map(|(_, activity)| activity.clone()).collect();
            match self.record(attempt, Some(by.id())).await {
                Ok(recorded) => {
                    for ((place, _), item) in rest.drain(..).zip(recorded.items) {
                        outcomes[place] = Some(Ok(item.outcome));
                    }
                }
                Err(error) => reject(&mut rest, &mut outcomes, error)?,
            }
        }
        Ok(outcomes.into_iter().flatten().collect())
    }
}

/// Removes the refused activities. An error that concerns none of them in particular stays an error.
fn reject(
    rest: &mut Vec<(usize, NewActivity)>,
    outcomes: &mut [Option<Outcome>],
    error: ActivityError,
) -> Result<(), ActivityError> {
    let refused: Vec<ItemError> = match error {
        ActivityError::Invalid(errors)
        | ActivityError::Conflict(errors)
        | ActivityError::SourceNotAllowed(errors)
        | ActivityError::SourceTaken(errors)
            if !errors.is_empty() =>
        {
            errors
        }
        other => return Err(other),
    };
    for ItemError { index, field, message } in refused {
        let place = rest[index].0;
        outcomes[place].get_or_insert(Err((field, message)));
    }
    rest.retain(|(place, _)| outcomes[*place].is_none());
    Ok(())
}
