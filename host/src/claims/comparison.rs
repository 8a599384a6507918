//! Claims on an event that tries a candidate: after the answer, the condition that did not decide is run on the same input.
//!
//! Runs wait in memory, within a bound, and no claim waits for them. What is lost with the process, or dropped because too
//! many wait, is only missing in the statistics of the release. Must not know: what the statistics are used for.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::FutureExt as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tracing::Instrument as _;

use super::decision::{Judge, Run};
use super::model::{RewardRequest, Status};
use super::trial::Tried;
use super::verdict::{Verdict, worth};
use crate::contract::{Award, RewardInfo};
use crate::events::Arm;
use crate::sandbox::Failure;
use crate::trials::{Decision, Observation, TrialService};

/// Claims that wait for their comparison; at some kilobytes each.
const WAITING: usize = 1024;
/// Comparisons at the same time, so that they leave the slots of the sandbox to claims.
const RUNNING: usize = 1;

/// Cheap to clone.
#[derive(Clone)]
pub(super) struct TrialObserver {
    judge: Judge,
    trials: TrialService,
    waiting: Arc<Semaphore>,
    running: Arc<Semaphore>,
}

impl TrialObserver {
    pub(super) fn new(judge: Judge, trials: TrialService) -> Self {
        Self {
            judge,
            trials,
            waiting: Arc::new(Semaphore::new(WAITING)),
            running: Arc::new(Semaphore::new(RUNNING)),
        }
    }

    /// To be called once for each claim that a condition decided, after its commit.
    pub(super) fn observe(&self, tried: Tried, request: &RewardRequest) {
        let Ok(permit) = Arc::clone(&self.waiting).try_acquire_owned() else {
            self.trials.drop_one(&tried.trial);
            return;
        };
        let decided = Decided::of(&tried, request);
        let comparing = AssertUnwindSafe(self.clone().compare(tried, decided, permit)).catch_unwind();
        let comparing = async move {
            if comparing.await.is_err() {
                tracing::error!("the comparison of two conditions panicked");
            }
        };
        tokio::spawn(comparing.in_current_span());
    }

    /// Resolves when no comparison waits or runs.
    pub(super) async fn idle(&self) {
        let all = u32::try_from(WAITING).unwrap_or(u32::MAX);
        drop(self.waiting.acquire_many(all).await);
    }

    async fn compare(self, tried: Tried, decided: Decided, _waits: OwnedSemaphorePermit) {
        let mut observation = Observation {
            trial: Arc::clone(&tried.trial),
            user_id: decided.user_id,
            request_id: decided.request_id,
            arm: tried.arm,
            stable: None,
            candidate: None,
        };
        let other = match tried.other() {
            None => None,
            Some(arm) => {
                let Ok(_runs) = self.running.acquire().await else {
                    return;
                };
                match self.run(&tried, arm, &decided).await {
                    Ok(verdict) => Some(seen(&verdict, &tried.context.rewards)),
                    Err(error) => {
                        tracing::warn!(release.id = %tried.trial.candidate.release_id, %error, "a candidate cannot be compared");
                        self.trials.drop_one(&tried.trial);
                        return;
                    }
                }
            }
        };
        let failure = tried
            .failure
            .as_ref()
            .map(|verdict| seen(verdict, &tried.context.rewards));
        match (tried.arm, failure) {
            (Arm::Stable, _) => {
                observation.stable = Some(decided.decision);
                observation.candidate = other;
            }
            (Arm::Candidate, Some(failure)) => {
                observation.stable = Some(decided.decision);
                observation.candidate = Some(failure);
            }
            (Arm::Candidate, None) => {
                observation.candidate = Some(decided.decision);
                observation.stable = other;
            }
        }
        self.trials.observe(&observation);
    }

    async fn run(&self, tried: &Tried, arm: Arm, decided: &Decided) -> Result<Verdict, super::error::ClaimError> {
        let facts = match arm {
            Arm::Stable => Some(&tried.stable_facts),
            Arm::Candidate => tried.candidate_facts.as_ref(),
        };
        let Some(facts) = facts else {
            return Ok(Verdict::condition_failed());
        };
        let run = Run {
            condition: tried.trial.condition(arm),
            arm,
            user_id: decided.user_id,
            known_by: tried.known_by,
            facts,
            budget: tried.budget.as_ref(),
            counts: false,
        };
        self.judge.run(run, tried.context.clone()).await
    }
}

/// What a claim was told.
struct Decided {
    user_id: uuid::Uuid,
    request_id: uuid::Uuid,
    decision: Decision,
}

impl Decided {
    fn of(tried: &Tried, request: &RewardRequest) -> Self {
        let awards = request.grants.iter().map(|grant| Award {
            reward_id: grant.reward_id.to_string(),
            quantity: grant.quantity,
        });
        let awards: Vec<Award> = awards.collect();
        Self {
            user_id: request.user_id,
            request_id: request.id,
            decision: Decision {
                status: status(request.status),
                reasons: serde_json::json!(request.reasons),
                reason_codes: request.reasons.iter().map(|reason| reason.code.clone()).collect(),
                value: value(&awards, &tried.context.rewards),
                awards: sorted(awards),
                failure: (request.status == Status::Failed).then(|| {
                    request
                        .reasons
                        .first()
                        .map(|reason| reason.code.clone())
                        .unwrap_or_default()
                }),
                fuel: tried.fuel,
            },
        }
    }
}

/// A verdict as it would have been told.
fn seen(verdict: &Verdict, rewards: &[RewardInfo]) -> Decision {
    let run = verdict.evaluation.as_ref();
    let failure = (verdict.status == Status::Failed).then(|| {
        let code = run.and_then(|run| run.outcome.as_ref().err()).map(Failure::code);
        let said = verdict.reasons.first().map(|reason| reason.code.as_str());
        code.or(said).unwrap_or_default().to_owned()
    });
    Decision {
        status: status(verdict.status),
        reasons: serde_json::json!(verdict.reasons),
        reason_codes: verdict.reasons.iter().map(|reason| reason.code.clone()).collect(),
        value: value(&verdict.awards, rewards),
        awards: sorted(verdict.awards.clone()),
        failure,
        fuel: run.map(|run| (run.fuel, run.limits.evaluate_fuel)),
    }
}

fn status(status: Status) -> crate::trials::Status {
    match status {
        Status::Granted => crate::trials::Status::Granted,
        Status::Held => crate::trials::Status::Held,
        Status::Failed => crate::trials::Status::Failed,
        Status::Rejected | Status::Received | Status::Reversed => crate::trials::Status::Rejected,
    }
}

fn sorted(mut awards: Vec<Award>) -> Vec<Award> {
    awards.sort_by(|one, other| one.reward_id.cmp(&other.reward_id));
    awards
}

fn value(awards: &[Award], rewards: &[RewardInfo]) -> i64 {
    let value_of = |award: &Award| rewards.iter().find(|reward| reward.id == award.reward_id)?.value;
    awards
        .iter()
        .map(|award| worth(value_of(award), award.quantity))
        .fold(0, i64::saturating_add)
}
