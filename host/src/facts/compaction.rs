//! Compacts old activities: deletes them when the marks and days of their users answer everything that events ask about them.
//!
//! 1. The horizon of a kind is raised. From then on, activities before it are refused.
//! 2. When every transaction is over that may not have seen it, the users are looked at in the order of their ids.
//! 3. The heads of a user are built up to the horizon. There, and where a window of an event begins before it, they get a mark
//!    with everything that a question can need.
//! 4. One transaction notes the horizon for the user. From then on, no question reads what is before it.
//! 5. It is deleted in steps.
//!
//! Every step is repeatable and short, so a process can be killed at any of them, and several processes can do the same. What
//! is kept: activities since the horizon, those in windows that move, those of kinds that no event asks about, those of
//! invitees while an event asks about invitees, and those of users that have few. Must not know: events.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use uuid::Uuid;

use super::Zone;
use super::builder::{AT_ONCE, after, fold, is_in, is_too_large, wait_for_transactions};
use super::seed::{at_end, seed};
use super::store::compactions::{self, HorizonRow};
use super::store::heads::{self, HeadRow, HeadState};
use super::store::marks::{self, EntryRow, MarkRow};
use super::store::series as store;
use super::words::{START_SPAN, bits_near, words};
use crate::clock::{Clock, Timestamp};
use crate::db::{Db, Result, Tx};
use crate::mutations;

const DAY: Duration = Duration::from_hours(24);
/// Younger activities are never compacted, also if the setting is lower.
pub(super) const KEPT_AT_LEAST: Duration = Duration::from_hours(30 * 24);
/// A window that moves ends with a day of some time zone, and a claim may wait.
const MARGIN_DAYS: i64 = 7;
/// The horizon moves by at least this part of the time for which activities are kept: each time, all users are looked at.
const STEPS: u32 = 16;
/// Users that one step looks at.
const USERS_AT_ONCE: i64 = 100;
/// A user with fewer old activities keeps them: marks would need as much space.
const FEW: i64 = 32;
/// Activities that one transaction deletes.
const DELETED_AT_ONCE: i64 = 2 * 1024;

/// Compacts activities. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Compactor {
    db: Db,
    clock: Clock,
    /// How long activities are kept; `None`: for ever.
    kept: Option<Duration>,
}

/// Activities of a user that are compacted, for the user.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CompactedActivities {
    pub kind: String,
    /// They occurred before.
    pub until: Option<Timestamp>,
    pub count: i64,
    pub sum: i64,
    pub first_at: Option<Timestamp>,
    pub last_at: Option<Timestamp>,
}

/// What is known of a user's compacted activities.
pub async fn compacted_of(db: &Db, user_id: Uuid) -> Result<Vec<CompactedActivities>> {
    let rows = compactions::of_user(db, user_id).await?;
    let shown = rows.into_iter().filter(|row| row.n > 0);
    Ok(shown
        .map(|row| CompactedActivities {
            until: Timestamp::from_millis(row.until),
            count: row.n,
            sum: row.sum,
            first_at: row.first_at.and_then(Timestamp::from_millis),
            last_at: row.last_at.and_then(Timestamp::from_millis),
            kind: row.kind,
        })
        .collect())
}

/// The series that events need, and where their windows begin.
type Needs = BTreeMap<i64, BTreeSet<i64>>;

impl Compactor {
    pub fn new(db: Db, clock: Clock, kept: Option<Duration>) -> Self {
        let kept = kept.map(|kept| kept.max(KEPT_AT_LEAST));
        Self { db, clock, kept }
    }

    /// Does a bounded part of what is due, and returns whether there is more.
    pub async fn run(&self) -> Result<bool> {
        let Some(kept) = self.kept else {
            return Ok(false);
        };
        self.raise(kept).await?;
        let mut more = false;
        for horizon in compactions::all(&self.db).await? {
            if horizon.scanned < Uuid::max() {
                more |= self.advance(horizon).await?;
            }
        }
        Ok(more)
    }

    /// Raises the horizons that are due.
    async fn raise(&self, kept: Duration) -> Result<()> {
        let now = self.clock.now();
        let step = (kept / STEPS).max(DAY);
        let horizons = compactions::all(&self.db).await?;
        let horizons: BTreeMap<&str, &HorizonRow> = horizons.iter().map(|row| (row.kind.as_str(), row)).collect();
        for needed in compactions::kinds(&self.db).await? {
            let mut until = now.minus(kept).as_millis();
            if needed.days > 0 {
                let days = (needed.days + MARGIN_DAYS).unsigned_abs();
                let oldest =
                    now.minus(Duration::from_hours(24).saturating_mul(u32::try_from(days).unwrap_or(u32::MAX)));
                until = until.min(oldest.as_millis());
            }
            let until = until - until.rem_euclid(millis(DAY));
            let is_due = horizons.get(needed.kind.as_str()).is_none_or(|horizon| {
                horizon.scanned == Uuid::max() && until >= horizon.until.saturating_add(millis(step))
            });
            if is_due && until > 0 && needed.unready == 0 {
                let mut tx = self.db.begin().await?;
                compactions::raise(&mut tx, needed.kind.clone(), until).await?;
                tx.commit().await?;
                tracing::info!(
                    kind = needed.kind,
                    until,
                    "activities before this instant are compacted"
                );
            }
        }
        Ok(())
    }

    /// Compacts the activities of the next users, and returns whether there are more.
    async fn advance(&self, mut horizon: HorizonRow) -> Result<bool> {
        if !horizon.is_settled {
            if !mutations::active("compacted-at-once") && !wait_for_transactions(&self.db).await? {
                return Ok(false);
            }
            let mut tx = self.db.begin().await?;
            let needs = compactions::needs(&mut tx, &horizon.kind).await?;
            let with_invited = !needs.iter().any(|need| need.is_of_invitees);
            compactions::settle(&mut tx, &horizon, with_invited).await?;
            tx.commit().await?;
            horizon.is_settled = true;
            if with_invited {
                horizon.invited_until = horizon.until;
            }
        }
        let users = store::users(&self.db, horizon.scanned, USERS_AT_ONCE).await?;
        for user_id in compactions::due(&self.db, &horizon, &users, FEW - 1).await? {
            if !self.compact(user_id, &horizon).await? {
                // Another transaction is in the way; the step is repeated.
                return Ok(false);
            }
        }
        let is_last = i64::try_from(users.len()).unwrap_or(i64::MAX) < USERS_AT_ONCE;
        let scanned = users.last().filter(|_| !is_last).copied().unwrap_or(Uuid::max());
        let mut tx = self.db.begin().await?;
        compactions::save_scan(&mut tx, &horizon, scanned).await?;
        tx.commit().await?;
        Ok(!is_last)
    }

    /// Compacts the activities of a user; `false` if that must be tried again.
    async fn compact(&self, user_id: Uuid, horizon: &HorizonRow) -> Result<bool> {
        let mut tx = self.db.begin().await?;
        let found = compactions::find(&mut tx, user_id, &horizon.kind).await?;
        let needs = needs(&mut tx, &horizon.kind).await?;
        if let Some(left) = found.as_ref().filter(|found| !found.is_done) {
            tx.commit().await?;
            self.delete(user_id, &horizon.kind, left.until).await?;
            tx = self.db.begin().await?;
        }
        if found.is_none_or(|found| found.until < horizon.until) {
            for series in needs.keys() {
                compactions::add_head(&mut tx, user_id, horizon.kind.clone(), *series).await?;
            }
            tx.commit().await?;
            let heads = self.heads(user_id, horizon, &needs).await?;
            if heads.iter().any(|head| head.state == HeadState::New) && !wait_for_transactions(&self.db).await? {
                return Ok(false);
            }
            for head in &heads {
                let Some(starts) = needs.get(&head.series) else {
                    continue;
                };
                if !self.extend(head, horizon.until).await? {
                    // What is maintained cannot have this user's activities, so they stay.
                    return Ok(true);
                }
                for start in starts.iter().filter(|start| **start < horizon.until) {
                    self.mark_start(head, *start, horizon.until).await?;
                }
            }
            if !self.switch(user_id, horizon, &needs).await? {
                return Ok(false);
            }
        } else {
            tx.commit().await?;
        }
        self.delete(user_id, &horizon.kind, horizon.until).await?;
        Ok(true)
    }

    /// Deletes activities of a user that no question reads any more.
    async fn delete(&self, user_id: Uuid, kind: &str, until: i64) -> Result<()> {
        loop {
            let mut tx = self.db.begin().await?;
            let deleted = compactions::take(&mut tx, user_id, kind, until, DELETED_AT_ONCE).await?;
            let is_done = deleted.n < DELETED_AT_ONCE;
            compactions::add(&mut tx, user_id, kind, deleted, is_done).await?;
            tx.commit().await?;
            metrics::counter!("meed_activities_compacted_total").increment(deleted.n.unsigned_abs());
            if is_done {
                return Ok(());
            }
        }
    }

    async fn heads(&self, user_id: Uuid, horizon: &HorizonRow, needs: &Needs) -> Result<Vec<HeadRow>> {
        let heads = heads::of_user(&self.db, user_id).await?;
        let is_needed = |head: &HeadRow| head.kind == horizon.kind && needs.contains_key(&head.series);
        Ok(heads.into_iter().filter(is_needed).collect())
    }

    /// Builds a head up to the horizon, with a mark there; `false` if that is impossible.
    async fn extend(&self, head: &HeadRow, until: i64) -> Result<bool> {
        let end = marks::end_before(until);
        loop {
            let mut tx = self.db.begin().await?;
            let Some(mut held) = heads::hold(&mut tx, head).await? else {
                return Ok(false);
            };
            if !seed(&mut tx, &mut held).await? {
                return Ok(false);
            }
            heads::save(&mut tx, &held).await?;
            let zone = held.zone.as_deref().map(str::parse::<Zone>);
            if (held.through_at, held.through_id) >= end {
                if marks::at(&mut tx, &held, end).await?.is_none() {
                    let mark = match &zone {
                        None => mark_at(&mut tx, &held, end).await?,
                        Some(Ok(zone)) => {
                            day_mark(&mut tx, &held, zone, until, (until - 2 * millis(START_SPAN), until)).await?
                        }
                        Some(Err(_)) => return Ok(false),
                    };
                    marks::insert(&mut tx, &held, &[mark]).await?;
                }
                tx.commit().await?;
                return Ok(true);
            }
            let through = (held.through_at, held.through_id);
            let entries = marks::entries(&mut tx, &held, through, AT_ONCE).await?;
            let within: Vec<EntryRow> = entries.iter().take_while(|entry| key(entry) <= end).cloned().collect();
            let is_last = within.len() < entries.len() || i64::try_from(entries.len()).unwrap_or(i64::MAX) < AT_ONCE;
            match zone {
                None => {
                    let from = marks::last(&mut tx, &held, through).await?;
                    let mut made = fold(&held, from, &within);
                    if is_last {
                        let state = within.iter().fold(from, |state, entry| after(&held, state, entry));
                        made.push(at_end(state, end));
                    }
                    let Some(last) = made.last().copied().filter(|last| !is_too_large(last)) else {
                        return Ok(false);
                    };
                    marks::insert(&mut tx, &held, &made).await?;
                    (held.through_at, held.through_id) = (last.at, last.id);
                }
                Some(Ok(zone)) => {
                    let of_series = within.iter().filter(|entry| is_in(&held, entry));
                    let instants = of_series.filter_map(|entry| Timestamp::from_millis(entry.occurred_at));
                    marks::set_days(&mut tx, &held, &words(instants.map(|at| zone.date(at)))).await?;
                    let last = within.last().filter(|_| !is_last);
                    (held.through_at, held.through_id) = last.map_or(end, key);
                }
                Some(Err(_)) => return Ok(false),
            }
            held.state = HeadState::Building;
            heads::save(&mut tx, &held).await?;
            tx.commit().await?;
        }
    }

    /// Puts a mark where a window begins, with everything that a question about the window can need of what is before the
    /// horizon.
    async fn mark_start(&self, head: &HeadRow, start: i64, until: i64) -> Result<()> {
        let mut tx = self.db.begin().await?;
        let Some(held) = heads::hold(&mut tx, head).await? else {
            return Ok(());
        };
        let end = marks::end_before(start);
        let compaction = compactions::find(&mut tx, held.user_id, &held.kind).await?;
        let is_known = compaction.is_none_or(|compaction| compaction.until <= start);
        if !is_known || marks::at(&mut tx, &held, end).await?.is_some() {
            return Ok(());
        }
        let mark = match held.zone.as_deref().map(str::parse::<Zone>) {
            None => {
                let mark = mark_at(&mut tx, &held, end).await?;
                let next_at = first_from(&mut tx, &held, start, until).await?;
                MarkRow { next_at, ..mark }
            }
            Some(Ok(zone)) => {
                let span = (start, until.min(start + millis(START_SPAN)));
                day_mark(&mut tx, &held, &zone, start, span).await?
            }
            Some(Err(_)) => return Ok(()),
        };
        marks::insert(&mut tx, &held, &[mark]).await?;
        tx.commit().await
    }

    /// Lets questions read marks instead of activities; `false` if events need more by now.
    async fn switch(&self, user_id: Uuid, horizon: &HorizonRow, prepared: &Needs) -> Result<bool> {
        let all = heads::of_user(&self.db, user_id).await?;
        let of_kind = all
            .iter()
            .filter(|head| head.kind == horizon.kind && !head.is_of_invitees);
        let (heads, unneeded): (Vec<&HeadRow>, Vec<&HeadRow>) =
            of_kind.partition(|head| prepared.contains_key(&head.series));
        let mut tx = self.db.begin().await?;
        // They would miss what is deleted, should an event need them again.
        for head in unneeded {
            if heads::hold(&mut tx, head).await?.is_some() {
                heads::delete(&mut tx, head).await?;
            }
        }
        for head in &heads {
            let Some(held) = heads::hold(&mut tx, head).await? else {
                return Ok(false);
            };
            if marks::at(&mut tx, &held, marks::end_before(horizon.until))
                .await?
                .is_none()
            {
                return Ok(false);
            }
            let starts: Vec<i64> = prepared.get(&head.series).into_iter().flatten().copied().collect();
            marks::thin_out(&mut tx, &held, horizon.until, &starts).await?;
        }
        let needed = needs(&mut tx, &horizon.kind).await?;
        let is_prepared = |(series, starts): (&i64, &BTreeSet<i64>)| {
            let of_series = prepared.get(series);
            let mut old = starts.iter().filter(|start| **start < horizon.until);
            old.all(|start| of_series.is_some_and(|of_series| of_series.contains(start)))
        };
        if heads.len() < prepared.len() || !needed.iter().all(is_prepared) {
            return Ok(false);
        }
        compactions::begin(&mut tx, user_id, horizon, self.clock.now()).await?;
        tx.commit().await?;
        Ok(true)
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

fn key(entry: &EntryRow) -> (i64, Uuid) {
    (entry.occurred_at, entry.id)
}

/// What events need of the users' own activities.
async fn needs(tx: &mut Tx, kind: &str) -> Result<Needs> {
    let mut needs = Needs::new();
    for need in compactions::needs(tx, kind).await? {
        if !need.is_of_invitees {
            needs.entry(need.series).or_default().extend(need.starts.0);
        }
    }
    Ok(needs)
}

/// Calls `each` with the activities of a head after a key and before an instant, until it returns `false`.
async fn walk(
    tx: &mut Tx,
    head: &HeadRow,
    mut from: (i64, Uuid),
    until: i64,
    mut each: impl FnMut(&EntryRow) -> bool,
) -> Result<()> {
    loop {
        let entries = marks::entries(tx, head, from, AT_ONCE).await?;
        for entry in &entries {
            if entry.occurred_at >= until || !each(entry) {
                return Ok(());
            }
        }
        match entries.last() {
            Some(last) if i64::try_from(entries.len()).unwrap_or(i64::MAX) == AT_ONCE => from = key(last),
            _ => return Ok(()),
        }
    }
}

/// What a mark at this key has.
async fn mark_at(tx: &mut Tx, head: &HeadRow, end: (i64, Uuid)) -> Result<MarkRow> {
    let mut state = marks::last(tx, head, end).await?;
    let from = (state.at, state.id);
    walk(tx, head, from, end.0 + 1, |entry| {
        state = after(head, state, entry);
        true
    })
    .await?;
    Ok(at_end(state, end))
}

/// The first activity of a series in a span.
async fn first_from(tx: &mut Tx, head: &HeadRow, start: i64, until: i64) -> Result<Option<i64>> {
    let before = marks::last_before(tx, head, start).await?;
    let (mut first, from) = (None, (before.at, before.id));
    walk(tx, head, from.max(marks::end_before(start)), until, |entry| {
        first = is_in(head, entry).then_some(entry.occurred_at);
        first.is_none()
    })
    .await?;
    Ok(first)
}

/// A mark of a series of days: the days of the activities in a span, as bits near the instant.
async fn day_mark(tx: &mut Tx, head: &HeadRow, zone: &Zone, instant: i64, span: (i64, i64)) -> Result<MarkRow> {
    let near = Timestamp::from_millis(instant).unwrap_or(Timestamp::EPOCH);
    let mut bits = 0;
    walk(tx, head, marks::end_before(span.0), span.1, |entry| {
        if let Some(at) = Timestamp::from_millis(entry.occurred_at).filter(|_| is_in(head, entry)) {
            bits |= bits_near(zone, near, [at]);
        }
        true
    })
    .await?;
    let origin = MarkRow {
        n: bits,
        ..marks::ORIGIN
    };
    Ok(at_end(origin, marks::end_before(instant)))
}
