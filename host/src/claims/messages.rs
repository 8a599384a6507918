//! What the world outside is told of claims and reversals.
//!
//! Must not know: who listens.

use std::time::Duration;

use serde_json::json;

use super::budget;
use super::decision::SOLD_OUT;
use super::model::{Grant, Source, Status};
use super::receipt::ReversalReceipt;
use super::store::RequestRow;
use crate::clock::{Clock, Timestamp};
use crate::correlation;
use crate::outbox::{self, Message};

/// A grant, or that a limit for all users together was reached. Whoever does not qualify is nobody's business.
pub(super) fn of_claim(
    clock: &Clock,
    http_request_id: Option<String>,
    request: &RequestRow,
    grants: &[Grant],
) -> Option<Message> {
    let (kind, payload) = match request.status {
        Status::Granted => (
            outbox::REWARD_GRANTED,
            json!({
                "requestId": request.id, "eventId": request.event_id, "userId": request.user_id, "grants": grants,
                "grantedAt": request.decided_at,
            }),
        ),
        Status::Rejected => {
            let is_limit = |code: &str| [SOLD_OUT, budget::SPENT].contains(&code);
            // The host's reason comes first.
            let reason = request.reasons.0.first()?;
            if reason.source != Source::Host || !is_limit(&reason.code) {
                return None;
            }
            (
                outbox::REWARD_LIMIT_REACHED,
                json!({
                    "requestId": request.id, "eventId": request.event_id, "userId": request.user_id,
                    "code": reason.code, "rejectedAt": request.decided_at,
                }),
            )
        }
        Status::Received | Status::Failed | Status::Reversed => return None,
    };
    Some(Message {
        id: clock.new_id(),
        kind,
        user_id: Some(request.user_id),
        subject_id: None,
        payload,
        http_request_id,
        created_at: request.decided_at,
    })
}

/// `decided_at`: when the grant was made, perhaps by a process whose clock is ahead of ours. Nobody may hear of the
/// reversal before the grant.
pub(super) fn of_reversal(
    clock: &Clock,
    receipt: &ReversalReceipt,
    grants: &[Grant],
    decided_at: Timestamp,
) -> Message {
    Message {
        id: clock.new_id(),
        kind: outbox::REWARD_REVERSED,
        user_id: Some(receipt.user_id),
        subject_id: None,
        payload: json!({
            "reversalId": receipt.id, "requestId": receipt.request_id, "eventId": receipt.event_id,
            "userId": receipt.user_id, "grants": grants, "reason": receipt.reason, "reversedAt": receipt.reversed_at,
        }),
        http_request_id: correlation::current(),
        created_at: receipt.reversed_at.max(decided_at.plus(Duration::from_millis(1))),
    }
}
