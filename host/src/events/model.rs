//! An event as a request writes it, as the rest of the host uses it, and as an answer shows it.

use garde::Validate;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;
use uuid::Uuid;

use super::budget::Budget;
use super::seed::Secret;
use crate::clock::Timestamp;
use crate::facts::{Period, Plan};
use crate::rewards::Reward;
use crate::sandbox::Digest;

/// An event as an operator writes it.
#[derive(Clone, Debug, Deserialize, ToSchema, Validate)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(example = json!({
    "title": "7-day login streak",
    "description": "Log in seven days in a row.",
    "startDate": "2026-03-01T00:00:00Z",
    "endDate": "2026-04-01T00:00:00Z",
    "isActive": true,
    "tags": ["spring"],
    "rewardIds": ["0199a3b0-5c1e-7a51-8f5e-0d6f2c1b9e77"],
    "timeZone": "Asia/Seoul",
    "condition": {"plugin": "login-streak", "version": "1.0.0", "params": {"days": 7}},
    "recurrence": {"period": "ONCE", "count": 1},
    "maxQuantity": 1,
}))]
pub struct NewEvent {
    #[garde(length(chars, min = 1, max = 200))]
    #[schema(example = "7-day login streak", min_length = 1, max_length = 200)]
    pub title: String,
    #[garde(length(chars, max = 4000))]
    #[serde(default)]
    #[schema(example = "Log in seven days in a row.", max_length = 4000)]
    pub description: String,
    /// The event runs from this instant on
    #[garde(skip)]
    pub start_date: Timestamp,
    /// until just before this one
    #[garde(skip)]
    #[schema(example = "2026-04-01T00:00:00.000Z")]
    pub end_date: Timestamp,
    /// Users see and claim it only while this is true
    #[garde(skip)]
    #[serde(default = "yes")]
    #[schema(default = true)]
    pub is_active: bool,
    #[garde(length(max = 32), inner(length(chars, min = 1, max = 64), custom(plain_text)))]
    #[serde(default)]
    #[schema(example = json!(["spring"]), max_items = 32)]
    pub tags: Vec<String>,
    /// One of each is granted, unless the condition chooses among them
    #[garde(length(min = 1, max = 32), custom(distinct))]
    #[schema(min_items = 1, max_items = 32)]
    pub reward_ids: Vec<Uuid>,
    /// IANA name; days, weeks and months begin at midnight there
    #[garde(length(bytes, min = 1, max = 64))]
    #[serde(default = "utc")]
    #[schema(example = "Asia/Seoul", default = "UTC")]
    pub time_zone: String,
    #[garde(dive)]
    pub condition: NewCondition,
    #[garde(dive)]
    #[serde(default)]
    pub recurrence: Recurrence,
    /// Leave it out for no budget
    #[garde(dive)]
    #[serde(default)]
    pub budget: Option<Budget>,
    /// The most of one reward that a condition may choose for one claim
    #[garde(range(min = 1, max = 1000))]
    #[serde(default = "one")]
    #[schema(example = 1, default = 1, minimum = 1, maximum = 1000)]
    pub max_quantity: u32,
    /// Whether claims are always answered with 202 and decided in the order of their arrival: for a rush
    #[garde(skip)]
    #[serde(default)]
    #[schema(default = false)]
    pub respond_async: bool,
}

/// A plugin version and its params.
#[derive(Clone, Debug, Deserialize, ToSchema, Validate)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NewCondition {
    #[garde(length(bytes, min = 1, max = 64))]
    #[schema(example = "login-streak")]
    pub plugin: String,
    #[garde(length(bytes, min = 1, max = 64))]
    #[schema(example = "1.0.0")]
    pub version: String,
    /// What the plugin's schema asks for
    #[garde(skip)]
    #[serde(default = "no_params")]
    #[schema(value_type = Object)]
    pub params: Value,
}

/// How often a user may be granted the event: `count` times in each `period` of the event's zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema, Validate)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Recurrence {
    #[garde(skip)]
    pub period: Period,
    #[garde(range(min = 1, max = 1000))]
    #[serde(default = "one")]
    #[schema(example = 1, default = 1, minimum = 1, maximum = 1000)]
    pub count: u32,
}

impl Default for Recurrence {
    fn default() -> Self {
        Self {
            period: Period::Once,
            count: 1,
        }
    }
}

/// An event as stored.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    pub id: Uuid,
    pub title: String,
    pub description: String,
    pub start_date: Timestamp,
    pub end_date: Timestamp,
    pub is_active: bool,
    pub tags: Vec<String>,
    pub reward_ids: Vec<Uuid>,
    #[schema(example = "Asia/Seoul")]
    pub time_zone: String,
    pub condition: Condition,
    pub recurrence: Recurrence,
    pub budget: Option<Budget>,
    pub max_quantity: u32,
    /// Whether claims are always answered with 202 and decided in the order of their arrival
    pub respond_async: bool,
    /// SHA-256 of the secret behind every draw of the event, published before the first one
    #[schema(example = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08")]
    pub seed_commitment: String,
    /// The secret itself, in hexadecimal, once the event is over: then every draw can be checked
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed_secret: Option<String>,
    /// Counts changes; it is the ETag
    pub revision: i64,
    pub created_by: Uuid,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    /// What `bind` answered for the params.
    #[serde(skip)]
    pub plan: Plan,
    #[serde(skip)]
    pub state: Vec<u8>,
    #[serde(skip)]
    pub secret: Secret,
}

/// The condition of an event, pinned to the bytes of its plugin.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    #[schema(example = "login-streak")]
    pub plugin: String,
    #[schema(example = "1.0.0")]
    pub version: String,
    #[schema(value_type = String)]
    pub digest: Digest,
    #[schema(value_type = Object)]
    pub params: Value,
}

/// What a user sees of an event that runs now.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct ActiveEvent {
    pub id: Uuid,
    pub title: String,
    pub description: String,
    pub start_date: Timestamp,
    pub end_date: Timestamp,
    pub time_zone: String,
    pub tags: Vec<String>,
    pub recurrence: Recurrence,
    pub rewards: Vec<OfferedReward>,
    pub seed_commitment: String,
}

/// What a user sees of a reward.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct OfferedReward {
    pub id: Uuid,
    #[serde(rename = "type")]
    #[schema(example = "COUPON")]
    pub type_: String,
    pub item_id: Option<String>,
    pub value: Option<i64>,
    pub duration: Option<String>,
    pub description: Option<String>,
    pub sold_out: bool,
}

impl From<Reward> for OfferedReward {
    fn from(reward: Reward) -> Self {
        Self {
            id: reward.id,
            type_: reward.type_,
            item_id: reward.item_id,
            value: reward.value,
            duration: reward.duration,
            description: reward.description,
            sold_out: reward.stock_remaining == Some(0),
        }
    }
}

/// An event that runs now and how many users claimed it lately.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct PopularEvent {
    #[serde(flatten)]
    pub event: ActiveEvent,
    /// Users whose claims were decided in the last 24 hours, each counted once an hour; about
    pub claims: u64,
}

/// The events that are claimed most, first the first.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct PopularEvents {
    pub items: Vec<PopularEvent>,
}

impl ActiveEvent {
    pub(super) fn new(event: Event, rewards: Vec<Reward>) -> Self {
        Self {
            id: event.id,
            title: event.title,
            description: event.description,
            start_date: event.start_date,
            end_date: event.end_date,
            time_zone: event.time_zone,
            tags: event.tags,
            recurrence: event.recurrence,
            rewards: rewards.into_iter().map(OfferedReward::from).collect(),
            seed_commitment: event.seed_commitment,
        }
    }
}

fn yes() -> bool {
    true
}

fn one() -> u32 {
    1
}

fn utc() -> String {
    "UTC".to_owned()
}

fn no_params() -> Value {
    Value::Object(serde_json::Map::new())
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "garde's signature")]
fn plain_text(text: &str, (): &()) -> garde::Result {
    if text.contains(['"', '\\']) || text.chars().any(char::is_control) {
        return Err(garde::Error::new(format!(
            "{text:?} holds a quote, a backslash or a control character"
        )));
    }
    Ok(())
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "garde's signature")]
fn distinct(ids: &[Uuid], (): &()) -> garde::Result {
    let mut seen = std::collections::HashSet::new();
    match ids.iter().find(|id| !seen.insert(**id)) {
        Some(id) => Err(garde::Error::new(format!("{id} is there twice"))),
        None => Ok(()),
    }
}
