//! A reward request as answers show it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::clock::Timestamp;
use crate::contract::{self, Progress};
use crate::db::text_column;
use crate::fulfilments::Fulfilment;
use crate::rewards::Reward;
use crate::sandbox::Digest;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum Status {
    /// Waits to be decided.
    Received,
    /// The rewards are the user's.
    Granted,
    /// Not eligible now; may claim again.
    Rejected,
    /// Our fault: the condition could not be evaluated. May claim again.
    Failed,
    /// A grant that was taken back. The user may claim again.
    Reversed,
}

text_column!(Status);

impl Status {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Received => "RECEIVED",
            Self::Granted => "GRANTED",
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
            Self::Rejected,
            Self::Failed,
            Self::Reversed,
        ];
        all.into_iter()
            .find(|status| status.as_str() == text)
            .ok_or_else(|| format!("{text:?} is not a status of a reward request"))
    }
}

/// Who says why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum Source {
    /// Meed itself: dates, stock, a failure
    Host,
    /// The event's condition
    Condition,
}

/// Why a request ended as it did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Reason {
    pub source: Source,
    /// Stable and kebab-case. Of the host: `event-inactive`, `event-not-started`, `event-ended`, `sold-out`,
    /// `budget-spent`, `already-granted`, `account-disabled`, `event-deleted`, `plugin-disabled`, `plugin-quarantined`, `condition-failed`; of a condition: whatever it documents
    #[schema(example = "streak-too-short")]
    pub code: String,
    #[schema(example = "Log in on 2 more days in a row.")]
    pub message: String,
}

impl Reason {
    pub fn host(code: &str, message: impl Into<String>) -> Self {
        Self {
            source: Source::Host,
            code: code.to_owned(),
            message: message.into(),
        }
    }
}

impl From<contract::Reason> for Reason {
    fn from(reason: contract::Reason) -> Self {
        Self {
            source: Source::Condition,
            code: reason.code,
            message: reason.message,
        }
    }
}

/// One reward that was given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Grant {
    pub id: Uuid,
    pub reward_id: Uuid,
    pub quantity: u32,
    /// The reward as it was then
    pub reward: GrantedReward,
    /// Whether it has reached the user
    pub fulfilment: Fulfilment,
}

/// What a reward said when it was granted; a later change of the reward does not change it.
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
}

impl From<&Reward> for GrantedReward {
    fn from(reward: &Reward) -> Self {
        Self {
            type_: reward.type_.clone(),
            item_id: reward.item_id.clone(),
            value: reward.value,
            duration: reward.duration.clone(),
            revision: reward.revision,
        }
    }
}

/// That a grant was taken back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReversalNote {
    pub id: Uuid,
    #[schema(example = "Bought and returned")]
    pub reason: String,
    pub reversed_at: Timestamp,
}

/// A claim and what became of it.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RewardRequest {
    pub id: Uuid,
    pub event_id: Uuid,
    /// The revision of the event that the decision was made under; while it is RECEIVED, the one it arrived under
    pub event_revision: i64,
    pub user_id: Uuid,
    pub status: Status,
    /// Whether claiming again may end differently
    pub retryable: bool,
    pub reasons: Vec<Reason>,
    /// How far the user is, as the condition counts it
    pub progress: Vec<Progress>,
    /// When it is worth claiming again, if known
    pub retry_at: Option<Timestamp>,
    /// The period of the event's recurrence: `once`, a date, an ISO week or a month in the event's zone
    #[schema(example = "2026-03-01")]
    pub period: String,
    /// The rewards that were given; empty unless GRANTED, or REVERSED since
    pub grants: Vec<Grant>,
    /// Only of a REVERSED request: why it was taken back
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reversal: Option<ReversalNote>,
    /// When the claim arrived: what every rule is measured against
    pub received_at: Timestamp,
    /// `null` while it is RECEIVED
    pub decided_at: Option<Timestamp>,
    /// The plugin version that decided; while it is RECEIVED, the one that would have
    #[schema(value_type = String)]
    pub plugin_digest: Digest,
}

/// How a user stands in an event, as of now. Nothing is stored.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct EventProgress {
    pub event_id: Uuid,
    /// Whether a claim now would be granted, as far as can be told without chance
    pub eligible: bool,
    pub reasons: Vec<Reason>,
    pub progress: Vec<Progress>,
    pub retry_at: Option<Timestamp>,
    #[schema(example = "2026-03-01")]
    pub period: String,
    /// Grants the user has in this period
    pub granted: u32,
    /// Grants a user may have in one period
    pub limit: u32,
    /// Your claim that waits to be decided; left out when none does
    #[serde(skip_serializing_if = "Option::is_none")]
    pub received_request_id: Option<Uuid>,
}
