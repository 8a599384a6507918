//! What events need: their series are made with them, and dropped when no event needs them.

use std::collections::BTreeMap;

use uuid::Uuid;

use super::builder::look_at_users;
use super::series::Series;
use super::store::series as store;
use super::{Plan, Zone};
use crate::clock::Timestamp;
use crate::db::{Result, Tx};

/// Users that are looked at in the transaction that makes a series. With fewer users, and none of them with many
/// activities, it is READY at once.
const USERS_AT_ONCE: i64 = 2_000;

/// Makes the series of an event's plan, until the event ends, and returns how many of them are not READY yet. It replaces
/// what the event needed before. Part of the caller's transaction.
pub async fn need(tx: &mut Tx, event_id: Uuid, plan: &Plan, zone: &Zone, until: Timestamp) -> Result<usize> {
    let wanted = Series::of_plan(plan, zone);
    replace(tx, event_id, &wanted, until).await?;
    let mut building = 0;
    for series in store::in_state(&mut *tx, "BUILDING").await? {
        if wanted.iter().any(|wanted| wanted.id == series.id) {
            look_at_users(tx, series.id, USERS_AT_ONCE).await?;
            building += usize::from(!store::make_ready(tx, series.id).await?);
        }
    }
    Ok(building)
}

/// The event needs nothing any more. Part of the caller's transaction.
pub async fn release(tx: &mut Tx, event_id: Uuid) -> Result<()> {
    replace(tx, event_id, &[], Timestamp::EPOCH).await
}

async fn replace(tx: &mut Tx, event_id: Uuid, wanted: &[Series], until: Timestamp) -> Result<()> {
    let before = store::needed(tx, event_id).await?;
    let mut all: BTreeMap<i64, Option<&Series>> = before.into_iter().map(|id| (id, None)).collect();
    all.extend(wanted.iter().map(|series| (series.id, Some(series))));
    // In the order of the ids, so that two calls cannot deadlock.
    for (id, wanted) in &all {
        match wanted {
            Some(series) => store::add(tx, series).await?,
            None => store::lock(tx, *id).await?,
        }
    }
    let ids: Vec<i64> = wanted.iter().map(|series| series.id).collect();
    store::need(tx, event_id, &ids, until).await?;
    for (id, wanted) in all {
        if wanted.is_none() {
            store::drop_unneeded(tx, id).await?;
        }
    }
    Ok(())
}
