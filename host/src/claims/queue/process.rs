//! The driver of pending claims: it decides and commits the claims of one event in the order of their arrival.
//!
//! A batch is decided on one revision of the event and committed in order, so that stock and budget go to the claims
//! that came first; claims that are left over come first in the next batch. No user has two claims in a queue. Must not
//! know: which process owns a queue, and why; the caller passes the fence.

use std::collections::HashSet;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::{FutureExt as _, StreamExt as _, stream};
use uuid::Uuid;

use crate::backoff;
use crate::claims::commit::Committer;
use crate::claims::decision::{Decided, DecisionInput, Judge, Judged};
use crate::claims::error::ClaimError;
use crate::claims::model::{ClaimInput, IdempotencyKey, Queued, RewardRequest};
use crate::claims::preparation::PeriodSlot;
use crate::claims::record::Recorder;
use crate::claims::store::queue::{self, PendingClaimRow};
use crate::claims::store::{CommitOutcome, CommitRecord, responses};
use crate::claims::trial::Tried;
use crate::claims::verdict::Verdict;
use crate::clock::Clock;
use crate::db::{Db, DbError, Json};
use crate::events::{EventError, EventService, Offer, Purpose};
use crate::facts::Instants;
use crate::mutations;

/// Claims that are decided at the same time: their facts are read together.
const CONCURRENCY: usize = 16;

/// Attempts to get a sandbox slot. Each waits as long as an interactive claim may wait for one.
const SLOT_ATTEMPTS: u32 = 60;

/// Attempts to decide a claim. Their pauses take about eight minutes; then the claim fails.
const ATTEMPTS: i64 = 10;

/// The pause after the first attempt; doubled for each further one.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

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
    tried: Option<Tried>,
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
    /// Decides and commits these claims of one event, as many as fit into a batch, and returns how many were committed or
    /// put aside. The others stay pending. `lost`: claims whose last commit was lost. `patience`: how long the facts of one
    /// claim may be read.
    ///
    /// A claim that cannot be decided or written is put aside, so that it does not hold the others. An error concerns all
    /// claims alike, for example because the database cannot be reached.
    pub(super) async fn process(
        &self,
        event_id: Uuid,
        fence: i64,
        rows: &[PendingClaimRow],
        lost: &mut HashSet<Uuid>,
        patience: Option<Duration>,
    ) -> Result<usize, ClaimError> {
        let offer = match self.events.recent(event_id).await {
            Ok(offer) => offer,
            Err(EventError::NotFound(_)) => return self.refuse_all(event_id, fence, rows).await,
            Err(error) => return Err(error.into()),
        };
        let prepared = self.prepare_all(&offer, fence, rows, lost, patience).await?;
        let (mut records, mut answers, mut undecided) = (Vec::new(), Vec::new(), Vec::new());
        for (row, prepared) in rows.iter().zip(prepared) {
            match prepared {
                Ok(Prepared {
                    record,
                    request,
                    granted,
                    tried,
                }) => {
                    records.push(record);
                    answers.push((row, request, granted, tried));
                }
                Err(error) => undecided.push((row, error)),
            }
        }
        let outcomes = self.committer.commit(records).await;
        let mut processed = 0;
        let mut outage = None;
        for ((row, request, granted, tried), outcome) in answers.into_iter().zip(outcomes) {
            lost.remove(&row.id);
            match outcome {
                CommitOutcome::Committed => {
                    processed += 1;
                    let claim = claim_of(row, fence, None);
                    self.on_committed(&claim, &offer, granted, &request, tried).await;
                }
                CommitOutcome::Lost => {
                    lost.insert(row.id);
                }
                CommitOutcome::Failed(error) if error.is_outage() => outage = Some(error),
                CommitOutcome::Failed(error) => undecided.push((row, error.into())),
            }
        }
        for (row, error) in undecided {
            processed += self.put_aside(row, &offer, fence, error).await?;
        }
        outage.map_or(Ok(processed), |error| Err(error.into()))
    }

    /// Leaves a claim for a later attempt, or lets it fail after the last one. Returns 1.
    async fn put_aside(
        &self,
        row: &PendingClaimRow,
        offer: &Offer,
        fence: i64,
        error: ClaimError,
    ) -> Result<usize, ClaimError> {
        let attempt = row.attempts + 1;
        let is_permanent = error.database_error().is_some_and(is_permanent);
        if attempt >= ATTEMPTS || is_permanent {
            tracing::error!(reward_request.id = %row.id, attempt, %error, "a pending claim cannot be decided; it fails");
            let claim = claim_of(row, fence, None);
            match self.refuse(&claim, row, offer, Verdict::undecidable()).await {
                Err(error) if !concerns_one(&error) => return Err(error),
                // What stopped the decision may stop this, too.
                Err(error) => tracing::error!(reward_request.id = %row.id, %error, "a pending claim cannot fail yet"),
                Ok(_) => return Ok(1),
            }
        } else {
            tracing::warn!(reward_request.id = %row.id, attempt, %error, "a pending claim is put aside");
        }
        let doublings = u32::try_from(row.attempts.min(ATTEMPTS)).unwrap_or_default();
        let until = self.clock.now().plus(FIRST_PAUSE * 2_u32.saturating_pow(doublings));
        let mut tx = self.db.begin().await?;
        queue::defer(&mut tx, row, fence, until).await?;
        tx.commit().await?;
        Ok(1)
    }

    /// In the order of the rows, and as many as fit into a batch.
    async fn prepare_all(
        &self,
        offer: &Offer,
        fence: i64,
        rows: &[PendingClaimRow],
        lost: &HashSet<Uuid>,
        patience: Option<Duration>,
    ) -> Result<Vec<Result<Prepared, ClaimError>>, ClaimError> {
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
            preparing.push(self.prepare(claim, *repeated, offer, patience).boxed());
        }
        let mut preparing = stream::iter(preparing).buffered(CONCURRENCY);
        let (mut prepared, mut bytes) = (Vec::new(), 0);
        while bytes < BATCH_BYTES
            && let Some(next) = preparing.next().await
        {
            match next {
                Ok(next) => {
                    bytes += next.record.receipt.text.len();
                    prepared.push(Ok(next));
                }
                Err(error) if concerns_one(&error) => prepared.push(Err(error)),
                Err(error) => return Err(error),
            }
        }
        Ok(prepared)
    }

    /// `repeated`: the request that is the response to this very claim.
    async fn prepare(
        &self,
        claim: &ClaimInput,
        repeated: Option<Uuid>,
        offer: &Offer,
        patience: Option<Duration>,
    ) -> Result<Prepared, ClaimError> {
        let decided = match repeated {
            Some(request_id) => refused(claim, offer, Verdict::repeated(request_id)),
            None => match AssertUnwindSafe(self.decide(claim, offer, patience))
                .catch_unwind()
                .await
            {
                Ok(Ok(decided)) => decided,
                Ok(Err(error)) => refused(claim, offer, failed(claim, error)?),
                Err(_) => {
                    tracing::error!(event.id = %claim.event_id, user.id = %claim.user_id, "a decision panicked; the claim fails");
                    refused(claim, offer, Verdict::condition_failed())
                }
            },
        };
        let (granted, mut tried) = (decided.granted, decided.tried);
        let recorded = match self.recorder.record(claim, offer, decided.slot, decided.verdict) {
            Ok(recorded) => recorded,
            Err(error) => {
                let verdict = failed(claim, error)?;
                tried = None;
                let slot = PeriodSlot::first(offer, claim.received_at);
                self.recorder.record(claim, offer, slot, verdict)?
            }
        };
        let (record, request) = recorded;
        Ok(Prepared {
            record,
            request,
            granted,
            tried,
        })
    }

    async fn decide(
        &self,
        claim: &ClaimInput,
        offer: &Offer,
        patience: Option<Duration>,
    ) -> Result<Decided, ClaimError> {
        let read = self
            .judge
            .read(claim.user_id, offer, Instants::of_claim(claim.received_at));
        let input = match patience {
            Some(patience) => {
                let read = tokio::time::timeout(patience, read).await;
                read.map_err(|_| ClaimError::SlowFacts(patience))??
            }
            None => read.await?,
        };
        let judged = self.judge_patiently(&input, offer).await?;
        Ok(match judged {
            Judged::Decided(decided) => decided,
            Judged::AlreadyGranted(_) => {
                let next_at = offer.next_period_start(claim.received_at);
                refused(claim, offer, Verdict::already_granted(next_at))
            }
            Judged::Held(id) => refused(claim, offer, Verdict::claim_held(id)),
            Judged::Disabled => refused(claim, offer, Verdict::account_disabled()),
        })
    }

    /// The caller does not wait for a pending claim, so it can wait long for a sandbox slot.
    async fn judge_patiently(&self, input: &DecisionInput, offer: &Offer) -> Result<Judged, ClaimError> {
        for attempt in 0..SLOT_ATTEMPTS {
            let judged = self.judge.judge(input, offer, Purpose::Claim);
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
        let mut processed = 0;
        for row in rows {
            let key = match self.key_of(row, &HashSet::from([row.id])).await? {
                Key::Free(key) => key,
                Key::Taken | Key::Answered(_) => None,
            };
            let claim = claim_of(row, fence, key);
            processed += match self.refuse(&claim, row, &offer, Verdict::event_deleted()).await {
                Err(error) if concerns_one(&error) => self.put_aside(row, &offer, fence, error).await?,
                refused => refused?,
            };
        }
        Ok(processed)
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
        self.on_committed(claim, offer, 0, &request, None).await;
        Ok(1)
    }

    async fn on_committed(
        &self,
        claim: &ClaimInput,
        offer: &Offer,
        granted: u32,
        request: &RewardRequest,
        tried: Option<Tried>,
    ) {
        self.recorder.on_committed(claim, offer, granted, request, tried).await;
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
        tried: None,
    }
}

/// Transient errors of the database, facts that take long, and the lack of a sandbox slot are retried. Any other error is our
/// fault: the claim fails.
fn failed(claim: &ClaimInput, error: ClaimError) -> Result<Verdict, ClaimError> {
    let is_transient = match error.database_error() {
        Some(error) => !is_permanent(error),
        None => matches!(error, ClaimError::NoSlot | ClaimError::SlowFacts(_)),
    };
    if is_transient {
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
        claimed_by: row.claimed_by.clone().map(|Json(by)| by),
        queued: Some(Queued { id: row.id, fence }),
        made_good: None,
    }
}

/// Whether other claims may succeed: the error is neither an outage nor the lack of a sandbox slot.
fn concerns_one(error: &ClaimError) -> bool {
    match error.database_error() {
        Some(error) => !error.is_outage(),
        None => matches!(error, ClaimError::SlowFacts(_)),
    }
}

/// The same record would fail in the same way.
fn is_permanent(error: &DbError) -> bool {
    !error.is_unavailable() && !error.is_outcome_unknown() && !error.is_conflict()
}
