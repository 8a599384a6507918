//! Queues claims that a game or shop makes for its users, for example in a topic. They join the queues of claims that were
//! answered with 202.
//!
//! Must not know: Kafka, and how a message represents a claim.

use std::collections::HashSet;
use std::time::Duration;

use uuid::Uuid;

use super::intake::{Intake, log_queued, new_pending_claim};
use crate::claims::error::ClaimError;
use crate::claims::model::{ClaimInput, IdempotencyKey};
use crate::claims::record::counted;
use crate::clock::{Clock, Timestamp};
use crate::directory::{Directory, UserRef};
use crate::events::{EventError, EventService};
use crate::facts::FactError;
use crate::mutations;

/// A user may have any number of pending external claims: their source is trusted, and a limit for one user would stop the
/// claims of all others behind it.
const MAX_PER_USER: i64 = i64::MAX;

/// A claim that was made outside of Meed.
#[derive(Clone, Debug)]
pub struct ExternalClaim {
    /// The claim's Idempotency-Key, and the correlation id of messages about it.
    pub id: IdempotencyKey,
    pub user: UserRef,
    pub event_id: Uuid,
    /// When the claim was made; an instant in the future counts as now.
    pub at: Option<Timestamp>,
}

/// Why a claim can never be queued.
#[derive(Debug, thiserror::Error)]
pub enum PermanentRejection {
    #[error("/{member}: there is no user {user}", member = user.member())]
    NoSuchUser { user: UserRef },
    #[error(
        "The claim was made at {0}, more than {1:?} (claims.idempotency_seconds) ago, so a repeat of it could not be recognised. Make a new claim."
    )]
    TooOld(Timestamp, Duration),
    /// The event does not exist, or the id was used for another claim.
    #[error(transparent)]
    Refused(ClaimError),
}

/// Cheap to clone.
#[derive(Clone)]
pub struct ExternalIntake {
    pub(in crate::claims) clock: Clock,
    pub(in crate::claims) events: EventService,
    pub(in crate::claims) intake: Intake,
    pub(in crate::claims) directory: Directory,
    /// How long a response is stored under its key: an older claim could be a repeat.
    pub(in crate::claims) retention: Duration,
}

impl ExternalIntake {
    /// Queues claims in their order and returns a result for each: the claim is pending, it changes nothing, or it is
    /// rejected permanently. An error ends the call early; the caller must submit the claims without a result again.
    pub async fn accept_in_order(
        &self,
        claims: &[ExternalClaim],
    ) -> (Vec<Result<(), PermanentRejection>>, Result<(), ClaimError>) {
        let now = self.clock.now();
        let mut results = Vec::with_capacity(claims.len());
        let named: Vec<UserRef> = claims.iter().map(|claim| claim.user.clone()).collect();
        let users = match self.directory.ids_of(&named).await {
            Ok(users) => users,
            Err(error) => return (results, Err(error.into())),
        };
        // No user has the id that stands for an unknown external id.
        let users = users.into_iter().map(Option::unwrap_or_default);
        let inputs: Vec<ClaimInput> = claims
            .iter()
            .zip(users)
            .map(|(claim, user)| claim.input(user, now))
            .collect();
        let claims: Vec<(Uuid, ClaimInput)> = self.ids(&inputs).into_iter().zip(inputs).collect();
        let queued = match self.queue_together(&claims, now).await {
            Ok(queued) => queued,
            Err(error) => return (results, Err(error)),
        };
        for ((id, claim), user) in claims.iter().zip(named) {
            if queued.contains(id) {
                log_queued(claim, *id);
                results.push(Ok(()));
                continue;
            }
            match self.accept_one(claim, user, now).await {
                Ok(result) => results.push(result),
                Err(error) => return (results, Err(error)),
            }
        }
        (results, Ok(()))
    }

    /// A queue is ordered by id. Ids begin with the time of their claims; claims of the same time keep their order.
    fn ids(&self, claims: &[ClaimInput]) -> Vec<Uuid> {
        let mut ids: Vec<Uuid> = claims
            .iter()
            .map(|claim| self.clock.new_id_at(claim.received_at))
            .collect();
        if mutations::active("topic-order-lost") {
            return ids;
        }
        let mut order: Vec<usize> = (0..claims.len()).collect();
        order.sort_by_key(|place| claims[*place].received_at);
        let mut sorted = ids.clone();
        sorted.sort_unstable();
        for (place, id) in order.into_iter().zip(sorted) {
            ids[place] = id;
        }
        ids
    }

    /// In one transaction, so that no claim is decided before an earlier one is pending. Returns the ids of those that are.
    async fn queue_together(&self, claims: &[(Uuid, ClaimInput)], now: Timestamp) -> Result<HashSet<Uuid>, ClaimError> {
        let mut new = Vec::with_capacity(claims.len());
        for (id, claim) in claims {
            if self.is_too_old(claim, now) {
                continue;
            }
            match self.events.recent(claim.event_id).await {
                Ok(offer) => new.push(new_pending_claim(claim, *id, &offer, MAX_PER_USER)),
                Err(EventError::NotFound(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        if new.is_empty() {
            return Ok(HashSet::new());
        }
        Ok(self.intake.queue(new).await?.unwrap_or_default())
    }

    /// Queues a claim that the statement left out, or returns the reason.
    async fn accept_one(
        &self,
        claim: &ClaimInput,
        user: UserRef,
        now: Timestamp,
    ) -> Result<Result<(), PermanentRejection>, ClaimError> {
        if self.is_too_old(claim, now) {
            return Ok(Err(PermanentRejection::TooOld(claim.received_at, self.retention)));
        }
        let accepted = self.intake.accept_within(claim, MAX_PER_USER).await;
        match accepted {
            // Another pending or held claim of the user on the event replaces this one.
            Err(ClaimError::ClaimPending(_) | ClaimError::ClaimHeld(_)) => Ok(Ok(())),
            Ok(_) | Err(ClaimError::AlreadyGranted { .. }) => {
                counted(accepted).ok();
                Ok(Ok(()))
            }
            Err(ClaimError::Facts(FactError::NoSuchUser(_))) => Ok(Err(PermanentRejection::NoSuchUser { user })),
            Err(error @ (ClaimError::KeyReused(_) | ClaimError::Event(EventError::NotFound(_)))) => {
                Ok(Err(PermanentRejection::Refused(error)))
            }
            Err(error) => Err(error),
        }
    }

    fn is_too_old(&self, claim: &ClaimInput, now: Timestamp) -> bool {
        claim.received_at.plus(self.retention) <= now
    }
}

impl ExternalClaim {
    fn input(&self, user_id: Uuid, now: Timestamp) -> ClaimInput {
        ClaimInput {
            user_id,
            event_id: self.event_id,
            received_at: self
                .at
                .filter(|_| !mutations::active("claim-time-of-reading"))
                .map_or(now, |at| at.min(now)),
            key: Some(self.id.clone()),
            http_request_id: Some(self.id.as_str().to_owned()),
            claimed_by: None,
            queued: None,
            made_good: None,
        }
    }
}
