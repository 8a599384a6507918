//! Keeps what is maintained true while activities are recorded, in the transaction that records them.
//!
//! The head of a user and series says through which activity its marks or days are built. An activity before that changes
//! them here; a later one is left to [`super::builder`]. The heads are read after the activities were inserted, and locked
//! for share: so the builder, which locks a head before it moves it, sees either the activity or that it must wait. Users
//! with few activities have no head, so nothing is written for them.

use std::collections::BTreeMap;

use uuid::Uuid;

use super::builder::{INTERVAL, MANY};
use super::compaction::KEPT_AT_LEAST;
use super::series::{self, passes};
use super::store::compactions;
use super::store::heads::{self, HeadRow, HeadState, Place};
use super::store::marks::{self, Addition};
use super::{FactReader, Zone, words};
use crate::clock::Timestamp;
use crate::db::{Result, Tx};

/// One activity of so many, by chance, makes ingestion look for what the builder should do.
const SAMPLED: u8 = 64;

/// An activity that was recorded.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    pub user_id: Uuid,
    /// Who invited the user.
    pub inviter: Option<Uuid>,
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

    /// Whose series it can be in: those of the user, and those of the inviter about invitees.
    fn owners(&self) -> impl Iterator<Item = (Uuid, bool)> {
        let inviter = self.inviter.map(|inviter| (inviter, true));
        std::iter::once((self.user_id, false)).chain(inviter)
    }
}

fn place<'a>(entry: &Entry<'a>, (owner, is_of_invitees): (Uuid, bool)) -> Place<'a> {
    Place {
        user_id: owner.simple().to_string(),
        kind: entry.kind,
        at: entry.at.as_millis(),
        id: entry.id.simple().to_string(),
        is_of_invitees,
    }
}

/// An activity of a time whose activities are compacted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooOld {
    pub id: Uuid,
    /// It occurred before.
    pub until: Timestamp,
}

impl FactReader {
    /// Takes in activities that this transaction has inserted, unless some of them are too old: the transaction must then be
    /// rolled back.
    pub async fn take_in(&self, tx: &mut Tx, entries: &[Entry<'_>], now: Timestamp) -> Result<Vec<TooOld>> {
        let too_old = too_old(tx, entries, now).await?;
        if !too_old.is_empty() {
            return Ok(too_old);
        }
        // The keys are the owner, whether it is the inviter, and the kind.
        let mut by_owner: BTreeMap<(Uuid, bool, &str), Vec<&Entry<'_>>> = BTreeMap::new();
        for entry in entries {
            for (owner, is_of_invitees) in entry.owners() {
                let of_owner = by_owner.entry((owner, is_of_invitees, entry.kind)).or_default();
                of_owner.push(entry);
            }
        }
        let places: Vec<Place<'_>> = by_owner
            .iter()
            .filter_map(|((owner, is_of_invitees, _), of)| Some(place(of.first()?, (*owner, *is_of_invitees))))
            .collect();
        let mut late = Vec::new();
        for head in heads::lock(tx, &places).await? {
            self.expect_many(head.user_id);
            let through = (head.through_at, head.through_id);
            let of_owner = by_owner.get(&(head.user_id, head.is_of_invitees, head.kind.as_str()));
            let before = of_owner.into_iter().flatten().filter(|entry| entry.key() <= through);
            let before: Vec<&Entry<'_>> = before.copied().collect();
            if !before.is_empty() {
                add(tx, &head, &before).await?;
                let owner = (head.user_id, head.is_of_invitees);
                let sampled = before.into_iter().filter(|entry| entry.is_sampled());
                late.extend(sampled.map(|entry| place(entry, owner)));
            }
        }
        look_for_work(tx, entries, &late).await?;
        Ok(Vec::new())
    }
}

/// The activities of a time that may be compacted. It is asked after they were inserted: a transaction that does not see a
/// horizon is waited for before anything is compacted.
async fn too_old(tx: &mut Tx, entries: &[Entry<'_>], now: Timestamp) -> Result<Vec<TooOld>> {
    let recent = now.minus(KEPT_AT_LEAST);
    if entries.iter().all(|entry| entry.at >= recent) {
        return Ok(Vec::new());
    }
    let horizons = compactions::horizons(tx).await?;
    let found = entries.iter().filter_map(|entry| {
        let until = Timestamp::from_millis(*horizons.get(entry.kind)?)?;
        (entry.at < until).then_some(TooOld { id: entry.id, until })
    });
    Ok(found.collect())
}

/// Forgets what is maintained for a user, and what is maintained for the inviter about the user. Part of the transaction that
/// deletes activities of the user.
pub async fn forget(tx: &mut Tx, user_id: Uuid) -> Result<()> {
    for head in heads::of_user(&mut *tx, user_id).await? {
        if heads::hold(tx, &head).await?.is_some() {
            heads::delete(tx, &head).await?;
        }
    }
    compactions::delete(tx, user_id).await?;
    let Some(inviter) = marks::inviter(tx, user_id).await? else {
        return Ok(());
    };
    for head in heads::of_user(&mut *tx, inviter).await? {
        if head.is_of_invitees
            && let Some(held) = heads::hold(tx, &head).await?
        {
            restart(tx, held).await?;
        }
    }
    Ok(())
}

/// Lets what a held head contains be built again from the log, or from the horizon of compacted activities.
pub(super) async fn restart(tx: &mut Tx, mut held: HeadRow) -> Result<()> {
    let horizon = match compactions::find(tx, held.user_id, &held.kind).await? {
        Some(compaction) if !held.is_of_invitees => marks::at(tx, &held, marks::end_before(compaction.until)).await?,
        _ => None,
    };
    if let Some(mark) = horizon {
        let at = Timestamp::from_millis(mark.at + 1).unwrap_or(Timestamp::EPOCH);
        let zone = held.zone.as_deref().and_then(|zone| zone.parse::<Zone>().ok());
        let last_day = zone.map(|zone| words::until(&zone, at));
        heads::empty_after(tx, &held, mark.at + 1, last_day).await?;
        (held.through_at, held.through_id) = (mark.at, mark.id);
    } else {
        heads::empty(tx, &held).await?;
        (held.through_at, held.through_id) = (marks::ORIGIN.at, marks::ORIGIN.id);
    }
    (held.crowded_at, held.crowded_id) = (None, None);
    // Of a NEW head there may be transactions that have not seen it.
    if held.state == HeadState::Built {
        held.state = HeadState::Building;
    }
    heads::save(tx, &held).await
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
            let is_same =
                |zone: &Zone| series::id(&head.kind, &head.filters.0, Some(zone), head.is_of_invitees) == head.series;
            let Some(zone) = known.filter(is_same) else {
                return match heads::hold(tx, head).await? {
                    Some(held) => restart(tx, held).await,
                    None => Ok(()),
                };
            };
            let days = words::words(of_series.iter().map(|entry| zone.date(entry.at)));
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
            Addition {
                after,
                before,
                n,
                sum,
                last_at: after.0,
            }
        })
        .collect()
}

/// Looks for users who have many activities by now, for heads that have fallen behind, and for crowded intervals.
async fn look_for_work(tx: &mut Tx, entries: &[Entry<'_>], late: &[Place<'_>]) -> Result<()> {
    let sampled = entries.iter().filter(|entry| entry.is_sampled());
    let sampled: BTreeMap<_, Place<'_>> = sampled
        .flat_map(|entry| {
            entry
                .owners()
                .map(move |owner| ((owner, entry.kind), place(entry, owner)))
        })
        .collect();
    if sampled.is_empty() {
        return Ok(());
    }
    let places: Vec<Place<'_>> = sampled.into_values().collect();
    heads::find_large(tx, &places, MANY).await?;
    heads::find_behind(tx, &places, INTERVAL).await?;
    if !late.is_empty() {
        heads::find_crowded(tx, late, INTERVAL * 4).await?;
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
                    sum: -2,
                    last_at: 10
                },
                Addition {
                    after: key(30),
                    before: end,
                    n: 2,
                    sum: 3,
                    last_at: 30
                },
            ]
        );
    }
}
