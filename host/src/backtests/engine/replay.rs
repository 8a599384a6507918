//! The engine itself: the questions about one owner, and their answers by the code of claims and the sandbox.

use std::time::Duration;

use super::flips;
use super::owner::{Claim, Owner, claims_in, prior};
use super::pace::Pace;
use super::tally::Tally;
use super::walk::{Answer, Granted, Question, Walk};
use super::world::World;
use crate::backtests::state::Population;
use crate::backtests::terms::Terms;
use crate::claims::{Evaluation, Moment, Prepared, Ready, Reason, ReviewOutcome, Status, Verdict, prepare, worth};
use crate::clock::Timestamp;
use crate::contract::{Context, Decision, Fact, Query};
use crate::events::{Offer, Purpose};
use crate::facts::kernel::{Cursor, KnownBy, Scope};
use crate::facts::{BudgetUsage, GroupUsage, Snapshot};
use crate::plugins::BoundCondition;
use crate::sandbox::{Call, Failure, Plugin, Sandbox};

/// The most questions about one owner and condition.
pub(super) const MAX_ASKS: u64 = 300_000;
/// After so many failures about one owner, a condition is not asked about them any more: each may cost all its fuel.
const MAX_FAILURES: u64 = 20;
/// How often a run is repeated that failed because of the machine.
const RUNS: u32 = 3;
/// A run waits so often for a free slot of the sandbox.
const WAITS: u32 = 100;
const WAIT: Duration = Duration::from_millis(50);
/// Questions after which other tasks of the process get their turn.
const TURN: u64 = 32;

/// A condition in its event, and what it may see of the others.
pub struct Side {
    pub offer: Offer,
    pub condition: BoundCondition,
    pub plugin: Plugin,
    pub world: World,
    pub pace: Pace,
}

/// Asks both conditions of a backtest.
pub struct Engine {
    pub sandbox: Sandbox,
    pub terms: Terms,
    pub sides: [Side; 2],
}

#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    #[error("the sandbox had no free slot for {0:?}; the shard is replayed again")]
    Overloaded(Duration),
}

/// Why an owner is not in the counts.
pub(super) const TOO_MANY_INSTANTS: &str = "too-many-instants";

impl Engine {
    /// Replays an owner and counts the result.
    pub async fn replay(&self, owner: &Owner, tally: &mut Tally) -> Result<(), EngineError> {
        let Some(baseline) = self.walk(&self.sides[0], owner).await? else {
            tally.coverage.skip(TOO_MANY_INSTANTS);
            return Ok(());
        };
        let Some(candidate) = self.walk(&self.sides[1], owner).await? else {
            tally.coverage.skip(TOO_MANY_INSTANTS);
            return Ok(());
        };
        tally.count(&self.terms, owner, [&baseline, &candidate]);
        flips::count(&self.terms, owner, [&baseline, &candidate], &mut tally.flips);
        Ok(())
    }

    /// The claims of the owner in the period.
    pub fn claims<'a>(&self, owner: &'a Owner) -> impl Iterator<Item = &'a Claim> {
        claims_in(&self.terms, owner)
    }

    /// `None`: there are too many instants at which the answer could change.
    pub(super) async fn walk(&self, side: &Side, owner: &Owner) -> Result<Option<Walk>, EngineError> {
        let scope = Scope {
            event_starts: side.offer.event.start_date,
            zone: &side.offer.zone,
        };
        let mut cursor = Cursor::new(&owner.log, scope, side.condition.plan.queries(), KnownBy::AsOf);
        let mut walk = Walk::default();
        if self.claims(owner).next().is_some() {
            for claim in self.claims(owner) {
                if walk.stopped {
                    break;
                }
                cursor.seek(claim.received_at);
                self.ask(side, owner, &cursor, &mut walk, Some(claim)).await?;
            }
            return Ok(Some(walk));
        }
        if self.terms.population == Population::Claimants {
            return Ok(Some(walk));
        }
        let end = self.terms.to.min(side.offer.event.end_date);
        let start = self.terms.from.max(side.offer.event.start_date).max(owner.registered);
        let mut next = Some(start);
        while let Some(at) = next.filter(|at| *at < end && !walk.stopped) {
            if walk.asks >= MAX_ASKS {
                return Ok(None);
            }
            cursor.seek(at);
            let was_granted = self.ask(side, owner, &cursor, &mut walk, None).await?;
            next = if walk.is_full {
                self.next_slot(side, owner, at)
            } else {
                Self::next_instant(side, &cursor, &walk, was_granted)
            };
        }
        Ok(Some(walk))
    }

    /// When a user who holds all grants of the period may have another one: in the next period, or after a reversal.
    fn next_slot(&self, side: &Side, owner: &Owner, at: Timestamp) -> Option<Timestamp> {
        let reversals = prior(owner, self.terms.from).filter_map(|claim| claim.reversed_at);
        let reversals = reversals.filter(|reversed| *reversed > at);
        reversals.chain(side.offer.next_period_start(at)).min()
    }

    /// The next instant at which the answer could change.
    fn next_instant(side: &Side, cursor: &Cursor<'_>, walk: &Walk, was_granted: bool) -> Option<Timestamp> {
        let at = cursor.as_of();
        let soon = at.plus(Duration::from_millis(1));
        // A user may claim again at once if the period has another slot; otherwise the next answer says so.
        let again = was_granted.then_some(soon);
        let retry = walk.retry_at.filter(|retry| *retry > at);
        let period = side.offer.next_period_start(at);
        let pace = side.pace.next(at, &side.offer.zone);
        let instants = [again, retry, period, pace, cursor.next_change()];
        instants.into_iter().flatten().min()
    }

    /// Asks once; `true`: granted.
    #[expect(clippy::too_many_lines, reason = "one question, from its facts to its entry")]
    async fn ask(
        &self,
        side: &Side,
        owner: &Owner,
        cursor: &Cursor<'_>,
        walk: &mut Walk,
        claim: Option<&Claim>,
    ) -> Result<bool, EngineError> {
        let at = cursor.as_of();
        walk.asks += 1;
        walk.last_ask = Some(at);
        let retry_at = walk.retry_at.take();
        walk.is_full = false;
        if walk.asks.is_multiple_of(TURN) {
            tokio::task::yield_now().await;
        }
        let Ok(mut facts) = cursor.facts() else {
            let verdict = Verdict::condition_failed();
            *walk.failures.entry("fact-out-of-range".to_owned()).or_default() += 1;
            walk.answer(
                Answer::new(at, Status::Failed.as_str(), &verdict.reasons),
                claim.is_some(),
            );
            return Ok(false);
        };
        self.insert_grants(side, owner, walk, at, &mut facts);
        let snapshot = self.snapshot(side, owner, walk, at);
        let purpose = purpose(claim, &snapshot);
        let moment = Moment {
            user_id: owner.id,
            now: at,
            purpose,
        };
        let (ready, facts) = match prepare(&side.offer, &snapshot, moment) {
            Prepared::AlreadyGranted(_) => {
                walk.is_full = true;
                walk.last_question = None;
                let reason = Reason::host(
                    "already-granted",
                    "You already have this event's rewards for this period.",
                );
                walk.answer(Answer::new(at, "ALREADY_GRANTED", &[reason]), claim.is_some());
                return Ok(false);
            }
            Prepared::Held(_) => {
                walk.last_question = None;
                let reason = Reason::host(
                    "claim-held",
                    "Another claim of yours on this event is held for a review.",
                );
                walk.answer(Answer::new(at, Status::Rejected.as_str(), &[reason]), claim.is_some());
                return Ok(false);
            }
            Prepared::Refused { verdict, .. } => {
                walk.last_question = None;
                walk.retry_at = verdict.retry_at;
                let answer = Answer::new(at, verdict.status.as_str(), &verdict.reasons);
                walk.answer(answer, claim.is_some());
                return Ok(false);
            }
            Prepared::Ask(ready) => (ready, facts),
        };
        let question = question(&ready, &facts);
        if claim.is_none() && walk.last_question.as_ref() == Some(&question) && !side.pace.reads_time() {
            walk.equal += 1;
            // The answer still stands, and so does what it says about later.
            walk.retry_at = retry_at;
            return Ok(false);
        }
        walk.last_question = Some(question);
        let Ready {
            slot, context, budget, ..
        } = ready;
        let call = self.run(side, &context, &facts).await?;
        walk.fuel.add(call.fuel);
        if let Err(failure) = &call.outcome {
            let failures = walk.failures.entry(failure.code().to_owned()).or_default();
            *failures += 1;
            walk.stopped = walk.failures.values().sum::<u64>() >= MAX_FAILURES;
        }
        let limits = self.sandbox.limits(&side.plugin);
        let evaluation = Evaluation::of_backtest(context, facts, (call.outcome, call.fuel), limits, budget.as_ref());
        let verdict = Verdict::of_evaluation(evaluation, budget.as_ref());
        walk.retry_at = verdict.retry_at;
        let verdict = reviewed(verdict, claim);
        let is_claimed = claim.is_some();
        walk.answer(Answer::new(at, verdict.status.as_str(), &verdict.reasons), is_claimed);
        match verdict.status {
            Status::Granted => {
                let awards: Vec<_> = verdict
                    .awards
                    .iter()
                    .filter_map(|award| Some((award.reward_id.parse().ok()?, award.quantity)))
                    .collect();
                walk.grants.push(Granted {
                    at,
                    period: slot.period,
                    slot: slot.slot,
                    value: self.value_of(&awards),
                    awards,
                    // The same claim was granted, and the grant was taken back later.
                    reversed_at: claim.and_then(|claim| claim.reversed_at),
                    claimed: is_claimed,
                });
                walk.last_question = None;
                Ok(true)
            }
            Status::Held => {
                walk.held.push((at, slot.period, slot.slot));
                Ok(false)
            }
            _ => Ok(false),
        }
    }

    fn value_of(&self, awards: &[(uuid::Uuid, u32)]) -> i64 {
        let value = |id| {
            let mut rewards = self.terms.rewards.iter();
            rewards.find(|reward| reward.id == id).and_then(|reward| reward.value)
        };
        let values = awards.iter().map(|(id, quantity)| worth(value(*id), *quantity));
        values.fold(0, i64::saturating_add)
    }

    /// The kernel's log has no grants: those of the replay count.
    fn insert_grants(&self, side: &Side, owner: &Owner, walk: &Walk, at: Timestamp, facts: &mut [Fact]) {
        for (query, fact) in side.condition.plan.queries().iter().zip(facts) {
            if matches!(query, Query::Grants) {
                let standing = walk.standing(owner, self.terms.from, at);
                *fact = Fact::Integer(i64::try_from(standing).unwrap_or(i64::MAX));
            }
        }
    }

    /// What a claim would have read besides the facts.
    fn snapshot(&self, side: &Side, owner: &Owner, walk: &Walk, at: Timestamp) -> Snapshot {
        let (event, from) = (&side.offer.event, self.terms.from);
        let place = (at, owner.id);
        let period = side.offer.period(at);
        let granted_slots = walk.slots(owner, from, &period, at).collect();
        let budget_usage: Option<BudgetUsage> = event
            .budget
            .map(|budget| side.world.budget_at(&budget.period.key(at, &side.offer.zone), place));
        let group = self.terms.group.as_ref().map(|group| {
            let others = owner.group.iter();
            let others = others
                .filter(|(granted, reversed)| *granted <= at && reversed.is_none_or(|reversed| reversed > at))
                .count();
            let own = walk.standing(owner, from, at) + walk.held.len();
            // Which numbers are taken does not matter, only how many.
            let taken = u32::try_from(others + own).unwrap_or(u32::MAX);
            GroupUsage {
                max: group.max_per_user,
                slots: (1..=taken.min(group.max_per_user)).collect(),
            }
        });
        let held = walk.held.first();
        Snapshot {
            facts: Vec::new(),
            registered: owner.registered,
            disabled: false,
            period,
            granted_slots,
            last_reversal: None,
            held_claim: held.map(|_| owner.id),
            newest_rejection: None,
            stock: side.world.stock_at(place),
            budget_usage,
            group,
        }
    }

    /// Runs the condition. What depends on the machine is tried again.
    pub(super) async fn run(
        &self,
        side: &Side,
        context: &Context,
        facts: &[Fact],
    ) -> Result<Call<Decision>, EngineError> {
        let (mut runs, mut waits) = (0, 0);
        loop {
            let call = self
                .sandbox
                .evaluate(&side.plugin, context, &side.condition.state, facts)
                .await;
            match &call.outcome {
                Err(Failure::Overloaded) if waits < WAITS => {
                    waits += 1;
                    tokio::time::sleep(WAIT).await;
                }
                Err(Failure::Overloaded) => return Err(EngineError::Overloaded(WAIT * WAITS)),
                Err(failure) if !failure.is_deterministic() && runs < RUNS => runs += 1,
                _ => return Ok(call),
            }
        }
    }
}

/// The draw of a claim that was really made is known, so it is repeated. A draw that was never made must not be revealed.
fn purpose(claim: Option<&Claim>, snapshot: &Snapshot) -> Purpose {
    let was_made = claim.is_some_and(|claim| claim.period == snapshot.period && claim.slot == snapshot.free_slot());
    if was_made { Purpose::Claim } else { Purpose::Backtest }
}

fn question(ready: &Ready, facts: &[Fact]) -> Question {
    let rewards = &ready.context.rewards;
    Question {
        facts: facts.to_vec(),
        seed: ready.context.seed,
        max_quantities: rewards.iter().map(|reward| reward.max_quantity).collect(),
        budget_amount: ready.budget.as_ref().and_then(|budget| budget.amount_for(rewards)),
    }
}

/// A claim that was really held was reviewed: the same review decides again.
fn reviewed(verdict: Verdict, claim: Option<&Claim>) -> Verdict {
    let review = claim.and_then(|claim| claim.review);
    match review.filter(|_| verdict.status == Status::Held) {
        Some(ReviewOutcome::Approved) => verdict.approved(),
        Some(ReviewOutcome::Denied | ReviewOutcome::Expired) => Verdict {
            status: Status::Rejected,
            ..verdict
        },
        None => verdict,
    }
}
