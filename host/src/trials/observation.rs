//! One claim under trial: what each condition decided, and how the decisions differ. Computes only.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;

use serde_json::{Value, json};
use uuid::Uuid;

use super::model::{Kind, Status};
use crate::contract::Award;
use crate::events::{Arm, Mode, Trial};

/// A decision as the user got it, or would have got it.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    pub status: Status,
    pub reasons: Value,
    pub reason_codes: Vec<String>,
    /// In the order of the rewards' ids.
    pub awards: Vec<Award>,
    /// Of the awards.
    pub value: i64,
    /// The code of a failure.
    pub failure: Option<String>,
    /// What the run used, and its limit.
    pub fuel: Option<(u64, u64)>,
}

/// A claim on an event that tries a candidate.
#[derive(Clone, Debug)]
pub struct Observation {
    pub trial: Arc<Trial>,
    pub user_id: Uuid,
    pub request_id: Uuid,
    /// Who decides for the user.
    pub arm: Arm,
    /// `None`: the condition did not run.
    pub stable: Option<Decision>,
    pub candidate: Option<Decision>,
}

impl Decision {
    pub(super) fn to_json(&self) -> Value {
        json!({"status": self.status, "reasons": self.reasons, "awards": self.awards, "failure": self.failure})
    }

    fn hash(&self, hasher: &mut DefaultHasher) {
        (self.status, &self.reason_codes, &self.failure).hash(hasher);
        for award in &self.awards {
            (&award.reward_id, award.quantity).hash(hasher);
        }
    }
}

impl Observation {
    pub(super) fn is_shadow(&self) -> bool {
        self.trial.candidate.mode == Mode::Shadow
    }

    /// Who decided in the end: a candidate that fails leaves the decision to the event's condition.
    pub(super) fn decided_by(&self) -> Arm {
        match (self.arm, &self.candidate) {
            (Arm::Candidate, Some(candidate)) if candidate.failure.is_none() => Arm::Candidate,
            _ => Arm::Stable,
        }
    }

    /// How the decisions differ; `None`: they do not, or only one condition ran.
    pub(super) fn kind(&self) -> Option<Kind> {
        let (stable, candidate) = (self.stable.as_ref()?, self.candidate.as_ref()?);
        if candidate.failure.is_some() {
            return Some(Kind::Failure);
        }
        // A stable condition that fails rejects nothing.
        if stable.failure.is_some() {
            return None;
        }
        match (stable.status, candidate.status) {
            (Status::Held, Status::Held) => None,
            (Status::Held, _) | (_, Status::Held) => Some(Kind::Review),
            (Status::Granted, Status::Granted) => (stable.awards != candidate.awards).then_some(Kind::Awards),
            (Status::Granted, _) => Some(Kind::AllowToDeny),
            (_, Status::Granted) => Some(Kind::DenyToAllow),
            _ => (stable.reason_codes != candidate.reason_codes).then_some(Kind::Reasons),
        }
    }

    /// Equal for two observations of a user that say the same.
    pub(super) fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        for decision in [&self.stable, &self.candidate] {
            decision.is_some().hash(&mut hasher);
            if let Some(decision) = decision {
                decision.hash(&mut hasher);
            }
        }
        hasher.finish()
    }
}
