//! The plan of a backtest: the shards of its users, its sample, and how often its conditions must be asked.

use std::collections::BinaryHeap;

use uuid::Uuid;

use super::engine::{Engine, Pace, Side, World, stable_hash};
use super::error::BacktestError;
use super::history::History;
use super::store::history as store;
use super::terms::Terms;
use crate::db::Db;
use crate::events::{Budget, Secret};
use crate::plugins::PluginService;
use crate::sandbox::{Plugin, Sandbox};

/// Users of one shard.
pub(super) const SHARD_USERS: usize = 1_000;
/// Users that are counted at once.
const PAGE: i64 = 10_000;
/// The most users of a backtest. For more, take a sample.
const MAX_USERS: usize = 5_000_000;
/// Users whose facts are probed.
const PROBED: usize = 48;

/// Users after one id and up to another.
#[derive(Clone, Copy, Debug)]
pub(super) struct Range {
    pub after: Uuid,
    pub through: Uuid,
    pub users: usize,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Division {
    pub ranges: Vec<Range>,
    pub users: usize,
    pub sample_through: Option<i64>,
    /// The users with the smallest hashes.
    pub probed: Vec<Uuid>,
}

/// Counts the users and divides them into shards. Those that were registered after the period do not count, so that the
/// same period has the same users: an id begins with the registration.
pub(super) async fn ranges(db: &Db, terms: &Terms) -> Result<Division, BacktestError> {
    let (sample, before) = (terms.sample, terms.to.first_id());
    let mut found = Division::default();
    let mut smallest: BinaryHeap<(i64, Uuid)> = BinaryHeap::new();
    let wanted = sample.map_or(PROBED, |sample| (sample as usize).max(PROBED));
    let (mut after, mut start, mut users) = (Uuid::nil(), Uuid::nil(), 0);
    loop {
        let page = store::users_between(db, after, before, PAGE).await?;
        let Some(last) = page.last().copied() else { break };
        for id in page {
            smallest.push((stable_hash(id), id));
            if smallest.len() > wanted {
                smallest.pop();
            }
            users += 1;
            if users == SHARD_USERS {
                let through = id;
                found.ranges.push(Range {
                    after: start,
                    through,
                    users,
                });
                (start, users) = (id, 0);
            }
            found.users += 1;
        }
        if found.users > MAX_USERS && sample.is_none() {
            return Err(BacktestError::TooLarge(format!(
                "The server has more than {MAX_USERS} users; send a sample."
            )));
        }
        after = last;
    }
    if users > 0 {
        let through = after;
        found.ranges.push(Range {
            after: start,
            through,
            users,
        });
    }
    let smallest = smallest.into_sorted_vec();
    if let Some(sample) = sample
        .map(|sample| sample as usize)
        .filter(|sample| *sample < found.users)
    {
        found.sample_through = smallest.get(sample - 1).map(|(hash, _)| *hash);
    }
    found.probed = smallest.into_iter().take(PROBED).map(|(_, id)| id).collect();
    Ok(found)
}

/// A sample gets its share of stock and budget.
pub(super) fn scaled(terms: &Terms, users: usize) -> Terms {
    let Some(sample) = terms
        .sample
        .map(|sample| sample as usize)
        .filter(|sample| *sample < users)
    else {
        return terms.clone();
    };
    let share = |number: i64| {
        let scaled = i128::from(number) * sample as i128 / users as i128;
        i64::try_from(scaled).unwrap_or(number)
    };
    let mut terms = terms.clone();
    terms.budget = terms.budget.map(|budget| Budget {
        grants: budget.grants.map(|grants| share(grants).max(1)),
        amount: budget.amount.map(|amount| share(amount).max(1)),
        ..budget
    });
    for reward in &mut terms.rewards {
        reward.remaining = reward.remaining.map(share);
    }
    terms
}

/// The engine of one round.
pub(super) fn engine(
    sandbox: &Sandbox,
    terms: &Terms,
    secret: Secret,
    plugins: [Plugin; 2],
    (worlds, paces): ([World; 2], [Pace; 2]),
) -> Result<Engine, BacktestError> {
    let [baseline, candidate] = terms.sides();
    let [first, second] = plugins;
    let [world, other_world] = worlds;
    let side = |condition: &super::terms::ConditionTerms, plugin, world, pace| -> Result<Side, BacktestError> {
        Ok(Side {
            offer: terms.offer(condition, secret)?,
            condition: condition.bound(),
            plugin,
            world,
            pace,
        })
    };
    Ok(Engine {
        sandbox: sandbox.clone(),
        terms: terms.clone(),
        sides: [
            side(baseline, first, world, paces[0])?,
            side(candidate, second, other_world, paces[1])?,
        ],
    })
}

/// The plugins of both conditions.
pub(super) async fn plugins(service: &PluginService, terms: &Terms) -> Result<[Plugin; 2], BacktestError> {
    let [baseline, candidate] = terms.sides();
    Ok([
        service.runnable(baseline.digest).await?,
        service.runnable(candidate.digest).await?,
    ])
}

/// How often each condition must be asked, as some users tell. The same for every plan of the same users.
pub(super) async fn paces(engine: &Engine, history: &History, probed: &[Uuid]) -> Result<[Pace; 2], BacktestError> {
    let mut paces = [Pace::default(); 2];
    for id in probed {
        // The range that contains this id alone.
        let before = Uuid::from_u128(id.as_u128().saturating_sub(1));
        let Some(chunk) = history.read(before, *id).await? else {
            continue;
        };
        for owner in &chunk.owners {
            for (side, pace) in paces.iter_mut().enumerate() {
                *pace = (*pace).max(engine.probe(side, owner).await?);
            }
        }
    }
    Ok(paces)
}
