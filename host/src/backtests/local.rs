//! A backtest in one process, without a server and without writing to the database: `meed backtest` on an export.

use serde_json::Value;
use uuid::Uuid;

use super::engine::Tally;
use super::error::BacktestError;
use super::history::History;
use super::planning;
use super::report::{Report, Rounds, build};
use super::state::Population;
use super::store::Worlds;
use super::terms::{GroupTerms, Terms, stand_in_secret};
use super::worker::{MAX_ROUNDS, check_size, is_settled, merged, replay_chunk};
use crate::clock::Timestamp;
use crate::db::Db;
use crate::events::{self, Secret};
use crate::plugins::PluginService;
use crate::sandbox::{Plugin, Sandbox};

/// A local backtest to run.
pub struct Backtested {
    pub event_id: Uuid,
    /// The module of the candidate; `None`: the event's own.
    pub module: Option<Vec<u8>>,
    /// `None`: those of the event.
    pub params: Option<Value>,
    pub from: Option<Timestamp>,
    pub to: Option<Timestamp>,
    pub population: Population,
    pub sample: Option<u32>,
}

/// The terms of a local backtest, and the plugins of its baseline and its candidate.
pub async fn terms(
    db: &Db,
    plugins: &PluginService,
    asked: Backtested,
    now: Timestamp,
) -> Result<(Terms, [Plugin; 2]), BacktestError> {
    let offer = events::offer_without_secret(db, asked.event_id, stand_in_secret(asked.event_id)).await?;
    let live = &offer.event.condition;
    let baseline = plugins.runnable(live.digest).await?;
    let params = asked.params.as_ref().unwrap_or(&live.params);
    let (candidate, condition) = if let Some(module) = asked.module {
        plugins.bind_module(module, params).await?
    } else {
        let condition = plugins.bind_again(&live.plugin, &live.version, params).await?;
        (baseline.clone(), condition)
    };
    let group = match &offer.event.group {
        Some(name) => Some(GroupTerms {
            name: name.clone(),
            max_per_user: events::group_limit(db, name).await?,
        }),
        None => None,
    };
    let mut terms = Terms::new(&offer, group, [live, &condition]);
    terms.choose((asked.from, asked.to), asked.population, asked.sample, now)?;
    Ok((terms, [baseline, candidate]))
}

/// What a local backtest runs on.
pub struct Local {
    pub db: Db,
    pub sandbox: Sandbox,
    /// Of the baseline and the candidate.
    pub plugins: [Plugin; 2],
    /// Of the event; `None`: the keys that sealed it are not at hand.
    pub secret: Option<Secret>,
}

impl Local {
    /// Runs all rounds. `progress` is told the round and the users replayed.
    pub async fn run(&self, terms: &Terms, mut progress: impl FnMut(i64, u64)) -> Result<Report, BacktestError> {
        let ranges = planning::ranges(&self.db, terms).await?;
        let terms = planning::scaled(terms, ranges.users);
        let history = History {
            db: self.db.clone(),
            terms: terms.clone(),
            sample_through: ranges.sample_through,
        };
        let secret = self.secret.unwrap_or_else(|| stand_in_secret(terms.event_id));
        let engine = |worlds: &Worlds| {
            let worlds = (worlds.sides.clone(), worlds.paces);
            planning::engine(&self.sandbox, &terms, secret, self.plugins.clone(), worlds)
        };
        let mut worlds = Worlds::default();
        worlds.paces = planning::paces(&engine(&worlds)?, &history, &ranges.probed).await?;
        let mut round = 1;
        loop {
            let engine = engine(&worlds)?;
            let mut tally = Tally::default();
            let mut after = Uuid::nil();
            while let Some(chunk) = history.read(after, Uuid::max()).await? {
                replay_chunk(&engine, &chunk, &mut tally).await?;
                after = chunk.through;
                progress(round, tally.coverage.seen);
            }
            check_size(&tally)?;
            let (tally, settled) = merged(terms.clone(), tally).await?;
            let is_settled = is_settled(&terms, &worlds.sides, &settled);
            if is_settled || round >= MAX_ROUNDS {
                let limits = [0, 1].map(|side| self.sandbox.limits(&self.plugins[side]));
                let rounds = Rounds {
                    rounds: round,
                    is_settled,
                    settled,
                };
                let is_scaled = ranges.sample_through.is_some() && terms.has_limits();
                let flags = (self.secret.is_some(), is_scaled);
                return Ok(build(&terms, &tally, &rounds, (worlds.paces, limits), flags));
            }
            worlds.sides = settled.map(|settled| settled.world);
            round += 1;
        }
    }
}
