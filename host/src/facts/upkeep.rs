//! Keeps what is maintained true while activities are recorded, in the transaction that records them.
//!
//! The head of a user and series says through which activity its marks or days are built. An activity before that changes
//! them here; a later one is left to [`super::builder`]. The heads are read after the activities were inserted, and locked
//! for share: so the builder, which locks a head before it moves it, sees either the activity or that it must wait. Users
//! with few activities have no head, so nothing is written for them.

use std::collections::{BTreeMap, HashMap};

use uuid::Uuid;

use super::builder::{INTERVAL, MANY};
use super::series::{self, passes};
use super::store::heads::{self, HeadRow, Place};
use super::store::marks::{self, Addition};
use super::words::words;
use super::{LARGE, Zone};
use crate::clock::Timestamp;
use crate::db::{Result, Tx};

/// One activity of so many, by chance, makes ingestion look for what the builder should do.
const SAMPLED: u8 = 64;

/// An activity that was recorded.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    pub user_id: Uuid,
    pub kind: &'a str,
    pub at: Timestamp,
    pub id: Uuid,
    pub amount: Option<i64>,
    pub attributes: &'a BTreeMap<String, String>,
}

impl Entry<'_> {
    fn key(&self) -> (i64, Uuid) {
        (self.at.as_millis(), self.id)
    }

    /// Ids end with random bits.
    fn is_sampled(&self) -> bool {
        self.id.as_bytes().last().is_some_and(|last| last % SAMPLED == 0)
    }

    fn place(&self) -> Place<'_> {
        Place {
            user_id: self.user_id.simple().to_string(),
            kind: self.kind,
            at: self.at.as_millis(),
            id: self.id.simple().to_string(),
        }
    }
}

/// Takes in activities that this transaction has inserted.
pub async fn take_in(tx: &mut Tx, entries: &[Entry<'_>]) -> Result<()> {
    let mut by_owner: BTreeMap<(Uuid, &str), Vec<&Entry<'_>>> = BTreeMap::new();
    for entry in entries {
        by_owner.entry((entry.user_id, entry.kind)).or_default().push(entry);
    }
    let owners: Vec<Place<'_>> = by_owner
        .values()
        .filter_map(|of| of.first())
        .map(|entry| entry.place())
        .collect();
    let mut late = Vec::new();
    for head in heads::lock(tx, &owners).await? {
        // The user may claim soon.
        LARGE.insert(head.user_id, ());
        let through = (head.through_at, head.through_id);
        let of_owner = by_owner.get(&(head.user_id, head.kind.as_str()));
        let before = of_owner.into_iter().flatten().filter(|entry| entry.key() <= through);
        let before: Vec<&Entry<'_>> = before.copied().collect();
        if !before.is_empty() {
            add(tx, &head, &before).await?;
            late.extend(before.into_iter().filter(|entry| entry.is_sampled()));
        }
    }
    look_for_work(tx, entries, &late).await
}

/// Forgets what is maintained for a user. Part of the transaction that deletes activities of the user.
pub async fn forget(tx: &mut Tx, user_id: Uuid) -> Result<()> {
    for head in heads::of_user(&mut *tx, user_id).await? {
        if heads::hold(tx, &head).await?.is_some() {
            heads::delete(tx, &head).await?;
        }
    }
    Ok(())
}

/// Adds late activities to what a head contains.
async fn add(tx: &mut Tx, head: &HeadRow, late: &[&Entry<'_>]) -> Result<()> {
    let of_series = late.iter().filter(|entry| passes(&head.filters.0, entry.attributes));
    let of_series: Vec<&Entry<'_>> = of_series.copied().collect();
    if of_series.is_empty() {
        return Ok(());
    }
    match &head.zone {
        None => {
            let keyed = of_series.iter().map(|entry| (entry.key(), entry.amount.unwrap_or(0)));
            marks::add(tx, head, &additions(keyed.collect())).await
        }
        Some(zone) => {
            // Another release made the series with other zone data, which this process does not know.
            let known = zone.parse::<Zone>().ok();
            let known = known.filter(|zone| series::id(&head.kind, &head.filters.0, Some(zone)) == head.series);
            let Some(zone) = known else {
                return heads::delete(tx, head).await;
            };
            let days = words(of_series.iter().map(|entry| zone.date(entry.at)));
            marks::set_days(tx, head, &days).await
        }
    }
}

/// Between two late activities, all marks grow by the same.
fn additions(mut late: Vec<((i64, Uuid), i64)>) -> Vec<Addition> {
    late.sort_unstable();
    let end = (i64::MAX, Uuid::max());
    let ends = late
        .iter()
        .skip(1)
        .map(|(key, _)| *key)
        .chain([end])
        .collect::<Vec<_>>();
    let mut sum = 0;
    let cumulated = late.into_iter().zip(ends).zip(1..);
    cumulated
        .map(|(((after, amount), before), n)| {
            sum += amount;
            Addition { after, before, n, sum }
        })
        .collect()
}

/// Looks for users who have many activities by now, for heads that have fallen behind, and for crowded intervals.
async fn look_for_work(tx: &mut Tx, entries: &[Entry<'_>], late: &[&Entry<'_>]) -> Result<()> {
    let sampled = entries.iter().filter(|entry| entry.is_sampled());
    let sampled: HashMap<(Uuid, &str), &Entry<'_>> =
        sampled.map(|entry| ((entry.user_id, entry.kind), entry)).collect();
    if sampled.is_empty() {
        return Ok(());
    }
    let mut places: Vec<Place<'_>> = sampled.values().map(|entry| entry.place()).collect();
    places.sort_unstable_by(|a, b| (&a.user_id, a.kind).cmp(&(&b.user_id, b.kind)));
    heads::find_large(tx, &places, MANY).await?;
    heads::find_behind(tx, &places, INTERVAL).await?;
    if !late.is_empty() {
        let places: Vec<Place<'_>> = late.iter().map(|entry| entry.place()).collect();
        heads::find_crowded(tx, &places, INTERVAL * 4).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(at: i64) -> (i64, Uuid) {
        (at, Uuid::from_u128(u128::try_from(at).unwrap()))
    }

    #[test]
    fn marks_grow_by_all_late_activities_before_them() {
        let found = additions(vec![(key(30), 5), (key(10), -2)]);
        let end = (i64::MAX, Uuid::max());
        assert_eq!(
            found,
            [
                Addition {
                    after: key(10),
                    before: key(30),
                    n: 1,
                    sum: -2
                },
                Addition {
                    after: key(30),
                    before: end,
                    n: 2,
                    sum: 3
                },
            ]
        );
    }
}
