//! Running a case: the way of a claim, without the claim.

use std::time::Duration;

use serde_json::Value;

use super::{Case, Circumstances, Expectation, History, HistoryError};
use crate::clock::Timestamp;
use crate::contract::{Context, EventInfo, Fact, Query, UserInfo};
use crate::facts::{UnknownZone, Zone};
use crate::plugins::params;
use crate::plugins::service::PluginError;
use crate::sandbox::{Plugin, Sandbox};

const MONTH: Duration = Duration::from_hours(30 * 24);
/// 2026-03-02T00:30:00Z, in milliseconds since the Unix epoch.
const NOW: i64 = 1_772_411_400_000;

/// What came out of a case, and what it took.
#[derive(Clone, Debug)]
pub struct Ran {
    pub got: Expectation,
    pub queries: Vec<Query>,
    /// `facts[i]` answers `queries[i]`.
    pub facts: Vec<Fact>,
    /// Of `evaluate`; 0 when it did not come to that.
    pub fuel: u64,
    pub setup_fuel: u64,
    /// The most linear memory it had, in bytes.
    pub memory: usize,
    pub elapsed: Duration,
    pub notes: Vec<String>,
}

/// Why a case cannot be run: it is the case's fault, or the machine's.
#[derive(Debug, thiserror::Error)]
pub enum CaseError {
    #[error("context.timeZone: {0}")]
    Zone(#[from] UnknownZone),
    #[error("context.seed is {0:?}; it must be 64 hexadecimal digits")]
    Seed(String),
    #[error("there are {found} facts, and the plan has {queries} queries")]
    Facts { found: usize, queries: usize },
    #[error("the case tells activities, attributes or grants besides facts; tell one or the other")]
    Both,
    #[error("the case tells no facts, and there is no history to take them from")]
    NoHistory,
    #[error(transparent)]
    History(#[from] HistoryError),
    #[error("{0}")]
    Plugin(PluginError),
}

/// A case up to the point where `evaluate` is called.
#[derive(Clone, Debug)]
pub struct Ready {
    pub context: Context,
    pub state: Vec<u8>,
    pub queries: Vec<Query>,
    /// `facts[i]` answers `queries[i]`.
    pub facts: Vec<Fact>,
    /// Fuel that `bind` took.
    pub setup_fuel: u64,
}

/// Binds the params of a case and tells its facts; or what came out when it ended there. Without a `history`, the case
/// must tell its facts itself.
pub async fn prepare(
    sandbox: &Sandbox,
    plugin: &Plugin,
    schema: &Value,
    case: &Case,
    history: Option<&History>,
) -> Result<Result<Ready, Expectation>, CaseError> {
    let zone: Zone = case.context.time_zone.as_deref().unwrap_or("UTC").parse()?;
    let context = context(&case.context, &zone)?;
    let planned = match params::bind(sandbox, plugin, schema, &case.params).await {
        Ok(planned) => planned,
        Err(PluginError::Params(issues)) => return Ok(Err(Expectation::Issues(issues))),
        Err(PluginError::BindFailed(failure)) => return Ok(Err(Expectation::Failure(failure.code().to_owned()))),
        Err(PluginError::Plan(_)) => return Ok(Err(Expectation::Failure("invalid-plan".to_owned()))),
        Err(error) => return Err(CaseError::Plugin(error)),
    };
    let queries = planned.plan.queries();
    let facts = match (&case.facts, history) {
        (Some(_), _) if case.has_past() => return Err(CaseError::Both),
        (Some(facts), _) if facts.len() != queries.len() => {
            return Err(CaseError::Facts {
                found: facts.len(),
                queries: queries.len(),
            });
        }
        (Some(facts), _) => facts.clone(),
        (None, Some(history)) => history.facts(case, &context, &zone, &planned.plan).await?,
        (None, None) => return Err(CaseError::NoHistory),
    };
    Ok(Ok(Ready {
        context,
        state: planned.state,
        queries: queries.to_vec(),
        facts,
        setup_fuel: planned.fuel,
    }))
}

/// Runs a case on a plugin whose params have this schema, as [`prepare`] says.
pub async fn run(
    sandbox: &Sandbox,
    plugin: &Plugin,
    schema: &Value,
    case: &Case,
    history: Option<&History>,
) -> Result<Ran, CaseError> {
    let ready = match prepare(sandbox, plugin, schema, case, history).await? {
        Ok(ready) => ready,
        Err(got) => return Ok(Ran::ended_early(got)),
    };
    let call = sandbox
        .evaluate(plugin, &ready.context, &ready.state, &ready.facts)
        .await;
    Ok(Ran {
        got: match call.outcome {
            Ok(decision) => Expectation::Decision(decision),
            Err(failure) => Expectation::Failure(failure.code().to_owned()),
        },
        queries: ready.queries,
        facts: ready.facts,
        fuel: call.fuel,
        setup_fuel: ready.setup_fuel,
        memory: call.memory,
        elapsed: call.elapsed,
        notes: call.notes,
    })
}

impl Ran {
    fn ended_early(got: Expectation) -> Self {
        Self {
            got,
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

fn context(told: &Circumstances, zone: &Zone) -> Result<Context, CaseError> {
    let now = told
        .now
        .or_else(|| Timestamp::from_millis(NOW))
        .unwrap_or(Timestamp::EPOCH);
    let starts = told.event.starts.unwrap_or_else(|| now.minus(MONTH));
    let seed = match &told.seed {
        None => [0; 32],
        Some(text) => {
            let mut seed = [0; 32];
            hex::decode_to_slice(text, &mut seed).map_err(|_| CaseError::Seed(text.clone()))?;
            seed
        }
    };
    Ok(Context {
        now,
        local: zone.local(now),
        time_zone: zone.name().to_owned(),
        event: EventInfo {
            id: told.event.id.clone().unwrap_or_else(|| "event".to_owned()),
            title: told.event.title.clone().unwrap_or_else(|| "Event".to_owned()),
            starts,
            ends: told.event.ends.unwrap_or_else(|| now.plus(MONTH)),
        },
        user: UserInfo {
            id: told.user.id.clone().unwrap_or_else(|| "user".to_owned()),
            registered: told.user.registered.unwrap_or(starts),
        },
        rewards: told.rewards.clone(),
        seed,
    })
}
