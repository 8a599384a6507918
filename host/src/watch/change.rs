//! A message about a reward request, as listeners get it.

use serde_json::Value;
use uuid::Uuid;

use crate::clock::Timestamp;
use crate::outbox::{self, OutboxMessage};

/// The kinds of messages that listeners receive.
pub(super) const KINDS: &[&str] = &[
    outbox::REWARD_GRANTED,
    outbox::REWARD_REVERSED,
    outbox::CLAIM_HELD,
    outbox::CLAIM_DENIED,
    outbox::CLAIM_REJECTED,
];

/// A reward request changed.
#[derive(Clone, Debug)]
pub struct Change {
    /// Of the outbox message.
    pub id: Uuid,
    /// One of the kinds of outbox messages.
    pub kind: String,
    pub user_id: Uuid,
    pub request_id: Uuid,
    pub at: Timestamp,
}

impl Change {
    /// `None`: no message about a reward request.
    pub(super) fn of(message: OutboxMessage) -> Option<Self> {
        let request_id = message.payload.0.get("requestId").and_then(Value::as_str)?;
        Some(Self {
            id: message.id,
            user_id: message.user_id?,
            request_id: request_id.parse().ok()?,
            at: message.created_at,
            kind: KINDS.contains(&message.kind.as_str()).then_some(message.kind)?,
        })
    }

    /// Changes of one request are sent in the order of their times: ids of several processes need not have it.
    pub(super) fn order(&self) -> (Timestamp, Uuid) {
        (self.at, self.id)
    }
}
