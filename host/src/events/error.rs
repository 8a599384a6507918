//! Why an event cannot be read or changed. Must not know HTTP: `routes` maps these errors to problems.

use uuid::Uuid;

use super::candidate::TooManyQueries;
use crate::clock::Timestamp;
use crate::db::DbError;
use crate::facts::{Compacted, UnknownZone};
use crate::keys::SealError;
use crate::plugins::PluginError;
use crate::rewards::RewardError;

#[derive(Debug, thiserror::Error)]
pub enum EventError {
    #[error("There is no event {0}.")]
    NotFound(Uuid),
    #[error("The event is at revision {is}, but you sent revision {expected}. Read it again and repeat your change.")]
    Changed { is: i64, expected: i64 },
    #[error("{pointer}: {message}")]
    Field { pointer: &'static str, message: String },
    #[error(
        "The event ended at {0}, and its secret is public since then, so its dates cannot change. Create a new event instead."
    )]
    Over(Timestamp),
    #[error(
        "The event started at {0}, so its startDate, timeZone and recurrence.period cannot change: earlier grants depend on them."
    )]
    Started(Timestamp),
    #[error("Another event has the name {0:?}; choose another name.")]
    NameTaken(String),
    #[error("There is no event group {0:?}.")]
    NoGroup(String),
    #[error(
        "The event group is at revision {is}, but you sent revision {expected}. Read it again and repeat your change."
    )]
    GroupChanged { is: i64, expected: i64 },
    #[error("The event group {0:?} exists. Send If-Match with the ETag of the version that you read.")]
    GroupExists(String),
    #[error("The event {event} is in this group. Remove it from the group first.")]
    GroupInUse { event: Uuid },
    #[error(
        "The facts that {0} queries of the condition need are still being built for users with many activities. Repeat the \
         request in some seconds, or send acceptSlowReads: true."
    )]
    FactsNotReady(usize),
    #[error(
        "The release {release} tries another condition for this event. Withdraw that release before you change the condition."
    )]
    HasCandidate { release: Uuid },
    #[error(transparent)]
    TooManyQueries(#[from] TooManyQueries),
    #[error(
        "The event {event} can give out {liability}, so this change of {member} needs a release that a second person approves. \
         Create or leave the event as it may be without one, and propose the change with POST /releases (docs/releases.md)."
    )]
    ReleaseRequired {
        event: Uuid,
        member: &'static str,
        liability: String,
    },
    #[error("The stored revision {1} of the event {0} is corrupt.")]
    Snapshot(Uuid, i64),
    #[error("The event {0} has no revision {1} at which it was active.")]
    NeverLive(Uuid, i64),
    #[error(transparent)]
    FactsCompacted(Compacted),
    #[error("The stored secret of the event {0} is corrupt.")]
    Secret(Uuid),
    #[error("The stored candidate of the event {0} is corrupt.")]
    Candidate(Uuid),
    #[error(transparent)]
    Sealed(#[from] SealError),
    #[error(transparent)]
    Plugin(PluginError),
    #[error(transparent)]
    Zone(#[from] UnknownZone),
    #[error(transparent)]
    Reward(#[from] RewardError),
    #[error(transparent)]
    Db(#[from] DbError),
}

/// Another event has the name.
pub(super) fn taken(error: DbError, name: &str) -> EventError {
    if error.is_unique_violation() {
        return EventError::NameTaken(name.to_owned());
    }
    error.into()
}

pub(super) fn unknown_reward(error: RewardError) -> EventError {
    match error {
        RewardError::NotFound(_) => EventError::Field {
            pointer: "/rewardIds",
            message: error.to_string(),
        },
        error => EventError::Reward(error),
    }
}
