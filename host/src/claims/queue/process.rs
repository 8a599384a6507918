//! Settling the claims of one event in the order of their arrival: the same facts, gates, condition and commit as a claim
//! that waits for its answer.
//!
//! A set is decided on one revision of the event and committed at once, in order, so that stock and budget go to those who
//! came first; whoever is left over is first in the next set. No user has two claims in it. Must not know: where claims wait
//! and who may settle them; it is handed the fence.

use std::collections::HashSet;

use futures_util::{FutureExt as _, StreamExt as _, stream};
use uuid::Uuid;

use crate::claims::commit::{CommitOutcome, CommitRecord, full_jitter};
use crate::claims::decision::{PeriodSlot, Verdict};
use crate::claims::interactive::DecisionInput;
use crate::claims::model::RewardRequest;
use crate::claims::record::{ClaimInput, Queued};
use crate::claims::service::{ClaimError, Claims, IdempotencyKey};
use crate::claims::store;
use crate::claims::store::queue::PendingClaimRow;
use crate::db::DbError;
use crate::events::{EventError, Offer, Purpose};
use crate::facts::FactError;

/// Claims that are decided at the same time: their facts are read together.
const DECIDED_AT_ONCE: usize = 16;

/// How often it is tried to get a place in the sandbox, each time for as long as anybody may wait for one.
const PATIENCE: u32 = 60;

/// What one set may write; it ends with the claim that reaches this.
const SET_BYTES: usize = 4 << 20;

/// A claim that is decided and not yet committed.
struct Decided {
    record: CommitRecord,
    request: RewardRequest,
    /// Grants that the user had in the period.
    before: Option<u32>,
}

impl Claims {
    /// Settles these claims of one event, as many as one set holds; tells which it settled. Those that are left wait on.
    /// `lost`: claims that somebody was faster than, the last time.
    pub(in crate::claims) async fn settle_in_order(
        &self,
        event_id: Uuid,
        fence: i64,
        rows: &[PendingClaimRow],
        lost: &mut HashSet<Uuid>,
    ) -> Result<usize, ClaimError> {
        let offer = match self.events.recent(event_id).await {
            Ok(offer) => offer,
            Err(EventError::NotFound(_)) => return self.refuse_all(event_id, fence, rows).await,
            Err(error) => return Err(error.into()),
        };
        let mut claims = Vec::with_capacity(rows.len());
        for row in rows {
            let (key, repeated) = match self.key_of(row, lost).await? {
                Key::Free(key) => (key, None),
                Key::Taken => (None, None),
                Key::Answered(request_id) => (None, Some(request_id)),
            };
            claims.push((claim_of(row, fence, key), repeated));
        }
        let mut decisions = Vec::with_capacity(claims.len());
        for (claim, repeated) in &claims {
            decisions.push(self.decide_waiting(claim, *repeated, &offer).boxed());
        }
        let mut decided = stream::iter(decisions).buffered(DECIDED_AT_ONCE);
        let (mut records, mut requests, mut bytes) = (Vec::new(), Vec::new(), 0);
        while bytes < SET_BYTES
            && let Some(next) = decided.next().await
        {
            let Decided {
                record,
                request,
                before,
            } = next?;
            bytes += record.receipt.receipt.len();
            records.push(record);
            requests.push((request, before));
        }
        drop(decided);
        let ended = self.committer.commit(&records).await;
        let mut settled = 0;
        let mut failed = None;
        for ((row, (request, before)), ended) in rows.iter().zip(requests).zip(ended) {
            lost.remove(&row.id);
            match ended {
                CommitOutcome::Committed => {
                    settled += 1;
                    let claim = claim_of(row, fence, None);
                    self.note_settled(&claim, &offer, &request, before).await;
                }
                CommitOutcome::Lost => {
                    lost.insert(row.id);
                }
                CommitOutcome::Failed(error) => failed = Some((row, error)),
            }
        }
        match failed {
            None => Ok(settled),
            Some((row, error)) if is_of_the_claim(&error) => {
                tracing::error!(reward_request.id = %row.id, %error, "a claim cannot be written as it was decided");
                let claim = claim_of(row, fence, None);
                let place = PeriodSlot {
                    period: row.period.clone(),
                    sequence: 1,
                };
                Ok(settled
                    + self
                        .settle_alone(&claim, &offer, place, Verdict::condition_failed(None))
                        .await?)
            }
            Some((_, error)) => Err(error.into()),
        }
    }

    /// `repeated`: the request that answered this very claim already.
    async fn decide_waiting(
        &self,
        claim: &ClaimInput,
        repeated: Option<Uuid>,
        offer: &Offer,
    ) -> Result<Decided, ClaimError> {
        let event = &offer.event;
        let period = event.recurrence.period;
        let first_place = || PeriodSlot {
            period: period.key(claim.received_at, &offer.zone),
            sequence: 1,
        };
        let mut before = None;
        if let Some(request_id) = repeated {
            let (record, request) = self.commit_record(claim, offer, first_place(), Verdict::repeated(request_id))?;
            return Ok(Decided {
                record,
                request,
                before,
            });
        }
        let (place, verdict) = match self.decision_input(offer, claim.user_id, claim.received_at).await {
            Ok(case) if case.granted() >= event.recurrence.count => {
                let next = period.next_start(claim.received_at, &offer.zone);
                let next = next.filter(|at| *at < event.end_date);
                (case.slot, Verdict::already_granted(next))
            }
            Ok(case) => {
                before = Some(case.granted());
                match self.decide_patiently(claim, offer, &case).await {
                    Ok(verdict) => (case.slot, verdict),
                    Err(error) => (case.slot, Self::failed(claim, error)?),
                }
            }
            Err(ClaimError::Disabled) => (first_place(), Verdict::account_disabled()),
            Err(ClaimError::Facts(error @ FactError::TooLarge { .. })) => {
                tracing::warn!(event.id = %claim.event_id, user.id = %claim.user_id, %error, "facts cannot be told");
                (first_place(), Verdict::condition_failed(None))
            }
            Err(error) => (first_place(), Self::failed(claim, error)?),
        };
        let record = match self.commit_record(claim, offer, place, verdict) {
            Ok(record) => Ok(record),
            Err(error) => {
                let verdict = Self::failed(claim, error)?;
                self.commit_record(claim, offer, first_place(), verdict)
            }
        };
        let (record, request) = record?;
        Ok(Decided {
            record,
            request,
            before,
        })
    }

    /// Nobody waits for the answer, so what the sandbox has no room for now is asked again, and for long.
    async fn decide_patiently(
        &self,
        claim: &ClaimInput,
        offer: &Offer,
        input: &DecisionInput,
    ) -> Result<Verdict, ClaimError> {
        for attempt in 0..PATIENCE {
            let decided = self.decide(offer, input, claim.user_id, claim.received_at, Purpose::Claim);
            let verdict = decided.await?;
            if !verdict.is_for_want_of_room() {
                return Ok(verdict);
            }
            tokio::time::sleep(full_jitter(&self.clock, attempt)).await;
        }
        Err(ClaimError::NoRoom)
    }

    /// The database's failure, or that of the sandbox to have room, is tried again; any other is our fault, and the claim
    /// may not hold up those behind it.
    fn failed(claim: &ClaimInput, error: ClaimError) -> Result<Verdict, ClaimError> {
        if error.of_database().is_some() || matches!(error, ClaimError::NoRoom) {
            return Err(error);
        }
        tracing::error!(event.id = %claim.event_id, user.id = %claim.user_id, %error, "a claim cannot be decided");
        Ok(Verdict::condition_failed(None))
    }

    /// An event that was deleted gives nothing any more: whoever waits for it is told so.
    async fn refuse_all(&self, event_id: Uuid, fence: i64, rows: &[PendingClaimRow]) -> Result<usize, ClaimError> {
        let offer = self.events.last_known(event_id).await?;
        let mut settled = 0;
        for row in rows {
            let key = match self.key_of(row, &HashSet::from([row.id])).await? {
                Key::Free(key) => key,
                Key::Taken | Key::Answered(_) => None,
            };
            let claim = claim_of(row, fence, key);
            let place = PeriodSlot {
                period: row.period.clone(),
                sequence: 1,
            };
            settled += self
                .settle_alone(&claim, &offer, place, Verdict::event_deleted())
                .await?;
        }
        Ok(settled)
    }

    /// Writes a claim that is granted nothing, whatever became of its event.
    async fn settle_alone(
        &self,
        claim: &ClaimInput,
        offer: &Offer,
        place: PeriodSlot,
        verdict: Verdict,
    ) -> Result<usize, ClaimError> {
        let (record, request) = self.commit_record(claim, offer, place, verdict)?;
        if !self.committer.commit_refusal(&record).await? {
            return Ok(0);
        }
        self.note_settled(claim, offer, &request, None).await;
        Ok(1)
    }

    async fn note_settled(&self, claim: &ClaimInput, offer: &Offer, request: &RewardRequest, before: Option<u32>) {
        self.events.claimed(claim.event_id, claim.user_id);
        self.sold_out_cache.note(offer, request);
        if let Some(before) = before {
            self.granted_cache.note(claim, offer, before, request).await;
        }
        metrics::counter!("meed_claims_total", "outcome" => request.status.as_str()).increment(1);
        let waited = self.clock.now().as_millis() - claim.received_at.as_millis();
        #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
        metrics::histogram!("meed_received_wait_seconds").record(waited.max(0) as f64 / 1000.0);
        tracing::info!(
            reward_request.id = %request.id,
            event.id = %request.event_id,
            reward_request.status = %request.status,
            "claim settled"
        );
    }

    async fn key_of(&self, row: &PendingClaimRow, lost: &HashSet<Uuid>) -> Result<Key, ClaimError> {
        let Some(key) = &row.idempotency_key else {
            return Ok(Key::Free(None));
        };
        if lost.contains(&row.id)
            && let Some(kept) = store::stored_response(&self.db, row.user_id, key.clone()).await?
            && kept.request_id != row.id
        {
            return Ok(if Some(kept.fingerprint) == row.fingerprint {
                Key::Answered(kept.request_id)
            } else {
                Key::Taken
            });
        }
        Ok(Key::Free(key.parse().ok()))
    }
}

/// How it stands with the Idempotency-Key of a claim that waits.
enum Key {
    /// To keep the answer under; some claims have none.
    Free(Option<IdempotencyKey>),
    /// It has the answer to another claim by now, and keeps it.
    Taken,
    /// It has the answer to this very claim: this request, of a repeat that did not wait or that was settled just as this
    /// one was taken in.
    Answered(Uuid),
}

fn claim_of(row: &PendingClaimRow, fence: i64, key: Option<IdempotencyKey>) -> ClaimInput {
    ClaimInput {
        user_id: row.user_id,
        event_id: row.event_id,
        received_at: row.received_at,
        key,
        http_request_id: row.http_request_id.clone(),
        queued: Some(Queued { id: row.id, fence }),
    }
}

/// Trying the same again would fail the same way.
fn is_of_the_claim(error: &DbError) -> bool {
    !error.is_unavailable() && !error.is_outcome_unknown() && !error.is_conflict()
}
