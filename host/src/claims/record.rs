//! What a decided claim writes: the request, its receipt, its grants and what follows from them, as one commit record. The commit
//! signs the receipt.
//!
//! Must not know: how the record is written, and who waits for it.

use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use uuid::Uuid;

use super::cache::{GrantedCache, SoldOutCache};
use super::comparison::TrialObserver;
use super::error::ClaimError;
use super::idempotency::fingerprint;
use super::model::{ClaimAnswer, ClaimInput, Grant, GrantedReward, RewardRequest, Source, Status};
use super::preparation::PeriodSlot;
use super::receipt::{self, Draft, FailureRecord, GivenReward, Outcome, Receipt, Seal};
use super::store::{CommitRecord, GrantRow, RequestRow, Spending, StoredResponse};
use super::terms::TermsService;
use super::trial::Tried;
use super::verdict::{BUDGET_SPENT, Evaluation, SOLD_OUT, Verdict, worth};
use crate::clock::{Clock, Timestamp};
use crate::contract::Award;
use crate::db::Json;
use crate::events::{Arm, EventService, Offer};
use crate::fulfilments::Fulfilment;
use crate::mutations;
use crate::outbox::{self, Message};
use crate::rewards::Reward;
use crate::sandbox::Digest;
use crate::watch::Watch;

/// Makes commit records, and updates caches, metrics and the log once one is committed. Cheap to clone.
#[derive(Clone)]
pub(super) struct Recorder {
    pub clock: Clock,
    pub terms: TermsService,
    /// How long a response is stored under its Idempotency-Key.
    pub retention: Duration,
    /// How long a held claim waits for its review.
    pub review: Duration,
    pub events: EventService,
    pub granted_cache: GrantedCache,
    pub sold_out_cache: SoldOutCache,
    pub watch: Watch,
    pub trials: TrialObserver,
}

impl Recorder {
    /// The record of a decided claim, and the request to answer with after its commit. All ids are minted here, so that a
    /// second attempt to commit the record writes the same rows.
    pub(super) fn record(
        &self,
        claim: &ClaimInput,
        offer: &Offer,
        slot: PeriodSlot,
        verdict: Verdict,
    ) -> Result<(CommitRecord, RewardRequest), ClaimError> {
        let event = &offer.event;
        let new_id = || self.clock.new_id_at(claim.received_at);
        let given = claim.queued.map(|queued| queued.id);
        let id = given.or(claim.made_good.map(|made| made.id)).unwrap_or_else(new_id);
        // Later than the reversal of an earlier grant, which a process whose clock is ahead may have made: messages are told
        // in this order.
        let after_reversal = slot.last_reversal.map(|at| at.plus(Duration::from_millis(1)));
        let decided_at = after_reversal.into_iter().fold(self.clock.now(), Timestamp::max);
        let terms = self.terms.of(offer, &verdict)?;
        let receipt = Self::receipt(id, claim, terms.digest, offer, &slot, &verdict, decided_at)?;
        let receipt = Draft::new(&receipt, self.clock.random())?;
        let grants = self.grants(offer, &verdict, decided_at)?;
        let fuel = verdict.evaluation.as_ref().map(|evaluation| evaluation.fuel);
        let retry_at = match verdict.status {
            Status::Held => Some(decided_at.plus(self.review)),
            _ => verdict.retry_at,
        };
        let decided_by = verdict.decided_by();
        let takes_slot = matches!(verdict.status, Status::Granted | Status::Held);
        let group = slot.group.filter(|_| takes_slot);
        let row = RequestRow {
            id,
            event_id: event.id,
            event_revision: event.revision,
            user_id: claim.user_id,
            plugin_digest: offer.condition(decided_by).digest,
            status: verdict.status,
            period: slot.period,
            slot: i64::from(slot.slot),
            reasons: Json(verdict.reasons),
            progress: Json(verdict.progress),
            retry_at,
            received_at: claim.received_at,
            decided_at,
            review: None,
            fuel: fuel.and_then(|fuel| i64::try_from(fuel).ok()),
            make_good_id: claim.made_good.map(|made| made.make_good_id),
        };
        let grant_rows = grants
            .iter()
            .map(|grant| GrantRow {
                user_id: row.user_id,
                id: grant.id,
                request_id: id,
                reward_id: grant.reward_id,
                quantity: i64::from(grant.quantity),
                reward: Json(grant.reward.clone()),
            })
            .collect();
        let spending = (row.status == Status::Granted)
            .then(|| spending(offer, &grants, claim.received_at))
            .flatten();
        let mut messages = self.messages(claim, offer, &row, &grants);
        if claim.key.is_some() && mutations::active("outbox-message-missing") {
            messages.clear();
        }
        let request = row.clone().into_request(grants);
        let record = CommitRecord {
            request: row,
            receipt,
            seal: Seal::default(),
            terms,
            grants: grant_rows,
            spending,
            messages,
            response: self.response(claim, &request)?,
            refusal: claim.queued.map_or_else(|| refusal(&request, decided_by), |_| None),
            fence: claim.queued.map(|queued| queued.fence),
            group: group.map(|(name, slot)| (name, i64::from(slot))),
        };
        Ok((record, request))
    }

    /// To be called after the commit. `granted`: the user's grants in the period before it.
    pub(super) async fn on_committed(
        &self,
        claim: &ClaimInput,
        offer: &Offer,
        granted: u32,
        request: &RewardRequest,
        tried: Option<Tried>,
    ) {
        self.watch.committed();
        self.events.claimed(claim.event_id, claim.user_id);
        self.on_answered(offer, request, tried);
        self.granted_cache.on_committed(claim, offer, granted, request).await;
        metrics::counter!("meed_claims_total", "outcome" => request.status.as_str()).increment(1);
        tracing::info!(
            reward_request.id = %request.id,
            event.id = %request.event_id,
            reward_request.status = %request.status,
            "claim decided"
        );
    }

    /// To be called after the commit, or when an earlier request is the answer.
    pub(super) fn on_answered(&self, offer: &Offer, request: &RewardRequest, tried: Option<Tried>) {
        // The next claim of the user is for the candidate again.
        let is_fallback = tried.as_ref().is_some_and(|tried| tried.failure.is_some());
        if !is_fallback {
            self.sold_out_cache.on_committed(offer, request);
        }
        if let Some(tried) = tried {
            self.trials.observe(tried, request);
        }
    }

    /// In the order of the rewards' ids, so that two claims never wait for each other's stock.
    fn grants(&self, offer: &Offer, verdict: &Verdict, granted_at: Timestamp) -> Result<Vec<Grant>, ClaimError> {
        let mut grants = Vec::with_capacity(verdict.awards.len());
        for award in &verdict.awards {
            let reward = offered(offer, award)?;
            grants.push(Grant {
                id: self.clock.new_id_at(granted_at),
                codes: None,
                reward_id: reward.id,
                quantity: award.quantity,
                reward: GrantedReward::from(reward),
                fulfilment: Fulfilment::PENDING,
            });
        }
        grants.sort_by_key(|grant| grant.reward_id);
        Ok(grants)
    }

    /// What to store under the claim's key. A FAILED request is not stored, so that the same key may try again.
    pub(super) fn response(
        &self,
        claim: &ClaimInput,
        request: &RewardRequest,
    ) -> Result<Option<StoredResponse>, ClaimError> {
        let is_stored = request.status != Status::Failed || mutations::active("failure-kept");
        let Some(key) = claim.key.as_ref().filter(|_| is_stored) else {
            return Ok(None);
        };
        Ok(Some(StoredResponse {
            user_id: claim.user_id,
            key: key.as_str().to_owned(),
            fingerprint: fingerprint(claim.event_id),
            request_id: request.id,
            response: serde_json::to_string(request)?,
            created_at: claim.received_at,
            expires_at: claim.received_at.plus(self.retention),
        }))
    }

    /// The outbox messages of a grant, of a held claim, of a limit for all users that was reached, and of a pending claim that
    /// was refused. The rejection of another claim is its response, and concerns the user only.
    fn messages(&self, claim: &ClaimInput, offer: &Offer, request: &RequestRow, grants: &[Grant]) -> Vec<Message> {
        let message = |kind, payload, once_key| Message {
            id: self.clock.new_id(),
            kind,
            user_id: Some(request.user_id),
            subject_id: None,
            payload,
            http_request_id: claim.http_request_id.clone(),
            created_at: request.decided_at,
            once_key,
        };
        let mut messages = Vec::new();
        match request.status {
            Status::Granted => messages.push(message(outbox::REWARD_GRANTED, granted(request, grants), None)),
            Status::Held => {
                let payload = json!({
                    "requestId": request.id, "eventId": request.event_id, "userId": request.user_id,
                    "reasons": request.reasons.0, "heldAt": request.decided_at, "heldUntil": request.retry_at,
                });
                messages.push(message(outbox::CLAIM_HELD, payload, None));
            }
            Status::Rejected | Status::Failed => {
                // The host's reason comes first.
                let reason = request.reasons.0.first().filter(|reason| reason.source == Source::Host);
                if let Some(reason) = reason.filter(|reason| [SOLD_OUT, BUDGET_SPENT].contains(&reason.code.as_str())) {
                    let payload = json!({
                        "requestId": request.id, "eventId": request.event_id, "userId": request.user_id,
                        "code": reason.code, "rejectedAt": request.decided_at,
                    });
                    let once_key = limit_key(&reason.code, offer, request);
                    messages.push(message(outbox::REWARD_LIMIT_REACHED, payload, Some(once_key)));
                }
                if claim.queued.is_some() {
                    let payload = json!({
                        "requestId": request.id, "eventId": request.event_id, "userId": request.user_id,
                        "status": request.status, "reasons": request.reasons.0, "decidedAt": request.decided_at,
                    });
                    messages.push(message(outbox::CLAIM_REJECTED, payload, None));
                }
            }
            Status::Received | Status::Reversed => {}
        }
        messages
    }

    fn receipt(
        id: Uuid,
        claim: &ClaimInput,
        terms: Digest,
        offer: &Offer,
        slot: &PeriodSlot,
        verdict: &Verdict,
        decided_at: Timestamp,
    ) -> Result<Receipt, ClaimError> {
        let awards = verdict.awards.iter().map(|award| {
            let reward = offered(offer, award)?;
            Ok(GivenReward {
                reward_id: reward.id,
                revision: reward.revision,
                quantity: award.quantity,
                item_id: reward.item_id.clone(),
                duration: reward.duration.clone(),
            })
        });
        Ok(Receipt {
            format: Receipt::FORMAT.to_owned(),
            request_id: id,
            user_id: claim.user_id,
            claimed_by: claim.claimed_by.clone(),
            make_good_id: claim.made_good.map(|made| made.make_good_id),
            terms,
            received_at: claim.received_at,
            decided_at,
            period: slot.period.clone(),
            slot: slot.slot,
            status: verdict.status,
            reasons: verdict.reasons.clone(),
            progress: verdict.progress.clone(),
            awards: awards.collect::<Result<_, ClaimError>>()?,
            evaluation: verdict.evaluation.as_ref().map(evaluation_record),
            review: verdict.review.clone(),
        })
    }
}

/// The content of the outbox message of a grant.
pub(super) fn granted(request: &RequestRow, grants: &[Grant]) -> Value {
    let mut content = json!({
        "requestId": request.id, "eventId": request.event_id, "userId": request.user_id, "grants": grants,
        "grantedAt": request.decided_at,
    });
    if let Some(id) = request.make_good_id {
        content["makeGoodId"] = json!(id);
    }
    content
}

fn evaluation_record(evaluation: &Evaluation) -> receipt::Evaluation {
    let context = &evaluation.context;
    receipt::Evaluation {
        as_of: context.now,
        known_by: evaluation.known_by,
        local: context.local,
        offsets: context.offsets.clone(),
        registered: context.user.registered,
        max_quantities: context.rewards.iter().map(|reward| reward.max_quantity).collect(),
        seed: context.seed,
        facts: evaluation.facts.clone(),
        outcome: match &evaluation.outcome {
            Ok(decision) => Outcome::Decision(decision.clone()),
            Err(failure) => Outcome::Failure(FailureRecord::from(failure)),
        },
        fuel: evaluation.fuel,
        budget_amount: evaluation.budget_amount,
    }
}

/// Names a limit that was reached, so that it is told once: the event's stock as long as its total stays the same, or its
/// budget in one period.
fn limit_key(code: &str, offer: &Offer, request: &RequestRow) -> String {
    let event = &offer.event;
    let limit = if let Some(budget) = event.budget.filter(|_| code == BUDGET_SPENT) {
        budget.period.key(request.received_at, &offer.zone)
    } else {
        let totals = offer.rewards.iter().filter_map(|reward| reward.stock);
        format!("{}/{}", request.period, totals.map(i128::from).sum::<i128>())
    };
    format!("{}/{code}/{}/{limit}", event.id, event.revision)
}

/// A digest of everything that a rejection says, with the event's revision, the period and who decided; `None` for other
/// requests.
fn refusal(request: &RewardRequest, decided_by: Arm) -> Option<String> {
    if request.status != Status::Rejected {
        return None;
    }
    let said = (
        request.event_revision,
        &request.period,
        &request.reasons,
        &request.progress,
        request.retry_at,
    );
    // The receipt of a rejection names the condition, so the same words of the other one are another rejection.
    let said = match decided_by {
        Arm::Stable => serde_json::to_vec(&said),
        Arm::Candidate => serde_json::to_vec(&(said, decided_by)),
    };
    let said = said.ok()?;
    Some(URL_SAFE_NO_PAD.encode(digest(&SHA256, &said)))
}

/// The sandbox accepts only the event's own rewards.
fn offered<'a>(offer: &'a Offer, award: &Award) -> Result<&'a Reward, ClaimError> {
    let mut rewards = offer.rewards.iter();
    let reward = rewards.find(|reward| reward.id.to_string() == award.reward_id);
    reward.ok_or_else(|| ClaimError::ForeignReward(award.reward_id.clone()))
}

/// What the grants of one claim take from the event's budget; `None` if it has none.
pub(super) fn spending(offer: &Offer, grants: &[Grant], received_at: Timestamp) -> Option<Spending> {
    let budget = offer.event.budget?;
    let total = grants
        .iter()
        .map(|grant| worth(grant.reward.value, grant.quantity))
        .fold(0, i64::saturating_add);
    Some(Spending {
        period: budget.period.key(received_at, &offer.zone),
        amount: budget.amount.map_or(0, |_| total),
        max_grants: budget.grants,
        max_amount: budget.amount,
    })
}

/// Counts a claim that ended without a new decision; [`Recorder::on_committed`] counts decisions.
pub(super) fn counted(answer: Result<ClaimAnswer, ClaimError>) -> Result<ClaimAnswer, ClaimError> {
    let outcome = match &answer {
        Ok(ClaimAnswer::Decided(_) | ClaimAnswer::Pending(_)) => return answer,
        Ok(ClaimAnswer::SoldOutAgain { .. }) => "SOLD_OUT_AGAIN",
        Ok(ClaimAnswer::RefusedAgain(_)) => "REFUSED_AGAIN",
        Ok(ClaimAnswer::Replayed { .. }) => "REPLAYED",
        Err(ClaimError::AlreadyGranted { .. }) => "ALREADY_GRANTED",
        Err(ClaimError::ClaimHeld(_)) => "CLAIM_HELD",
        Err(ClaimError::Contended) => "CONTENDED",
        Err(_) => "ERROR",
    };
    metrics::counter!("meed_claims_total", "outcome" => outcome).increment(1);
    answer
}
