//! The words a condition and the host exchange (`plugin-sdk/wit/v1`), as plain data: what the sandbox takes and gives,
//! what facts answer, what an event stores as its plan and a receipt shows.
//!
//! Must not know: wasmtime, the database, HTTP. The sandbox's `abi` translates between these and the bindings, so a
//! second version of the WIT changes nothing here.

use jiff::civil::Date;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::clock::Timestamp;

/// Who a plugin says it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Manifest {
    /// kebab-case, at most 64 characters
    pub name: String,
    /// semver 2.0.0
    pub version: String,
    pub title: String,
    pub description: String,
    /// JSON Schema 2020-12 of the params
    #[schema(value_type = Object)]
    pub params_schema: serde_json::Value,
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

/// A stretch of time that ends at the decision's `now`, inclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum Window {
    EventPeriod,
    AllTime,
    /// Calendar days in the event's zone, today included.
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

/// One thing a condition wants to know.
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

/// A condition with its params bound: the plan, and the bytes `evaluate` wants back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binding {
    pub queries: Vec<Query>,
    pub state: Vec<u8>,
}

/// Consecutive calendar days in the event's zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Streak {
    /// The run that ends today or, as long as today has none yet, yesterday; 0 when it is broken.
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
    /// Within plus or minus 2^53 - 1, so that every JSON reader sees the same number.
    Integer(i64),
    At(Timestamp),
    Text(String),
    Days(Streak),
}

/// Wall-clock time in the event's zone; weekday 1 = Monday .. 7 = Sunday (ISO 8601).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LocalTime {
    #[schema(value_type = String, format = Date)]
    pub date: Date,
    pub weekday: u8,
    pub hour: u8,
    pub minute: u8,
    pub second: u8,
    pub utc_offset_minutes: i16,
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
    pub value: Option<i64>,
    /// The most that this claim may be awarded; 0 = sold out.
    pub max_quantity: u32,
}

/// Everything a decision may depend on besides its facts and its params.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Context {
    /// The one clock read of the decision.
    pub now: Timestamp,
    pub local: LocalTime,
    /// IANA name
    pub time_zone: String,
    pub event: EventInfo,
    pub user: UserInfo,
    pub rewards: Vec<RewardInfo>,
    /// 32 bytes, in lower-case hexadecimal; the only source of chance.
    #[serde(with = "hex::serde")]
    #[schema(value_type = String)]
    pub seed: [u8; 32],
}

/// Why, for programs (`code`, stable kebab-case) and for people (`message`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Reason {
    pub code: String,
    pub message: String,
}

/// How far the user is.
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

/// What a condition answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Decision {
    pub eligible: bool,
    pub reasons: Vec<Reason>,
    pub progress: Vec<Progress>,
    /// Ignored unless eligible.
    pub awards: Awards,
    /// When it is worth trying again, if known.
    pub retry_at: Option<Timestamp>,
}

/// Integers outside this range are refused at the boundary: a JSON reader with doubles would see another number.
pub const MAX_INTEGER: i64 = (1 << 53) - 1;
