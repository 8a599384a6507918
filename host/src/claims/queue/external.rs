//! Claims that a game or shop leaves in a topic for its users. They wait in the lines of those that were answered with 202
//! (`received`), and are settled like them.
//!
//! Must not know: Kafka, and how a claim is written in a message.

use std::collections::HashSet;
use std::time::Duration;

use uuid::Uuid;

use crate::claims::record::ClaimInput;
use crate::claims::service::{ClaimError, Claims, IdempotencyKey};
use crate::clock::Timestamp;
use crate::events::EventError;
use crate::facts::FactError;

/// Of these as many of one user may wait as wait at all: whoever may put them there is trusted, and one user's claim would
/// hold up those of all others behind it.
const PER_USER: i64 = i64::MAX;

/// A claim that was made elsewhere.
#[derive(Clone, Debug)]
pub struct ExternalClaim {
    /// Its Idempotency-Key, and what messages about it are marked with.
    pub id: IdempotencyKey,
    pub user_id: Uuid,
    pub event_id: Uuid,
    /// When it was made; no later than now.
    pub at: Option<Timestamp>,
}

/// Why a claim can never be taken in.
#[derive(Debug, thiserror::Error)]
pub enum PermanentRejection {
    #[error("/userId: there is no user {0}")]
    NoSuchUser(Uuid),
    #[error(
        "The claim was made at {0}, more than {1:?} (claims.idempotency_seconds) ago: nobody remembers whether it is a repeat. Make it again if it is none."
    )]
    TooOld(Timestamp, Duration),
    /// There is no such event, or the id was used for another claim.
    #[error(transparent)]
    Refused(ClaimError),
}

impl Claims {
    /// Takes claims in, one behind the other, and tells what became of each: it waits or changes nothing, or it can never
    /// be taken. An error ends it early: the claims that nothing is told of have to come again.
    pub async fn receive_in_order(
        &self,
        arrivals: &[ExternalClaim],
    ) -> (Vec<Result<(), PermanentRejection>>, Result<(), ClaimError>) {
        let now = self.clock.now();
        // A line goes by their instants, and by their ids within one.
        let mut ids: Vec<Uuid> = arrivals.iter().map(|_| self.clock.new_id()).collect();
        ids.sort_unstable();
        let claims: Vec<(Uuid, ClaimInput)> = ids
            .into_iter()
            .zip(arrivals.iter().map(|arrival| claim_of(arrival, now)))
            .collect();
        let mut told = Vec::with_capacity(claims.len());
        let waiting = match self.receive_together(&claims, now).await {
            Ok(waiting) => waiting,
            Err(error) => return (told, Err(error)),
        };
        for (id, claim) in &claims {
            if waiting.contains(id) {
                claim.note_received(*id);
                told.push(Ok(()));
                continue;
            }
            match self.receive_late(claim, now).await {
                Ok(one) => told.push(one),
                Err(error) => return (told, Err(error)),
            }
        }
        (told, Ok(()))
    }

    /// In one step, so that none is decided before one ahead of it waits. Tells which wait now.
    async fn receive_together(
        &self,
        claims: &[(Uuid, ClaimInput)],
        now: Timestamp,
    ) -> Result<HashSet<Uuid>, ClaimError> {
        let mut news = Vec::with_capacity(claims.len());
        for (id, claim) in claims {
            if self.is_too_old(claim, now) {
                continue;
            }
            match self.events.recent(claim.event_id).await {
                Ok(offer) => news.push(claim.arriving_as(*id, &offer, PER_USER)),
                Err(EventError::NotFound(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        if news.is_empty() {
            return Ok(HashSet::new());
        }
        Ok(self.intake.take(news).await?.unwrap_or_default())
    }

    /// Finds out what is in the way of a claim, or takes it in after all.
    async fn receive_late(
        &self,
        claim: &ClaimInput,
        now: Timestamp,
    ) -> Result<Result<(), PermanentRejection>, ClaimError> {
        if self.is_too_old(claim, now) {
            return Ok(Err(PermanentRejection::TooOld(claim.received_at, self.idempotency)));
        }
        let received = self.receive(claim, PER_USER).await;
        match received {
            // Another claim of the user on the event stands for this one.
            Err(ClaimError::Waiting(_)) => Ok(Ok(())),
            Ok(_) | Err(ClaimError::AlreadyGranted { .. }) => {
                self.count(claim, received).ok();
                Ok(Ok(()))
            }
            Err(ClaimError::Facts(FactError::NoSuchUser(id))) => Ok(Err(PermanentRejection::NoSuchUser(id))),
            Err(error @ (ClaimError::KeyReused(_) | ClaimError::Event(EventError::NotFound(_)))) => {
                Ok(Err(PermanentRejection::Refused(error)))
            }
            Err(error) => Err(error),
        }
    }

    fn is_too_old(&self, claim: &ClaimInput, now: Timestamp) -> bool {
        claim.received_at.plus(self.idempotency) <= now
    }
}

fn claim_of(arrival: &ExternalClaim, now: Timestamp) -> ClaimInput {
    ClaimInput {
        user_id: arrival.user_id,
        event_id: arrival.event_id,
        received_at: arrival.at.map_or(now, |at| at.min(now)),
        key: Some(arrival.id.clone()),
        http_request_id: Some(arrival.id.as_str().to_owned()),
        queued: None,
    }
}
