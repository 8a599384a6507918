//! Why a make-good cannot be made, changed, approved or applied. Must not know HTTP: `routes` maps these errors to problems.

use uuid::Uuid;

use super::state::State;
use crate::claims::ClaimError;
use crate::db::DbError;
use crate::events::EventError;
use crate::service_keys::ServiceKeyError;

#[derive(Debug, thiserror::Error)]
pub enum MakeGoodError {
    #[error("There is no make-good {0}.")]
    NotFound(Uuid),
    #[error("The make-good {0} has no entry {1}.")]
    NoEntry(Uuid, Uuid),
    #[error("{pointer}: {message}")]
    Field { pointer: &'static str, message: String },
    #[error("The event {event} has the open make-good {other}. Apply or withdraw it first.")]
    Open { event: Uuid, other: Uuid },
    #[error("The make-good is {is}, so it cannot be {wanted}. Read it again.")]
    State { is: State, wanted: &'static str },
    #[error("You approve {sent}, but the make-good is {is}. Read it again, and approve what you see.")]
    OtherHash { sent: String, is: String },
    #[error(
        "The event has another condition than the one that was asked. Withdraw the make-good, and propose it again."
    )]
    Outdated,
    #[error("The event is not active, so nothing can be granted. Activate it before the approval.")]
    Inactive,
    #[error("You proposed or changed this make-good, so another person must approve it.")]
    OwnProposal,
    #[error("You are one of the users whom this make-good concerns, so another person must approve it.")]
    OwnClaim,
    #[error("A service key cannot approve: an approval needs a person who is responsible for it. Log in as one.")]
    KeyCannotApprove,
    #[error(
        "A person must be responsible for a make-good, but this service key was made on the command line. Log in as one."
    )]
    KeyWithoutPerson,
    #[error("A stored make-good cannot be read or written as JSON: {0}")]
    Json(#[from] serde_json::Error),
    #[error(transparent)]
    Event(#[from] EventError),
    #[error(transparent)]
    Claim(#[from] ClaimError),
    #[error(transparent)]
    Key(#[from] ServiceKeyError),
    #[error(transparent)]
    Db(#[from] DbError),
}
