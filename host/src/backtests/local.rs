//! A backtest in one process, without a server and without writing to the database: `meed backtest` on an export.

use uuid::Uuid;

use super::engine::Tally;
use super::error::BacktestError;
use super::history::History;
use super::planning;
use super::report::{Report, Rounds, build};
use super::store::Worlds;
use super::terms::{Terms, stand_in_secret};
use super::worker::{MAX_ROUNDS, check_size, is_settled, merged, replay_chunk};
use crate::db::Db;
use crate::events::Secret;
use crate::sandbox::{Plugin, Sandbox};

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
        let ranges = planning::ranges(&self.db, terms.sample).await?;
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
