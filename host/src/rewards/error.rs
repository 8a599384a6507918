//! What can go wrong with a reward, its stock or its codes.
//!
//! Must not know: HTTP. `routes` maps these errors to problems.

use uuid::Uuid;

use crate::db::DbError;
use crate::keys::SealError;

#[derive(Debug, thiserror::Error)]
pub enum RewardError {
    #[error("There is no reward {0}.")]
    NotFound(Uuid),
    #[error("The reward is at revision {is}, but you sent revision {expected}. Read it again and repeat your change.")]
    Changed { is: i64, expected: i64 },
    #[error("Another reward has the name {0:?}; choose another name.")]
    NameTaken(String),
    #[error("The event {0} offers this reward. Remove it from the event first.")]
    InUse(Uuid),
    #[error("The stock cannot be {wanted}, because {granted} were granted already.")]
    StockBelowGranted { granted: i64, wanted: i64 },
    #[error(
        "The event {event} offers this reward and can still give out {liability}, so its rewards change only by a release. \
         Create another reward as you want it, and propose with POST /releases that the event offers that one \
         (docs/releases.md)."
    )]
    ReleaseRequired { event: Uuid, liability: String },
    #[error("{pointer}: {message}")]
    Field {
        pointer: &'static str,
        message: &'static str,
    },
    #[error("The reward {0} has no codes. Create a reward with \"codes\": true.")]
    WithoutCodes(Uuid),
    #[error("A code of the reward {0} does not open: the value was changed, or belongs to another reward.")]
    DamagedCode(Uuid),
    #[error("The codes of the reward {0} could not be encrypted.")]
    Failed(Uuid),
    #[error(transparent)]
    Sealed(#[from] SealError),
    #[error(transparent)]
    Db(#[from] DbError),
}
