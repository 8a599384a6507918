//! The end of a claim: what it writes, and the receipt of it. `queue` and `commit` write it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tracing::Instrument as _;
use uuid::Uuid;

use super::budget::Spending;
use super::commit::{CommitOutcome, CommitRecord};
use super::decision::{Evaluation, PeriodSlot, Verdict};
use super::interactive::ClaimAnswer;
use super::messages;
use super::model::{Grant, GrantedReward, RewardRequest, Status};
use super::receipt::{self, EvaluationRecord, FailureRecord, Outcome, PluginRecord, Receipt, Sealed};
use super::service::{ClaimError, Claims, IdempotencyKey};
use super::store::{self, GrantRow, ReceiptRow, RequestRow, StoredResponse};
use crate::clock::Timestamp;
use crate::db::Json;
use crate::events::{Event, Offer};
use crate::fulfilments::Fulfilment;

/// A claim as it arrived.
pub(super) struct ClaimInput {
    pub user_id: Uuid,
    pub event_id: Uuid,
    pub received_at: Timestamp,
    pub key: Option<IdempotencyKey>,
    /// Of the HTTP request that claims; of a claim that came otherwise, its own id.
    pub http_request_id: Option<String>,
    /// Only of one that was answered with 202.
    pub queued: Option<Queued>,
}

/// A claim that waited: its request has an id already, and is written only while its line is in the hands that raised the
/// fence so far.
#[derive(Clone, Copy, Debug)]
pub(super) struct Queued {
    pub id: Uuid,
    pub fence: i64,
}

impl Claims {
    /// Writes the request, its receipt and its grants, and takes the stock: all of it, or nothing and `None` because
    /// somebody else was first.
    pub(super) async fn settle(
        &self,
        claim: &ClaimInput,
        offer: &Offer,
        place: PeriodSlot,
        verdict: Verdict,
    ) -> Result<Option<Box<RewardRequest>>, ClaimError> {
        let (record, request) = self.commit_record(claim, offer, place, verdict)?;
        let commit = self.queue.settle(record);
        match commit.instrument(tracing::debug_span!("commit")).await? {
            CommitOutcome::Committed => {}
            CommitOutcome::Lost => return Ok(None),
            CommitOutcome::Failed(error) => return Err(error.into()),
        }
        tracing::info!(
            reward_request.id = %request.id,
            event.id = %request.event_id,
            reward_request.status = %request.status,
            "claim settled"
        );
        Ok(Some(Box::new(request)))
    }

    /// All that a decided claim writes, and what it is answered with once that is committed.
    pub(super) fn commit_record(
        &self,
        claim: &ClaimInput,
        offer: &Offer,
        place: PeriodSlot,
        verdict: Verdict,
    ) -> Result<(CommitRecord, RewardRequest), ClaimError> {
        let event = &offer.event;
        let id = claim.queued.map_or_else(|| self.clock.new_id(), |waited| waited.id);
        let decided_at = self.clock.now();
        let receipt = self.write_receipt(id, claim, event, &place, &verdict, decided_at);
        let sealed = Sealed::new(&receipt, &self.keys)?;
        let row = RequestRow {
            id,
            event_id: event.id,
            event_revision: event.revision,
            user_id: claim.user_id,
            plugin_digest: event.condition.digest,
            status: verdict.status,
            period: place.period,
            sequence: i64::from(place.sequence),
            reasons: Json(verdict.reasons),
            progress: Json(verdict.progress),
            retry_at: verdict.retry_at,
            received_at: claim.received_at,
            decided_at,
            fuel: verdict
                .evaluation
                .as_ref()
                .and_then(|evaluation| i64::try_from(evaluation.fuel).ok()),
        };
        let receipt = ReceiptRow {
            user_id: claim.user_id,
            receipt: sealed.text,
            receipt_key_id: sealed.key_id,
            receipt_signature: sealed.signature,
        };
        let mut grants = Vec::with_capacity(verdict.awards.len());
        for award in &verdict.awards {
            // The sandbox let only the event's own rewards through.
            let reward = offer
                .rewards
                .iter()
                .find(|reward| reward.id.to_string() == award.reward_id);
            let reward = reward.ok_or_else(|| ClaimError::ForeignReward(award.reward_id.clone()))?;
            grants.push(Grant {
                id: self.clock.new_id(),
                reward_id: reward.id,
                quantity: award.quantity,
                reward: GrantedReward::from(reward),
                fulfilment: Fulfilment::PENDING,
            });
        }
        // One order for all claims, so that two of them never wait for each other.
        grants.sort_by_key(|grant| grant.reward_id);
        let told = messages::of_claim(&self.clock, claim.http_request_id.clone(), &row, &grants);
        let spending = (row.status == Status::Granted)
            .then(|| Spending::of(offer, &grants, claim.received_at))
            .flatten();
        let grant_rows = grants
            .iter()
            .map(|grant| GrantRow {
                id: grant.id,
                request_id: id,
                reward_id: grant.reward_id,
                quantity: i64::from(grant.quantity),
                reward: Json(grant.reward.clone()),
            })
            .collect();
        let request = request_of(row.clone(), grants);
        let record = CommitRecord {
            request: row,
            receipt,
            grants: grant_rows,
            spending,
            told,
            answer: self.response_to_store(claim, &request)?,
            fence: claim.queued.map(|waited| waited.fence),
        };
        Ok((record, request))
    }

    /// What to remember under the claim's key. A failure is not kept: the same key may try again.
    fn response_to_store(
        &self,
        claim: &ClaimInput,
        request: &RewardRequest,
    ) -> Result<Option<StoredResponse>, ClaimError> {
        let Some(key) = claim.key.as_ref().filter(|_| request.status != Status::Failed) else {
            return Ok(None);
        };
        Ok(Some(StoredResponse {
            user_id: claim.user_id,
            key: key.as_str().to_owned(),
            fingerprint: fingerprint(claim.event_id),
            request_id: request.id,
            response: serde_json::to_string(request)?,
            created_at: claim.received_at,
            expires_at: claim.received_at.plus(self.idempotency),
        }))
    }

    /// The answer that the claim's key got before. No database without a key.
    pub(super) async fn replayed(&self, claim: &ClaimInput) -> Result<Option<ClaimAnswer>, ClaimError> {
        let Some(key) = &claim.key else { return Ok(None) };
        loop {
            let kept = store::stored_response(&self.db, claim.user_id, key.as_str().to_owned()).await?;
            let Some(kept) = kept else { return Ok(None) };
            if kept.expires_at.is_some_and(|at| at <= claim.received_at) {
                let mut tx = self.db.begin().await?;
                store::delete_expired_response(&mut tx, claim.user_id, key.as_str().to_owned(), claim.received_at)
                    .await?;
                tx.commit().await?;
                return Ok(None);
            }
            if kept.fingerprint != fingerprint(claim.event_id) {
                return Err(ClaimError::KeyReused(key.as_str().to_owned()));
            }
            let request_id = kept.request_id;
            if let Some(answer) = kept.response {
                return Ok(Some(ClaimAnswer::Replayed { request_id, answer }));
            }
            if let Some(request) = self.waiting(request_id).await? {
                return Ok(Some(ClaimAnswer::Pending(Box::new(request))));
            }
            // It was settled since, so that the key has an answer, or, of a failure, none.
        }
    }

    fn write_receipt(
        &self,
        id: Uuid,
        claim: &ClaimInput,
        event: &Event,
        place: &PeriodSlot,
        verdict: &Verdict,
        decided_at: Timestamp,
    ) -> Receipt {
        Receipt {
            format: receipt::FORMAT.to_owned(),
            request_id: id,
            event_id: event.id,
            event_revision: event.revision,
            user_id: claim.user_id,
            received_at: claim.received_at,
            decided_at,
            period: place.period.clone(),
            sequence: place.sequence,
            seed_commitment: event.seed_commitment.clone(),
            status: verdict.status,
            reasons: verdict.reasons.clone(),
            progress: verdict.progress.clone(),
            awards: verdict.awards.clone(),
            evaluation: verdict
                .evaluation
                .as_ref()
                .map(|evaluation| self.evaluation_record(event, evaluation)),
        }
    }

    fn evaluation_record(&self, event: &Event, evaluation: &Evaluation) -> EvaluationRecord {
        EvaluationRecord {
            plugin: PluginRecord {
                name: event.condition.plugin.clone(),
                version: event.condition.version.clone(),
                digest: event.condition.digest,
                signer: evaluation.signer.clone(),
            },
            engine: self.sandbox.fingerprint().to_owned(),
            limits: evaluation.limits,
            params: event.condition.params.clone(),
            queries: event.plan.queries().to_vec(),
            state: STANDARD.encode(&event.state),
            context: evaluation.context.clone(),
            facts: evaluation.facts.clone(),
            outcome: match &evaluation.outcome {
                Ok(decision) => Outcome::Decision(decision.clone()),
                Err(failure) => Outcome::Failure(FailureRecord::from(failure)),
            },
            fuel: evaluation.fuel,
            budget_amount: evaluation.budget_amount,
        }
    }
}

/// What a claim asks for: the same for `/reward-requests` and `/events/requests`.
pub(super) fn fingerprint(event_id: Uuid) -> Vec<u8> {
    let asked = format!("claim\n{event_id}");
    aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, asked.as_bytes())
        .as_ref()
        .to_vec()
}

pub(super) fn request_of(row: RequestRow, grants: Vec<Grant>) -> RewardRequest {
    RewardRequest {
        id: row.id,
        event_id: row.event_id,
        event_revision: row.event_revision,
        user_id: row.user_id,
        status: row.status,
        retryable: row.status != Status::Granted,
        reasons: row.reasons.0,
        progress: row.progress.0,
        retry_at: row.retry_at,
        period: row.period,
        grants,
        reversal: None,
        received_at: row.received_at,
        decided_at: Some(row.decided_at),
        plugin_digest: row.plugin_digest,
    }
}
