//! Events as requests send them, as the host uses them, and as responses show them.

use garde::Validate;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;
use uuid::Uuid;

use super::budget::Budget;
use super::candidate::Candidate;
use super::seed::Secret;
use crate::clock::Timestamp;
use crate::exact_json;
use crate::facts::Period;
use crate::name::stable_name;
use crate::plugins::BoundCondition;
use crate::rewards::Reward;
use crate::text::legible;

/// An event to create, or the new content of one.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema, Validate)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(example = json!({
    "name": "seven-day-streak",
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
#[expect(clippy::struct_excessive_bools, reason = "members of a JSON body")]
pub struct NewEvent {
    /// For files and scripts: 1 to 64 of a-z, 0-9, `.`, `_` and `-`. No two events have the same name. Without it, a new event
    /// gets its id as the name, and a replaced one keeps its name
    #[garde(inner(custom(stable_name)))]
    #[serde(default)]
    #[schema(
        example = "seven-day-streak",
        min_length = 1,
        max_length = 64,
        pattern = "^[a-z0-9][a-z0-9._-]*$"
    )]
    pub name: Option<String>,
    #[garde(length(chars, min = 1, max = 200), custom(legible))]
    #[schema(example = "7-day login streak", min_length = 1, max_length = 200)]
    pub title: String,
    #[garde(length(chars, max = 4000), custom(legible))]
    #[serde(default)]
    #[schema(example = "Log in seven days in a row.", max_length = 4000)]
    pub description: String,
    /// The event's start, inclusive
    #[garde(skip)]
    pub start_date: Timestamp,
    /// The event's end, exclusive
    #[garde(skip)]
    #[schema(example = "2026-04-01T00:00:00.000Z")]
    pub end_date: Timestamp,
    /// Users can see and claim the event only while this is true
    #[garde(skip)]
    #[serde(default = "yes")]
    #[schema(default = true)]
    pub is_active: bool,
    #[garde(
        length(max = 32),
        inner(length(chars, min = 1, max = 64), custom(plain_text), custom(legible))
    )]
    #[serde(default)]
    #[schema(example = json!(["spring"]), max_items = 32)]
    pub tags: Vec<String>,
    /// A claim grants one of each, unless the condition chooses
    #[garde(length(min = 1, max = 32), custom(distinct))]
    #[schema(min_items = 1, max_items = 32)]
    pub reward_ids: Vec<Uuid>,
    /// An IANA name. Days, weeks and months begin at midnight in this time zone
    #[garde(length(bytes, min = 1, max = 64))]
    #[serde(default = "utc")]
    #[schema(example = "Asia/Seoul", default = "UTC")]
    pub time_zone: String,
    #[garde(dive)]
    pub condition: NewCondition,
    #[garde(dive)]
    #[serde(default)]
    pub recurrence: Recurrence,
    /// Omit it for no budget
    #[garde(dive)]
    #[serde(default)]
    pub budget: Option<Budget>,
    /// The event group for whose limit the event's grants count; omit it for none
    #[garde(inner(custom(group_name)))]
    #[serde(default)]
    #[schema(
        example = "welcome",
        min_length = 1,
        max_length = 64,
        pattern = "^[a-z0-9][a-z0-9-]*$"
    )]
    pub group: Option<String>,
    /// The maximum quantity of one reward that the condition may choose for one claim
    #[garde(range(min = 1, max = 1000))]
    #[serde(default = "one")]
    #[schema(example = 1, default = 1, minimum = 1, maximum = 1000)]
    pub max_quantity: u32,
    /// Queue all claims: answer 202 and decide them in the order of arrival, for events with a rush of claims
    #[garde(skip)]
    #[serde(default)]
    #[schema(default = false)]
    pub respond_async: bool,
    /// Activate the event while its facts are still being built. Until then, claims of users with many activities take
    /// longer
    #[garde(skip)]
    #[serde(default)]
    #[schema(default = false)]
    pub accept_slow_reads: bool,
    /// The change comes from a file: the server notes the new revision as `appliedRevision`, so that the next `meed apply`
    /// sees what others changed since
    #[garde(skip)]
    #[serde(default)]
    #[schema(default = false)]
    pub applied: bool,
}

/// A plugin version and its params.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema, Validate)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NewCondition {
    #[garde(length(bytes, min = 1, max = 64))]
    #[schema(example = "login-streak")]
    pub plugin: String,
    #[garde(length(bytes, min = 1, max = 64))]
    #[schema(example = "1.0.0")]
    pub version: String,
    /// The params, which must match the plugin's schema
    #[garde(skip)]
    #[serde(default = "no_params", deserialize_with = "exact_json::value")]
    #[schema(value_type = HashMap<String, Value>)]
    pub params: Value,
}

/// How often a user may be granted the event: `count` times in each `period` of the event's time zone.
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
    #[schema(example = "seven-day-streak")]
    pub name: String,
    pub title: String,
    pub description: String,
    pub start_date: Timestamp,
    pub end_date: Timestamp,
    pub is_active: bool,
    pub tags: Vec<String>,
    pub reward_ids: Vec<Uuid>,
    #[schema(example = "Asia/Seoul")]
    pub time_zone: String,
    pub condition: BoundCondition,
    /// The condition of a release that live claims try
    #[serde(skip_serializing_if = "Option::is_none")]
    pub candidate: Option<Candidate>,
    pub recurrence: Recurrence,
    pub budget: Option<Budget>,
    /// The event group for whose limit the event's grants count
    pub group: Option<String>,
    pub max_quantity: u32,
    /// All claims are queued: answered with 202 and decided in the order of arrival
    pub respond_async: bool,
    /// The SHA-256 hash of the secret from which all draws of the event are computed
    #[schema(example = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08")]
    pub seed_commitment: String,
    /// The secret in hexadecimal, after the event's end. With it anyone can verify every draw
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed_secret: Option<String>,
    /// The revision, which is the ETag. Each change increments it
    pub revision: i64,
    /// The revision that `meed apply` wrote last; null: it never wrote it
    pub applied_revision: Option<i64>,
    pub created_by: Uuid,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    #[serde(skip)]
    pub secret: Secret,
}

impl From<&Event> for NewEvent {
    /// The content of a stored event, as a request would send it.
    fn from(event: &Event) -> Self {
        Self {
            name: Some(event.name.clone()),
            title: event.title.clone(),
            description: event.description.clone(),
            start_date: event.start_date,
            end_date: event.end_date,
            is_active: event.is_active,
            tags: event.tags.clone(),
            reward_ids: event.reward_ids.clone(),
            time_zone: event.time_zone.clone(),
            condition: NewCondition {
                plugin: event.condition.plugin.clone(),
                version: event.condition.version.clone(),
                params: event.condition.params.clone(),
            },
            recurrence: event.recurrence,
            budget: event.budget,
            group: event.group.clone(),
            max_quantity: event.max_quantity,
            respond_async: event.respond_async,
            accept_slow_reads: false,
            applied: false,
        }
    }
}

/// A running event, as users see it.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ActiveEvent {
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

/// A reward, as users see it.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct OfferedReward {
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

/// A running event, and the number of its recent claims.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct PopularEvent {
    #[serde(flatten)]
    pub event: ActiveEvent,
    /// The approximate number of users with decided claims in the last 24 hours. A user counts once per hour
    pub claims: u64,
}

/// The most claimed events, in descending order.
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

/// Validates the name of a group.
pub fn group_name(name: &str, (): &()) -> garde::Result {
    let mut bytes = name.bytes();
    let is_word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let fits = (1..=64).contains(&name.len())
        && bytes.next().is_some_and(is_word)
        && bytes.all(|byte| is_word(byte) || byte == b'-');
    if fits {
        Ok(())
    } else {
        Err(garde::Error::new(format!(
            "{name:?} is not 1 to 64 lower-case letters, digits and hyphens such as welcome-gifts"
        )))
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
            "{text:?} contains a quote, a backslash or a control character"
        )));
    }
    Ok(())
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "garde's signature")]
fn distinct(ids: &[Uuid], (): &()) -> garde::Result {
    let mut seen = std::collections::HashSet::new();
    match ids.iter().find(|id| !seen.insert(**id)) {
        Some(id) => Err(garde::Error::new(format!("{id} occurs twice"))),
        None => Ok(()),
    }
}
