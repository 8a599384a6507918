//! Builds what is maintained from the log, in the background: looks for users with many activities, and moves their heads
//! to the end of the log, in short transactions. Every step is repeatable, so a process can be killed at any of them.
//!
//! Reads are right however far a head is built: they count on from the last mark. So this decides only how fast they are.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use uuid::Uuid;

use super::calendar::zone_data;
use super::series::{self, Series, passes};
use super::store::compactions;
use super::store::heads::{self, HeadRow, HeadState, Place};
use super::store::marks::{self, EntryRow, MarkRow};
use super::store::series as store;
use super::words::words;
use super::{Zone, seed};
use crate::clock::{Clock, Timestamp};
use crate::db::{Db, Result, Tx};
use crate::mutations;

/// A user with more activities of a kind than this has heads.
pub(super) const MANY: i64 = 256;
/// Activities between two marks: a read counts up to so many for each end of its window.
pub(super) const INTERVAL: i64 = 256;
/// Activities that one transaction contains.
pub(super) const AT_ONCE: i64 = 8 * 1024;
/// Users that one transaction looks at.
const USERS_AT_ONCE: i64 = 500;
/// Heads that one run works on before it looks again which are first.
const HEADS_AT_ONCE: i64 = 64;
/// Transactions that one run works on a head.
const STEPS_AT_ONCE: usize = 8;
/// Before every head.
const FIRST: (i64, Uuid) = (i64::MIN, Uuid::nil());
/// How long a run waits for transactions that may not have seen a new head. After that, the next run waits.
const PATIENCE: Duration = Duration::from_secs(2);
const POLL: Duration = Duration::from_millis(20);
/// How long after the end of an event its series stay: claims may be pending, and progress is shown.
const KEPT_FOR: Duration = Duration::from_hours(24);
/// Sums beyond this are not maintained.
const MOST: i64 = 1 << 62;

/// Builds and drops series. Cheap to clone.
#[derive(Clone, Debug)]
pub struct FactBuilder {
    db: Db,
    clock: Clock,
    /// The head that the last run ended with: each run continues behind it, so that none waits for all before it.
    turn: Arc<Mutex<(i64, Uuid)>>,
    /// Every series of days is of the zone data of this process or of a newer one.
    is_renewed: Arc<AtomicBool>,
}

/// What is left to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backlog {
    /// Series that are not READY.
    pub series: u64,
    /// Users' heads that are not built, up to a thousand.
    pub heads: u64,
}

impl FactBuilder {
    pub fn new(db: Db, clock: Clock) -> Self {
        Self {
            db,
            clock,
            turn: Arc::new(Mutex::new(FIRST)),
            is_renewed: Arc::default(),
        }
    }

    pub(super) fn db(&self) -> &Db {
        &self.db
    }

    pub(super) fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Does a bounded part of what is due, and returns whether there is more.
    pub async fn run(&self) -> Result<bool> {
        self.renew_series().await?;
        let mut more = self.look_at_users().await?;
        more |= self.build_heads().await?;
        self.finish_series().await?;
        more |= self.drop_series().await?;
        let backlog = self.backlog().await?;
        #[expect(clippy::cast_precision_loss, reason = "small numbers")]
        {
            metrics::gauge!("meed_fact_series_building").set(backlog.series as f64);
            metrics::gauge!("meed_fact_heads_building").set(backlog.heads as f64);
        }
        Ok(more)
    }

    /// Runs until nothing is left to do.
    pub async fn finish(&self) -> Result<()> {
        while self.run().await? {}
        Ok(())
    }

    pub async fn backlog(&self) -> Result<Backlog> {
        let series = store::in_state(&self.db, "BUILDING").await?;
        let heads = store::unbuilt(&self.db).await?;
        Ok(Backlog {
            series: series.len() as u64,
            heads: heads.unsigned_abs(),
        })
    }

    /// Looks at the next users for each new series.
    async fn look_at_users(&self) -> Result<bool> {
        let mut more = false;
        for series in store::in_state(&self.db, "BUILDING").await? {
            let mut tx = self.db.begin().await?;
            more |= look_at_users(&mut tx, series.id, USERS_AT_ONCE).await?;
            tx.commit().await?;
        }
        Ok(more)
    }

    async fn build_heads(&self) -> Result<bool> {
        let unbuilt = self.next_heads().await?;
        let has_new = unbuilt.iter().any(|head| head.state == HeadState::New);
        // The heads are committed and read: transactions that begin to write from now on see them.
        let all_see_them = !has_new || mutations::active("facts-built-at-once") || self.wait_for_transactions().await?;
        for head in unbuilt
            .iter()
            .filter(|head| all_see_them || head.state != HeadState::New)
        {
            // A user with very many activities takes several turns.
            for _ in 0..STEPS_AT_ONCE {
                match self.build(head).await {
                    Ok(true) => {}
                    Ok(false) => break,
                    // Ingestion holds the head for long.
                    Err(error) if error.is_conflict() => break,
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(!unbuilt.is_empty())
    }

    /// The next heads that are not built, in turn.
    async fn next_heads(&self) -> Result<Vec<HeadRow>> {
        let turn = *self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let mut heads = heads::unbuilt(&self.db, turn, HEADS_AT_ONCE).await?;
        if heads.is_empty() && turn != FIRST {
            heads = heads::unbuilt(&self.db, FIRST, HEADS_AT_ONCE).await?;
        }
        let last = heads.last().map_or(FIRST, |head| (head.series, head.user_id));
        *self.turn.lock().unwrap_or_else(PoisonError::into_inner) = last;
        Ok(heads)
    }

    /// Replaces series of days whose zone had other rules in the zone data of an older release. The old series stays until the
    /// new one is READY: it has the days of compacted activities.
    async fn renew_series(&self) -> Result<()> {
        if self.is_renewed.load(Ordering::Relaxed) {
            return Ok(());
        }
        let mut is_renewed = true;
        for old in store::of_older_zone_data(&self.db, zone_data()).await? {
            let Some(zone) = old.zone.as_deref().and_then(|zone| zone.parse::<Zone>().ok()) else {
                continue;
            };
            let new = Series {
                id: series::id(&old.kind, &old.filters.0, Some(&zone), old.is_of_invitees),
                kind: old.kind,
                filters: old.filters.0,
                zone: old.zone,
                is_of_invitees: old.is_of_invitees,
            };
            let mut tx = self.db.begin().await?;
            if new.id == old.id {
                store::set_zone_data(&mut tx, old.id, zone_data()).await?;
            } else {
                is_renewed = false;
                store::lock(&mut tx, old.id).await?;
                store::add(&mut tx, &new).await?;
                store::copy_needs(&mut tx, old.id, new.id).await?;
                if store::is_ready(&mut tx, new.id).await? {
                    store::drop_needs(&mut tx, old.id).await?;
                    store::drop_unneeded(&mut tx, old.id).await?;
                }
            }
            tx.commit().await?;
        }
        self.is_renewed.store(is_renewed, Ordering::Relaxed);
        Ok(())
    }

    /// Waits until every transaction is over that writes now; `false` if that takes too long.
    async fn wait_for_transactions(&self) -> Result<bool> {
        wait_for_transactions(&self.db).await
    }

    /// Takes the next activities into a head, and returns whether there are more. `head` was read before
    /// [`Self::wait_for_transactions`].
    async fn build(&self, head: &HeadRow) -> Result<bool> {
        let mut tx = self.db.begin().await?;
        let Some(mut held) = heads::hold(&mut tx, head).await? else {
            return Ok(false);
        };
        if let Some(crowded) = held.crowded_at.zip(held.crowded_id) {
            if held.zone.is_none() {
                split(&mut tx, &held, crowded).await?;
            }
            (held.crowded_at, held.crowded_id) = (None, None);
        }
        if !seed::seed(&mut tx, &mut held).await? {
            return Ok(false);
        }
        let after = (held.through_at, held.through_id);
        let entries = marks::entries(&mut tx, &held, after, AT_ONCE).await?;
        let is_last = i64::try_from(entries.len()).unwrap_or(i64::MAX) < AT_ONCE;
        match held.zone.clone() {
            None => {
                let from = marks::last(&mut tx, &held, after).await?;
                let made = fold(&held, from, &entries);
                marks::insert(&mut tx, &held, &made).await?;
                if let Some(last) = made.last() {
                    (held.through_at, held.through_id) = (last.at, last.id);
                }
                // A sum that is too large ends the marks.
                held.state = HeadState::after(is_last || made.is_empty());
            }
            Some(zone) => {
                let zone = zone.parse::<Zone>().ok();
                let known = zone.filter(|zone| {
                    series::id(&held.kind, &held.filters.0, Some(zone), held.is_of_invitees) == held.series
                });
                if let Some(zone) = known {
                    let of_series = entries.iter().filter(|entry| is_in(&held, entry));
                    let instants = of_series.filter_map(|entry| Timestamp::from_millis(entry.occurred_at));
                    marks::set_days(&mut tx, &held, &words(instants.map(|at| zone.date(at)))).await?;
                    if let Some(last) = entries.last() {
                        (held.through_at, held.through_id) = (last.occurred_at, last.id);
                    }
                    held.state = HeadState::after(is_last);
                } else {
                    // Of another release's zone data; no reader of this release asks for it.
                    held.state = HeadState::Built;
                }
            }
        }
        heads::save(&mut tx, &held).await?;
        tx.commit().await?;
        Ok(held.state != HeadState::Built)
    }

    /// Makes series READY whose users are all looked at and built.
    async fn finish_series(&self) -> Result<()> {
        for series in store::in_state(&self.db, "BUILDING").await? {
            let mut tx = self.db.begin().await?;
            if store::make_ready(&mut tx, series.id).await? {
                tracing::info!(series.id, series.kind, "facts are ready");
            }
            tx.commit().await?;
        }
        Ok(())
    }

    /// Drops what no event needs.
    async fn drop_series(&self) -> Result<bool> {
        let mut tx = self.db.begin().await?;
        let ended = store::forget_ended(&mut tx, self.clock.now().minus(KEPT_FOR), USERS_AT_ONCE).await?;
        let ended: BTreeSet<i64> = ended.into_iter().collect();
        for id in ended {
            store::lock(&mut tx, id).await?;
            store::drop_unneeded(&mut tx, id).await?;
        }
        tx.commit().await?;
        let mut more = false;
        for series in store::in_state(&self.db, "DROPPED").await? {
            let heads = heads::of_series(&self.db, series.id, Uuid::nil(), HEADS_AT_ONCE).await?;
            for head in &heads {
                let mut tx = self.db.begin().await?;
                if heads::hold(&mut tx, head).await?.is_some() {
                    heads::delete(&mut tx, head).await?;
                }
                tx.commit().await?;
            }
            more |= !heads.is_empty();
            let mut tx = self.db.begin().await?;
            store::delete(&mut tx, series.id).await?;
            tx.commit().await?;
        }
        Ok(more)
    }
}

/// Waits until every transaction is over that writes now; `false` if that takes too long.
pub(super) async fn wait_for_transactions(db: &Db) -> Result<bool> {
    let next = heads::next_transaction(db).await?;
    let mut waited = Duration::ZERO;
    while heads::oldest_transaction(db).await? < next {
        if waited >= PATIENCE {
            return Ok(false);
        }
        tokio::time::sleep(POLL).await;
        waited += POLL;
    }
    Ok(true)
}

/// Looks which of the next users have many activities of the series, and returns whether there are more users.
pub(super) async fn look_at_users(tx: &mut Tx, series: i64, limit: i64) -> Result<bool> {
    let Some(series) = store::hold(tx, series).await? else {
        return Ok(false);
    };
    if series.state != "BUILDING" || series.scanned == Uuid::max() {
        return Ok(false);
    }
    let users = store::users(&mut *tx, series.scanned, limit).await?;
    let place = |user: &Uuid| Place {
        user_id: user.simple().to_string(),
        kind: &series.kind,
        at: 0,
        id: Uuid::nil().simple().to_string(),
        is_of_invitees: series.is_of_invitees,
    };
    let places: Vec<Place<'_>> = users.iter().map(place).collect();
    heads::find_large(tx, &places, MANY).await?;
    if let Some(last) = users.last() {
        compactions::add_heads(tx, series.id, series.scanned, *last).await?;
    }
    let is_last = i64::try_from(users.len()).unwrap_or(i64::MAX) < limit;
    let scanned = users.last().filter(|_| !is_last).copied().unwrap_or(Uuid::max());
    store::save_scan(tx, series.id, scanned).await?;
    Ok(!is_last)
}

/// Whether an activity of the head's kind is in its series.
pub(super) fn is_in(head: &HeadRow, entry: &EntryRow) -> bool {
    let attributes = entry.attributes.as_ref();
    head.filters.0.is_empty() || attributes.is_some_and(|attributes| passes(&head.filters.0, &attributes.0))
}

/// A mark at every so many activities of the kind, with what passes the filters up to there. The rest is left.
pub(super) fn fold(head: &HeadRow, from: MarkRow, entries: &[EntryRow]) -> Vec<MarkRow> {
    let mut at = MarkRow { next_at: None, ..from };
    let mut marks = Vec::new();
    for (entry, number) in entries.iter().zip(1..) {
        at = after(head, at, entry);
        if number % INTERVAL == 0 {
            if is_too_large(&at) {
                break;
            }
            marks.push(at);
        }
    }
    marks
}

/// What a mark at this activity has; `from` is what there is before it.
pub(super) fn after(head: &HeadRow, from: MarkRow, entry: &EntryRow) -> MarkRow {
    let mut mark = MarkRow {
        at: entry.occurred_at,
        id: entry.id,
        ..from
    };
    if is_in(head, entry) {
        mark.n += 1;
        mark.sum += entry.amount.unwrap_or(0);
        mark.last_at = entry.occurred_at;
    }
    mark
}

/// A late activity could carry the sum out of the range of the databases.
pub(super) fn is_too_large(mark: &MarkRow) -> bool {
    mark.sum.abs() > MOST
}

/// Puts marks into the interval around this key, in which too many activities lie.
async fn split(tx: &mut Tx, head: &HeadRow, crowded: (i64, Uuid)) -> Result<()> {
    let mut from = marks::last(tx, head, crowded).await?;
    let Some(end) = marks::next(tx, head, crowded).await? else {
        return Ok(());
    };
    loop {
        let entries = marks::entries(tx, head, (from.at, from.id), AT_ONCE).await?;
        let within = entries
            .iter()
            .take_while(|entry| (entry.occurred_at, entry.id) < (end.at, end.id));
        let within: Vec<EntryRow> = within.cloned().collect();
        let made = fold(head, from, &within);
        marks::insert(tx, head, &made).await?;
        match made.last() {
            Some(last) if within.len() == entries.len() => from = *last,
            _ => return Ok(()),
        }
    }
}
