//! The transactional outbox: messages for the outside world, written in the transaction that makes them true. So a message
//! exists if and only if what it says was committed.
//!
//! Features write messages; `webhooks` and `kafka` deliver them. Must not know: any feature, and who receives messages.

mod store;

use serde_json::Value;
use uuid::Uuid;

use crate::clock::Timestamp;

pub use store::{
    Addressed, Belonging, OutboxMessage, mark_sent, messages, of_user, oldest_unsent, skip_before, tail, topics,
    try_lock_fan_out, unsent, write, written_after,
};

/// A claim was granted.
pub const REWARD_GRANTED: &str = "reward.granted";
/// A grant was taken back.
pub const REWARD_REVERSED: &str = "reward.reversed";
/// A claim was rejected because all rewards are gone or the budget is spent.
pub const REWARD_LIMIT_REACHED: &str = "reward.limit-reached";
/// A reward has few codes left.
pub const REWARD_CODES_LOW: &str = "reward.codes-low";
/// A claim is held for a review.
pub const CLAIM_HELD: &str = "claim.held";
/// A held claim was rejected, by a review or because there was none.
pub const CLAIM_DENIED: &str = "claim.denied";
/// A pending claim was rejected, or failed.
pub const CLAIM_REJECTED: &str = "claim.rejected";
/// A backtest has its report, or failed.
pub const BACKTEST_FINISHED: &str = "backtest.finished";
pub const EVENT_CREATED: &str = "event.created";
pub const EVENT_CHANGED: &str = "event.changed";
pub const EVENT_DELETED: &str = "event.deleted";
/// A make-good waits for its approval.
pub const MAKE_GOOD_PROPOSED: &str = "make-good.proposed";
pub const MAKE_GOOD_APPROVED: &str = "make-good.approved";
pub const MAKE_GOOD_APPLIED: &str = "make-good.applied";
pub const MAKE_GOOD_FAILED: &str = "make-good.failed";
pub const MAKE_GOOD_WITHDRAWN: &str = "make-good.withdrawn";
pub const RELEASE_CREATED: &str = "release.created";
pub const RELEASE_SUBMITTED: &str = "release.submitted";
pub const RELEASE_EDITED: &str = "release.edited";
pub const RELEASE_WAIVED: &str = "release.waived";
pub const RELEASE_APPROVED: &str = "release.approved";
pub const RELEASE_REJECTED: &str = "release.rejected";
pub const RELEASE_OUTDATED: &str = "release.outdated";
pub const RELEASE_SCHEDULE_MISSED: &str = "release.schedule-missed";
pub const RELEASE_STARTED: &str = "release.started";
pub const RELEASE_ADVANCED: &str = "release.advanced";
pub const RELEASE_HELD: &str = "release.held";
pub const RELEASE_RESUMED: &str = "release.resumed";
pub const RELEASE_ACTIVATED: &str = "release.activated";
pub const RELEASE_ROLLED_BACK: &str = "release.rolled-back";
pub const RELEASE_WITHDRAWN: &str = "release.withdrawn";
pub const PLUGIN_UPLOADED: &str = "plugin.uploaded";
pub const PLUGIN_SIGNED: &str = "plugin.signed";
pub const PLUGIN_DISABLED: &str = "plugin.disabled";
pub const PLUGIN_ENABLED: &str = "plugin.enabled";
pub const PLUGIN_QUARANTINED: &str = "plugin.quarantined";
pub const PLUGIN_RELEASED: &str = "plugin.released";
pub const PLUGIN_DELETED: &str = "plugin.deleted";

/// A checkpoint of the transparency log was signed.
pub const AUDIT_CHECKPOINT: &str = "audit.checkpoint";

/// Every kind.
pub const KINDS: &[&str] = &[
    REWARD_GRANTED,
    REWARD_REVERSED,
    REWARD_LIMIT_REACHED,
    REWARD_CODES_LOW,
    CLAIM_HELD,
    CLAIM_DENIED,
    CLAIM_REJECTED,
    BACKTEST_FINISHED,
    EVENT_CREATED,
    EVENT_CHANGED,
    EVENT_DELETED,
    MAKE_GOOD_PROPOSED,
    MAKE_GOOD_APPROVED,
    MAKE_GOOD_APPLIED,
    MAKE_GOOD_FAILED,
    MAKE_GOOD_WITHDRAWN,
    RELEASE_CREATED,
    RELEASE_SUBMITTED,
    RELEASE_EDITED,
    RELEASE_WAIVED,
    RELEASE_APPROVED,
    RELEASE_REJECTED,
    RELEASE_OUTDATED,
    RELEASE_SCHEDULE_MISSED,
    RELEASE_STARTED,
    RELEASE_ADVANCED,
    RELEASE_HELD,
    RELEASE_RESUMED,
    RELEASE_ACTIVATED,
    RELEASE_ROLLED_BACK,
    RELEASE_WITHDRAWN,
    PLUGIN_UPLOADED,
    PLUGIN_SIGNED,
    PLUGIN_DISABLED,
    PLUGIN_ENABLED,
    PLUGIN_QUARANTINED,
    PLUGIN_RELEASED,
    PLUGIN_DELETED,
    AUDIT_CHECKPOINT,
];

/// A message to be written.
#[derive(Clone, Debug)]
pub struct Message {
    pub id: Uuid,
    /// One of [`KINDS`]: the `type` of the CloudEvent.
    pub kind: &'static str,
    /// The user that the message belongs to. Messages of one user are delivered in the order of their transactions.
    pub user_id: Option<Uuid>,
    /// The subject of a message that belongs to no user: an event or a plugin version. The same order holds.
    pub subject_id: Option<Uuid>,
    pub payload: Value,
    /// The correlation id of the request that caused it; `None`: the server itself did.
    pub http_request_id: Option<String>,
    pub created_at: Timestamp,
    /// Names what is told once only: a message with a key that another one has is not written.
    pub once_key: Option<String>,
}
