//! The members of a report. All numbers are integers, so that the canonical JSON of any reader is the same.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use crate::backtests::engine::{Coverage, Example, Exhausted, Outcomes, Pace};
use crate::backtests::state::Population;
use crate::backtests::terms::{GroupTerms, RewardTerms};
use crate::clock::Timestamp;
use crate::events::{Budget, Recurrence};
use crate::sandbox::Digest;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Report {
    pub header: Header,
    pub coverage: Coverage,
    pub baseline: SideReport,
    pub candidate: SideReport,
    pub flips: FlipsReport,
    pub forecast: Forecast,
    pub reproduction: ReproductionReport,
    pub rounds: RoundsReport,
    /// What a backtest cannot tell.
    pub cannot_tell: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Header {
    pub event: EventHeader,
    pub baseline: ConditionHeader,
    pub candidate: ConditionHeader,
    pub from: Timestamp,
    pub to: Timestamp,
    pub population: Population,
    pub sample: Option<u32>,
    /// Stock and budget are a share of the event's, as the sample is of all users.
    pub limits_scaled: bool,
    /// What each decision sees of the past.
    pub as_of: String,
    pub known_by: String,
    pub seeds: String,
    /// The release of Meed, and of its time zones.
    pub engine: String,
    pub time_zones: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EventHeader {
    pub id: Uuid,
    pub revision: i64,
    pub title: String,
    pub starts: Timestamp,
    pub ends: Timestamp,
    pub time_zone: String,
    pub recurrence: Recurrence,
    pub budget: Option<Budget>,
    pub group: Option<GroupTerms>,
    pub max_quantity: u32,
    pub rewards: Vec<RewardTerms>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ConditionHeader {
    pub plugin: String,
    pub version: String,
    pub digest: Digest,
    pub params: Value,
    pub asked: Pace,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SideReport {
    /// By real claim.
    pub claims: Outcomes,
    /// By user without a claim.
    pub silent_users: Outcomes,
    pub grants: u64,
    pub value: i64,
    pub users: u64,
    pub exhausted: Vec<Exhausted>,
    /// Most frequent first.
    pub reasons: Vec<Count>,
    pub first_eligible: Vec<DayCount>,
    pub concentration: Concentration,
    pub fuel: Fuel,
    pub failures: BTreeMap<String, u64>,
    pub questions: Questions,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Count {
    pub reason: String,
    pub count: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DayCount {
    pub day: String,
    pub users: u64,
    pub cumulative: u64,
}

/// Signs of abuse.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Concentration {
    /// One percent of the users with grants, at least one user.
    pub top_users: u64,
    /// In thousandths of all grants, and of the value.
    pub top_grants_permille: u64,
    pub top_value_permille: u64,
    pub most_grants_of_a_user: u64,
    /// To accounts that were registered within the day before.
    pub new_account_grants: u64,
    /// To users whom another user invited.
    pub invited_users: u64,
    pub invited_grants: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Fuel {
    pub p50: u64,
    pub p99: u64,
    pub max: u64,
    pub limit: u64,
    /// The maximum in thousandths of the limit.
    pub max_permille: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Questions {
    pub asked: u64,
    /// Equal to the one before, so the answer was known.
    pub equal: u64,
    pub evaluated: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FlipsReport {
    pub gained: FlipReport,
    pub lost: FlipReport,
    pub changed: FlipReport,
    pub moved: FlipReport,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FlipReport {
    pub users: u64,
    pub grants: u64,
    pub value: i64,
    /// `before → after`, most frequent first.
    pub reasons: Vec<Count>,
    pub examples: Vec<Example>,
}

/// What the candidate grants by time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Forecast {
    pub step_seconds: i64,
    /// All steps of the period.
    pub steps: Vec<ForecastStep>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ForecastStep {
    pub from: Timestamp,
    /// To users who really claimed then.
    pub grants: u64,
    pub value: i64,
    /// To users who never claimed, if they had claimed as soon as they could.
    pub silent_grants: u64,
    pub silent_value: i64,
    /// Of the steps up to this one.
    pub cumulative_grants: u64,
    pub cumulative_value: i64,
    pub cumulative_silent_grants: u64,
    pub cumulative_silent_value: i64,
    /// Of the baseline, to compare: grants to users who really claimed, and to others.
    pub baseline_grants: u64,
    pub baseline_silent_grants: u64,
}

/// How far the baseline decides the claims as they were really decided.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ReproductionReport {
    pub same: u64,
    pub different: u64,
    pub not_comparable: u64,
    pub kinds: Vec<Count>,
    pub examples: Vec<Example>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RoundsReport {
    pub rounds: i64,
    /// Every decision saw what the earlier ones left of stock and budget.
    pub settled: bool,
    /// Grants of the baseline and the candidate that found nothing left in the last round.
    pub unsettled_grants: [u64; 2],
}
