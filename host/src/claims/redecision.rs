//! Old claims, decided again for a make-good: the event's condition of now is asked as of the arrival of a claim, with what
//! is known by a later instant. What it grants is committed like any claim, what it refuses is reversed like any grant.
//!
//! The proposal and its application ask in the same way, so the receipt shows what was approved. A run counts neither for
//! nor against the plugin. Must not know: who proposes, and who approves.

use std::collections::BTreeSet;

use serde_json::Value;
use uuid::Uuid;

use super::decision::{DecisionInput, Run};
use super::error::ClaimError;
use super::model::{ClaimInput, MadeGood, Reason, Source, Status};
use super::preparation::{Moment, PeriodSlot, Prepared, Ready, prepare};
use super::reversal::TakeBack;
use super::service::Claims;
use super::store::{self, CommitOutcome, redecision};
use super::verdict::Verdict;
use crate::backoff;
use crate::clock::Timestamp;
use crate::contract::{Award, Fact, Query};
use crate::db::DbError;
use crate::events::{Arm, EventError, Offer, Purpose};
use crate::facts::{FactError, Instants, Plan};
use crate::sandbox::Digest;

/// Attempts to commit one claim. Each lost one means that another transaction was first.
const ATTEMPTS: u32 = 8;
/// Attempts to get a sandbox slot.
const SLOT_ATTEMPTS: u32 = 60;
/// The condition cannot be asked about the claim any more.
const UNKNOWABLE: &str = "facts-unknown";
/// The condition decides otherwise than when it was proposed.
const OTHERWISE: &str = "decided-otherwise";

/// A stored claim.
#[derive(Clone, Debug)]
pub struct OldClaim {
    pub id: Uuid,
    pub user_id: Uuid,
    pub period: String,
    pub slot: u32,
    pub reasons: Vec<Reason>,
    pub received_at: Timestamp,
}

impl OldClaim {
    /// The condition refused it, or a fault of the server did. A claim that the host refused, for example because a reward
    /// was sold out, or that a review denied, was not refused by a wrong rule.
    pub fn was_refused_by_the_rule(&self, status: Status) -> bool {
        let first = self.reasons.first();
        status == Status::Failed || first.is_none_or(|reason| reason.source == Source::Condition)
    }
}

/// What a make-good changes about the slots of a period: those that it takes, and those that it frees.
#[derive(Clone, Debug, Default)]
pub struct Slots {
    pub taken: Vec<u32>,
    pub freed: Vec<u32>,
}

/// What the condition of now says about an old claim.
#[derive(Clone, Debug)]
pub enum Again {
    /// It is granted, as this grant of its period.
    Granted { slot: u32, awards: Vec<Award> },
    /// The condition refuses it.
    Refused(Vec<Reason>),
    /// Neither, for this reason: a code.
    Open(String),
}

/// One claim of an approved make-good.
#[derive(Clone, Debug)]
pub struct Ordered<'a> {
    pub make_good_id: Uuid,
    /// Of the request or the reversal that it becomes.
    pub id: Uuid,
    pub event_id: Uuid,
    pub user_id: Uuid,
    /// The old claim.
    pub request_id: Uuid,
    pub received_at: Timestamp,
    pub known_by: Timestamp,
    pub awards: &'a [Award],
    pub condition: (Digest, &'a Value),
}

/// How one claim of a make-good ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Applied {
    Done,
    /// Nothing was changed, for this reason: a code.
    Skipped(String),
    /// The event is not as it was approved, so nothing more can be applied.
    Stopped(&'static str),
}

/// A decision, before it is known whether it fits.
enum Decided {
    /// The host does not ask the condition, for this reason.
    Not(&'static str),
    Verdict {
        slot: PeriodSlot,
        granted: u32,
        verdict: Box<Verdict>,
    },
}

impl Claims {
    /// The claims of an event with this status after one id and before another, in the order of their arrival.
    pub async fn old_claims(
        &self,
        event_id: Uuid,
        status: Status,
        ids: (Uuid, Uuid),
        limit: i64,
    ) -> Result<Vec<OldClaim>, DbError> {
        let rows = redecision::page(&self.processor.db, event_id, status, ids, limit).await?;
        let claim = |row: redecision::OldClaimRow| OldClaim {
            id: row.id,
            user_id: row.user_id,
            period: row.period,
            slot: u32::try_from(row.slot).unwrap_or(u32::MAX),
            reasons: row.reasons.0,
            received_at: row.received_at,
        };
        Ok(rows.into_iter().map(claim).collect())
    }

    /// Whether the condition would grant a claim that was refused. Stock, budget and group do not count: whether the grant
    /// fits is known when it is applied.
    pub async fn would_grant(
        &self,
        offer: &Offer,
        claim: &OldClaim,
        known_by: Timestamp,
        slots: &Slots,
    ) -> Result<Again, ClaimError> {
        let Some(mut input) = self
            .read_again(offer, claim.user_id, claim.received_at, known_by)
            .await?
        else {
            return Ok(Again::Open(UNKNOWABLE.to_owned()));
        };
        if let Some(snapshot) = &mut input.snapshot {
            without_limits(snapshot);
            snapshot.granted_slots.retain(|slot| !slots.freed.contains(slot));
            snapshot.granted_slots.extend(&slots.taken);
        }
        Ok(again(self.decide_again(offer, &input).await?))
    }

    /// Whether the condition would grant a claim that was granted.
    pub async fn would_keep(&self, offer: &Offer, claim: &OldClaim, known_by: Timestamp) -> Result<Again, ClaimError> {
        let Some(mut input) = self
            .read_again(offer, claim.user_id, claim.received_at, known_by)
            .await?
        else {
            return Ok(Again::Open(UNKNOWABLE.to_owned()));
        };
        if let Some(snapshot) = &mut input.snapshot {
            without_limits(snapshot);
            snapshot.disabled = false;
            // As it was then: the grant itself does not count, and its draw is the one of its slot.
            snapshot.granted_slots = (1..claim.slot.min(offer.event.recurrence.count)).collect::<BTreeSet<u32>>();
            let plan = &offer.event.condition.plan;
            for (query, fact) in plan.queries().iter().zip(&mut snapshot.facts) {
                if let (Query::Grants, Fact::Integer(count)) = (query, fact) {
                    *count = (*count - 1).max(0);
                }
            }
        }
        Ok(again(self.decide_again(offer, &input).await?))
    }

    /// Grants an old claim, once under its id, within the limits of now.
    pub async fn grant_again(&self, ordered: &Ordered<'_>) -> Result<Applied, ClaimError> {
        let parts = &self.processor;
        let claim = ClaimInput {
            user_id: ordered.user_id,
            event_id: ordered.event_id,
            received_at: ordered.received_at,
            key: None,
            http_request_id: None,
            claimed_by: None,
            queued: None,
            made_good: Some(MadeGood {
                id: ordered.id,
                make_good_id: ordered.make_good_id,
            }),
        };
        for attempt in 0..ATTEMPTS {
            // A process that died may have committed it.
            if store::find(&parts.db, ordered.id).await?.is_some() {
                return Ok(Applied::Done);
            }
            let offer = match parts.events.recent(ordered.event_id).await {
                Err(EventError::NotFound(_)) => return Ok(Applied::Stopped("event-deleted")),
                offer => offer?,
            };
            let condition = &offer.event.condition;
            if (condition.digest, &condition.params) != ordered.condition {
                return Ok(Applied::Stopped("condition-changed"));
            }
            let read = self.read_again(&offer, ordered.user_id, ordered.received_at, ordered.known_by);
            let Some(input) = read.await? else {
                return Ok(Applied::Skipped(UNKNOWABLE.to_owned()));
            };
            let (slot, granted, verdict) = match self.decide_again(&offer, &input).await? {
                Decided::Not(code) => return Ok(Applied::Skipped(code.to_owned())),
                Decided::Verdict { slot, granted, verdict } => (slot, granted, *verdict),
            };
            if verdict.status != Status::Granted || verdict.awards != ordered.awards {
                let first = verdict.reasons.first();
                let host = first.filter(|reason| reason.source == Source::Host && verdict.status != Status::Granted);
                let code = host.map_or(OTHERWISE, |reason| reason.code.as_str());
                return Ok(Applied::Skipped(code.to_owned()));
            }
            let (record, request) = parts.recorder.record(&claim, &offer, slot, verdict)?;
            match parts.committer.commit(vec![record]).await.pop() {
                Some(CommitOutcome::Committed) => {
                    parts
                        .recorder
                        .on_committed(&claim, &offer, granted, &request, None)
                        .await;
                    return Ok(Applied::Done);
                }
                Some(CommitOutcome::Failed(error)) if !error.is_conflict() => return Err(error.into()),
                // Another transaction was first; the next attempt reads what it left.
                _ => backoff::pause(&parts.clock, attempt).await,
            }
        }
        Err(ClaimError::Contended)
    }

    /// Reverses an old claim, once under its id.
    pub async fn reverse_again(&self, ordered: &Ordered<'_>, reason: &str, by: Uuid) -> Result<Applied, ClaimError> {
        let wanted = TakeBack {
            id: ordered.id,
            request_id: ordered.request_id,
            reason,
            by,
            make_good_id: Some(ordered.make_good_id),
        };
        match self.reversals.carry_out(wanted).await {
            Ok(_) => Ok(Applied::Done),
            Err(ClaimError::AlreadyReversed { .. }) => Ok(Applied::Skipped("already-reversed".to_owned())),
            Err(ClaimError::NotGranted { .. } | ClaimError::NotFound(_)) => {
                Ok(Applied::Skipped("not-granted".to_owned()))
            }
            Err(error) => Err(error),
        }
    }

    /// The facts as of the arrival of a claim, as far as they are known by an instant, and everything else as it is now.
    /// `None`: they cannot be told any more, or no condition can be given them.
    async fn read_again(
        &self,
        offer: &Offer,
        user_id: Uuid,
        received_at: Timestamp,
        known_by: Timestamp,
    ) -> Result<Option<DecisionInput>, ClaimError> {
        let judge = &self.processor.judge;
        let past = Instants {
            as_of: received_at,
            known_by: Some(known_by),
        };
        let facts = match judge.read_plan(user_id, offer, &offer.event.condition.plan, past).await {
            Ok(input) => input.snapshot.map(|snapshot| snapshot.facts),
            Err(ClaimError::Facts(FactError::Compacted(_) | FactError::NoSuchUser(_))) => None,
            Err(error) => return Err(error),
        };
        let Some(facts) = facts else { return Ok(None) };
        let now = Instants::of_claim(received_at);
        let mut input = judge.read_plan(user_id, offer, &Plan::default(), now).await?;
        input.known_by = known_by;
        let Some(snapshot) = &mut input.snapshot else {
            return Ok(None);
        };
        snapshot.facts = facts;
        Ok(Some(input))
    }

    async fn decide_again(&self, offer: &Offer, input: &DecisionInput) -> Result<Decided, ClaimError> {
        let parts = &self.processor;
        let Some(snapshot) = &input.snapshot else {
            return Ok(Decided::Not(UNKNOWABLE));
        };
        if input.is_disabled() {
            return Ok(Decided::Not("account-disabled"));
        }
        let moment = Moment {
            user_id: input.user_id,
            now: input.now,
            purpose: Purpose::Claim,
        };
        let Ready {
            slot,
            granted,
            context,
            budget,
        } = match prepare(offer, snapshot, moment) {
            Prepared::AlreadyGranted(_) => return Ok(Decided::Not("already-granted")),
            Prepared::Held(_) => return Ok(Decided::Not("claim-held")),
            Prepared::Refused { slot, granted, verdict } => {
                let verdict = Box::new(verdict);
                return Ok(Decided::Verdict { slot, granted, verdict });
            }
            Prepared::Ask(ready) => ready,
        };
        let run = Run {
            condition: &offer.event.condition,
            arm: Arm::Stable,
            user_id: input.user_id,
            known_by: input.known_by,
            facts: &snapshot.facts,
            budget: budget.as_ref(),
            counts: false,
        };
        for attempt in 0..SLOT_ATTEMPTS {
            let verdict = parts.judge.run(run, context.clone()).await?;
            if !verdict.is_overloaded() {
                let verdict = Box::new(verdict);
                return Ok(Decided::Verdict { slot, granted, verdict });
            }
            backoff::pause(&parts.clock, attempt).await;
        }
        Err(ClaimError::NoSlot)
    }
}

/// What is left for all users, and what the user has of a group, decides when a grant is applied.
fn without_limits(snapshot: &mut crate::facts::Snapshot) {
    snapshot.stock.clear();
    snapshot.budget_usage = None;
    snapshot.group = None;
    snapshot.held_claim = None;
}

fn again(decided: Decided) -> Again {
    let (slot, verdict) = match decided {
        Decided::Not(code) => return Again::Open(code.to_owned()),
        Decided::Verdict { slot, verdict, .. } => (slot, verdict),
    };
    let by_host = verdict.reasons.iter().find(|reason| reason.source == Source::Host);
    match (verdict.status, by_host) {
        (Status::Granted, _) => Again::Granted {
            slot: slot.slot,
            awards: verdict.awards,
        },
        (Status::Rejected, None) => Again::Refused(verdict.reasons),
        (status, reason) => Again::Open(reason.map_or_else(|| status.to_string(), |reason| reason.code.clone())),
    }
}
