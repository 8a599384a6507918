//! Explanations as responses show them.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;
use uuid::Uuid;

use super::runs::Bound;
use crate::claims::model::{Reason, Status};
use crate::clock::Timestamp;
use crate::contract::{Arguments, Fact, Query};
use crate::sandbox::Digest;

/// Why a claim was decided as it was, or would be.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    /// Left out if the question is about an event
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<Uuid>,
    pub event_id: Uuid,
    pub event_revision: i64,
    pub user_id: Uuid,
    pub basis: Basis,
    /// The facts count what occurred until then
    pub as_of: Timestamp,
    /// The facts count what was recorded until then; left out if no facts were read
    #[serde(skip_serializing_if = "Option::is_none")]
    pub known_by: Option<Timestamp>,
    /// How the claim was decided, or would be: GRANTED, HELD, REJECTED or FAILED
    pub verdict: Status,
    pub decided_by: DecidedBy,
    pub reasons: Vec<Reason>,
    pub progress: Vec<LabelledProgress>,
    pub retry_at: Option<Timestamp>,
    /// What the decision was made from, in the order of the plan; empty if the host decided without the condition
    pub facts: Vec<ExplainedFact>,
    /// Other facts with which the condition decides otherwise, numbers and instants before other values. Each was run
    pub counterfactuals: Vec<Counterfactual>,
    pub search: SearchReport,
    /// Only for principals with `audit:read`
    #[serde(skip_serializing_if = "Option::is_none")]
    pub details: Option<Details>,
}

/// The source of the facts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "UPPERCASE")]
#[schema(as = ExplanationBasis)]
pub enum Basis {
    /// The receipt of the decision, with exactly its facts
    Receipt,
    /// The facts were read for this question
    Read,
}

/// Which part of Meed decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum DecidedBy {
    /// Dates, limits, stock, budget, a review: the first reason says which
    Host,
    /// The event's condition
    Condition,
}

/// A goal and the progress towards it, with its name.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct LabelledProgress {
    pub key: String,
    pub current: i64,
    pub target: i64,
    /// The name of the key in the plugin's default language; left out if it has none
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "Days in a row")]
    pub label: Option<String>,
    /// The name in other languages, by BCP 47 tag
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

/// A sentence in English. `code` and `args` are the key for translations.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Sentence {
    #[schema(example = "fact-streak")]
    pub code: String,
    #[schema(example = "5 of 7 days in a row with `auth.login` in Asia/Seoul, in the last 8 days")]
    pub message: String,
    /// Numbers are decimal, timestamps RFC 3339
    #[serde(skip_serializing_if = "Arguments::is_empty")]
    #[schema(value_type = HashMap<String, String>)]
    pub args: Arguments,
}

/// A fact in words, with its query.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ExplainedFact {
    #[serde(flatten)]
    pub words: Sentence,
    pub query: Query,
    /// Left out if the fact is about other users
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<Fact>,
}

/// Changed facts with which the condition decides otherwise.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Counterfactual {
    #[serde(flatten)]
    #[schema(inline)]
    pub words: Sentence,
    /// One change, or two if none suffices alone
    pub changes: Vec<FactChange>,
    /// Whether one step less was run as well and does not suffice
    pub minimal: bool,
    /// How the claim would be decided with these facts, within stock and budget as they were
    pub verdict: Status,
    pub reasons: Vec<Reason>,
}

/// One fact as it would have to be.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct FactChange {
    #[serde(flatten)]
    pub words: Sentence,
    /// The place of the fact in `facts`
    pub fact: usize,
    pub from: Fact,
    pub to: Fact,
}

/// How counterfactuals were searched.
#[derive(Clone, Debug, Default, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SearchReport {
    /// Runs of the condition
    pub runs: usize,
    /// The most runs of one search
    pub max_runs: usize,
    /// The fuel of the runs
    pub fuel: u64,
    /// The bound that ended the search: there may be further counterfactuals. `null` if everything was tried
    pub stopped_by: Option<Bound>,
    /// Why there was no search; left out if there was one
    #[serde(skip_serializing_if = "Option::is_none")]
    pub skipped: Option<Skipped>,
}

/// Why no counterfactuals were searched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[schema(as = ExplanationSkipped)]
pub enum Skipped {
    /// The host decided without the condition
    DecidedByHost,
    /// The condition produced no decision
    ConditionFailed,
    /// The condition has no query, or only such about other users
    NoFacts,
    /// Only staff learn what would have led to less, or to no review
    StaffOnly,
    /// The plugin is disabled or in quarantine, so nothing is run
    PluginNotActive,
    /// This server runs the condition with another result than the receipt has, because the engine or a limit has changed
    NotReproducible,
}

/// What only staff see.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = ExplanationDetails)]
pub struct Details {
    #[schema(example = "login-streak")]
    pub plugin: String,
    #[schema(example = "1.0.0")]
    pub version: String,
    #[schema(value_type = String)]
    pub plugin_digest: Digest,
    #[schema(value_type = HashMap<String, Value>)]
    pub params: Value,
    /// The plan: `facts[i]` answers `queries[i]`
    pub queries: Vec<Query>,
    pub facts: Vec<Fact>,
    #[schema(example = "Asia/Seoul")]
    pub time_zone: String,
    /// The period of the event's recurrence
    pub period: String,
    /// The fuel of the decision; left out if the condition did not run
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fuel: Option<u64>,
    /// Why the condition produced no decision
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "out-of-fuel")]
    pub failure: Option<String>,
    /// The digest of the receipt, which is at `/reward-requests/{id}/receipt`
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub receipt_digest: Option<Digest>,
}
