//! The decision on a claim: facts, gates of the host, condition, verdict. Nothing here writes.
//!
//! Interactive claims, pending claims and progress all call [`Judge::read`] and [`Judge::judge`]; [`prepare`] is what a
//! backtest calls, too. The condition runs in [`PluginService::evaluate`], as in a simulation. Must not know: who made the claim, and what is stored.

use std::time::Duration;

use tracing::Instrument as _;
use uuid::Uuid;

use super::error::ClaimError;
use super::model::Status;
use super::preparation::{Moment, PeriodSlot, Prepared, Ready, prepare};
use super::receipt::Limits;
use super::review::ReviewOutcome;
use super::store::reviews;
use super::verdict::{BudgetLeft, Evaluation, Verdict};
use crate::clock::{Clock, Timestamp};
use crate::contract::{Context, Decision, Fact};
use crate::db::Db;
use crate::events::{Offer, Purpose};
use crate::facts::{self, FactContext, FactError, Instants, Rejection, Snapshot};
use crate::plugins::{BoundCondition, PluginError, PluginService, PluginState};
use crate::sandbox::Call;

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

    /// The number of grants that the user holds in the period.
    pub(super) fn granted(&self) -> u32 {
        let slots = self
            .snapshot
            .as_ref()
            .map_or(0, |snapshot| snapshot.granted_slots.len());
        u32::try_from(slots).unwrap_or(u32::MAX)
    }

    /// The user's account is disabled, and the question is not about the past.
    pub(super) fn is_disabled(&self) -> bool {
        !self.is_past && self.snapshot.as_ref().is_some_and(|snapshot| snapshot.disabled)
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
    clock: Clock,
    plugins: PluginService,
    /// How long the denial of a review stands.
    denial: Duration,
}

impl Judge {
    pub(super) fn new(db: Db, clock: Clock, plugins: PluginService, denial: Duration) -> Self {
        Self {
            db,
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
        let gathered = facts::gather(&self.db, &context, &condition.plan)
            .instrument(tracing::debug_span!("facts"))
            .await;
        let snapshot = match gathered {
            Ok(snapshot) => Some(snapshot),
            Err(error @ FactError::TooLarge(_)) => {
                tracing::warn!(event.id = %event.id, user.id = %user_id, %error, "a fact is out of range");
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
        let moment = Moment {
            user_id: input.user_id,
            now: input.now,
            purpose,
        };
        match prepare(offer, snapshot, moment) {
            Prepared::AlreadyGranted(slot) => Ok(Judged::AlreadyGranted(slot)),
            Prepared::Held(id) => Ok(Judged::Held(id)),
            Prepared::Refused { slot, granted, verdict } => Ok(Judged::Decided(Decided { slot, granted, verdict })),
            Prepared::Ask(Ready {
                slot,
                granted,
                context,
                budget,
            }) => {
                let verdict = self
                    .run(condition, context, input, &snapshot.facts, budget.as_ref(), purpose)
                    .await?;
                let verdict = self.within_denial(verdict, offer.event.id, input).await?;
                Ok(Judged::Decided(Decided { slot, granted, verdict }))
            }
        }
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
