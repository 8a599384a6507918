//! The states of a release, and the only table of what leads from one to another. Pure. Must not know: who may do what.

use serde::{Deserialize, Serialize};
use strum::{Display, EnumString};
use utoipa::ToSchema;

use crate::db::text_column;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, Display, EnumString, ToSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[strum(serialize_all = "SCREAMING_SNAKE_CASE")]
#[schema(as = ReleaseState)]
pub enum State {
    /// Its author still works on it
    Draft,
    /// It waits for the approval of another person
    Review,
    /// Another person approved exactly this content; it can be activated
    Approved,
    /// Live claims try its condition, step by step
    Ramping,
    /// The ramp stopped: the event decides as before, and a person must look
    Held,
    /// The event has its content
    Live,
    /// The event has the content from before again
    RolledBack,
    /// It will never be activated
    Withdrawn,
}

text_column!(State);

impl State {
    #[cfg(test)]
    const ALL: [Self; 8] = [
        Self::Draft,
        Self::Review,
        Self::Approved,
        Self::Ramping,
        Self::Held,
        Self::Live,
        Self::RolledBack,
        Self::Withdrawn,
    ];

    /// Nothing can change it any more, except that a live one can be rolled back.
    pub fn is_closed(self) -> bool {
        matches!(self, Self::Live | Self::RolledBack | Self::Withdrawn)
    }

    /// A candidate of the release is at the event.
    pub fn is_running(self) -> bool {
        matches!(self, Self::Ramping | Self::Held)
    }

    /// Its content is approved.
    pub fn is_approved(self) -> bool {
        matches!(self, Self::Approved | Self::Ramping | Self::Held | Self::Live)
    }
}

/// What happens to a release.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Display, EnumString, ToSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[strum(serialize_all = "SCREAMING_SNAKE_CASE")]
#[schema(as = ReleaseAction)]
pub enum Action {
    /// It was created; the state follows from the request
    Created,
    /// A person wrote a comment
    Commented,
    Submitted,
    Edited,
    /// A person with a stronger scope waived the backtest
    Waived,
    Approved,
    Rejected,
    /// The event changed, so the approval is void
    Outdated,
    /// The time of its activation passed before the approval, so a person must activate it
    ScheduleMissed,
    /// The first step of the ramp began
    Started,
    /// The next step of the ramp began
    Advanced,
    Held,
    Resumed,
    /// The event has its content
    Activated,
    RolledBack,
    Withdrawn,
}

text_column!(Action);

impl Action {
    #[cfg(test)]
    const ALL: [Self; 16] = [
        Self::Created,
        Self::Commented,
        Self::Submitted,
        Self::Edited,
        Self::Waived,
        Self::Approved,
        Self::Rejected,
        Self::Outdated,
        Self::ScheduleMissed,
        Self::Started,
        Self::Advanced,
        Self::Held,
        Self::Resumed,
        Self::Activated,
        Self::RolledBack,
        Self::Withdrawn,
    ];
}

/// The state after an action; `None`: the action is not possible in this state.
#[expect(clippy::match_same_arms, reason = "one row for each transition")]
pub(super) fn transition(state: State, action: Action) -> Option<State> {
    use {Action as A, State as S};
    Some(match (state, action) {
        (state, A::Commented) => state,
        (S::Draft, A::Submitted) => S::Review,
        (S::Draft, A::Edited | A::Waived) => S::Draft,
        // A changed content has no approval.
        (S::Review | S::Approved, A::Edited | A::Waived) => S::Review,
        (S::Review, A::Approved) => S::Approved,
        (S::Review | S::Approved, A::Rejected) => S::Draft,
        (S::Review | S::Approved, A::Outdated) => S::Review,
        (S::Draft | S::Review | S::Approved, A::ScheduleMissed) => state,
        (S::Approved, A::Started) => S::Ramping,
        (S::Ramping, A::Advanced) => S::Ramping,
        (S::Ramping, A::Held) => S::Held,
        (S::Held, A::Resumed) => S::Ramping,
        (S::Approved | S::Ramping, A::Activated) => S::Live,
        (S::Ramping | S::Held | S::Live, A::RolledBack) => S::RolledBack,
        (S::Draft | S::Review | S::Approved, A::Withdrawn) => S::Withdrawn,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn actions() -> impl Strategy<Value = Vec<Action>> {
        proptest::collection::vec(proptest::sample::select(Action::ALL.to_vec()), 0..40)
    }

    /// The states that possible actions lead through, from a draft.
    fn walk(actions: &[Action]) -> Vec<(Action, State, State)> {
        let mut state = State::Draft;
        let mut steps = Vec::new();
        for action in actions {
            if let Some(next) = transition(state, *action) {
                steps.push((*action, state, next));
                state = next;
            }
        }
        steps
    }

    proptest! {
        #[test]
        fn nothing_runs_that_was_not_approved_since_its_last_change(actions in actions()) {
            let mut is_approved = false;
            for (action, _, next) in walk(&actions) {
                match action {
                    Action::Approved => is_approved = true,
                    Action::Edited | Action::Waived | Action::Outdated | Action::Rejected => is_approved = false,
                    _ => {}
                }
                prop_assert!(!next.is_approved() || is_approved, "{next} after {action}");
            }
        }

        #[test]
        fn a_closed_release_stays_closed(actions in actions()) {
            for (action, before, next) in walk(&actions) {
                if before.is_closed() {
                    let is_rollback = (before, action, next) == (State::Live, Action::RolledBack, State::RolledBack);
                    prop_assert!(action == Action::Commented || is_rollback, "{action} of {before}");
                }
            }
        }

        #[test]
        fn only_an_approval_leads_to_approved_and_only_a_start_or_a_person_to_a_ramp(actions in actions()) {
            for (action, before, next) in walk(&actions) {
                if next == State::Approved && before != next {
                    prop_assert_eq!(action, Action::Approved);
                }
                if next == State::Ramping && before != next {
                    prop_assert!(matches!(action, Action::Started | Action::Resumed));
                }
                if next == State::Live && before != next {
                    prop_assert_eq!(action, Action::Activated);
                }
            }
        }
    }

    #[test]
    fn what_can_give_something_out_can_be_stopped_in_one_step() {
        for state in State::ALL {
            let stop = [Action::RolledBack, Action::Withdrawn];
            let stops = stop
                .iter()
                .any(|action| transition(state, *action).is_some_and(State::is_closed));
            assert_eq!(stops, !matches!(state, State::RolledBack | State::Withdrawn), "{state}");
        }
    }

    #[test]
    fn only_a_waiver_or_an_edit_keeps_a_draft_a_draft() {
        for action in Action::ALL {
            if transition(State::Draft, action) == Some(State::Draft) {
                let keeps = [
                    Action::Commented,
                    Action::Edited,
                    Action::Waived,
                    Action::ScheduleMissed,
                ];
                assert!(keeps.contains(&action), "{action}");
            }
        }
    }
}
