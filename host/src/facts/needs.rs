//! What events need: their series are made with them, and dropped when no event needs them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use uuid::Uuid;

use super::builder::look_at_users;
use super::compacted::{Compacted, Lack};
use super::series::{Need, Series};
use super::store::compactions;
use super::store::series as store;
use super::{Plan, Zone};
use crate::clock::Timestamp;
use crate::db::{DbError, Result, Tx};

/// Users that are looked at in the transaction that makes a series. With fewer users, and none of them with many
/// activities, it is READY at once.
const USERS_AT_ONCE: i64 = 2_000;

/// An event that needs facts.
#[derive(Clone, Copy, Debug)]
pub struct NeededBy<'a> {
    pub event_id: Uuid,
    pub event_starts: Timestamp,
    /// When the event ends.
    pub until: Timestamp,
    pub zone: &'a Zone,
    pub now: Timestamp,
}

#[derive(Debug, thiserror::Error)]
pub enum NeedError {
    #[error(transparent)]
    Compacted(#[from] Compacted),
    #[error(transparent)]
    Db(#[from] DbError),
}

/// Makes the series of an event's plan, until the event ends, and returns how many of them are not READY yet. It replaces
/// what the event needed before. Part of the caller's transaction.
pub async fn need(tx: &mut Tx, by: &NeededBy<'_>, plan: &Plan) -> std::result::Result<usize, NeedError> {
    let wanted = Series::of_plan(plan, by.zone, by.event_starts);
    // What events ask about already can be answered.
    let mut known: BTreeMap<i64, BTreeSet<i64>> = BTreeMap::new();
    for need in &wanted {
        known.insert(need.series.id, compactions::starts(tx, &need.series).await?);
    }
    replace(tx, by.event_id, &wanted, by.until).await?;
    // After the first write, so that a horizon that is raised meanwhile waits for this transaction.
    check(tx, &wanted, &known, by.now).await?;
    let mut building = 0;
    for series in store::in_state(&mut *tx, "BUILDING").await? {
        if wanted.iter().any(|wanted| wanted.series.id == series.id) {
            look_at_users(tx, series.id, USERS_AT_ONCE).await?;
            building += usize::from(!store::make_ready(tx, series.id).await?);
        }
    }
    Ok(building)
}

/// Whether what is kept of compacted activities can answer.
async fn check(
    tx: &mut Tx,
    wanted: &[Need],
    known: &BTreeMap<i64, BTreeSet<i64>>,
    now: Timestamp,
) -> std::result::Result<(), NeedError> {
    let horizons = compactions::all(tx).await?;
    for need in wanted {
        let Some(horizon) = horizons.iter().find(|horizon| horizon.kind == need.series.kind) else {
            continue;
        };
        let until = if need.series.is_of_invitees && horizon.is_settled {
            horizon.invited_until
        } else {
            horizon.until
        };
        let series = &need.series;
        // Their number and sum are kept.
        let is_plain = series.filters.is_empty() && series.zone.is_none() && !series.is_of_invitees;
        let is_known = |start: &i64| known.get(&series.id).is_some_and(|known| known.contains(start));
        let is_answered = |start: &i64| (is_plain && *start == 0) || is_known(start);
        let mut old = need.starts.iter().filter(|start| **start < until);
        let days = u32::try_from(need.days).unwrap_or(u32::MAX);
        let moving = now.minus(Duration::from_hours(24).saturating_mul(days));
        if !old.all(is_answered) || (need.days > 0 && moving.as_millis() < until) {
            return Err(Compacted::new(&need.series.kind, until, Lack::Window).into());
        }
    }
    Ok(())
}

/// The event needs nothing any more. Part of the caller's transaction.
pub async fn release(tx: &mut Tx, event_id: Uuid) -> Result<()> {
    replace(tx, event_id, &[], Timestamp::EPOCH).await
}

async fn replace(tx: &mut Tx, event_id: Uuid, wanted: &[Need], until: Timestamp) -> Result<()> {
    let before = store::needed(tx, event_id).await?;
    let mut all: BTreeMap<i64, Option<&Series>> = before.into_iter().map(|id| (id, None)).collect();
    all.extend(wanted.iter().map(|need| (need.series.id, Some(&need.series))));
    // In the order of the ids, so that two calls cannot deadlock.
    for (id, wanted) in &all {
        match wanted {
            Some(series) => store::add(tx, series).await?,
            None => store::lock(tx, *id).await?,
        }
    }
    store::need(tx, event_id, wanted, until).await?;
    for (id, wanted) in all {
        if wanted.is_none() {
            store::drop_unneeded(tx, id).await?;
        }
    }
    Ok(())
}
