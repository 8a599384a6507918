//! The decision on a claim: facts, gates of the host, condition, verdict. Nothing here writes.
//!
//! Interactive claims, pending claims and progress all call [`Judge::read`] and [`Judge::judge`]; the condition
//! runs in [`PluginService::evaluate`], as in a simulation. Must not know: who made the claim, and what is stored.

use std::time::Duration;

use tracing::Instrument as _;
use uuid::Uuid;

use super::error::ClaimError;
use super::model::{Reason, Status};
use super::receipt::Limits;
use super::review::ReviewOutcome;
use super::store::reviews;
use super::verdict::{BUDGET_SPENT, BudgetLeft, Evaluation, SOLD_OUT, Verdict};
use crate::clock::{Clock, Timestamp};
use crate::contract::{Context, Decision, EventInfo, Fact, RewardInfo, UserInfo};
use crate::db::Db;
use crate::events::{Offer, Purpose};
use crate::facts::{FactContext, FactError, FactReader, GroupUsage, Instants, Rejection, Snapshot};
use crate::plugins::{BoundCondition, PluginError, PluginService, PluginState};
use crate::rewards::Reward;
use crate::sandbox::Call;

/// A period of the event's recurrence and the user's grant in it, from 1: the unique key of a grant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PeriodSlot {
    pub period: String,
    pub slot: u32,
    /// When a grant of the user was last reversed. The grant of this slot comes after it, whatever the clocks say.
    pub last_reversal: Option<Timestamp>,
    /// The event's group, and the number of the user's grant in it: the unique key of the group's limit.
    pub group: Option<(String, u32)>,
}

/// The input of a decision, besides the offer and the condition.
pub(super) struct DecisionInput {
    user_id: Uuid,
    now: Timestamp,
    /// When the read of the facts began, or by when what they count was recorded.
    known_by: Timestamp,
    /// The question is about the past. What is known only as it is now does not count: limits for all users, reviews, and
    /// whether the account is disabled.
    is_past: bool,
    /// `None`: a fact is out of the range that a condition can be given.
    snapshot: Option<Snapshot>,
}

impl DecisionInput {
    /// The user's claim on the event that is held for a review.
    pub(super) fn held_claim(&self) -> Option<Uuid> {
        self.snapshot.as_ref()?.held_claim
    }

    /// The user's newest rejection, if it says this.
    pub(super) fn rejection_that_says(&self, said: Option<&str>) -> Option<&Rejection> {
        let newest = self.snapshot.as_ref()?.newest_rejection.as_ref();
        newest.filter(|rejection| said == Some(&rejection.said))
    }
}

/// The result of [`Judge::judge`].
#[expect(clippy::large_enum_variant, reason = "one per claim, and destructured immediately")]
pub(super) enum Judged {
    Decided(Decided),
    /// The user holds all grants of the slot's period. Only for [`Purpose::Claim`].
    AlreadyGranted(PeriodSlot),
    /// This claim of the user on the event is held for a review. Only for [`Purpose::Claim`].
    Held(Uuid),
    /// The user's account is disabled.
    Disabled,
}

pub(super) struct Decided {
    pub slot: PeriodSlot,
    /// Grants that the user holds in the period.
    pub granted: u32,
    pub verdict: Verdict,
}

/// Cheap to clone.
#[derive(Clone)]
pub(super) struct Judge {
    db: Db,
    facts: FactReader,
    clock: Clock,
    plugins: PluginService,
    /// How long the denial of a review stands.
    denial: Duration,
}

impl Judge {
    pub(super) fn new(
        (db, facts): (Db, FactReader),
        clock: Clock,
        plugins: PluginService,
        denial: Duration,
    ) -> Self {
        Self {
            db,
            facts,
            clock,
            plugins,
            denial,
        }
    }

    /// Reads everything that a decision by `condition` needs about the user as of an instant, in one round trip.
    pub(super) async fn read(
        &self,
        user_id: Uuid,
        offer: &Offer,
        condition: &BoundCondition,
        instants: Instants,
    ) -> Result<DecisionInput, ClaimError> {
        let event = &offer.event;
        let is_past = instants.known_by.is_some();
        let context = FactContext {
            user_id,
            event_id: event.id,
            event_starts: event.start_date,
            zone: &offer.zone,
            period: event.recurrence.period,
            budget: event.budget.filter(|_| !is_past).map(|budget| budget.period),
            group: event.group.as_deref().filter(|_| !is_past),
            instants,
        };
        let known_by = instants.known_by.unwrap_or_else(|| self.clock.now());
        let gathered = self
            .facts
            .gather(&context, &condition.plan)
            .instrument(tracing::debug_span!("facts"))
            .await;
        let snapshot = match gathered {
            Ok(snapshot) => Some(snapshot),
            Err(error @ (FactError::TooLarge(_) | FactError::Overflow)) => {
                tracing::warn!(event.id = %event.id, user.id = %user_id, %error, "a fact is out of range");
                None
            }
            // An event in use asks about nothing that is compacted, unless its claim waited for weeks.
            Err(error @ FactError::Compacted(_)) if !is_past => {
                tracing::warn!(event.id = %event.id, user.id = %user_id, %error, "a fact is compacted");
                None
            }
            Err(error) => return Err(error.into()),
        };
        Ok(DecisionInput {
            user_id,
            now: instants.as_of,
            known_by,
            is_past,
            snapshot,
        })
    }

    /// Decides what the user gets. Changes nothing but the run counters of the plugin.
    pub(super) async fn judge(
        &self,
        input: &DecisionInput,
        offer: &Offer,
        condition: &BoundCondition,
        purpose: Purpose,
    ) -> Result<Judged, ClaimError> {
        let Some(snapshot) = &input.snapshot else {
            return Ok(Judged::Decided(Decided {
                slot: PeriodSlot::first(offer, input.now),
                granted: 0,
                verdict: Verdict::condition_failed(),
            }));
        };
        if snapshot.disabled && !input.is_past {
            return Ok(Judged::Disabled);
        }
        let granted = u32::try_from(snapshot.granted_slots.len()).unwrap_or(u32::MAX);
        let slot = PeriodSlot {
            period: snapshot.period.clone(),
            slot: snapshot.free_slot(),
            last_reversal: snapshot.last_reversal,
            group: offer
                .event
                .group
                .clone()
                .zip(snapshot.group.as_ref().map(GroupUsage::free_slot)),
        };
        if matches!(purpose, Purpose::Claim) && granted >= offer.event.recurrence.count {
            return Ok(Judged::AlreadyGranted(slot));
        }
        if let (Purpose::Claim, Some(id)) = (purpose, snapshot.held_claim) {
            return Ok(Judged::Held(id));
        }
        let budget = BudgetLeft::of(offer, snapshot.budget_usage, input.now);
        let verdict = if let Some(verdict) = gate(offer, snapshot, budget.as_ref(), input.now) {
            verdict
        } else {
            let seed = seed(offer, input.user_id, &slot, purpose);
            let context = context(offer, input.user_id, snapshot, input.now, seed);
            let verdict = self
                .run(condition, context, input, &snapshot.facts, budget.as_ref(), purpose)
                .await?;
            self.within_denial(verdict, offer.event.id, input).await?
        };
        Ok(Judged::Decided(Decided { slot, granted, verdict }))
    }

    /// A claim that the condition holds soon after a review denied one: people review it once, however often the user
    /// claims.
    async fn within_denial(
        &self,
        verdict: Verdict,
        event_id: Uuid,
        input: &DecisionInput,
    ) -> Result<Verdict, ClaimError> {
        if verdict.status != Status::Held || input.is_past {
            return Ok(verdict);
        }
        let denial = reviews::newest(&self.db, input.user_id, event_id).await?;
        let Some(denial) = denial.filter(|review| review.outcome == ReviewOutcome::Denied) else {
            return Ok(verdict);
        };
        let until = denial.reviewed_at.plus(self.denial);
        Ok(if input.now < until {
            verdict.denied_before(denial, until)
        } else {
            verdict
        })
    }

    /// Runs the condition, if its plugin may run.
    async fn run(
        &self,
        condition: &BoundCondition,
        context: Context,
        input: &DecisionInput,
        facts: &[Fact],
        budget: Option<&BudgetLeft>,
        purpose: Purpose,
    ) -> Result<Verdict, ClaimError> {
        let digest = condition.digest;
        let status = self.plugins.status(digest).await?;
        match status.state {
            PluginState::Active => {}
            PluginState::Disabled => return Ok(Verdict::plugin_disabled()),
            PluginState::Quarantined => return Ok(Verdict::plugin_quarantined()),
        }
        let span = tracing::debug_span!("evaluate", plugin.digest = %digest);
        let evaluated = self.plugins.evaluate(condition, &context, facts).instrument(span).await;
        let (call, limits) = match evaluated {
            Ok(evaluated) => evaluated,
            Err(error @ PluginError::Db(_)) => return Err(error.into()),
            Err(error) => {
                tracing::error!(plugin.digest = %digest, %error, "plugin cannot be loaded");
                return Ok(Verdict::condition_failed());
            }
        };
        measure(condition, &context, &call);
        // A user can ask for their progress any number of times, so only claims count for or against the plugin.
        if matches!(purpose, Purpose::Claim) {
            let failure = call.outcome.as_ref().err();
            self.plugins.record_run(digest, &status, input.user_id, failure).await;
        }
        let evaluation = Evaluation {
            budget_amount: budget.and_then(|budget| budget.amount_for(&context.rewards)),
            context,
            known_by: input.known_by,
            facts: facts.to_vec(),
            limits: Limits::from(&limits),
            outcome: call.outcome,
            fuel: call.fuel,
            signer: status.signer.clone(),
        };
        Ok(Verdict::of_evaluation(evaluation, budget))
    }
}

fn measure(condition: &BoundCondition, context: &Context, call: &Call<Decision>) {
    let label = condition.label();
    metrics::histogram!("meed_evaluation_seconds", "plugin" => label.clone()).record(call.elapsed.as_secs_f64());
    #[expect(clippy::cast_precision_loss, reason = "fuel is far below 2^52")]
    metrics::histogram!("meed_evaluation_fuel", "plugin" => label.clone()).record(call.fuel as f64);
    let Err(failure) = &call.outcome else { return };
    let code = failure.code();
    if failure.is_plugin_fault() {
        metrics::counter!("meed_evaluation_failures_total", "plugin" => label, "failure" => code).increment(1);
    }
    tracing::warn!(
        plugin.digest = %condition.digest,
        event.id = context.event.id,
        failure.code = code,
        %failure,
        fuel = call.fuel,
        "condition failed"
    );
}

impl PeriodSlot {
    /// The first slot of the period that contains `at`: for claims that no grant can result from.
    pub(super) fn first(offer: &Offer, at: Timestamp) -> Self {
        Self {
            period: offer.period(at),
            slot: 1,
            last_reversal: None,
            group: None,
        }
    }
}

/// The gates that need no evaluation, in the order in which a user can do something about them.
fn gate(offer: &Offer, snapshot: &Snapshot, budget: Option<&BudgetLeft>, now: Timestamp) -> Option<Verdict> {
    let event = &offer.event;
    if now >= event.end_date {
        let message = format!("The event ended at {}.", event.end_date);
        let reason = Reason::host("event-ended", message).arg("endedAt", event.end_date);
        return Some(Verdict::by_host(Status::Rejected, reason, None));
    }
    if !event.is_active {
        return Some(Verdict::rejected("event-inactive", "The event is not active."));
    }
    if now < event.start_date {
        let message = format!("The event starts at {}.", event.start_date);
        let reason = Reason::host("event-not-started", message).arg("startsAt", event.start_date);
        return Some(Verdict::by_host(Status::Rejected, reason, Some(event.start_date)));
    }
    if let (Some(group), Some(usage)) = (&event.group, &snapshot.group)
        && usage.is_used_up()
    {
        let message = format!(
            "You have the maximum number of grants of this group of events: {}.",
            usage.max
        );
        let reason = Reason::host("group-limit-reached", message);
        return Some(Verdict::by_host(
            Status::Rejected,
            reason.arg("group", group).arg("limit", usage.max),
            None,
        ));
    }
    let is_sold_out = |reward_id| snapshot.stock.get(reward_id) == Some(&0);
    if offer.rewards.iter().all(|reward| is_sold_out(&reward.id)) {
        return Some(Verdict::rejected(SOLD_OUT, "All rewards of the event are sold out."));
    }
    let budget = budget.filter(|budget| budget.is_spent(offer))?;
    let reason = Reason::host(BUDGET_SPENT, "The event's budget is spent.");
    Some(Verdict::by_host(Status::Rejected, reason, budget.renews_at))
}

/// A draw must not depend on anything that a user can retry.
fn seed(offer: &Offer, user_id: Uuid, slot: &PeriodSlot, purpose: Purpose) -> [u8; 32] {
    let event = &offer.event;
    event.secret.seed(event.id, user_id, &slot.period, slot.slot, purpose)
}

/// Everything that the condition may depend on besides the facts.
fn context(offer: &Offer, user_id: Uuid, snapshot: &Snapshot, now: Timestamp, seed: [u8; 32]) -> Context {
    let event = &offer.event;
    let reward_info = |reward: &Reward| {
        let left = snapshot.stock.get(&reward.id);
        let left = left.map_or(u32::MAX, |left| u32::try_from(*left).unwrap_or(0));
        RewardInfo {
            id: reward.id.to_string(),
            kind: reward.type_.clone(),
            value: reward.value,
            max_quantity: event.max_quantity.min(left),
        }
    };
    Context {
        now,
        local: offer.zone.local(now),
        offsets: offer.zone.offsets(now),
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
        rewards: offer.rewards.iter().map(reward_info).collect(),
        seed,
    }
}
