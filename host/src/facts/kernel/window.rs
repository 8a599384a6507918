//! The activities of one selection, and the window that moves over them.

use std::collections::BTreeMap;

use jiff::civil::Date;

use super::log::{Activity, KnownBy, Log};
use crate::clock::Timestamp;
use crate::contract::{Selection, Streak, Subject, Window};
use crate::facts::Zone;
use crate::facts::days::streak;

/// The event whose windows are asked for.
#[derive(Clone, Copy, Debug)]
pub struct Scope<'a> {
    pub event_starts: Timestamp,
    pub zone: &'a Zone,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    at: Timestamp,
    /// An answer as of an earlier instant does not count it.
    counts_from: Timestamp,
    amount: i64,
}

/// The window as of an instant. Moving it forward costs a constant time per entry, however large the window is.
#[derive(Debug)]
pub(super) struct Moving<'a> {
    pub selection: &'a Selection,
    /// In the order of `at`.
    entries: Vec<Entry>,
    /// Indexes of `entries` in the order of `counts_from`.
    arrivals: Vec<usize>,
    /// `arrivals` before this one have been counted.
    arrived: usize,
    /// Whether an entry has been counted, by its index.
    has_arrived: Vec<bool>,
    /// The start of the window.
    from: Option<Timestamp>,
    /// `entries` before this one are before the window.
    left: usize,
    inside: Inside,
    /// The number of entries in the window by their day, if a query asks for days.
    days: Option<BTreeMap<Date, u32>>,
}

/// What is in the window.
#[derive(Clone, Copy, Debug, Default)]
struct Inside {
    count: usize,
    sum: i128,
    /// The entries at both ends, by their index; meaningless if there is none.
    first: usize,
    last: usize,
}

impl<'a> Moving<'a> {
    pub(super) fn new(selection: &'a Selection, log: &Log, known_by: KnownBy, with_days: bool) -> Self {
        let mut entries: Vec<Entry> = Vec::new();
        let mut add = |activity: &Activity, registered: Timestamp| {
            let recorded = activity.recorded_at.max(registered);
            if activity.is_selected_by(selection)
                && let Some(counts_from) = known_by.counts_from(activity.occurred_at, recorded)
            {
                entries.push(Entry {
                    at: activity.occurred_at,
                    counts_from: counts_from.max(registered),
                    amount: activity.amount.unwrap_or(0),
                });
            }
        };
        match selection.subject {
            Subject::Claimant => {
                for activity in &log.activities {
                    add(activity, Timestamp::MIN);
                }
            }
            Subject::Invitees => {
                for invitee in &log.invitees {
                    for activity in &invitee.activities {
                        add(activity, invitee.registered);
                    }
                }
            }
        }
        entries.sort_by_key(|entry| entry.at);
        let mut arrivals: Vec<usize> = (0..entries.len()).collect();
        arrivals.sort_by_key(|index| entries[*index].counts_from);
        Self {
            selection,
            has_arrived: vec![false; entries.len()],
            entries,
            arrivals,
            arrived: 0,
            from: None,
            left: 0,
            inside: Inside::default(),
            days: with_days.then(BTreeMap::new),
        }
    }

    /// Moves the window so that it ends at `as_of`, from an earlier instant.
    pub(super) fn advance(&mut self, scope: Scope<'_>, as_of: Timestamp) {
        let window = self.selection.window;
        let from = scope.zone.start_of_window(window, scope.event_starts, as_of);
        // A clock change just after midnight can repeat the end of the day before.
        if from < self.from {
            self.reset();
        }
        self.from = from;
        while let Some(entry) = self.entries.get(self.left)
            && Some(entry.at) < from
        {
            if self.has_arrived[self.left] {
                self.leave(scope.zone, *entry);
            }
            self.left += 1;
        }
        while let Some(index) = self.arrivals.get(self.arrived).copied()
            && self.entries[index].counts_from <= as_of
        {
            self.has_arrived[index] = true;
            if index >= self.left {
                self.enter(scope.zone, index);
            }
            self.arrived += 1;
        }
        let inside = &mut self.inside;
        while inside.count > 0 && (inside.first < self.left || !self.has_arrived[inside.first]) {
            inside.first += 1;
        }
    }

    /// Moves the window to before all entries.
    pub(super) fn reset(&mut self) {
        self.arrived = 0;
        self.has_arrived.fill(false);
        self.from = None;
        self.left = 0;
        self.inside = Inside::default();
        if let Some(days) = &mut self.days {
            days.clear();
        }
    }

    fn enter(&mut self, zone: &Zone, index: usize) {
        let entry = self.entries[index];
        let inside = &mut self.inside;
        if inside.count == 0 {
            (inside.first, inside.last) = (index, index);
        }
        inside.first = inside.first.min(index);
        inside.last = inside.last.max(index);
        inside.count += 1;
        inside.sum += i128::from(entry.amount);
        if let Some(days) = &mut self.days {
            *days.entry(zone.date(entry.at)).or_default() += 1;
        }
    }

    fn leave(&mut self, zone: &Zone, entry: Entry) {
        self.inside.count -= 1;
        self.inside.sum -= i128::from(entry.amount);
        let Some(days) = &mut self.days else { return };
        let day = zone.date(entry.at);
        if let Some(entries) = days.get_mut(&day) {
            *entries -= 1;
            if *entries == 0 {
                days.remove(&day);
            }
        }
    }

    pub(super) fn count(&self) -> i128 {
        self.inside.count as i128
    }

    pub(super) fn sum(&self) -> i128 {
        self.inside.sum
    }

    pub(super) fn first(&self) -> Option<Timestamp> {
        self.at(self.inside.first)
    }

    pub(super) fn last(&self) -> Option<Timestamp> {
        self.at(self.inside.last)
    }

    fn at(&self, index: usize) -> Option<Timestamp> {
        let entry = self.entries.get(index).filter(|_| self.inside.count > 0)?;
        Some(entry.at)
    }

    pub(super) fn distinct_days(&self) -> i128 {
        self.days.as_ref().map_or(0, BTreeMap::len) as i128
    }

    pub(super) fn streak(&self, zone: &Zone, as_of: Timestamp) -> Streak {
        streak(zone, self.days.iter().flat_map(BTreeMap::keys), as_of)
    }

    /// When the next entry is counted.
    pub(super) fn next_arrival(&self) -> Option<Timestamp> {
        let index = self.arrivals.get(self.arrived)?;
        Some(self.entries[*index].counts_from)
    }

    /// The next midnight after `as_of` at which the answers can change although nothing happens: an entry leaves the
    /// window, or the current streak ends.
    pub(super) fn next_edge(&self, zone: &Zone, as_of: Timestamp) -> Option<Timestamp> {
        let leaves = self.first().and_then(|first| {
            let Window::LastDays(days) = self.selection.window else {
                return None;
            };
            let days = jiff::Span::new().try_days(days).ok()?;
            zone.next_start_of(zone.date(first).checked_add(days).ok()?, as_of)
        });
        let last_day = self.days.as_ref().and_then(|days| days.keys().next_back().copied());
        let ends = last_day
            .and_then(|day| zone.day_after(zone.day_after(day)?))
            .and_then(|day| zone.next_start_of(day, as_of));
        // Then what has just left is in the window again.
        let returns = zone.next_return_to_yesterday(as_of).filter(|_| self.arrived > 0);
        leaves.into_iter().chain(ends).chain(returns).min()
    }
}
