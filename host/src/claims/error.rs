//! What can go wrong with a claim, a reward request, a grant or a reversal.
//!
//! Must not know: HTTP. `routes` maps these errors to problems.

use std::time::Duration;

use uuid::Uuid;

use super::model::{ALREADY_GRANTED, CLAIM_HELD, Status};
use super::receipt::ReceiptError;
use super::review::ReviewOutcome;
use crate::batch::Unanswered;
use crate::clock::Timestamp;
use crate::db::DbError;
use crate::events::EventError;
use crate::facts::{FactError, NotYetKnown};
use crate::plugins::PluginError;
use crate::rewards::RewardError;
use crate::sandbox::Digest;

#[derive(Debug, thiserror::Error)]
pub enum ClaimError {
    #[error("There is no reward request {0}.")]
    NotFound(Uuid),
    #[error("There is no grant {0}.")]
    NoGrant(Uuid),
    #[error("{ALREADY_GRANTED}")]
    AlreadyGranted {
        reward_request_id: Uuid,
        grant_ids: Vec<Uuid>,
        next_at: Option<Timestamp>,
    },
    #[error("Your claim {0} on this event is pending. Wait for its decision before you claim under another key.")]
    ClaimPending(Uuid),
    #[error("{CLAIM_HELD} Its decision appears at /reward-requests/{0}.")]
    ClaimHeld(Uuid),
    #[error("You already have {0} pending claims, the maximum. Wait for their decisions.")]
    TooManyPending(i64),
    #[error("The queue of pending claims is full. Nothing was changed; try again later.")]
    QueueFull,
    #[error("The reward request {id} is RECEIVED. It has no receipt before its decision.")]
    NotDecided { id: Uuid, user_id: Uuid },
    #[error("The content of this receipt was erased with its user, so there is nothing to explain.")]
    ReceiptErased,
    #[error("Too many explanations are being made. Try again.")]
    TooManyExplanations,
    #[error("The Idempotency-Key {0:?} was used for another claim. Use a new key for a new claim.")]
    KeyReused(String),
    #[error("The reward request {request_id} was already reversed at {reversed_at}. Nothing was changed.")]
    AlreadyReversed {
        request_id: Uuid,
        reversal_id: Uuid,
        reversed_at: Timestamp,
    },
    #[error("The reward request {id} is {status}. Only a GRANTED request can be reversed.")]
    NotGranted { id: Uuid, status: Status },
    #[error("The reward request {request_id} was already reviewed at {reviewed_at}: {}. Nothing was changed.", .outcome.as_str())]
    AlreadyReviewed {
        request_id: Uuid,
        outcome: ReviewOutcome,
        reviewed_at: Timestamp,
    },
    #[error("The reward request {id} is {status}. Only a HELD request can be reviewed.")]
    NotHeld { id: Uuid, status: Status },
    #[error("The held claim cannot be granted now: {message} It stays HELD.")]
    NotGrantable { cause: &'static str, message: String },
    #[error("You cannot review your own claim.")]
    OwnReview,
    #[error("The reward request {0} was not reversed.")]
    NoReversal(Uuid),
    #[error("knownBy: {0}.")]
    NotYetKnown(#[from] NotYetKnown),
    #[error("Your account is disabled.")]
    Disabled,
    #[error("The event's condition could not be evaluated. Try again later.")]
    ConditionFailed,
    #[error("Too many concurrent claims. Nothing was changed; try again.")]
    Contended,
    #[error(
        "No sandbox slot became free; the claim stays queued. Raise sandbox.slots or sandbox.runtime_slots, or add processes."
    )]
    NoSlot,
    #[error("The facts of the claim were not read within {0:?}.")]
    SlowFacts(Duration),
    #[error("Too many claims wait for their commit. Nothing was changed; try again.")]
    Overloaded,
    #[error("Commit outcome unknown; retry with the same Idempotency-Key.")]
    OutcomeUnknown,
    #[error("The condition awarded {0:?}, which is not a reward of the event.")]
    ForeignReward(String),
    #[error(transparent)]
    Event(#[from] EventError),
    #[error(transparent)]
    Plugin(#[from] PluginError),
    #[error(transparent)]
    Reward(#[from] RewardError),
    #[error(transparent)]
    Facts(#[from] FactError),
    #[error(transparent)]
    Receipt(#[from] ReceiptError),
    #[error("The terms {0} of the receipt are not in the database.")]
    NoTerms(Digest),
    #[error("The stored receipt cannot be read: {0}")]
    StoredReceipt(String),
    #[error("A stored document cannot be read or written as JSON: {0}")]
    Json(#[from] serde_json::Error),
    #[error(transparent)]
    Db(#[from] DbError),
}

impl From<Unanswered> for ClaimError {
    fn from(unanswered: Unanswered) -> Self {
        match unanswered {
            Unanswered::Full => Self::Overloaded,
            Unanswered::Lost => Self::OutcomeUnknown,
        }
    }
}

impl ClaimError {
    /// Whether another attempt may end differently.
    pub fn is_temporary(&self) -> bool {
        let is_busy = matches!(
            self,
            Self::Contended | Self::NoSlot | Self::SlowFacts(_) | Self::Overloaded | Self::OutcomeUnknown
        );
        is_busy || self.database_error().is_some()
    }

    /// The transaction conflicted with another one and changed nothing. It may have run in any service.
    pub(super) fn is_conflict(&self) -> bool {
        self.database_error().is_some_and(DbError::is_conflict)
    }

    /// The connection was lost during the commit: only the database knows whether it happened.
    pub(super) fn is_outcome_unknown(&self) -> bool {
        self.database_error().is_some_and(DbError::is_outcome_unknown)
    }

    pub(super) fn database_error(&self) -> Option<&DbError> {
        match self {
            Self::Db(error)
            | Self::Facts(FactError::Db(error))
            | Self::Event(EventError::Db(error) | EventError::Reward(RewardError::Db(error)))
            | Self::Plugin(PluginError::Db(error))
            | Self::Reward(RewardError::Db(error)) => Some(error),
            _ => None,
        }
    }
}
