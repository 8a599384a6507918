//! The way of a claim: gather, decide, `settle`; and start over when somebody else was first.

use std::sync::Arc;

use tracing::Instrument as _;
use uuid::Uuid;

use super::budget::BudgetLeft;
use super::commit::full_jitter;
use super::decision::{self, PeriodSlot, Verdict};
use super::model::RewardRequest;
use super::record::ClaimInput;
use super::service::{ClaimError, Claims, IdempotencyKey};
use super::store;
use crate::clock::Timestamp;
use crate::correlation;
use crate::events::{Offer, Purpose};
use crate::facts::{self, FactContext, FactError, Snapshot};
use crate::plugins::{PluginError, PluginState};

/// How often a claim starts over after it lost a race. Each loss means that another claim, or a change of the event,
/// was committed meanwhile, so a handful is plenty.
const TRIES: u32 = 8;

/// What a claim is answered with.
#[derive(Debug)]
pub enum ClaimAnswer {
    Decided(Box<RewardRequest>),
    /// It waits to be decided.
    Pending(Box<RewardRequest>),
    /// What this user was told before, as JSON, because nothing has changed: the event's rewards are gone.
    SoldOutAgain {
        request_id: Uuid,
        answer: String,
    },
    /// The very answer that the first claim under this Idempotency-Key got, as JSON, and the request it made.
    Replayed {
        request_id: Uuid,
        answer: String,
    },
}

/// What was known when the verdict was reached.
pub(super) struct DecisionInput {
    pub snapshot: Snapshot,
    pub slot: PeriodSlot,
}

impl DecisionInput {
    /// Grants the user has in the period.
    pub(super) fn granted(&self) -> u32 {
        u32::try_from(self.snapshot.granted_slots.len()).unwrap_or(u32::MAX)
    }
}

impl Claims {
    /// Decides a claim and settles it; or takes it in, when its user or its event wants that. What is answered was
    /// committed.
    ///
    /// A caller that goes away, such as a client that hangs up, does not stop a claim half-way.
    pub async fn claim(
        &self,
        user_id: Uuid,
        event_id: Uuid,
        key: Option<IdempotencyKey>,
        wants_async: bool,
    ) -> Result<ClaimAnswer, ClaimError> {
        // Gates, facts and the condition all see this instant; only the times of writing are read later.
        let claim = ClaimInput {
            user_id,
            event_id,
            received_at: self.clock.now(),
            key,
            http_request_id: correlation::current(),
            queued: None,
        };
        if !wants_async && let Some(again) = self.sold_out_again(&claim).await.transpose() {
            return self.count(&claim, again);
        }
        let service = self.clone();
        let settling = async move {
            let claimed = if wants_async || service.responds_async(event_id).await {
                service.receive(&claim, service.intake.per_user).await
            } else {
                service.try_claim(&claim).await
            };
            service.count(&claim, claimed)
        };
        tokio::spawn(correlation::inherited(settling).in_current_span())
            .await
            .unwrap_or_else(|error| {
                tracing::error!(%error, event.id = %event_id, user.id = %user_id, "a claim was given up");
                Err(ClaimError::Uncommitted)
            })
    }

    pub(super) fn count(
        &self,
        claim: &ClaimInput,
        claimed: Result<ClaimAnswer, ClaimError>,
    ) -> Result<ClaimAnswer, ClaimError> {
        let outcome = match &claimed {
            Ok(ClaimAnswer::Decided(request)) => {
                self.events.claimed(claim.event_id, claim.user_id);
                request.status.as_str()
            }
            // Counted when it is decided.
            Ok(ClaimAnswer::Pending(_)) => return claimed,
            Ok(ClaimAnswer::SoldOutAgain { .. }) => "TURNED_AWAY_AGAIN",
            Ok(ClaimAnswer::Replayed { .. }) => "REPLAYED",
            Err(ClaimError::AlreadyGranted { .. }) => "ALREADY_GRANTED",
            Err(ClaimError::Contended) => "CONTENDED",
            Err(_) => "ERROR",
        };
        metrics::counter!("meed_claims_total", "outcome" => outcome).increment(1);
        claimed
    }

    /// From memory. What cannot be read now is told on the way of the claim.
    async fn responds_async(&self, event_id: Uuid) -> bool {
        let offer = self.events.recent(event_id).await;
        offer.is_ok_and(|offer| offer.event.respond_async)
    }

    async fn try_claim(&self, claim: &ClaimInput) -> Result<ClaimAnswer, ClaimError> {
        for attempt in 0..TRIES {
            // Read side by side: the answer to the key is needed first, and seldom there.
            let (replayed, prepared) = tokio::join!(self.replayed(claim), self.prepare(claim));
            if let Some(replayed) = replayed? {
                return Ok(replayed);
            }
            let attempted = match prepared {
                Ok(prepared) => self.attempt(claim, prepared).await,
                Err(error) => Err(error),
            };
            match attempted {
                Ok(Some(request)) => return Ok(ClaimAnswer::Decided(request)),
                Ok(None) => {}
                Err(error) if error.is_conflict() => tokio::time::sleep(full_jitter(&self.clock, attempt)).await,
                Err(error @ ClaimError::AlreadyGranted { .. }) => {
                    // Perhaps to a claim under the same key that was committed since we looked.
                    return self.replayed(claim).await?.ok_or(error);
                }
                Err(error) => return Err(error),
            }
        }
        Err(ClaimError::Contended)
    }

    async fn prepare(&self, claim: &ClaimInput) -> Result<(Arc<Offer>, Result<DecisionInput, ClaimError>), ClaimError> {
        let offer = self.events.recent(claim.event_id).await?;
        if let Some(repeat) = self.granted_cache.lookup(claim, &offer).await {
            return Err(repeat);
        }
        let case = self.decision_input(&offer, claim.user_id, claim.received_at).await;
        Ok((offer, case))
    }

    /// `None`: somebody else was first, and nothing was written.
    async fn attempt(
        &self,
        claim: &ClaimInput,
        (offer, case): (Arc<Offer>, Result<DecisionInput, ClaimError>),
    ) -> Result<Option<Box<RewardRequest>>, ClaimError> {
        let case = match case {
            Err(ClaimError::Facts(error @ FactError::TooLarge { .. })) => {
                tracing::warn!(event.id = %claim.event_id, user.id = %claim.user_id, %error, "facts cannot be told");
                let period = offer.event.recurrence.period.key(claim.received_at, &offer.zone);
                let place = PeriodSlot { period, sequence: 1 };
                return self.settle(claim, &offer, place, Verdict::condition_failed(None)).await;
            }
            case => case?,
        };
        if case.granted() >= offer.event.recurrence.count {
            // Taken back since it was counted: there is a place now.
            let Some(repeat) = self.already_granted(claim, &offer, &case.slot.period).await? else {
                return Ok(None);
            };
            self.granted_cache
                .note_repeat(claim, &offer, &case.slot.period, &repeat)
                .await;
            return Err(repeat);
        }
        let before = case.granted();
        let verdict = self
            .decide(&offer, &case, claim.user_id, claim.received_at, Purpose::Claim)
            .await?;
        let settled = self.settle(claim, &offer, case.slot, verdict).await?;
        if let Some(request) = &settled {
            self.sold_out_cache.note(&offer, request);
            self.granted_cache.note(claim, &offer, before, request).await;
        }
        Ok(settled)
    }

    /// Reads all that a decision needs of the user, in one round trip.
    pub(super) async fn decision_input(
        &self,
        offer: &Offer,
        user_id: Uuid,
        now: Timestamp,
    ) -> Result<DecisionInput, ClaimError> {
        let event = &offer.event;
        let context = FactContext {
            user_id,
            event_id: event.id,
            event_starts: event.start_date,
            zone: &offer.zone,
            period: event.recurrence.period,
            budget: event.budget.map(|budget| budget.period),
            now,
        };
        let snapshot = facts::gather(&self.db, &context, &event.plan)
            .instrument(tracing::debug_span!("facts"))
            .await?;
        if snapshot.disabled {
            return Err(ClaimError::Disabled);
        }
        let slot = PeriodSlot {
            period: snapshot.period.clone(),
            sequence: snapshot.free_slot(),
        };
        Ok(DecisionInput { snapshot, slot })
    }

    pub(super) async fn decide(
        &self,
        offer: &Offer,
        input: &DecisionInput,
        user_id: Uuid,
        now: Timestamp,
        purpose: Purpose,
    ) -> Result<Verdict, ClaimError> {
        let left = BudgetLeft::of(offer, &input.snapshot, now);
        if let Some(verdict) = decision::gate(offer, &input.snapshot, left.as_ref(), now) {
            return Ok(verdict);
        }
        let event = &offer.event;
        let digest = event.condition.digest;
        let status = self.plugins.status(digest).await?;
        match status.state {
            PluginState::Active => {}
            PluginState::Disabled => return Ok(Verdict::plugin_disabled()),
            PluginState::Quarantined => return Ok(Verdict::plugin_quarantined()),
        }
        let plugin = match self.plugins.runnable(digest).await {
            Ok(plugin) => plugin,
            Err(error @ PluginError::Db(_)) => return Err(error.into()),
            Err(error) => {
                tracing::error!(plugin.digest = %digest, %error, "plugin cannot be loaded");
                return Ok(Verdict::condition_failed(None));
            }
        };
        let PeriodSlot { period, sequence } = &input.slot;
        let seed = event.secret.seed(event.id, user_id, period, *sequence, purpose);
        let context = decision::context(offer, &input.snapshot, user_id, now, seed);
        let facts = input.snapshot.facts.clone();
        let mut verdict = decision::evaluate(&self.sandbox, &plugin, event, context, facts, left.as_ref())
            .instrument(tracing::debug_span!("evaluate", plugin.digest = %digest))
            .await;
        if let Some(evaluation) = &mut verdict.evaluation {
            // Whoever looks at their progress can do so without end, so only claims count for or against the plugin.
            if matches!(purpose, Purpose::Claim) {
                let failure = evaluation.outcome.as_ref().err();
                self.plugins.record_run(digest, &status, user_id, now, failure).await;
            }
            evaluation.signer.clone_from(&status.signer);
        }
        Ok(verdict)
    }

    /// What a repeat is answered with; `None` when the grant was taken back since.
    pub(super) async fn already_granted(
        &self,
        claim: &ClaimInput,
        offer: &Offer,
        period: &str,
    ) -> Result<Option<ClaimError>, ClaimError> {
        let event = &offer.event;
        let granted = store::newest_granted(&self.db, event.id, claim.user_id, period.to_owned()).await?;
        let Some(granted) = granted else {
            return Ok(None);
        };
        let grants = store::grants(&self.db, &[granted.id]).await?;
        Ok(Some(ClaimError::AlreadyGranted {
            reward_request_id: granted.id,
            grant_ids: grants.into_iter().map(|grant| grant.id).collect(),
            next_at: event
                .recurrence
                .period
                .next_start(claim.received_at, &offer.zone)
                .filter(|at| *at < event.end_date),
        }))
    }
}
