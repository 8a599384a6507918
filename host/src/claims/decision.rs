//! What the host and the event's condition say about a claim: gates, evaluation, awards. Changes nothing.

use uuid::Uuid;

use super::budget::{self, BudgetLeft};
use super::model::{Reason, Source, Status};
use super::receipt::Limits;
use crate::clock::Timestamp;
use crate::contract::{Award, Awards, Context, Decision, EventInfo, Fact, Progress, RewardInfo, UserInfo};
use crate::events::{Event, Offer};
use crate::facts::Snapshot;
use crate::plugins::Signer;
use crate::sandbox::{Call, Failure, Sandbox};

/// The code of the reason that a reward of the event is gone.
pub(super) const SOLD_OUT: &str = "sold-out";

/// The period of a claim and its place in it: what makes a grant unique.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PeriodSlot {
    pub period: String,
    pub sequence: u32,
}

/// A run of the condition: what it was told, what it answered.
#[derive(Debug)]
pub(super) struct Evaluation {
    pub context: Context,
    pub facts: Vec<Fact>,
    pub limits: Limits,
    pub outcome: Result<Decision, Failure>,
    pub fuel: u64,
    /// What the event's budget had left of its amount, as far as it bears on the awards.
    pub budget_amount: Option<i64>,
    /// Who signed the plugin, if a trusted key did.
    pub signer: Option<Signer>,
}

/// The whole answer, before it is committed.
#[derive(Debug)]
pub(super) struct Verdict {
    pub status: Status,
    pub reasons: Vec<Reason>,
    pub progress: Vec<Progress>,
    pub retry_at: Option<Timestamp>,
    /// What to grant; empty unless the status is GRANTED.
    pub awards: Vec<Award>,
    /// Absent when a gate answered first.
    pub evaluation: Option<Evaluation>,
}

impl Verdict {
    /// Nothing was evaluated, as every place in the sandbox was taken.
    pub(super) fn is_for_want_of_room(&self) -> bool {
        let outcome = self.evaluation.as_ref().map(|evaluation| &evaluation.outcome);
        matches!(outcome, Some(Err(Failure::Overloaded)))
    }

    fn gate(status: Status, reason: Reason, retry_at: Option<Timestamp>) -> Self {
        Self {
            status,
            reasons: vec![reason],
            progress: Vec::new(),
            retry_at,
            awards: Vec::new(),
            evaluation: None,
        }
    }

    fn is_short_of_budget(&self) -> bool {
        let first = self.reasons.first();
        first.is_some_and(|reason| reason.source == Source::Host && reason.code == budget::SPENT)
    }

    /// Only of a claim that waited: to any other that is a problem, and leaves no request.
    pub(super) fn already_granted(next_at: Option<Timestamp>) -> Self {
        let reason = Reason::host(
            "already-granted",
            "You were granted this event's rewards in this period already.",
        );
        Self::gate(Status::Rejected, reason, next_at)
    }

    /// The same.
    pub(super) fn account_disabled() -> Self {
        let reason = Reason::host("account-disabled", "Your account was disabled meanwhile.");
        Self::gate(Status::Rejected, reason, None)
    }

    /// The same: `request_id` answered this very claim, under the same Idempotency-Key.
    pub(super) fn repeated(request_id: Uuid) -> Self {
        let message = format!("This claim was answered already: it is the reward request {request_id}.");
        Self::gate(Status::Rejected, Reason::host("repeated", message), None)
    }

    /// The same.
    pub(super) fn event_deleted() -> Self {
        let reason = Reason::host("event-deleted", "The event was deleted meanwhile.");
        Self::gate(Status::Rejected, reason, None)
    }

    pub(super) fn plugin_disabled() -> Self {
        let reason = Reason::host(
            "plugin-disabled",
            "The event's condition is switched off for now. Try again later.",
        );
        Self::gate(Status::Failed, reason, None)
    }

    pub(super) fn plugin_quarantined() -> Self {
        let reason = Reason::host(
            "plugin-quarantined",
            "The event's condition failed too often and is stopped until an operator has looked at it. Try again later.",
        );
        Self::gate(Status::Failed, reason, None)
    }

    pub(super) fn condition_failed(evaluation: Option<Evaluation>) -> Self {
        let reason = Reason::host(
            "condition-failed",
            "The event's condition could not be evaluated. This is not your fault; try again later.",
        );
        Self {
            evaluation,
            ..Self::gate(Status::Failed, reason, None)
        }
    }
}

/// The gates that need no evaluation, in the order in which a user can do something about them.
pub(super) fn gate(offer: &Offer, snapshot: &Snapshot, left: Option<&BudgetLeft>, now: Timestamp) -> Option<Verdict> {
    let event = &offer.event;
    let rejected =
        |code, message: String, retry_at| Some(Verdict::gate(Status::Rejected, Reason::host(code, message), retry_at));
    if now >= event.end_date {
        return rejected("event-ended", format!("The event ended at {}.", event.end_date), None);
    }
    if !event.is_active {
        return rejected("event-inactive", "The event is not active.".to_owned(), None);
    }
    if now < event.start_date {
        let message = format!("The event starts at {}.", event.start_date);
        return rejected("event-not-started", message, Some(event.start_date));
    }
    if offer
        .rewards
        .iter()
        .all(|reward| snapshot.stock.get(&reward.id) == Some(&0))
    {
        return rejected(SOLD_OUT, "All rewards of the event are gone.".to_owned(), None);
    }
    let left = left?;
    let refusal = left.refusal(offer)?;
    Some(Verdict::gate(Status::Rejected, refusal, left.renews_at))
}

/// Everything the decision may depend on besides the facts.
pub(super) fn context(offer: &Offer, snapshot: &Snapshot, user_id: Uuid, now: Timestamp, seed: [u8; 32]) -> Context {
    let event = &offer.event;
    Context {
        now,
        local: offer.zone.local(now),
        time_zone: event.time_zone.clone(),
        event: EventInfo {
            id: event.id.to_string(),
            title: event.title.clone(),
            starts: event.start_date,
            ends: event.end_date,
        },
        user: UserInfo {
            id: user_id.to_string(),
            registered: snapshot.registered,
        },
        rewards: offer
            .rewards
            .iter()
            .map(|reward| {
                let left = snapshot
                    .stock
                    .get(&reward.id)
                    .map_or(u32::MAX, |left| u32::try_from(*left).unwrap_or(0));
                RewardInfo {
                    id: reward.id.to_string(),
                    kind: reward.type_.clone(),
                    value: reward.value,
                    max_quantity: event.max_quantity.min(left),
                }
            })
            .collect(),
        seed,
    }
}

/// Runs the condition and turns its answer into a verdict.
pub(super) async fn evaluate(
    sandbox: &Sandbox,
    plugin: &crate::sandbox::Plugin,
    event: &Event,
    context: Context,
    facts: Vec<Fact>,
    left: Option<&BudgetLeft>,
) -> Verdict {
    let call: Call<Decision> = sandbox.evaluate(plugin, &context, &event.state, &facts).await;
    let plugin_label = format!("{}@{}", event.condition.plugin, event.condition.version);
    metrics::histogram!("meed_evaluation_seconds", "plugin" => plugin_label.clone()).record(call.elapsed.as_secs_f64());
    #[expect(clippy::cast_precision_loss, reason = "fuel is far below 2^52")]
    metrics::histogram!("meed_evaluation_fuel", "plugin" => plugin_label.clone()).record(call.fuel as f64);
    if let Err(failure) = &call.outcome {
        if failure.is_plugin_fault() {
            metrics::counter!("meed_evaluation_failures_total", "plugin" => plugin_label, "failure" => failure.code())
                .increment(1);
        }
        tracing::warn!(
            plugin.digest = %event.condition.digest,
            event.id = %event.id,
            failure.code = failure.code(),
            %failure,
            fuel = call.fuel,
            "condition failed"
        );
    }
    let budget_amount = left.and_then(|left| left.amount_for(&context.rewards));
    let verdict = call
        .outcome
        .as_ref()
        .ok()
        .map(|decision| judge(decision, &context.rewards, budget_amount));
    let evaluation = Some(Evaluation {
        context,
        facts,
        limits: Limits::from(sandbox.limits(plugin)),
        outcome: call.outcome,
        fuel: call.fuel,
        budget_amount,
        signer: None,
    });
    match verdict {
        Some(verdict) if verdict.is_short_of_budget() => Verdict {
            evaluation,
            retry_at: left.and_then(|left| left.renews_at),
            ..verdict
        },
        Some(verdict) => Verdict { evaluation, ..verdict },
        None => Verdict::condition_failed(evaluation),
    }
}

/// A decision, bounded by the rewards the event offers and by what is left of its budget: the same for the server and for
/// a replay.
pub(super) fn judge(decision: &Decision, rewards: &[RewardInfo], budget_amount: Option<i64>) -> Verdict {
    let reasons: Vec<Reason> = decision.reasons.iter().cloned().map(Reason::from).collect();
    let progress = decision.progress.clone();
    let verdict = Verdict {
        status: Status::Rejected,
        reasons,
        progress,
        retry_at: decision.retry_at,
        awards: Vec::new(),
        evaluation: None,
    };
    if !decision.eligible {
        return verdict;
    }
    let awards = match &decision.awards {
        Awards::All => rewards
            .iter()
            .map(|reward| Award {
                reward_id: reward.id.clone(),
                quantity: 1,
            })
            .collect(),
        Awards::Chosen(chosen) => chosen.clone(),
    };
    let gone = awards.iter().any(|award| {
        rewards
            .iter()
            .find(|reward| reward.id == award.reward_id)
            .is_none_or(|reward| reward.max_quantity < award.quantity)
    });
    let refusal = if gone {
        Some(Reason::host(
            SOLD_OUT,
            "You qualify, but a reward of the event is gone.",
        ))
    } else {
        budget::shortfall(&awards, rewards, budget_amount)
    };
    if let Some(refusal) = refusal {
        let reasons = std::iter::once(refusal).chain(verdict.reasons).collect();
        return Verdict { reasons, ..verdict };
    }
    Verdict {
        status: Status::Granted,
        awards,
        retry_at: None,
        ..verdict
    }
}
