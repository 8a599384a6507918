//! Why a release cannot be made, changed, approved or activated. Must not know HTTP: `routes` maps these errors to problems.

use uuid::Uuid;

use super::state::{Action, State};
use crate::backtests::BacktestError;
use crate::clock::Timestamp;
use crate::db::DbError;
use crate::events::EventError;
use crate::plugins::PluginError;
use crate::service_keys::ServiceKeyError;

#[derive(Debug, thiserror::Error)]
pub enum ReleaseError {
    #[error("There is no release {0}.")]
    NotFound(Uuid),
    #[error("The release is at revision {is}, but you sent revision {expected}. Read it again and repeat your change.")]
    Changed { is: i64, expected: i64 },
    #[error("{pointer}: {message}")]
    Field { pointer: &'static str, message: String },
    #[error("The release is {state}, so it cannot be {}. Read it again.", in_words(*action))]
    WrongState { state: State, action: Action },
    #[error(
        "The event {event} has {count} open releases, and the maximum is {count}. Withdraw those that are not needed."
    )]
    TooMany { event: Uuid, count: i64 },
    #[error("The release has {0} entries, which is the maximum, so no comment fits.")]
    TooManyComments(i64),
    #[error(
        "The event is at revision {is}, but the release was made from revision {from}. Read the event, edit the release with \
         PUT, and have it approved again."
    )]
    Outdated { from: i64, is: i64 },
    #[error("You approve {sent}, but the release is {is}. Read it again, and approve what you see.")]
    OtherHash { sent: String, is: String },
    #[error("A service key cannot approve: an approval needs a person who is responsible for it. Log in as one.")]
    KeyCannotApprove,
    #[error("You wrote this release, at least a part of it, so another person must approve it.")]
    OwnRelease,
    #[error(
        "You uploaded the plugin of this release, and its author is not known, so another person must approve it: uploader, \
         author and approver are at least two people."
    )]
    OwnPlugin,
    #[error(
        "The event can give out more than the limit, so this release needs a backtest of exactly its condition. Send \
         backtestId with PUT, or have an ADMIN waive it with POST /releases/{0}/waiver."
    )]
    NoBacktest(Uuid),
    #[error("The release {other} tries a condition for the event {event}. Wait until it is over, or roll it back.")]
    OtherRunning { event: Uuid, other: Uuid },
    #[error("The release {other} of the same event became live later. Roll that one back first.")]
    Superseded { other: Uuid },
    #[error("The event ended at {0}, so there is nothing to roll back.")]
    Over(Timestamp),
    #[error("The content of the release {0} cannot be hashed: {1}.")]
    Content(Uuid, serde_json::Error),
    #[error(transparent)]
    Event(#[from] EventError),
    #[error(transparent)]
    Plugin(#[from] PluginError),
    #[error(transparent)]
    Key(#[from] ServiceKeyError),
    #[error(transparent)]
    Backtest(#[from] BacktestError),
    #[error(transparent)]
    Db(#[from] DbError),
}

/// The action, after "cannot be".
fn in_words(action: Action) -> &'static str {
    match action {
        Action::Created => "created",
        Action::Commented => "commented on",
        Action::Submitted => "submitted",
        Action::Edited => "edited",
        Action::Waived => "exempted from the backtest",
        Action::Approved => "approved",
        Action::Rejected => "rejected",
        Action::Outdated | Action::ScheduleMissed => "sent back",
        Action::Started | Action::Activated => "activated",
        Action::Advanced => "advanced",
        Action::Held => "held",
        Action::Resumed => "resumed",
        Action::RolledBack => "rolled back",
        Action::Withdrawn => "withdrawn",
    }
}
