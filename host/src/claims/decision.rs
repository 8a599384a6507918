//! The decision on a claim: facts, gates of the host, condition, verdict. Nothing here writes.
//!
//! Interactive claims, pending claims and progress all call [`Judge::read`] and [`Judge::judge`]; [`prepare`] is what a
//! backtest calls, too. The condition runs in [`PluginService::evaluate`], as in a simulation. Must not know: who made the claim, and what is stored.

use std::sync::Arc;
use std::time::Duration;

use tracing::Instrument as _;
use uuid::Uuid;

use super::error::ClaimError;
use super::model::Status;
use super::preparation::{Moment, PeriodSlot, Prepared, Ready, prepare};
use super::receipt::Limits;
use super::review::ReviewOutcome;
use super::store::reviews;
use super::trial::Tried;
use super::verdict::{BudgetLeft, Evaluation, Verdict};
use crate::clock::{Clock, Timestamp};
use crate::contract::{Context, Decision, Fact};
use crate::db::{Db, DbError};
use crate::events::{Arm, Offer, Purpose};
use crate::facts::{FactContext, FactError, FactReader, Instants, Plan, Rejection, Snapshot};
use crate::plugins::{BoundCondition, PluginError, PluginService, PluginState};
use crate::sandbox::Call;

/// The input of a decision, besides the offer and the condition.
pub(super) struct DecisionInput {
    pub(super) user_id: Uuid,
    pub(super) now: Timestamp,
    /// When the read of the facts began, or by when what they count was recorded.
    pub(super) known_by: Timestamp,
    /// The question is about the past. What is known only as it is now does not count: limits for all users, reviews, and
    /// whether the account is disabled.
    pub(super) is_past: bool,
    /// `None`: a fact is out of the range that a condition can be given.
    pub(super) snapshot: Option<Snapshot>,
    /// The facts of the event's candidate, if it has one and they could be read.
    pub(super) candidate_facts: Option<Vec<Fact>>,
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
    /// If the event has a candidate, and a condition decided the claim. Only for [`Purpose::Claim`].
    pub tried: Option<Tried>,
}

/// One run of a condition.
#[derive(Clone, Copy)]
pub(super) struct Run<'a> {
    pub condition: &'a BoundCondition,
    pub arm: Arm,
    pub user_id: Uuid,
    pub known_by: Timestamp,
    pub facts: &'a [Fact],
    pub budget: Option<&'a BudgetLeft>,
    /// It counts as a run of the plugin, and for or against it.
    pub counts: bool,
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
    pub(super) fn new((db, facts): (Db, FactReader), clock: Clock, plugins: PluginService, denial: Duration) -> Self {
        Self {
            db,
            facts,
            clock,
            plugins,
            denial,
        }
    }

    /// Reads everything that a decision needs about the user as of an instant, in one round trip: for the condition of the
    /// event and for its candidate. What only the candidate asks for never fails the read.
    pub(super) async fn read(
        &self,
        user_id: Uuid,
        offer: &Offer,
        instants: Instants,
    ) -> Result<DecisionInput, ClaimError> {
        let plan = &offer.event.condition.plan;
        let Some(trial) = &offer.trial else {
            return self.read_plan(user_id, offer, plan, instants).await;
        };
        match self.read_plan(user_id, offer, trial.joint.plan(), instants).await {
            Ok(mut input) if input.snapshot.is_some() => {
                if let Some(snapshot) = &mut input.snapshot {
                    let (stable, candidate) = trial.joint.split(std::mem::take(&mut snapshot.facts));
                    snapshot.facts = stable;
                    input.candidate_facts = Some(candidate);
                }
                Ok(input)
            }
            // Perhaps a fact of the candidate is out of range, or takes too long.
            Ok(_) => self.read_plan(user_id, offer, plan, instants).await,
            Err(error) if error.database_error().is_some_and(DbError::is_statement_timeout) => {
                tracing::warn!(event.id = %offer.event.id, user.id = %user_id, %error, "facts are read without the candidate");
                self.read_plan(user_id, offer, plan, instants).await
            }
            Err(error) => Err(error),
        }
    }

    pub(super) async fn read_plan(
        &self,
        user_id: Uuid,
        offer: &Offer,
        plan: &Plan,
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
            .gather(&context, plan)
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
            candidate_facts: None,
        })
    }

    /// Decides what the user gets, by the condition that decides for the user: the event's own or, in a canary, its candidate.
    /// Changes nothing but the run counters of the plugin.
    pub(super) async fn judge(
        &self,
        input: &DecisionInput,
        offer: &Offer,
        purpose: Purpose,
    ) -> Result<Judged, ClaimError> {
        let Some(snapshot) = &input.snapshot else {
            return Ok(Judged::Decided(Decided {
                slot: PeriodSlot::first(offer, input.now),
                granted: 0,
                verdict: Verdict::condition_failed(),
                tried: None,
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
            Prepared::Refused { slot, granted, verdict } => Ok(Judged::Decided(Decided {
                slot,
                granted,
                verdict,
                tried: None,
            })),
            Prepared::Ask(Ready {
                slot,
                granted,
                context,
                budget,
            }) => {
                let run = Run {
                    condition: &offer.event.condition,
                    arm: Arm::Stable,
                    user_id: input.user_id,
                    known_by: input.known_by,
                    facts: &snapshot.facts,
                    budget: budget.as_ref(),
                    // A user can ask for their progress any number of times, so only claims count for or against the plugin.
                    counts: matches!(purpose, Purpose::Claim),
                };
                let (verdict, tried) = self.run_offered(run, offer, input, context).await?;
                let verdict = self.within_denial(verdict, offer.event.id, input).await?;
                Ok(Judged::Decided(Decided {
                    slot,
                    granted,
                    verdict,
                    tried,
                }))
            }
        }
    }

    /// Runs the condition that decides for the user. A candidate that fails leaves the decision to the event's condition.
    async fn run_offered(
        &self,
        stable: Run<'_>,
        offer: &Offer,
        input: &DecisionInput,
        context: Context,
    ) -> Result<(Verdict, Option<Tried>), ClaimError> {
        let Some(trial) = &offer.trial else {
            return Ok((self.run(stable, context).await?, None));
        };
        let arm = offer.arm(stable.user_id);
        let tried = |fuel, failure, context: &Context| {
            stable.counts.then(|| Tried {
                trial: Arc::clone(trial),
                arm,
                fuel,
                failure,
                context: context.clone(),
                known_by: input.known_by,
                stable_facts: stable.facts.to_vec(),
                candidate_facts: input.candidate_facts.clone(),
                budget: stable.budget.copied(),
            })
        };
        let mut failure = None;
        if arm == Arm::Candidate {
            let verdict = match &input.candidate_facts {
                Some(facts) => {
                    let run = Run {
                        condition: trial.condition(arm),
                        arm,
                        facts,
                        ..stable
                    };
                    self.run(run, context.clone()).await?
                }
                None => Verdict::condition_failed(),
            };
            if verdict.status != Status::Failed {
                let evaluation = verdict.evaluation.as_ref();
                let fuel = evaluation.map(|evaluation| (evaluation.fuel, evaluation.limits.evaluate_fuel));
                let tried = tried(fuel, None, &context);
                return Ok((verdict, tried));
            }
            failure = Some(verdict);
        }
        let tried = tried(None, failure, &context);
        let verdict = self.run(stable, context).await?;
        Ok((verdict, tried))
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
    pub(super) async fn run(&self, run: Run<'_>, context: Context) -> Result<Verdict, ClaimError> {
        let Run {
            condition,
            facts,
            budget,
            ..
        } = run;
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
        let failure = call.outcome.as_ref().err();
        // The guard of a release judges the failures of its candidate: the quarantine would stop the condition of the event
        // too, if both are the same plugin with other params.
        if run.counts && (run.arm == Arm::Stable || failure.is_none()) {
            self.plugins.record_run(digest, &status, run.user_id, failure).await;
        }
        let evaluation = Evaluation {
            budget_amount: budget.and_then(|budget| budget.amount_for(&context.rewards)),
            context,
            decided_by: run.arm,
            known_by: run.known_by,
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
