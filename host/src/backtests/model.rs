//! Backtests as requests send them and as responses show them.

use garde::Validate;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::state::{Population, State};
use super::store::BacktestRow;
use super::terms::ConditionTerms;
use crate::clock::Timestamp;
use crate::events::NewCondition;

/// A backtest to run.
#[derive(Clone, Debug, Deserialize, ToSchema, Validate)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(example = json!({
    "eventId": "0199a3b0-5c1e-7a51-8f5e-0d6f2c1b9e77",
    "candidate": {"plugin": "login-streak", "version": "1.1.0", "params": {"days": 5}},
    "from": "2026-03-01T00:00:00Z",
    "to": "2026-04-01T00:00:00Z",
    "population": "ALL",
    "sample": 10_000,
}))]
pub struct NewBacktest {
    /// The event whose dates, rewards, limits and claims are used
    #[garde(skip)]
    pub event_id: Uuid,
    /// The condition to test; the default is the event's own
    #[garde(dive)]
    #[serde(default)]
    pub candidate: Option<NewCondition>,
    /// The condition to compare with; the default is the event's own, pinned as it is now
    #[garde(dive)]
    #[serde(default)]
    pub baseline: Option<NewCondition>,
    /// The start of the period, inclusive; the default is the event's start
    #[garde(skip)]
    #[serde(default)]
    pub from: Option<Timestamp>,
    /// The end of the period, exclusive; the default is the event's end. Not in the future: then it is the current time
    #[garde(skip)]
    #[serde(default)]
    pub to: Option<Timestamp>,
    #[garde(skip)]
    #[serde(default)]
    #[schema(default = "ALL")]
    pub population: Population,
    /// So many users instead of all, chosen by a stable hash of their ids. Stock and budget are scaled to them
    #[garde(range(min = 1, max = MAX_SAMPLE))]
    #[serde(default)]
    #[schema(example = 10_000, minimum = 1, maximum = 100_000)]
    pub sample: Option<u32>,
}

/// The largest sample.
pub(super) const MAX_SAMPLE: u32 = 100_000;

/// A condition of a backtest.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = BacktestCondition)]
pub struct ConditionView {
    pub plugin: String,
    pub version: String,
    #[schema(value_type = String)]
    pub digest: crate::sandbox::Digest,
    #[schema(value_type = HashMap<String, Value>)]
    pub params: serde_json::Value,
}

impl From<&ConditionTerms> for ConditionView {
    fn from(terms: &ConditionTerms) -> Self {
        Self {
            plugin: terms.plugin.clone(),
            version: terms.version.clone(),
            digest: terms.digest,
            params: terms.params.clone(),
        }
    }
}

/// A backtest and its progress.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Backtest {
    pub id: Uuid,
    pub event_id: Uuid,
    pub event_revision: i64,
    pub state: State,
    pub baseline: ConditionView,
    pub candidate: ConditionView,
    pub from: Timestamp,
    pub to: Timestamp,
    pub population: Population,
    pub sample: Option<u32>,
    pub progress: Progress,
    /// The SHA-256 of the report; null until the state is DONE
    pub report_digest: Option<String>,
    /// Why the state is FAILED
    pub failure: Option<String>,
    pub created_by: Uuid,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

/// How far a backtest is. A round replays all users; a limited event needs several.
#[derive(Clone, Copy, Debug, Default, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = BacktestProgress)]
pub struct Progress {
    /// null until the users are counted
    pub users: Option<i64>,
    /// Of this round
    pub replayed: i64,
    /// From 1
    pub round: Option<i64>,
}

impl Backtest {
    pub(super) fn new(row: BacktestRow, replayed: i64) -> Self {
        let terms = row.terms.0;
        Self {
            id: row.id,
            event_id: row.event_id,
            event_revision: terms.event_revision,
            state: row.state,
            baseline: (&terms.baseline).into(),
            candidate: (&terms.candidate).into(),
            from: terms.from,
            to: terms.to,
            population: terms.population,
            sample: terms.sample,
            progress: Progress {
                users: row.users,
                replayed: if row.state == State::Done {
                    row.users.unwrap_or(0)
                } else {
                    replayed
                },
                round: row.round,
            },
            report_digest: row.report_digest,
            failure: row.failure,
            created_by: row.created_by,
            created_at: row.created_at,
            updated_at: row.updated_at,
        }
    }
}
