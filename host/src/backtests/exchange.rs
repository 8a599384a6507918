//! Backtests beyond one machine: what worker processes exchange with a scheduler that is not Meed, such as Spark.
//!
//! A [`Job`] is one round: the terms, and what the round before left of stock and budget. [`replay`] turns the rows of some
//! users (`rows`) into a [`Counted`]: the decisions of the round, counted. [`merge`] merges those of all users into the
//! report or into the job of the next round. Nothing here reads a database, and the order and number of parts change no
//! byte of the report. [`export`] makes the first job and the rows from a database. Must not know: the scheduler.

mod rows;

use std::io::{BufRead, Read as _};

use aws_lc_rs::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

pub use self::rows::{Row, RowError};

use self::rows::{Next, Owners};
use super::engine::{Pace, Tally, World};
use super::error::BacktestError;
use super::history::History;
use super::local::Local;
use super::planning;
use super::report::{Report, Rounds, build};
use super::store::Worlds;
use super::terms::{Terms, stand_in_secret};
use super::worker::{MAX_ROUNDS, check_size, is_settled, merged};
use crate::canonical;
use crate::sandbox::{Plugin, Sandbox};

const FORMAT: &str = "meed-backtest-job/1";
/// The most bytes of a row. An activity has at most 16 KiB.
const MAX_LINE: u64 = 1 << 20;

/// One round of a backtest.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Job {
    pub format: String,
    /// From 1.
    pub round: i64,
    pub terms: Terms,
    /// What the round before left, of the baseline and the candidate.
    pub worlds: [World; 2],
    pub paces: [Pace; 2],
    /// The terms are those of a sample, which got its share of the limits.
    pub is_scaled: bool,
}

/// The decisions of a round about some users, counted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Counted {
    /// The digest of the job.
    pub job: String,
    pub tally: Tally,
}

/// The result of a merge.
#[derive(Debug)]
pub enum Merged {
    Next(Box<Job>),
    Report(Box<Report>),
}

#[derive(Debug, thiserror::Error)]
pub enum ExchangeError {
    #[error("the job has the format {0:?}; this release knows {FORMAT:?}")]
    Format(String),
    #[error("line {line}: {error}")]
    Row { line: u64, error: RowError },
    #[error("line {line} is longer than {MAX_LINE} bytes")]
    LongLine { line: u64 },
    #[error("a part was counted for the job {found}, but this job is {is}; run all workers with the same job")]
    OtherJob { found: String, is: String },
    #[error("there is no part to merge")]
    NoParts,
    #[error("cannot read: {0}")]
    Io(#[from] std::io::Error),
    #[error("it cannot be written as canonical JSON: {0}")]
    Json(#[from] serde_json::Error),
    #[error(transparent)]
    Backtest(#[from] BacktestError),
}

impl Job {
    pub fn parse(text: &str) -> Result<Self, ExchangeError> {
        let job: Self = serde_json::from_str(text)?;
        if job.format == FORMAT {
            Ok(job)
        } else {
            Err(ExchangeError::Format(job.format))
        }
    }

    /// SHA-256 of its canonical JSON, in hexadecimal.
    pub fn digest(&self) -> Result<String, serde_json::Error> {
        Ok(hex::encode(digest(&SHA256, canonical::to_string(self)?.as_bytes())))
    }
}

/// Decides about the users whose rows arrive: all rows of a user one after the other, users in the order of their ids.
pub async fn replay(
    job: &Job,
    sandbox: &Sandbox,
    plugins: [Plugin; 2],
    mut rows: impl BufRead,
) -> Result<Counted, ExchangeError> {
    let terms = &job.terms;
    let secret = stand_in_secret(terms.event_id);
    let worlds = (job.worlds.clone(), job.paces);
    let engine = planning::engine(sandbox, terms, secret, plugins, worlds)?;
    let mut tally = Tally::default();
    let mut owners = Owners::default();
    let mut line = 0;
    let mut text = Vec::new();
    loop {
        line += 1;
        text.clear();
        rows.by_ref().take(MAX_LINE + 1).read_until(b'\n', &mut text)?;
        if text.len() as u64 > MAX_LINE {
            return Err(ExchangeError::LongLine { line });
        }
        let next = if text.is_empty() {
            owners.end()
        } else if text.trim_ascii().is_empty() {
            continue;
        } else {
            let added = Row::parse(&text).and_then(|row| owners.add(row));
            added.map_err(|error| ExchangeError::Row { line, error })?
        };
        match next {
            Next::More => {}
            Next::Owner(owner) => {
                tally.coverage.seen += 1;
                engine.replay(&owner, &mut tally).await.map_err(BacktestError::from)?;
            }
            Next::Skipped(reason) => {
                tally.coverage.seen += 1;
                tally.coverage.skip(&reason);
            }
        }
        if text.is_empty() {
            break;
        }
    }
    Ok(Counted {
        job: job.digest()?,
        tally,
    })
}

/// Merges the parts of all users.
pub async fn merge(
    job: Job,
    sandbox: &Sandbox,
    plugins: [Plugin; 2],
    parts: impl IntoIterator<Item = Result<Counted, ExchangeError>>,
) -> Result<Merged, ExchangeError> {
    let is = job.digest()?;
    let mut parts = parts.into_iter().peekable();
    if parts.peek().is_none() {
        return Err(ExchangeError::NoParts);
    }
    let mut tally = Tally::default();
    for part in parts {
        let part = part?;
        if part.job != is {
            return Err(ExchangeError::OtherJob { found: part.job, is });
        }
        tally.merge(&part.tally);
        check_size(&tally)?;
    }
    let terms = &job.terms;
    let (tally, settled) = merged(terms.clone(), tally).await?;
    let is_settled = is_settled(terms, &job.worlds, &settled);
    if !is_settled && job.round < MAX_ROUNDS {
        return Ok(Merged::Next(Box::new(Job {
            round: job.round + 1,
            worlds: settled.map(|settled| settled.world),
            ..job
        })));
    }
    let limits = [0, 1].map(|side: usize| sandbox.limits(&plugins[side]));
    let rounds = Rounds {
        rounds: job.round,
        is_settled,
        settled,
    };
    let report = build(terms, &tally, &rounds, (job.paces, limits), (false, job.is_scaled));
    Ok(Merged::Report(Box::new(report)))
}

/// The first job, and the rows of all users, from a database. The draws are not those of the event: its secret stays where
/// it is.
pub async fn export(
    local: &Local,
    terms: &Terms,
    mut put: impl FnMut(&Row) -> std::io::Result<()>,
) -> Result<Job, ExchangeError> {
    let ranges = planning::ranges(&local.db, terms).await?;
    let terms = planning::scaled(terms, ranges.users);
    let history = History {
        db: local.db.clone(),
        terms: terms.clone(),
        sample_through: ranges.sample_through,
    };
    let secret = stand_in_secret(terms.event_id);
    let worlds = Worlds::default();
    let start = (worlds.sides.clone(), worlds.paces);
    let engine = planning::engine(&local.sandbox, &terms, secret, local.plugins.clone(), start)?;
    let paces = planning::paces(&engine, &history, &ranges.probed).await?;
    let mut after = Uuid::nil();
    while let Some(chunk) = history.read(after, Uuid::max()).await? {
        after = chunk.through;
        let mut skipped = chunk.skipped;
        skipped.sort_unstable();
        let mut skipped = skipped.into_iter().peekable();
        for owner in &chunk.owners {
            while let Some((user, reason)) = skipped.next_if(|(user, _)| *user < owner.id) {
                rows::skip(user, reason, &mut put)?;
            }
            rows::put(owner, &mut put)?;
        }
        for (user, reason) in skipped {
            rows::skip(user, reason, &mut put)?;
        }
    }
    Ok(Job {
        format: FORMAT.to_owned(),
        round: 1,
        worlds: worlds.sides,
        paces,
        is_scaled: ranges.sample_through.is_some() && terms.has_limits(),
        terms,
    })
}
