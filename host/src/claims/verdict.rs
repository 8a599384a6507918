//! The verdict on a claim: what the condition decided, within the event's rewards, its stock and its budget.
//!
//! Everything here is a pure function of its arguments; a replay calls the same functions as the server.

use uuid::Uuid;

use super::model::{ALREADY_GRANTED, CLAIM_HELD, Reason, Source, Status};
use super::receipt::Limits;
use super::review::{Review, ReviewOutcome};
use crate::clock::Timestamp;
use crate::contract::{Award, Awards, Context, Decision, Fact, Outcome, Progress, RewardInfo};
use crate::events::{Arm, Offer};
use crate::facts::BudgetUsage;
use crate::plugins::Signer;
use crate::sandbox::{CallLimits, Failure};

/// The code of the reason "a reward of the event is sold out".
pub(super) const SOLD_OUT: &str = "sold-out";
/// The code of the reason "the budget of the event is spent".
pub(super) const BUDGET_SPENT: &str = "budget-spent";
/// The code of the reason "a person must review the claim".
const NEEDS_REVIEW: &str = "needs-review";
const REVIEW_DENIED: &str = "review-denied";
const REVIEW_EXPIRED: &str = "review-expired";

/// The outcome of a claim before it is committed.
#[derive(Debug)]
pub struct Verdict {
    pub status: Status,
    pub reasons: Vec<Reason>,
    pub progress: Vec<Progress>,
    pub retry_at: Option<Timestamp>,
    /// What to grant; empty unless the status is GRANTED.
    pub awards: Vec<Award>,
    /// Absent when the host decided without the condition.
    pub evaluation: Option<Evaluation>,
    /// Of a claim that the condition holds, but an earlier review denied.
    pub review: Option<Review>,
}

/// One run of the condition: its inputs, its outcome and its cost.
#[derive(Debug)]
pub struct Evaluation {
    /// The condition that ran.
    pub decided_by: Arm,
    pub context: Context,
    /// When the read of the facts began.
    pub known_by: Timestamp,
    pub facts: Vec<Fact>,
    pub limits: Limits,
    pub outcome: Result<Decision, Failure>,
    pub fuel: u64,
    /// The amount left in the event's budget, as far as it can affect the awards.
    pub budget_amount: Option<i64>,
    /// The trusted signer of the plugin, if it has one.
    pub signer: Option<Signer>,
}

impl Evaluation {
    /// A run in a backtest, which has no receipt: what was known by then is what the facts say.
    pub fn of_backtest(
        context: Context,
        facts: Vec<Fact>,
        call: (Result<Decision, Failure>, u64),
        limits: &CallLimits,
        budget: Option<&BudgetLeft>,
    ) -> Self {
        Self {
            decided_by: Arm::Stable,
            budget_amount: budget.and_then(|budget| budget.amount_for(&context.rewards)),
            known_by: context.now,
            facts,
            limits: Limits::from(limits),
            outcome: call.0,
            fuel: call.1,
            signer: None,
            context,
        }
    }
}

impl Verdict {
    /// The sandbox had no free slot, so the condition did not run.
    pub(super) fn is_overloaded(&self) -> bool {
        let outcome = self.evaluation.as_ref().map(|evaluation| &evaluation.outcome);
        matches!(outcome, Some(Err(Failure::Overloaded)))
    }

    /// The condition whose verdict it is. The host decides in the name of the event's condition.
    pub(super) fn decided_by(&self) -> Arm {
        self.evaluation.as_ref().map_or(Arm::Stable, |run| run.decided_by)
    }

    /// A verdict of the host alone.
    pub(super) fn by_host(status: Status, reason: Reason, retry_at: Option<Timestamp>) -> Self {
        Self {
            status,
            reasons: vec![reason],
            progress: Vec::new(),
            retry_at,
            awards: Vec::new(),
            evaluation: None,
            review: None,
        }
    }

    pub(super) fn rejected(code: &str, message: impl Into<String>) -> Self {
        Self::by_host(Status::Rejected, Reason::host(code, message), None)
    }

    fn failed(code: &str, message: &str) -> Self {
        Self::by_host(Status::Failed, Reason::host(code, message), None)
    }

    pub(super) fn plugin_disabled() -> Self {
        Self::failed("plugin-disabled", "The event's condition is disabled. Try again later.")
    }

    pub(super) fn plugin_quarantined() -> Self {
        Self::failed(
            "plugin-quarantined",
            "The event's condition failed too often and is stopped until an operator releases it. Try again later.",
        )
    }

    pub fn condition_failed() -> Self {
        Self::failed(
            "condition-failed",
            "The event's condition could not be evaluated. This is not your fault; try again later.",
        )
    }

    // The next six are for pending claims. To any other claim the same situation is a problem that stores no request.

    pub(super) fn already_granted(next_at: Option<Timestamp>) -> Self {
        let reason = Reason::host("already-granted", ALREADY_GRANTED);
        Self::by_host(Status::Rejected, reason, next_at)
    }

    pub(super) fn account_disabled() -> Self {
        Self::rejected("account-disabled", "Your account was disabled after you claimed.")
    }

    /// `request_id` is the response to the same claim under the same Idempotency-Key.
    pub(super) fn repeated(request_id: Uuid) -> Self {
        let message = format!("This claim was already decided: it is the reward request {request_id}.");
        let reason = Reason::host("repeated", message).arg("requestId", request_id);
        Self::by_host(Status::Rejected, reason, None)
    }

    /// `request_id` is the user's claim on the event that is held.
    pub(super) fn claim_held(request_id: Uuid) -> Self {
        let reason = Reason::host("claim-held", CLAIM_HELD).arg("requestId", request_id);
        Self::by_host(Status::Rejected, reason, None)
    }

    pub(super) fn undecidable() -> Self {
        Self::failed(
            "undecidable",
            "Your claim could not be decided in several attempts. This is not your fault; try again later.",
        )
    }

    pub(super) fn event_deleted() -> Self {
        Self::rejected("event-deleted", "The event was deleted after you claimed.")
    }

    /// The verdict that follows from a run of the condition. `budget`: what the event's budget has left.
    pub fn of_evaluation(evaluation: Evaluation, budget: Option<&BudgetLeft>) -> Self {
        let Ok(decision) = &evaluation.outcome else {
            return Self {
                evaluation: Some(evaluation),
                ..Self::condition_failed()
            };
        };
        let verdict = Self::of_decision(decision, &evaluation.context.rewards, evaluation.budget_amount);
        let first = verdict.reasons.first();
        let is_short_of_budget =
            first.is_some_and(|reason| reason.source == Source::Host && reason.code == BUDGET_SPENT);
        let retry_at = if is_short_of_budget {
            budget.and_then(|budget| budget.renews_at)
        } else {
            verdict.retry_at
        };
        Self {
            retry_at,
            evaluation: Some(evaluation),
            ..verdict
        }
    }

    /// A decision within the event's rewards and the rest of its budget: the same for the server and for a replay. A claim
    /// is held only if it could be granted now.
    pub(super) fn of_decision(decision: &Decision, rewards: &[RewardInfo], budget_amount: Option<i64>) -> Self {
        let rejected = Self {
            status: Status::Rejected,
            reasons: reasons(decision),
            progress: decision.progress.clone(),
            retry_at: decision.retry_at,
            awards: Vec::new(),
            evaluation: None,
            review: None,
        };
        if decision.outcome == Outcome::NotEligible {
            return rejected;
        }
        let awards = awards(decision, rewards);
        let refusal = if let Some(award) = beyond_stock(&awards, rewards) {
            let reason = Reason::host(SOLD_OUT, "You qualify, but a reward of the event is sold out.");
            Some(reason.arg("rewardId", &award.reward_id))
        } else if exceeds_budget(&awards, rewards, budget_amount) {
            Some(Reason::host(
                BUDGET_SPENT,
                "You qualify, but the rest of the event's budget is too small for your rewards.",
            ))
        } else {
            None
        };
        if let Some(refusal) = refusal {
            return rejected.because(refusal);
        }
        if decision.outcome == Outcome::NeedsReview {
            let message = "Your claim is held until a person has reviewed it.";
            return Self {
                status: Status::Held,
                retry_at: None,
                ..rejected.because(Reason::host(NEEDS_REVIEW, message))
            };
        }
        Self {
            status: Status::Granted,
            awards,
            retry_at: None,
            ..rejected
        }
    }

    /// A decision after a review. A decision that does not hold the claim is not changed by it.
    pub(super) fn of_review(
        decision: &Decision,
        rewards: &[RewardInfo],
        budget_amount: Option<i64>,
        review: &Review,
    ) -> Self {
        let held = Self::of_decision(decision, rewards, budget_amount);
        if held.status != Status::Held {
            return held;
        }
        let rejected = Self {
            status: Status::Rejected,
            reasons: reasons(decision),
            ..held
        };
        match review.outcome {
            ReviewOutcome::Approved => Self {
                status: Status::Granted,
                awards: awards(decision, rewards),
                ..rejected
            },
            ReviewOutcome::Denied => {
                let reason = review.reason.as_deref().unwrap_or_default();
                let denied = Reason::host(REVIEW_DENIED, format!("A review denied your claim: {reason}"));
                rejected.because(denied.arg("reason", reason))
            }
            ReviewOutcome::Expired => {
                let message = "Your claim was not reviewed in time. Claim again.";
                rejected.because(Reason::host(REVIEW_EXPIRED, message))
            }
        }
    }

    /// The same for a claim that the condition holds now. `until`: how long the denial stands.
    pub(super) fn denied_before(self, review: Review, until: Timestamp) -> Self {
        let Some(Evaluation {
            context,
            outcome: Ok(decision),
            budget_amount,
            ..
        }) = &self.evaluation
        else {
            return self;
        };
        let denied = Self::of_review(decision, &context.rewards, *budget_amount, &review);
        Self {
            retry_at: Some(until),
            review: Some(review),
            evaluation: self.evaluation,
            ..denied
        }
    }

    /// A held claim after a review that approved it.
    #[must_use]
    pub fn approved(self) -> Self {
        let awards = match &self.evaluation {
            Some(Evaluation {
                context,
                outcome: Ok(decision),
                ..
            }) if self.status == Status::Held => awards(decision, &context.rewards),
            _ => return self,
        };
        Self {
            status: Status::Granted,
            reasons: self.reasons.into_iter().skip(1).collect(),
            awards,
            ..self
        }
    }

    /// With a reason of the host before those of the condition.
    fn because(mut self, reason: Reason) -> Self {
        self.reasons.insert(0, reason);
        self
    }
}

/// What the condition says.
fn reasons(decision: &Decision) -> Vec<Reason> {
    decision.reasons.iter().cloned().map(Reason::from).collect()
}

/// What a claim with this decision gets, if it is granted.
fn awards(decision: &Decision, rewards: &[RewardInfo]) -> Vec<Award> {
    match &decision.awards {
        Awards::All => rewards
            .iter()
            .map(|reward| Award {
                reward_id: reward.id.clone(),
                quantity: 1,
            })
            .collect(),
        Awards::Chosen(chosen) => chosen.clone(),
    }
}

/// The first award that exceeds the stock of its reward.
fn beyond_stock<'a>(awards: &'a [Award], rewards: &[RewardInfo]) -> Option<&'a Award> {
    awards.iter().find(|award| {
        rewards
            .iter()
            .find(|reward| reward.id == award.reward_id)
            .is_none_or(|reward| reward.max_quantity < award.quantity)
    })
}

fn exceeds_budget(awards: &[Award], rewards: &[RewardInfo], left: Option<i64>) -> bool {
    let value_of = |award: &Award| rewards.iter().find(|reward| reward.id == award.reward_id)?.value;
    let total = awards
        .iter()
        .map(|award| worth(value_of(award), award.quantity))
        .fold(0, i64::saturating_add);
    left.is_some_and(|left| total > left)
}

/// The value of some units of a reward; a reward without a value is worth 0.
pub fn worth(value: Option<i64>, quantity: u32) -> i64 {
    value.unwrap_or(0).saturating_mul(i64::from(quantity))
}

/// What the event's budget has left in the period of a claim. `None` means no limit; it is negative after the budget was
/// lowered.
#[derive(Clone, Copy, Debug)]
pub struct BudgetLeft {
    grants: Option<i64>,
    amount: Option<i64>,
    pub renews_at: Option<Timestamp>,
}

impl BudgetLeft {
    /// `None` if the event has no budget.
    pub fn of(offer: &Offer, usage: Option<BudgetUsage>, now: Timestamp) -> Option<Self> {
        let budget = offer.event.budget?;
        let usage = usage.unwrap_or_default();
        Some(Self {
            grants: budget.grants.map(|max| max - usage.grants),
            amount: budget.amount.map(|max| max - usage.amount),
            renews_at: budget.renews_at(now, &offer.zone, offer.event.end_date),
        })
    }

    /// Whether no claim can be granted, for any decision of the condition.
    pub(super) fn is_spent(&self, offer: &Offer) -> bool {
        let is_too_small = |left: i64| offer.rewards.iter().all(|reward| reward.value.unwrap_or(0) > left);
        self.grants.is_some_and(|left| left < 1) || self.amount.is_some_and(is_too_small)
    }

    /// The amount left, but at most the value of all rewards of one claim: a receipt reveals no more of the budget.
    pub fn amount_for(&self, rewards: &[RewardInfo]) -> Option<i64> {
        let max = rewards
            .iter()
            .map(|reward| worth(reward.value, reward.max_quantity))
            .fold(0, i64::saturating_add);
        self.amount.map(|left| left.min(max))
    }
}
