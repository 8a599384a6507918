//! Reward requests as responses show them, and claims as they arrive.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::review::Review;
use crate::clock::Timestamp;
use crate::contract::{self, Arguments, Progress};
use crate::db::text_column;
use crate::facts::Rejection;
use crate::fulfilments::Fulfilment;
use crate::rewards::{Reward, RewardCode};
use crate::sandbox::Digest;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum Status {
    /// Pending: not decided yet.
    Received,
    /// The user has the rewards.
    Granted,
    /// A person must review the claim: then it is GRANTED or REJECTED.
    Held,
    /// The user is not eligible now and may claim again.
    Rejected,
    /// A fault of the server: the condition could not be evaluated. The user may claim again.
    Failed,
    /// The grant was taken back. The user may claim again.
    Reversed,
}

text_column!(Status);

impl Status {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Received => "RECEIVED",
            Self::Granted => "GRANTED",
            Self::Held => "HELD",
            Self::Rejected => "REJECTED",
            Self::Failed => "FAILED",
            Self::Reversed => "REVERSED",
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Status {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let all = [
            Self::Received,
            Self::Granted,
            Self::Held,
            Self::Rejected,
            Self::Failed,
            Self::Reversed,
        ];
        all.into_iter()
            .find(|status| status.as_str() == text)
            .ok_or_else(|| format!("{text:?} is not a status of a reward request"))
    }
}

/// The source of a reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum Source {
    /// Meed itself: dates, stock, a failure
    Host,
    /// The event's condition
    Condition,
}

/// A reason for the status of a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Reason {
    pub source: Source,
    /// Stable and kebab-case. Of the host: `event-inactive`, `event-not-started`, `event-ended`, `group-limit-reached`, `sold-out`,
    /// `budget-spent`, `needs-review`, `review-denied`, `review-expired`, `claim-held`, `already-granted`,
    /// `account-disabled`, `event-deleted`, `repeated`, `plugin-disabled`, `plugin-quarantined`, `condition-failed`,
    /// `undecidable`; of a condition: those that it documents
    #[schema(example = "streak-too-short")]
    pub code: String,
    #[schema(example = "Log in on 2 more days in a row.")]
    pub message: String,
    /// Named values of the message, for translations: `code` and `args` are the key, `message` is the fallback. Numbers
    /// are decimal, timestamps RFC 3339. Left out when there are none
    #[serde(default, skip_serializing_if = "Arguments::is_empty")]
    #[schema(example = json!({"missing": "2"}))]
    #[schema(value_type = HashMap<String, String>)]
    pub args: Arguments,
}

impl Reason {
    pub fn host(code: &str, message: impl Into<String>) -> Self {
        Self {
            source: Source::Host,
            code: code.to_owned(),
            message: message.into(),
            args: Arguments::new(),
        }
    }

    /// With a named value of the message.
    #[must_use]
    pub fn arg(mut self, name: &str, value: impl fmt::Display) -> Self {
        self.args.insert(name.to_owned(), value.to_string());
        self
    }
}

impl From<contract::Reason> for Reason {
    fn from(reason: contract::Reason) -> Self {
        Self {
            source: Source::Condition,
            code: reason.code,
            message: reason.message,
            args: reason.args,
        }
    }
}

/// One reward that was granted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Grant {
    pub id: Uuid,
    /// The codes of a GRANTED request, for its user only, if `reward.codes`. A claim that cannot read them in time leaves them
    /// out; then get the reward request
    // Stored responses have no codes; `codes` inserts them here when it repeats a response.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub codes: Option<Vec<RewardCode>>,
    pub reward_id: Uuid,
    pub quantity: u32,
    /// The reward at the time of the grant
    pub reward: GrantedReward,
    /// Whether it was delivered to the user
    pub fulfilment: Fulfilment,
}

/// A reward at the time of its grant; a later change of the reward does not change it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct GrantedReward {
    #[serde(rename = "type")]
    #[schema(example = "COUPON")]
    pub type_: String,
    pub item_id: Option<String>,
    pub value: Option<i64>,
    pub duration: Option<String>,
    pub revision: i64,
    /// Whether the grant has unique codes; left out if not
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub codes: bool,
}

impl From<&Reward> for GrantedReward {
    fn from(reward: &Reward) -> Self {
        Self {
            type_: reward.type_.clone(),
            item_id: reward.item_id.clone(),
            value: reward.value,
            duration: reward.duration.clone(),
            revision: reward.revision,
            codes: reward.codes,
        }
    }
}

/// The reversal of a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReversalNote {
    pub id: Uuid,
    #[schema(example = "Bought and returned")]
    pub reason: String,
    pub reversed_at: Timestamp,
}

/// A claim and its outcome.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RewardRequest {
    pub id: Uuid,
    pub event_id: Uuid,
    /// The event's revision at the decision; while the request is RECEIVED, at its arrival
    pub event_revision: i64,
    pub user_id: Uuid,
    pub status: Status,
    /// Whether another claim may have another outcome
    pub retryable: bool,
    pub reasons: Vec<Reason>,
    /// The user's progress, as the condition counts it
    pub progress: Vec<Progress>,
    /// When another claim may succeed, if known. While the request is HELD: when it is rejected without a review
    pub retry_at: Option<Timestamp>,
    /// The period of the event's recurrence: `once`, a date, an ISO week or a month in the event's time zone
    #[schema(example = "2026-03-01")]
    pub period: String,
    /// The granted rewards; empty unless the request is GRANTED or REVERSED
    pub grants: Vec<Grant>,
    /// Only of a request that was held and reviewed
    #[serde(skip_serializing_if = "Option::is_none")]
    pub review: Option<Review>,
    /// Only of a REVERSED request
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reversal: Option<ReversalNote>,
    /// When the claim arrived: all rules apply as of this instant
    pub received_at: Timestamp,
    /// `null` while the claim is RECEIVED or HELD
    pub decided_at: Option<Timestamp>,
    /// The plugin version that decided; while the request is RECEIVED, the one at its arrival
    #[schema(value_type = String)]
    pub plugin_digest: Digest,
    /// The make-good that granted it; left out if the user's own claim did
    #[serde(skip_serializing_if = "Option::is_none")]
    pub make_good_id: Option<Uuid>,
}

impl RewardRequest {
    /// The earlier request that says the same.
    pub(super) fn told_before(self, earlier: &Rejection) -> Self {
        Self {
            id: earlier.id,
            received_at: Timestamp::of_id(earlier.id),
            decided_at: Some(earlier.decided_at),
            ..self
        }
    }
}

/// A user's progress in an event, as of now. Nothing is stored.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct EventProgress {
    pub event_id: Uuid,
    /// What happened after this instant does not count; left out if the answer is about now
    #[serde(skip_serializing_if = "Option::is_none")]
    pub as_of: Option<Timestamp>,
    /// What was recorded after this instant does not count; left out if the answer is about now
    #[serde(skip_serializing_if = "Option::is_none")]
    pub known_by: Option<Timestamp>,
    /// Whether a claim at that time would be granted, except for the result of a draw
    pub eligible: bool,
    pub reasons: Vec<Reason>,
    pub progress: Vec<Progress>,
    pub retry_at: Option<Timestamp>,
    #[schema(example = "2026-03-01")]
    pub period: String,
    /// The number of grants of the user in this period
    pub granted: u32,
    /// The maximum number of grants of a user in one period
    pub limit: u32,
    /// Your pending claim; left out if there is none
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pending_request_id: Option<Uuid>,
    /// Your claim that is held for a review; left out if there is none
    #[serde(skip_serializing_if = "Option::is_none")]
    pub held_request_id: Option<Uuid>,
}

/// The message of every answer "another claim is held".
pub(super) const CLAIM_HELD: &str = "Another claim of yours on this event is held for a review.";

/// The message of every answer "already granted".
pub(super) const ALREADY_GRANTED: &str = "You already have this event's rewards for this period.";

/// A claim as it arrived.
#[derive(Clone, Debug)]
pub(super) struct ClaimInput {
    pub user_id: Uuid,
    pub event_id: Uuid,
    pub received_at: Timestamp,
    pub key: Option<IdempotencyKey>,
    /// The id of the HTTP request; for a claim without one, its own id.
    pub http_request_id: Option<String>,
    /// The service key that claims for the user; `None`: the user, or a topic.
    pub claimed_by: Option<ClaimedBy>,
    /// Only of a pending claim.
    pub queued: Option<Queued>,
    /// Only of a claim that a make-good decides again.
    pub made_good: Option<MadeGood>,
}

/// A claim that a make-good decides again: its request has an id already, so it is written once.
#[derive(Clone, Copy, Debug)]
pub(super) struct MadeGood {
    pub id: Uuid,
    pub make_good_id: Uuid,
}

/// The service key that claimed for a user, as it was then.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ClaimedBy {
    pub service_key_id: Uuid,
    #[schema(example = "shop back end")]
    pub name: String,
}

/// A pending claim: its request has an id already, and is written only while its queue has this fence.
#[derive(Clone, Copy, Debug)]
pub(super) struct Queued {
    pub id: Uuid,
    pub fence: i64,
}

/// The answer to a claim.
#[derive(Debug)]
pub enum ClaimAnswer {
    Decided(Box<RewardRequest>),
    /// The claim is queued and will be decided later.
    Pending(Box<RewardRequest>),
    /// The user's earlier response, as JSON: the event's rewards are still sold out.
    SoldOutAgain {
        request_id: Uuid,
        response: String,
    },
    /// The user's earlier request: the claim was decided again, and the decision says the same.
    RefusedAgain(Box<RewardRequest>),
    /// The response that the first claim under this Idempotency-Key got, as JSON.
    Replayed {
        request_id: Uuid,
        response: String,
    },
}

/// A client's name for one claim, so that a repeat changes nothing: 1 to 255 visible ASCII characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdempotencyKey(String);

impl IdempotencyKey {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for IdempotencyKey {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if (1..=255).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Ok(Self(text.to_owned()));
        }
        Err("Idempotency-Key must be 1 to 255 visible ASCII characters, such as a UUID.".to_owned())
    }
}
