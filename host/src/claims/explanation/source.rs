//! What is explained: a decision from a receipt, or one that is made for the question.

use uuid::Uuid;

use super::model::{Basis, DecidedBy, Details};
use crate::claims::model::{Reason, Source as SaidBy, Status};
use crate::clock::Timestamp;
use crate::contract::{Context, Decision, Fact, Outcome, Progress, Query};
use crate::plugins::{BoundCondition, PluginError};
use crate::sandbox::{Call, Digest, Failure};

/// A decision, and what it was made from.
pub(super) struct Source {
    pub request_id: Option<Uuid>,
    pub event_id: Uuid,
    pub event_revision: i64,
    pub user_id: Uuid,
    pub basis: Basis,
    pub as_of: Timestamp,
    pub known_by: Option<Timestamp>,
    pub verdict: Status,
    pub reasons: Vec<Reason>,
    pub progress: Vec<Progress>,
    pub retry_at: Option<Timestamp>,
    pub period: String,
    pub receipt_digest: Option<Digest>,
    pub condition: BoundCondition,
    pub time_zone: String,
    /// `None` if the host decided without the condition.
    pub ran: Option<Ran>,
}

/// One run of the condition.
pub(super) struct Ran {
    pub condition: BoundCondition,
    pub context: Context,
    pub facts: Vec<Fact>,
    /// `None` if the condition produced none.
    pub decision: Option<Decision>,
    pub budget_amount: Option<i64>,
    pub fuel: u64,
    pub failure: Option<String>,
}

impl Ran {
    pub(super) fn queries(&self) -> &[Query] {
        self.condition.plan.queries()
    }
}

impl Source {
    pub(super) fn decided_by(&self) -> DecidedBy {
        let by_host = self.reasons.first().is_some_and(|reason| reason.source == SaidBy::Host);
        if self.ran.is_none() || (by_host && self.verdict != Status::Held) {
            DecidedBy::Host
        } else {
            DecidedBy::Condition
        }
    }

    /// The verdict to which the condition led.
    pub(super) fn condition_verdict(&self) -> Status {
        let decision = self.ran.as_ref().and_then(|ran| ran.decision.as_ref());
        match decision.map(|decision| decision.outcome) {
            Some(Outcome::Eligible) => Status::Granted,
            Some(Outcome::NeedsReview) => Status::Held,
            Some(Outcome::NotEligible) => Status::Rejected,
            None => self.verdict,
        }
    }

    pub(super) fn details(&self) -> Details {
        let BoundCondition {
            plugin,
            version,
            digest,
            params,
            plan,
            ..
        } = self.condition.clone();
        let ran = self.ran.as_ref();
        Details {
            plugin,
            version,
            plugin_digest: digest,
            params,
            queries: plan.into(),
            facts: ran.map(|ran| ran.facts.clone()).unwrap_or_default(),
            time_zone: self.time_zone.clone(),
            period: self.period.clone(),
            fuel: ran.map(|ran| ran.fuel),
            failure: ran.and_then(|ran| ran.failure.clone()),
            receipt_digest: self.receipt_digest,
        }
    }
}

/// A plugin that cannot be loaded gives no answer.
pub(super) fn not_run(error: &PluginError) -> Call<Decision> {
    tracing::warn!(%error, "the plugin of an explanation cannot be run");
    Call {
        outcome: Err(Failure::Overloaded),
        fuel: 0,
        memory: 0,
        elapsed: std::time::Duration::ZERO,
        notes: Vec::new(),
    }
}
