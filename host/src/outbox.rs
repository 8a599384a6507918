//! What the world outside must be told: rows that are written in the transaction that makes them true, so that nothing is
//! told that did not happen and nothing that happened is kept quiet.
//!
//! Must not know: who is told and how, nor any feature; they write here.

mod store;

use serde_json::Value;
use uuid::Uuid;

use crate::clock::Timestamp;

pub use store::{Addressed, Told, mark_sent, messages, oldest_unsent, take_turn, topics, unsent, write, written_after};

/// A claim was granted.
pub const REWARD_GRANTED: &str = "reward.granted";
/// A grant was taken back.
pub const REWARD_REVERSED: &str = "reward.reversed";
/// A claim was rejected because all rewards are gone or the budget is spent.
pub const REWARD_LIMIT_REACHED: &str = "reward.limit-reached";
pub const EVENT_CREATED: &str = "event.created";
pub const EVENT_CHANGED: &str = "event.changed";
pub const EVENT_DELETED: &str = "event.deleted";
pub const PLUGIN_UPLOADED: &str = "plugin.uploaded";
pub const PLUGIN_SIGNED: &str = "plugin.signed";
pub const PLUGIN_DISABLED: &str = "plugin.disabled";
pub const PLUGIN_ENABLED: &str = "plugin.enabled";
pub const PLUGIN_QUARANTINED: &str = "plugin.quarantined";
pub const PLUGIN_RELEASED: &str = "plugin.released";
pub const PLUGIN_DELETED: &str = "plugin.deleted";

/// Every kind.
pub const KINDS: &[&str] = &[
    REWARD_GRANTED,
    REWARD_REVERSED,
    REWARD_LIMIT_REACHED,
    EVENT_CREATED,
    EVENT_CHANGED,
    EVENT_DELETED,
    PLUGIN_UPLOADED,
    PLUGIN_SIGNED,
    PLUGIN_DISABLED,
    PLUGIN_ENABLED,
    PLUGIN_QUARANTINED,
    PLUGIN_RELEASED,
    PLUGIN_DELETED,
];

/// One thing that happened.
#[derive(Clone, Debug)]
pub struct Message {
    pub id: Uuid,
    /// One of the words above: the `type` of the CloudEvent that goes out.
    pub kind: &'static str,
    /// Whose it is. Messages of one user are told in the order in which they became true.
    pub user_id: Option<Uuid>,
    /// What it is about when it is nobody's; the same order holds.
    pub subject_id: Option<Uuid>,
    pub payload: Value,
    /// Of the HTTP request that it came of, as the log has it; `None` when nobody asked.
    pub http_request_id: Option<String>,
    pub created_at: Timestamp,
}
