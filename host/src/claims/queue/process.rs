//! The driver of pending claims: it decides and commits the claims of one event in the order of their arrival.
//!
//! A batch is decided on one revision of the event and committed in order, so that stock and budget go to the claims
//! that came first; claims that are left over come first in the next batch. No user has two claims in a queue. Must not
//! know: which process owns a queue, and why; the caller passes the fence.

use std::collections::HashSet;

use futures_util::{FutureExt as _, StreamExt as _, stream};
use uuid::Uuid;

use crate::backoff;
use crate::claims::commit::Committer;
use crate::claims::decision::{Decided, DecisionInput, Judge, Judged, PeriodSlot};
use crate::claims::error::ClaimError;
use crate::claims::model::{ClaimInput, IdempotencyKey, Queued, RewardRequest};
use crate::claims::record::Recorder;
use crate::claims::store::queue::PendingClaimRow;
use crate::claims::store::{CommitOutcome, CommitRecord, responses};
use crate::claims::verdict::Verdict;
use crate::clock::Clock;
use crate::db::{Db, DbError};
use crate::events::{EventError, EventService, Offer, Purpose};
use crate::mutations;

/// Claims that are decided at the same time: their facts are read together.
const CONCURRENCY: usize = 16;

/// Attempts to get a sandbox slot. Each waits as long as an interactive claim may wait for one.
const SLOT_ATTEMPTS: u32 = 60;

/// A batch ends with the claim that reaches this size.
const BATCH_BYTES: usize = 4 << 20;

/// Cheap to clone.
#[derive(Clone)]
pub(in crate::claims) struct QueueProcessor {
    pub db: Db,
    pub clock: Clock,
    pub events: EventService,
    pub judge: Judge,
    pub recorder: Recorder,
    pub committer: Committer,
}

/// A claim that is decided but not committed.
struct Prepared {
    record: CommitRecord,
    request: RewardRequest,
    /// Grants that the user had in the period.
    granted: u32,
}

/// The state of the Idempotency-Key of a pending claim.
enum Key {
    /// The response can be stored under it; `None` if the claim has no key.
    Free(Option<IdempotencyKey>),
    /// It has the response to another claim.
    Taken,
    /// It has the response to this very claim, the given request: a repeat was decided immediately, or while this one
    /// was queued.
    Answered(Uuid),
}

impl QueueProcessor {
    /// Decides and commits these claims of one event, as many as fit into a batch, and returns how many were committed. The
    /// others stay pending. `lost`: claims whose last commit was lost.
    pub(super) async fn process(
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
        let prepared = self.prepare_all(&offer, fence, rows, lost).await?;
        let (mut records, mut answers) = (Vec::new(), Vec::new());
        for Prepared {
            record,
            request,
            granted,
        } in prepared
        {
            records.push(record);
            answers.push((request, granted));
        }
        let outcomes = self.committer.commit(records).await;
        let mut committed = 0;
        let mut failed = None;
        for ((row, (request, granted)), outcome) in rows.iter().zip(answers).zip(outcomes) {
            lost.remove(&row.id);
            match outcome {
                CommitOutcome::Committed => {
                    committed += 1;
                    let claim = claim_of(row, fence, None);
                    self.on_committed(&claim, &offer, granted, &request).await;
                }
                CommitOutcome::Lost => {
                    lost.insert(row.id);
                }
                CommitOutcome::Failed(error) => failed = Some((row, error)),
            }
        }
        match failed {
            None => Ok(committed),
            Some((row, error)) if is_permanent(&error) => {
                tracing::error!(reward_request.id = %row.id, %error, "a decision cannot be stored; the claim fails");
                let claim = claim_of(row, fence, None);
                Ok(committed + self.refuse(&claim, row, &offer, Verdict::condition_failed()).await?)
            }
            Some((_, error)) => Err(error.into()),
        }
    }

    /// In the order of the rows, and as many as fit into a batch.
    async fn prepare_all(
        &self,
        offer: &Offer,
        fence: i64,
        rows: &[PendingClaimRow],
        lost: &HashSet<Uuid>,
    ) -> Result<Vec<Prepared>, ClaimError> {
        let mut claims = Vec::with_capacity(rows.len());
        for row in rows {
            let (key, repeated) = match self.key_of(row, lost).await? {
                Key::Free(key) => (key, None),
                Key::Taken => (None, None),
                Key::Answered(request_id) => (None, Some(request_id)),
            };
            claims.push((claim_of(row, fence, key), repeated));
        }
        let mut preparing = Vec::with_capacity(claims.len());
        for (claim, repeated) in &claims {
            preparing.push(self.prepare(claim, *repeated, offer).boxed());
        }
        let mut preparing = stream::iter(preparing).buffered(CONCURRENCY);
        let (mut prepared, mut bytes) = (Vec::new(), 0);
        while bytes < BATCH_BYTES
            && let Some(next) = preparing.next().await
        {
            let next = next?;
            bytes += next.record.receipt.text.len();
            prepared.push(next);
        }
        Ok(prepared)
    }

    /// `repeated`: the request that is the response to this very claim.
    async fn prepare(&self, claim: &ClaimInput, repeated: Option<Uuid>, offer: &Offer) -> Result<Prepared, ClaimError> {
        let decided = match repeated {
            Some(request_id) => refused(claim, offer, Verdict::repeated(request_id)),
            None => match self.decide(claim, offer).await {
                Ok(decided) => decided,
                Err(error) => refused(claim, offer, failed(claim, error)?),
            },
        };
        let granted = decided.granted;
        let recorded = match self.recorder.record(claim, offer, decided.slot, decided.verdict) {
            Ok(recorded) => recorded,
            Err(error) => {
                let verdict = failed(claim, error)?;
                let slot = PeriodSlot::first(offer, claim.received_at);
                self.recorder.record(claim, offer, slot, verdict)?
            }
        };
        let (record, request) = recorded;
        Ok(Prepared {
            record,
            request,
            granted,
        })
    }

    async fn decide(&self, claim: &ClaimInput, offer: &Offer) -> Result<Decided, ClaimError> {
        let condition = &offer.event.condition;
        let input = self.judge.read(claim.user_id, offer, condition, claim.received_at);
        let judged = self.judge_patiently(&input.await?, offer).await?;
        Ok(match judged {
            Judged::Decided(decided) => decided,
            Judged::AlreadyGranted(_) => {
                let next_at = offer.next_period_start(claim.received_at);
                refused(claim, offer, Verdict::already_granted(next_at))
            }
            Judged::Disabled => refused(claim, offer, Verdict::account_disabled()),
        })
    }

    /// The caller does not wait for a pending claim, so it can wait long for a sandbox slot.
    async fn judge_patiently(&self, input: &DecisionInput, offer: &Offer) -> Result<Judged, ClaimError> {
        for attempt in 0..SLOT_ATTEMPTS {
            let judged = self.judge.judge(input, offer, &offer.event.condition, Purpose::Claim);
            match judged.await? {
                Judged::Decided(decided) if decided.verdict.is_overloaded() => {
                    backoff::pause(&self.clock, attempt).await;
                }
                judged => return Ok(judged),
            }
        }
        Err(ClaimError::NoSlot)
    }

    /// The event was deleted and grants nothing.
    async fn refuse_all(&self, event_id: Uuid, fence: i64, rows: &[PendingClaimRow]) -> Result<usize, ClaimError> {
        let offer = self.events.last_known(event_id).await?;
        let mut committed = 0;
        for row in rows {
            let key = match self.key_of(row, &HashSet::from([row.id])).await? {
                Key::Free(key) => key,
                Key::Taken | Key::Answered(_) => None,
            };
            let claim = claim_of(row, fence, key);
            committed += self.refuse(&claim, row, &offer, Verdict::event_deleted()).await?;
        }
        Ok(committed)
    }

    /// Writes a claim without grants, even if its event was changed or deleted.
    async fn refuse(
        &self,
        claim: &ClaimInput,
        row: &PendingClaimRow,
        offer: &Offer,
        verdict: Verdict,
    ) -> Result<usize, ClaimError> {
        // The period of the event's revision that the receipt names; on arrival it may have been another.
        let slot = PeriodSlot::first(offer, row.received_at);
        let (record, request) = self.recorder.record(claim, offer, slot, verdict)?;
        if !self.committer.commit_refusal(record).await? {
            return Ok(0);
        }
        self.on_committed(claim, offer, 0, &request).await;
        Ok(1)
    }

    async fn on_committed(&self, claim: &ClaimInput, offer: &Offer, granted: u32, request: &RewardRequest) {
        self.recorder.on_committed(claim, offer, granted, request).await;
        let waited = self.clock.now().as_millis() - claim.received_at.as_millis();
        #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
        metrics::histogram!("meed_pending_claims_wait_seconds").record(waited.max(0) as f64 / 1000.0);
    }

    async fn key_of(&self, row: &PendingClaimRow, lost: &HashSet<Uuid>) -> Result<Key, ClaimError> {
        let Some(key) = &row.idempotency_key else {
            return Ok(Key::Free(None));
        };
        if lost.contains(&row.id)
            && let Some(stored) = responses::find(&self.db, row.user_id, key.clone()).await?
            && stored.request_id != row.id
        {
            return Ok(
                if Some(stored.fingerprint) == row.fingerprint && !mutations::active("repeat-decided-again") {
                    Key::Answered(stored.request_id)
                } else {
                    Key::Taken
                },
            );
        }
        Ok(Key::Free(key.parse().ok()))
    }
}

/// A claim that no grant can result from.
fn refused(claim: &ClaimInput, offer: &Offer, verdict: Verdict) -> Decided {
    Decided {
        slot: PeriodSlot::first(offer, claim.received_at),
        granted: 0,
        verdict,
    }
}

/// Errors of the database, and the lack of a sandbox slot, are retried. Any other error is our fault: the claim fails, so
/// that it does not block the claims behind it.
fn failed(claim: &ClaimInput, error: ClaimError) -> Result<Verdict, ClaimError> {
    if error.database_error().is_some() || matches!(error, ClaimError::NoSlot) {
        return Err(error);
    }
    tracing::error!(event.id = %claim.event_id, user.id = %claim.user_id, %error, "a claim cannot be decided; it fails");
    Ok(Verdict::condition_failed())
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

/// The same record would fail in the same way.
fn is_permanent(error: &DbError) -> bool {
    !error.is_unavailable() && !error.is_outcome_unknown() && !error.is_conflict()
}
