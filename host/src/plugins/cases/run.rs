//! Runs a case with the steps of a claim, without storing anything.

use std::time::Duration;

use serde_json::Value;

use super::{Case, Expectation, History, HistoryError};
use crate::clock::Timestamp;
use crate::contract::{Context, EventInfo, Fact, Query, UserInfo};
use crate::facts::{UnknownZone, Zone};
use crate::plugins::params;
use crate::plugins::service::PluginError;
use crate::plugins::stand_in::StandIn;
use crate::sandbox::{Plugin, Sandbox};

const MONTH: Duration = Duration::from_hours(30 * 24);
/// 2026-03-02T00:30:00Z, in milliseconds since the Unix epoch.
const NOW: i64 = 1_772_411_400_000;

/// The result and the cost of a run.
#[derive(Clone, Debug)]
pub struct CaseRun {
    pub actual: Expectation,
    pub queries: Vec<Query>,
    /// `facts[i]` answers `queries[i]`.
    pub facts: Vec<Fact>,
    /// The fuel of `evaluate`; 0 if the run ended before it.
    pub fuel: u64,
    pub setup_fuel: u64,
    /// The peak of linear memory, in bytes.
    pub memory: usize,
    pub elapsed: Duration,
    pub notes: Vec<String>,
}

/// Why a case cannot run: the case is invalid, or the machine fails.
#[derive(Debug, thiserror::Error)]
pub enum CaseError {
    #[error("context.timeZone: {0}")]
    Zone(#[from] UnknownZone),
    #[error("context.seed is {0:?}; it must be 64 hexadecimal digits")]
    Seed(String),
    #[error("the case has {found} facts, but the plan has {queries} queries")]
    Facts { found: usize, queries: usize },
    #[error("the case has both facts and activities, attributes or grants; give one or the other")]
    Both,
    #[error("the case has no facts, and no database is available to compute them")]
    NoHistory,
    #[error(transparent)]
    History(#[from] HistoryError),
    #[error("{0}")]
    Plugin(PluginError),
}

/// A case that is ready for `evaluate`.
#[derive(Clone, Debug)]
pub struct PreparedCase {
    pub context: Context,
    pub state: Vec<u8>,
    pub queries: Vec<Query>,
    /// `facts[i]` answers `queries[i]`.
    pub facts: Vec<Fact>,
    /// The fuel of `bind`.
    pub setup_fuel: u64,
}

/// Binds the params of a case and computes its facts. The inner error is the result of a case that ends here. Without a
/// `history`, the case must have explicit facts.
pub async fn prepare(
    sandbox: &Sandbox,
    plugin: &Plugin,
    schema: &Value,
    case: &Case,
    history: Option<&History>,
) -> Result<Result<PreparedCase, Expectation>, CaseError> {
    let zone: Zone = case.context.time_zone.as_deref().unwrap_or("UTC").parse()?;
    let context = context(case, &zone)?;
    let bound = match params::bind(sandbox, plugin, schema, &case.params).await {
        Ok(bound) => bound,
        Err(PluginError::Params(issues)) => return Ok(Err(Expectation::Issues(issues))),
        Err(PluginError::BindFailed(failure)) => return Ok(Err(Expectation::Failure(failure.code().to_owned()))),
        Err(PluginError::Plan(_)) => return Ok(Err(Expectation::Failure("invalid-plan".to_owned()))),
        Err(error) => return Err(CaseError::Plugin(error)),
    };
    let queries = bound.plan.queries();
    let facts = match (&case.facts, history) {
        (Some(_), _) if case.has_history() => return Err(CaseError::Both),
        (Some(facts), _) if facts.len() != queries.len() => {
            return Err(CaseError::Facts {
                found: facts.len(),
                queries: queries.len(),
            });
        }
        (Some(facts), _) => facts.clone(),
        (None, Some(history)) => history.facts(case, &context, &zone, &bound.plan).await?,
        (None, None) => return Err(CaseError::NoHistory),
    };
    Ok(Ok(PreparedCase {
        context,
        state: bound.state,
        queries: queries.to_vec(),
        facts,
        setup_fuel: bound.fuel,
    }))
}

/// Prepares and evaluates a case; see [`prepare`]. `schema` is the schema of the plugin's params.
pub async fn run(
    sandbox: &Sandbox,
    plugin: &Plugin,
    schema: &Value,
    case: &Case,
    history: Option<&History>,
) -> Result<CaseRun, CaseError> {
    let prepared = match prepare(sandbox, plugin, schema, case, history).await? {
        Ok(prepared) => prepared,
        Err(actual) => return Ok(CaseRun::without_evaluation(actual)),
    };
    let call = sandbox
        .evaluate(plugin, &prepared.context, &prepared.state, &prepared.facts)
        .await;
    Ok(CaseRun {
        actual: match call.outcome {
            Ok(decision) => Expectation::Decision(decision),
            Err(failure) => Expectation::Failure(failure.code().to_owned()),
        },
        queries: prepared.queries,
        facts: prepared.facts,
        fuel: call.fuel,
        setup_fuel: prepared.setup_fuel,
        memory: call.memory,
        elapsed: call.elapsed,
        notes: call.notes,
    })
}

impl CaseRun {
    fn without_evaluation(actual: Expectation) -> Self {
        Self {
            actual,
            queries: Vec::new(),
            facts: Vec::new(),
            fuel: 0,
            setup_fuel: 0,
            memory: 0,
            elapsed: Duration::ZERO,
            notes: Vec::new(),
        }
    }
}

fn context(case: &Case, zone: &Zone) -> Result<Context, CaseError> {
    // Of the input, so that both runs of the upload check and every later run see the same.
    let stand_in = StandIn::of(&format!("{} {}", case.description, case.params));
    let case = &case.context;
    let now = case
        .now
        .or_else(|| Timestamp::from_millis(NOW))
        .unwrap_or(Timestamp::EPOCH);
    let starts = case.event.starts.unwrap_or_else(|| now.minus(MONTH));
    let seed = match &case.seed {
        None => stand_in.seed(),
        Some(text) => {
            let mut seed = [0; 32];
            hex::decode_to_slice(text, &mut seed).map_err(|_| CaseError::Seed(text.clone()))?;
            seed
        }
    };
    Ok(Context {
        now,
        local: zone.local(now),
        offsets: zone.offsets(now),
        time_zone: zone.name().to_owned(),
        event: EventInfo {
            id: case
                .event
                .id
                .clone()
                .unwrap_or_else(|| stand_in.id("event", starts).to_string()),
            title: case.event.title.clone().unwrap_or_else(|| stand_in.title()),
            starts,
            ends: case.event.ends.unwrap_or_else(|| now.plus(MONTH)),
        },
        user: UserInfo {
            id: case
                .user
                .id
                .clone()
                .unwrap_or_else(|| stand_in.id("user", starts).to_string()),
            registered: case.user.registered.unwrap_or(starts),
        },
        rewards: case.rewards.clone(),
        seed,
    })
}
