//! The types that a condition and the host exchange (`plugin-sdk/wit/v1`), as plain data: input and output of the sandbox,
//! facts, the plan that an event stores, the records of a receipt.
//!
//! Must not know: wasmtime, the database, HTTP. The sandbox's `abi` translates between these types and the bindings, so a
//! second version of the WIT changes nothing here.

use std::collections::BTreeMap;

use jiff::civil::Date;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::clock::Timestamp;
use crate::exact_json;

/// Identity, texts and params of a plugin.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// kebab-case, at most 64 characters
    pub name: String,
    /// semver 2.0.0
    pub version: String,
    pub title: String,
    pub description: String,
    #[serde(flatten)]
    pub texts: Texts,
    /// JSON Schema 2020-12 of the params
    pub params_schema: serde_json::Value,
}

/// Texts of a manifest besides its title and description.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Texts {
    /// Names of the progress keys in the plugin's default language.
    pub labels: BTreeMap<String, String>,
    /// By BCP 47 tag.
    pub translations: BTreeMap<String, Translation>,
}

/// The texts of a plugin in one language. A label that is left out falls back to the default.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Translation {
    pub title: String,
    pub description: String,
    pub labels: BTreeMap<String, String>,
}

/// A fault in the params of a condition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Issue {
    /// JSON Pointer (RFC 6901) into the params
    pub path: String,
    pub message: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum Subject {
    Claimant,
    Invitees,
}

/// A time window that ends at the decision's `now`, inclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum Window {
    EventPeriod,
    AllTime,
    /// Calendar days in the event's time zone, including today.
    LastDays(u32),
    Since(Timestamp),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Filter {
    pub attribute: String,
    pub equals: String,
}

/// Activities of one kind that pass every filter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Selection {
    pub kind: String,
    pub subject: Subject,
    pub window: Window,
    pub filters: Vec<Filter>,
}

/// A question of a condition. A [`Fact`] answers it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum Query {
    Count(Selection),
    Sum(Selection),
    DistinctDays(Selection),
    Streak(Selection),
    First(Selection),
    Last(Selection),
    Attribute(String),
    Grants,
}

impl Query {
    /// The activities that it asks about.
    pub fn selection(&self) -> Option<&Selection> {
        match self {
            Self::Count(selection)
            | Self::Sum(selection)
            | Self::DistinctDays(selection)
            | Self::Streak(selection)
            | Self::First(selection)
            | Self::Last(selection) => Some(selection),
            Self::Attribute(_) | Self::Grants => None,
        }
    }
}

/// The result of binding params: the plan, and the bytes that `evaluate` gets back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binding {
    pub queries: Vec<Query>,
    pub state: Vec<u8>,
}

/// Consecutive calendar days in the event's time zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Streak {
    /// The run that ends today or, if today has no activity yet, yesterday; 0 without such a run.
    pub current: u32,
    pub longest: u32,
    #[schema(value_type = Option<String>, format = Date)]
    pub last_day: Option<Date>,
}

/// The answer to a [`Query`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum Fact {
    Absent,
    /// Between -(2^53 - 1) and 2^53 - 1, so that every JSON parser reads the same number.
    #[serde(deserialize_with = "exact_json::integer")]
    Integer(i64),
    At(Timestamp),
    Text(String),
    Days(Streak),
}

/// Local time in the event's time zone; weekday 1 = Monday .. 7 = Sunday (ISO 8601).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LocalTime {
    #[schema(value_type = String, format = Date)]
    pub date: Date,
    pub weekday: u8,
    pub hour: u8,
    pub minute: u8,
    pub second: u8,
    pub utc_offset_seconds: i32,
}

/// From `starts` on, local time is UTC plus `utcOffsetSeconds`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ZoneOffset {
    pub starts: Timestamp,
    pub utc_offset_seconds: i32,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EventInfo {
    pub id: String,
    pub title: String,
    pub starts: Timestamp,
    pub ends: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct UserInfo {
    pub id: String,
    pub registered: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RewardInfo {
    pub id: String,
    pub kind: String,
    #[serde(deserialize_with = "exact_json::optional_integer")]
    pub value: Option<i64>,
    /// The largest quantity that this claim may award; 0 means sold out.
    pub max_quantity: u32,
}

/// Everything besides params and facts that a decision may depend on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Context {
    /// The only clock reading of the decision.
    pub now: Timestamp,
    pub local: LocalTime,
    /// IANA name
    pub time_zone: String,
    /// The zone's offsets in order of time: the first starts at the first instant of today, the others at each change
    /// within the next 400 days
    pub offsets: Vec<ZoneOffset>,
    pub event: EventInfo,
    pub user: UserInfo,
    pub rewards: Vec<RewardInfo>,
    /// 32 bytes, in lower-case hexadecimal; the only source of randomness.
    #[serde(with = "hex::serde")]
    #[schema(value_type = String)]
    pub seed: [u8; 32],
}

/// Named values of a reason's message. With the code they are the key for translations.
pub type Arguments = BTreeMap<String, String>;

/// A reason for programs (`code`, stable kebab-case, with `args`) and for people (`message`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = ConditionReason)]
pub struct Reason {
    pub code: String,
    pub message: String,
    /// Named values of the message; left out when there are none
    #[serde(default, skip_serializing_if = "Arguments::is_empty")]
    #[schema(value_type = HashMap<String, String>)]
    pub args: Arguments,
}

/// A goal and the user's progress towards it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Progress {
    pub key: String,
    pub current: i64,
    pub target: i64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Award {
    pub reward_id: String,
    pub quantity: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum Awards {
    /// One of each of the event's rewards.
    All,
    Chosen(Vec<Award>),
}

/// Whether the claim is granted. `needsReview` leaves it to a person.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum Outcome {
    Eligible,
    NotEligible,
    NeedsReview,
}

/// The answer of a condition to one claim.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Decision {
    pub outcome: Outcome,
    pub reasons: Vec<Reason>,
    pub progress: Vec<Progress>,
    /// Granted when eligible, or when a review approves the claim; empty otherwise.
    pub awards: Awards,
    /// When a new claim may end differently, if known.
    pub retry_at: Option<Timestamp>,
}

/// Integers outside this range are refused at the boundary: a JSON reader with doubles would see another number.
pub const MAX_INTEGER: i64 = (1 << 53) - 1;
