//! The input of a claim on an event that tries a candidate, for the condition that did not decide.
//!
//! Must not know: how a decision is made, and who compares two of them.

use std::sync::Arc;

use super::verdict::{BudgetLeft, Verdict};
use crate::clock::Timestamp;
use crate::contract::{Context, Fact};
use crate::events::{Arm, Mode, Trial};

/// The input of a claim on an event that tries a candidate.
#[derive(Debug)]
pub(super) struct Tried {
    pub trial: Arc<Trial>,
    /// Who decides for the user.
    pub arm: Arm,
    /// What the candidate used and may use, if it decided.
    pub fuel: Option<(u64, u64)>,
    /// The verdict of a candidate that failed, so the event's condition decided.
    pub failure: Option<Verdict>,
    pub context: Context,
    pub known_by: Timestamp,
    pub stable_facts: Vec<Fact>,
    /// `None`: they could not be read.
    pub candidate_facts: Option<Vec<Fact>>,
    pub budget: Option<BudgetLeft>,
}

impl Tried {
    /// The condition that is to be run besides the one that decided, if any: the candidate in a shadow, and the event's own for
    /// claims that the candidate decided.
    pub(super) fn other(&self) -> Option<Arm> {
        match (self.arm, self.trial.candidate.mode) {
            (Arm::Candidate, _) if self.failure.is_none() => Some(Arm::Stable),
            (Arm::Stable, Mode::Shadow) => Some(Arm::Candidate),
            _ => None,
        }
    }
}
