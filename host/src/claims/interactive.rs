//! The driver of interactive claims: it decides a claim and commits it while the caller waits, and starts over when another
//! transaction was first.

use std::sync::Arc;

use tracing::Instrument as _;
use uuid::Uuid;

use super::cache::{GrantedCache, SoldOutCache};
use super::codes::OwnCodes;
use super::commit::GroupCommit;
use super::decision::{Decided, DecisionInput, Judge, Judged};
use super::error::ClaimError;
use super::idempotency::{self, Responses};
use super::model::{ClaimAnswer, ClaimInput, ClaimedBy, IdempotencyKey, RewardRequest};
use super::queue::Intake;
use super::record::{Recorder, counted};
use super::store::{self, CommitOutcome, commit_rows};
use super::trial::Tried;
use crate::backoff;
use crate::clock::Clock;
use crate::correlation;
use crate::db::Db;
use crate::events::{EventService, Offer, Purpose};
use crate::facts::Instants;
use crate::mutations;

/// Attempts of one claim. Each lost attempt means that another claim, or a change of the event, was committed meanwhile, so
/// a few are enough.
const ATTEMPTS: u32 = 8;

pub(super) struct InteractiveClaims {
    pub db: Db,
    pub clock: Clock,
    pub events: EventService,
    pub judge: Judge,
    pub recorder: Recorder,
    pub commits: GroupCommit,
    pub responses: Responses,
    pub granted_cache: GrantedCache,
    pub sold_out_cache: SoldOutCache,
    pub intake: Intake,
    pub codes: OwnCodes,
}

/// The result of an attempt.
enum Attempt {
    Decided(Box<RewardRequest>),
    /// The same was decided before.
    RefusedAgain(Box<RewardRequest>),
    /// Another transaction was first, and nothing was written.
    Lost,
}

impl InteractiveClaims {
    /// Decides a claim and commits the decision, or queues the claim if its caller (`wants_async`) or its event asks
    /// for that. Every answer reports committed data, with the codes of its grants.
    ///
    /// The claim continues if the caller leaves, for example if the client closes the connection.
    pub(super) async fn claim(
        self: &Arc<Self>,
        (user_id, claimed_by): (Uuid, Option<ClaimedBy>),
        event_id: Uuid,
        key: Option<IdempotencyKey>,
        wants_async: bool,
    ) -> Result<ClaimAnswer, ClaimError> {
        // Gates, facts and condition see this instant; only the times of writing are read later.
        let claim = ClaimInput {
            user_id,
            event_id,
            received_at: self.clock.now(),
            key,
            http_request_id: correlation::current(),
            claimed_by,
            queued: None,
            made_good: None,
        };
        if !wants_async && let Some(again) = self.sold_out_cache.lookup(&claim).await.transpose() {
            return counted(again);
        }
        let driver = Arc::clone(self);
        let deciding = async move {
            let answer = counted(if wants_async || driver.responds_async(event_id).await {
                driver.intake.accept(&claim).await
            } else {
                driver.decide(&claim).await
            });
            driver.with_codes(answer?).await
        };
        tokio::spawn(correlation::inherited(deciding).in_current_span())
            .await
            .unwrap_or_else(|error| {
                tracing::error!(%error, event.id = %event_id, user.id = %user_id, "a claim panicked");
                Err(ClaimError::OutcomeUnknown)
            })
    }

    async fn with_codes(&self, mut answer: ClaimAnswer) -> Result<ClaimAnswer, ClaimError> {
        match &mut answer {
            ClaimAnswer::Decided(request) => self.codes.show_committed(request).await,
            ClaimAnswer::Replayed { response, .. } => {
                *response = self.codes.show_stored(std::mem::take(response)).await?;
            }
            // Nothing was granted.
            ClaimAnswer::Pending(_) | ClaimAnswer::SoldOutAgain { .. } | ClaimAnswer::RefusedAgain(_) => {}
        }
        Ok(answer)
    }

    /// The decision reports an event that cannot be read.
    async fn responds_async(&self, event_id: Uuid) -> bool {
        let offer = self.events.recent(event_id).await;
        offer.is_ok_and(|offer| offer.event.respond_async)
    }

    async fn decide(&self, claim: &ClaimInput) -> Result<ClaimAnswer, ClaimError> {
        for attempt in 0..ATTEMPTS {
            // Read at the same time: the response under the key is needed first, but seldom exists.
            let (response, prepared) = tokio::join!(idempotency::find_response(&self.db, claim), self.prepare(claim));
            if let Some(response) = response? {
                return Ok(response);
            }
            let attempted = match prepared {
                Ok((offer, input)) => self.attempt(claim, &offer, &input).await,
                Err(error) => Err(error),
            };
            match attempted {
                Ok(Attempt::Decided(request)) => return Ok(ClaimAnswer::Decided(request)),
                Ok(Attempt::RefusedAgain(request)) => return Ok(ClaimAnswer::RefusedAgain(request)),
                Ok(Attempt::Lost) => {}
                Err(error) if error.is_conflict() => backoff::pause(&self.clock, attempt).await,
                Err(error @ (ClaimError::AlreadyGranted { .. } | ClaimError::ClaimHeld(_))) => {
                    // Perhaps the answer to a claim under the same key that was committed after the first lookup.
                    let response = idempotency::find_response(&self.db, claim).await?;
                    return response.ok_or(error);
                }
                Err(error) => return Err(error),
            }
        }
        Err(ClaimError::Contended)
    }

    /// Answers with an earlier request that says the same. It becomes the response under the claim's key, too.
    async fn refused_again(
        &self,
        claim: &ClaimInput,
        offer: &Offer,
        request: RewardRequest,
        tried: Option<Tried>,
    ) -> Result<Attempt, ClaimError> {
        let response = self.recorder.response(claim, &request)?;
        let is_keyed = response.is_some();
        if let Some(response) = response
            && !self.responses.store(response).await?
        {
            return Ok(Attempt::Lost);
        }
        self.recorder.on_answered(offer, &request, tried);
        let request = Box::new(request);
        // A repeat under the key gets the stored response with 201, so the first answer under it has this status, too.
        Ok(if is_keyed {
            Attempt::Decided(request)
        } else {
            Attempt::RefusedAgain(request)
        })
    }

    /// Ends an attempt whose commit was lost. Either another transaction was first; or the user was told the same before,
    /// but not last.
    async fn lost(
        &self,
        claim: &ClaimInput,
        offer: &Offer,
        said: Option<String>,
        tried: Option<Tried>,
    ) -> Result<Attempt, ClaimError> {
        let event = &offer.event;
        let Some(said) = said else {
            return Ok(Attempt::Lost);
        };
        let earlier = store::find_refusal(&self.db, claim.user_id, event.id, said).await?;
        match earlier {
            Some(row) if self.events.recent(event.id).await?.event.revision == event.revision => {
                self.refused_again(claim, offer, row.into_request(Vec::new()), tried)
                    .await
            }
            _ => Ok(Attempt::Lost),
        }
    }

    async fn prepare(&self, claim: &ClaimInput) -> Result<(Arc<Offer>, DecisionInput), ClaimError> {
        let offer = self.events.recent(claim.event_id).await?;
        if let Some(repeat) = self.granted_cache.lookup(claim, &offer).await {
            return Err(repeat);
        }
        let input = self
            .judge
            .read(claim.user_id, &offer, Instants::of_claim(claim.received_at));
        let input = input.await?;
        Ok((offer, input))
    }

    async fn attempt(&self, claim: &ClaimInput, offer: &Offer, input: &DecisionInput) -> Result<Attempt, ClaimError> {
        let judged = self.judge.judge(input, offer, Purpose::Claim);
        let Decided {
            slot,
            granted,
            verdict,
            tried,
        } = match judged.await? {
            Judged::Decided(decided) => decided,
            Judged::AlreadyGranted(slot) => {
                // If there is no grant, it was reversed after it was counted. Its slot is free now.
                let repeat = self.granted_cache.load(&self.db, claim, offer, &slot.period).await?;
                return repeat.map_or(Ok(Attempt::Lost), Err);
            }
            Judged::Held(id) => return Err(ClaimError::ClaimHeld(id)),
            Judged::Disabled => return Err(ClaimError::Disabled),
        };
        let (mut record, request) = self.recorder.record(claim, offer, slot, verdict)?;
        if let Some(earlier) = input.rejection_that_says(record.refusal.as_deref()) {
            return self
                .refused_again(claim, offer, request.told_before(earlier), tried)
                .await;
        }
        let said = record.refusal.clone();
        let answered_apart = mutations::active("answer-apart").then(|| record.clone());
        record.response.take_if(|_| answered_apart.is_some());
        let commit = self.commits.commit(record);
        match commit.instrument(tracing::debug_span!("commit")).await? {
            CommitOutcome::Committed => {
                if let Some(record) = answered_apart {
                    let mut tx = self.db.begin().await?;
                    commit_rows::insert_response(&mut tx, &record).await?;
                    tx.commit().await?;
                }
            }
            CommitOutcome::Lost => return self.lost(claim, offer, said, tried).await,
            CommitOutcome::Failed(error) => return Err(error.into()),
        }
        self.recorder.on_committed(claim, offer, granted, &request, tried).await;
        Ok(Attempt::Decided(Box::new(request)))
    }
}
