//! Endpoints and deliveries as the API shows them.

use std::fmt;
use std::str::FromStr;

use garde::Validate;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;
use uuid::Uuid;

use super::deliver::Attempt;
use super::store::EndpointRow;
use super::store::deliveries::DeliveryRow;
use crate::clock::Timestamp;
use crate::db::text_column;
use crate::name::stable_name;
use crate::outbox;
use crate::text::legible;

/// Stores a closed set of upper-case words as text.
macro_rules! words {
    ($name:ident, $what:literal, $($variant:ident = $word:literal),*) => {
        text_column!($name);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self { $(Self::$variant => $word),* })
            }
        }

        impl FromStr for $name {
            type Err = String;

            fn from_str(text: &str) -> Result<Self, String> {
                match text {
                    $($word => Ok(Self::$variant),)*
                    _ => Err(format!("{text:?} is not {}", $what)),
                }
            }
        }
    };
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum EndpointState {
    Active,
    /// Messages wait, and are sent when it is active again
    Paused,
}
words!(
    EndpointState,
    "a state of an endpoint",
    Active = "ACTIVE",
    Paused = "PAUSED"
);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum DeliveryStatus {
    /// Waits for an earlier message of the same user
    Waiting,
    /// Will be attempted, or is being attempted
    Pending,
    /// The receiver accepted it
    Delivered,
    /// Every attempt failed; only a redrive sends it again
    Parked,
}
words!(
    DeliveryStatus,
    "a status of a delivery",
    Waiting = "WAITING",
    Pending = "PENDING",
    Delivered = "DELIVERED",
    Parked = "PARKED"
);

/// An endpoint to be created, or the new values of one.
#[derive(Clone, Debug, Deserialize, ToSchema, Validate)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NewEndpoint {
    /// For files and scripts: 1 to 64 of a-z, 0-9, `.`, `_` and `-`. No two endpoints have the same name. Without it, a new endpoint
    /// gets its id as the name, and a replaced one keeps its name
    #[garde(inner(custom(stable_name)))]
    #[serde(default)]
    #[schema(
        example = "shop",
        min_length = 1,
        max_length = 64,
        pattern = "^[a-z0-9][a-z0-9._-]*$"
    )]
    pub name: Option<String>,
    /// An https URL with a public address and a port of the setting `webhooks.ports`; in networks of
    /// `webhooks.private_networks` also http and any port. Checked again for every delivery
    #[garde(length(bytes, min = 1, max = 2048))]
    #[schema(example = "https://shop.example.com/meed", min_length = 1, max_length = 2048)]
    pub url: String,
    #[garde(length(chars, max = 500), inner(custom(legible)))]
    #[schema(example = "The shop's fulfilment", max_length = 500)]
    pub description: Option<String>,
    /// The message types that it receives; all if it is missing or empty
    #[garde(length(max = 32), inner(custom(known_type)))]
    #[serde(default)]
    #[schema(example = json!(["reward.granted", "reward.reversed"]), max_items = 32)]
    pub types: Vec<String>,
    /// Whether a 2xx to `reward.granted` means that the grants have reached their user. Set it to `false` for a receiver that
    /// only records messages, or that delivers later and then acknowledges each grant
    #[garde(skip)]
    #[serde(default = "yes")]
    #[schema(default = true)]
    pub acknowledges: bool,
    /// The change comes from a file: the server notes the new revision as `appliedRevision`, so that the next `meed apply`
    /// sees what others changed since
    #[garde(skip)]
    #[serde(default)]
    #[schema(default = false)]
    pub applied: bool,
}

fn yes() -> bool {
    true
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "garde's signature")]
fn known_type(kind: &str, (): &()) -> garde::Result {
    if outbox::KINDS.contains(&kind) {
        return Ok(());
    }
    let known = outbox::KINDS.join(", ");
    Err(garde::Error::new(format!("{kind:?} is none of {known}")))
}

/// An endpoint.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Endpoint {
    pub id: Uuid,
    #[schema(example = "shop")]
    pub name: String,
    #[schema(example = "https://shop.example.com/meed")]
    pub url: String,
    pub description: Option<String>,
    /// Empty: all types
    #[schema(example = json!(["reward.granted", "reward.reversed"]))]
    pub types: Vec<String>,
    /// Whether a 2xx to `reward.granted` means that the grants have reached their user
    pub acknowledges: bool,
    pub state: EndpointState,
    /// Why the server paused it
    #[schema(example = "the receiver answered 410 Gone")]
    pub pause_reason: Option<String>,
    /// Until when messages are also signed with the previous secret
    pub previous_secret_until: Option<Timestamp>,
    /// The revision, which is the ETag. Each change increments it
    pub revision: i64,
    /// The revision that `meed apply` wrote last; null: it never wrote it. A new secret or state is no change of what files say
    pub applied_revision: Option<i64>,
    pub created_by: Uuid,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

impl From<EndpointRow> for Endpoint {
    fn from(row: EndpointRow) -> Self {
        Self {
            id: row.id,
            name: row.name,
            url: row.url,
            description: row.description,
            types: row.types.0,
            acknowledges: row.acknowledges,
            state: row.state,
            pause_reason: row.pause_reason,
            previous_secret_until: row.previous_until,
            revision: row.revision,
            applied_revision: row.applied_revision,
            created_by: row.created_by,
            created_at: row.created_at,
            updated_at: row.updated_at,
        }
    }
}

/// An endpoint with its signing secret, which is not shown again.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct EndpointSecret {
    #[serde(flatten)]
    pub endpoint: Endpoint,
    /// `whsec_` and Base64, as Standard Webhooks libraries expect
    #[schema(example = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")]
    pub secret: String,
}

/// The result of the latest attempt.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct LastAttempt {
    pub at: Timestamp,
    /// The HTTP status of the response, if there was one
    pub status: Option<u16>,
    /// Why it failed
    #[schema(example = "answered 503 Service Unavailable")]
    pub error: Option<String>,
    /// The first kibibyte of the response, with control characters replaced by spaces
    pub answer: Option<String>,
    pub elapsed_milliseconds: i64,
}

impl LastAttempt {
    pub(super) fn of(attempt: Attempt, at: Timestamp) -> Self {
        Self {
            at,
            status: attempt.status,
            error: attempt.error,
            answer: attempt.answer,
            elapsed_milliseconds: i64::try_from(attempt.elapsed.as_millis()).unwrap_or(i64::MAX),
        }
    }
}

/// One message for one endpoint.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Delivery {
    /// The `webhook-id`: the same for every attempt and every endpoint
    pub message_id: Uuid,
    #[serde(rename = "type")]
    #[schema(example = "reward.granted")]
    pub type_: String,
    /// When it happened
    pub created_at: Timestamp,
    pub status: DeliveryStatus,
    /// Since it was created, redriven or replayed
    pub attempts: i64,
    /// The earliest time of the next attempt, while it is PENDING
    pub next_attempt_at: Option<Timestamp>,
    /// When the message was delivered or parked
    pub finished_at: Option<Timestamp>,
    pub last_attempt: Option<LastAttempt>,
}

impl From<DeliveryRow> for Delivery {
    fn from(row: DeliveryRow) -> Self {
        let last_attempt = row.last_at.map(|at| LastAttempt {
            at,
            status: row.last_status.and_then(|status| u16::try_from(status).ok()),
            error: row.last_error,
            answer: row.last_answer,
            elapsed_milliseconds: row.last_millis.unwrap_or_default(),
        });
        Self {
            message_id: row.message_id,
            type_: row.kind,
            created_at: row.created_at,
            status: row.status,
            attempts: row.attempts,
            next_attempt_at: (row.status == DeliveryStatus::Pending).then_some(row.next_at),
            finished_at: row.finished_at,
            last_attempt,
        }
    }
}

/// A delivery with its CloudEvent.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct DeliveryDetail {
    #[serde(flatten)]
    pub delivery: Delivery,
    /// The CloudEvent
    #[schema(value_type = HashMap<String, Value>)]
    pub event: Value,
}

/// The result of a ping.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Ping {
    /// Whether the receiver answered 2xx
    pub delivered: bool,
    pub message_id: Uuid,
    pub attempt: LastAttempt,
}
