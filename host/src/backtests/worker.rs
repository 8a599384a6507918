//! The background task that runs backtests: the oldest first, in shards that any process can take.
//!
//! A shard, the plan and each merge are under a lease, and their results are written with its fence. So a process that dies
//! loses at most one shard, which another one replays, and no result counts twice. One shard at a time runs in a process,
//! at half the speed of one core, so that claims are not slowed.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::engine::{Engine, Settled, Tally, World, settle};
use super::error::BacktestError;
use super::history::History;
use super::logged::QUEUED;
use super::planning;
use super::report::{Rounds, Run, SignedReport, build};
use super::service::BacktestService;
use super::state::State;
use super::store::shards::{self, ShardRow};
use super::store::{self, BacktestRow, RoundStart, Worlds};
use super::terms::Terms;
use crate::audit::{self, Entry};
use crate::background::lease::Lease;
use crate::background::{Context, Next, Task};
use crate::canonical;
use crate::outbox;
use crate::transparency;

/// After so many rounds the report says that the limits did not settle.
pub(super) const MAX_ROUNDS: i64 = 12;
/// Shards among which a process looks for a free one.
const TRIED: i64 = 8;
/// Shards whose results are read at once.
const MERGED_AT_ONCE: i64 = 20;
/// The most grants of one side that are merged in the order of time.
pub(super) const MAX_GRANTS: usize = 3_000_000;
/// How often a running shard looks whether its backtest is still to run.
const LOOK: Duration = Duration::from_secs(1);
/// The longest rest after some work. Work and rest are equally long.
const LONGEST_REST: Duration = Duration::from_secs(2);
/// Task names in the audit log.
const TASK: &str = "run backtest";

/// One process's part of all backtests.
pub struct Worker(BacktestService);

impl Worker {
    pub fn new(service: BacktestService) -> Self {
        Self(service)
    }
}

impl Task for Worker {
    async fn run(&mut self, context: &Context) -> anyhow::Result<Next> {
        let advanced = tokio::select! {
            advanced = self.0.advance() => advanced?,
            () = context.stopping() => false,
        };
        Ok(if advanced { Next::Now } else { Next::Period })
    }
}

/// What a shard did.
enum Replayed {
    Done(Box<Tally>),
    /// The backtest is not to run any more, or the lease was lost.
    Abandoned,
}

impl BacktestService {
    /// Does the next piece of the oldest backtest: its plan, a shard, or a merge. `false`: there is nothing to do now.
    pub async fn advance(&self) -> Result<bool, BacktestError> {
        let Some(row) = store::next(&self.db).await? else {
            return Ok(false);
        };
        match self.step(&row).await {
            Err(error) if !error.is_temporary() => {
                self.fail(&row, &error).await?;
                Ok(true)
            }
            done => done,
        }
    }

    /// Does the next piece of a backtest. `false`: other processes have all that is left.
    async fn step(&self, row: &BacktestRow) -> Result<bool, BacktestError> {
        let Some(round) = row.round else {
            return self.plan(row).await;
        };
        for shard in shards::open(&self.db, row.id, round, self.clock.now(), TRIED).await? {
            let lease = Lease::acquire(&self.db, &self.clock, &shards::LEASE, shard.id).await?;
            let Some(lease) = lease else { continue };
            self.run_shard(row, round, &shard, &lease).await?;
            lease.release().await?;
            return Ok(true);
        }
        let (open, _) = shards::progress(&self.db, row.id, round).await?;
        if open > 0 {
            return Ok(false);
        }
        self.end_round(row, round).await
    }

    async fn plan(&self, row: &BacktestRow) -> Result<bool, BacktestError> {
        let Some(lease) = Lease::acquire(&self.db, &self.clock, &store::LEASE, row.id).await? else {
            return Ok(false);
        };
        let ranges = planning::ranges(&self.db, &row.terms.0).await?;
        let terms = planning::scaled(&row.terms.0, ranges.users);
        let mut worlds = Worlds::default();
        let history = History {
            db: self.db.clone(),
            terms: terms.clone(),
            sample_through: ranges.sample_through,
        };
        let engine = self.engine(&terms, &worlds).await?;
        worlds.paces = planning::paces(&engine, &history, &ranges.probed).await?;
        let now = self.clock.now();
        let mut tx = self.db.begin().await?;
        let round = RoundStart {
            terms,
            worlds,
            users: i64::try_from(ranges.users).unwrap_or(i64::MAX),
            round: 1,
            sample_through: ranges.sample_through,
        };
        if !store::begin_round(&mut tx, row.id, lease.fence(), round, now).await? {
            return Ok(true);
        }
        for (number, range) in (0..).zip(&ranges.ranges) {
            let shard = ShardRow {
                id: self.clock.new_id(),
                number,
                after_user: range.after,
                through_user: range.through,
                users: i64::try_from(range.users).unwrap_or(i64::MAX),
            };
            shards::insert(&mut tx, row.id, shard).await?;
        }
        tx.commit().await?;
        lease.release().await?;
        tracing::info!(backtest.id = %row.id, users = ranges.users, shards = ranges.ranges.len(), "backtest planned");
        Ok(true)
    }

    async fn run_shard(
        &self,
        row: &BacktestRow,
        round: i64,
        shard: &ShardRow,
        lease: &Lease,
    ) -> Result<(), BacktestError> {
        let Replayed::Done(tally) = self.replay(row, shard, lease).await? else {
            return Ok(());
        };
        let result = heavy(move || serde_json::to_string(&tally)).await??;
        let mut tx = self.db.begin().await?;
        let is_ours = shards::set_result(&mut tx, shard.id, lease.fence(), round, result).await?;
        tx.commit().await?;
        tracing::debug!(backtest.id = %row.id, shard = shard.number, round, is_ours, "shard replayed");
        Ok(())
    }

    /// Replays the users of a shard.
    async fn replay(&self, row: &BacktestRow, shard: &ShardRow, lease: &Lease) -> Result<Replayed, BacktestError> {
        let engine = self.engine(&row.terms.0, &row.worlds.0).await?;
        let history = History {
            db: self.db.clone(),
            terms: row.terms.0.clone(),
            sample_through: row.sample_through,
        };
        let mut tally = Tally::default();
        let (mut after, mut looked) = (shard.after_user, Instant::now());
        loop {
            let began = Instant::now();
            let Some(chunk) = history.read(after, shard.through_user).await? else {
                break;
            };
            replay_chunk(&engine, &chunk, &mut tally).await?;
            after = chunk.through;
            if looked.elapsed() >= LOOK {
                looked = Instant::now();
                let found = store::find(&self.db, row.id).await?;
                if lease.is_lost() || found.is_none_or(|found| found.state != State::Running) {
                    return Ok(Replayed::Abandoned);
                }
            }
            tokio::time::sleep(began.elapsed().min(LONGEST_REST)).await;
        }
        Ok(Replayed::Done(Box::new(tally)))
    }

    /// Merges the results of a round: the next round begins, or the report is made.
    async fn end_round(&self, row: &BacktestRow, round: i64) -> Result<bool, BacktestError> {
        let Some(lease) = Lease::acquire(&self.db, &self.clock, &store::LEASE, row.id).await? else {
            return Ok(false);
        };
        let terms = &row.terms.0;
        let mut tally = Tally::default();
        let mut after = -1;
        loop {
            let results = shards::results(&self.db, row.id, after, MERGED_AT_ONCE).await?;
            let Some((last, _)) = results.last() else { break };
            after = *last;
            let results: Option<Vec<String>> = results.into_iter().map(|(_, result)| result).collect();
            let Some(results) = results else { return Ok(true) };
            tally = heavy(move || added(tally, &results)).await??;
        }
        let (tally, settled) = merged(terms.clone(), tally).await?;
        let is_settled = is_settled(terms, &row.worlds.0.sides, &settled);
        let now = self.clock.now();
        if !is_settled && round < MAX_ROUNDS {
            let [baseline, candidate] = settled.map(|settled| settled.world);
            let next = RoundStart {
                terms: terms.clone(),
                worlds: Worlds {
                    sides: [baseline, candidate],
                    paces: row.worlds.0.paces,
                },
                users: row.users.unwrap_or(0),
                round: round + 1,
                sample_through: row.sample_through,
            };
            let mut tx = self.db.begin().await?;
            store::begin_round(&mut tx, row.id, lease.fence(), next, now).await?;
            tx.commit().await?;
            lease.release().await?;
            return Ok(true);
        }
        let rounds = Rounds {
            rounds: round,
            is_settled,
            settled,
        };
        self.finish(row, tally, rounds, &lease).await?;
        lease.release().await?;
        Ok(true)
    }

    async fn finish(
        &self,
        row: &BacktestRow,
        tally: Tally,
        rounds: Rounds,
        lease: &Lease,
    ) -> Result<(), BacktestError> {
        let terms = row.terms.0.clone();
        let plugins = planning::plugins(&self.plugins, &terms).await?;
        let is_scaled = row.sample_through.is_some() && terms.has_limits();
        let now = self.clock.now();
        let run = Run {
            backtest_id: row.id,
            created_by: Some(row.created_by),
            created_at: row.created_at,
            finished_at: now,
        };
        let (sandbox, keys, paces, number) = (
            self.sandbox.clone(),
            Arc::clone(&self.keys),
            row.worlds.0.paces,
            rounds.rounds,
        );
        let make = move || {
            let limits = [sandbox.limits(&plugins[0]), sandbox.limits(&plugins[1])];
            let report = build(&terms, &tally, &rounds, (paces, limits), (true, is_scaled));
            let signed = SignedReport::new(report, run, Some(&keys))?;
            Ok::<_, serde_json::Error>((canonical::to_string(&signed)?, signed.digest))
        };
        let (text, digest) = heavy(make).await??;
        let mut tx = self.db.begin().await?;
        if store::finish(&mut tx, row.id, lease.fence(), (text, digest.clone()), now).await? {
            shards::delete(&mut tx, row.id).await?;
            transparency::enqueue(&mut tx, QUEUED, row.id).await?;
            outbox::write(&mut tx, self.message(row, State::Done, Some(&digest))).await?;
            let entry = Entry::about("backtest", &row.id)
                .field("state", State::Running, State::Done)
                .field("reportDigest", None::<String>, &digest)
                .by_server(TASK);
            audit::record(&mut tx, &self.clock, entry).await?;
        }
        tx.commit().await?;
        tracing::info!(backtest.id = %row.id, report.digest = digest, rounds = number, "backtest done");
        Ok(())
    }

    /// Ends a backtest that cannot go on.
    async fn fail(&self, row: &BacktestRow, error: &BacktestError) -> Result<(), BacktestError> {
        tracing::error!(backtest.id = %row.id, %error, "backtest failed");
        let why = match error {
            BacktestError::TooLarge(_) | BacktestError::Plugin(_) | BacktestError::Event(_) => error.to_string(),
            _ => "The server failed; its log says why.".to_owned(),
        };
        let mut tx = self.db.begin().await?;
        if store::fail(&mut tx, row.id, why.clone(), self.clock.now()).await? {
            shards::delete(&mut tx, row.id).await?;
            outbox::write(&mut tx, self.message(row, State::Failed, None)).await?;
            let entry = Entry::about("backtest", &row.id)
                .field("state", row.state, State::Failed)
                .field("failure", None::<String>, why)
                .by_server(TASK);
            audit::record(&mut tx, &self.clock, entry).await?;
        }
        tx.commit().await?;
        Ok(())
    }

    async fn engine(&self, terms: &Terms, worlds: &Worlds) -> Result<Engine, BacktestError> {
        let event = self.events.last_known(terms.event_id).await?;
        let plugins = planning::plugins(&self.plugins, terms).await?;
        let worlds = (worlds.sides.clone(), worlds.paces);
        planning::engine(&self.sandbox, terms, event.event.secret, plugins, worlds)
    }
}

/// Replays the owners of a chunk.
pub(super) async fn replay_chunk(
    engine: &Engine,
    chunk: &super::history::Chunk,
    tally: &mut Tally,
) -> Result<(), BacktestError> {
    tally.coverage.seen += chunk.seen;
    for (_, reason) in &chunk.skipped {
        tally.coverage.skip(reason);
    }
    for owner in &chunk.owners {
        engine.replay(owner, tally).await?;
    }
    Ok(())
}

/// Runs what takes long for millions of grants on a thread of its own, so that it holds up no request.
async fn heavy<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, BacktestError> {
    Ok(tokio::task::spawn_blocking(work).await?)
}

/// Adds the results of some shards.
fn added(mut tally: Tally, results: &[String]) -> Result<Tally, BacktestError> {
    for result in results {
        tally.merge(&serde_json::from_str(result)?);
    }
    check_size(&tally)?;
    Ok(tally)
}

/// Merges both sides: it sorts every grant.
pub(super) async fn merged(terms: Terms, tally: Tally) -> Result<(Tally, [Settled; 2]), BacktestError> {
    heavy(move || {
        let settled = [settle(&terms, &tally, 0), settle(&terms, &tally, 1)];
        (tally, settled)
    })
    .await
}

/// Whether every decision of the round saw what the merge left.
pub(super) fn is_settled(terms: &Terms, given: &[World; 2], settled: &[Settled; 2]) -> bool {
    !terms.has_limits()
        || given
            .iter()
            .zip(settled)
            .all(|(given, settled)| *given == settled.world)
}

pub(super) fn check_size(tally: &Tally) -> Result<(), BacktestError> {
    if tally.sides.iter().any(|side| side.grants.len() > MAX_GRANTS) {
        return Err(BacktestError::TooLarge(format!(
            "There are more than {MAX_GRANTS} grants to merge; send a sample."
        )));
    }
    Ok(())
}
