//! Days as bits: 62 local days since 1970 in a word, which leaves the sign bit alone in both databases.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::civil::{Date, date};

use super::store::start;
use super::{FactContext, Zone};
use crate::clock::Timestamp;
use crate::contract::{Selection, Window};

const DAYS: i64 = 62;
const EPOCH: Date = date(1970, 1, 1);

/// The days since 1970.
pub(super) fn number(day: Date) -> i64 {
    i64::from((day - EPOCH).get_days())
}

fn day(number: i64) -> Option<Date> {
    EPOCH.checked_add(jiff::Span::new().try_days(number).ok()?).ok()
}

/// The word of a day and its bit.
pub(super) fn place(day: Date) -> (i64, i64) {
    let number = number(day);
    (number.div_euclid(DAYS), 1 << number.rem_euclid(DAYS))
}

/// The first day of a word, for people.
pub(super) fn first_of(word: i64) -> String {
    day(word.saturating_mul(DAYS)).map_or_else(|| format!("word {word}"), |day| day.to_string())
}

/// The words of these days.
pub(super) fn words(days: impl IntoIterator<Item = Date>) -> BTreeMap<i64, i64> {
    let mut words = BTreeMap::new();
    for (word, bit) in days.into_iter().map(place) {
        *words.entry(word).or_default() |= bit;
    }
    words
}

/// The days of a word that are whole within the window.
pub(super) fn days_of(word: i64, bits: i64, whole: Whole) -> BTreeSet<Date> {
    let first = word * DAYS;
    let is_set = |bit: &i64| bits & (1 << bit) != 0 && whole.contains(first + bit);
    (0..DAYS).filter(is_set).filter_map(|bit| day(first + bit)).collect()
}

/// The days from the first to before the end, as days since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Whole {
    pub first: i64,
    pub end: i64,
}

impl Whole {
    fn contains(self, number: i64) -> bool {
        (self.first..self.end).contains(&number)
    }

    /// The words that contain these days.
    pub(super) fn words(self) -> (i64, i64) {
        (self.first.div_euclid(DAYS), (self.end - 1).div_euclid(DAYS))
    }
}

/// A part of a window that is read from the log, ends inclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Edge {
    pub from: Timestamp,
    pub to: Timestamp,
    /// The part belongs to one day, so one activity tells everything.
    pub is_one_day: bool,
}

/// How much of a window that begins before the horizon of compacted activities is kept in the mark at its beginning.
pub(super) const START_SPAN: Duration = Duration::from_hours(6 * 24);
/// A mark at an instant has the bits of the days from so many before it.
const BEFORE: i64 = 3;

/// The first day of the bits of a mark at this instant.
fn first_near(zone: &Zone, instant: Timestamp) -> i64 {
    number(zone.date(instant)) - BEFORE
}

/// The bits of a mark at this instant; days that are not near it are left out.
pub(super) fn bits_near(zone: &Zone, instant: Timestamp, activities: impl IntoIterator<Item = Timestamp>) -> i64 {
    let first = first_near(zone, instant);
    let days = activities.into_iter().map(|at| number(zone.date(at)) - first);
    days.filter(|day| (0..DAYS).contains(day))
        .fold(0, |bits, day| bits | (1 << day))
}

/// The days of the bits of a mark at this instant.
pub(super) fn days_near(zone: &Zone, instant: Timestamp, bits: i64) -> BTreeSet<Date> {
    let first = first_near(zone, instant);
    let is_set = |bit: &i64| bits & (1 << bit) != 0;
    (0..DAYS).filter(is_set).filter_map(|bit| day(first + bit)).collect()
}

/// The word of a day after the horizon of compacted activities, and the bits of the days in it until then: no activity before the
/// horizon is on a later day, not even where clocks went back.
pub(super) fn until(zone: &Zone, horizon: Timestamp) -> (i64, i64) {
    let (word, bit) = place(zone.date(horizon.plus(Duration::from_hours(2 * 24))));
    (word, bit | (bit - 1))
}

impl Whole {
    /// The whole days of a window that are all before the horizon of compacted activities. `None`: the mark at the beginning
    /// of the window has all of them.
    pub(super) fn before_horizon(context: &FactContext<'_>, selection: &Selection, horizon: i64) -> Option<Self> {
        let horizon = Timestamp::from_millis(horizon)?;
        let start = Timestamp::from_millis(start(context, selection))?;
        if start.plus(START_SPAN) >= horizon {
            return None;
        }
        let cut = Cut::of_window(
            context.zone,
            selection.window,
            context.event_starts,
            context.instants.as_of,
        );
        let (whole, ..) = cut.whole?;
        let end = first_near(context.zone, horizon);
        (whole.first < end).then_some(Self { end, ..whole })
    }
}

/// How the days of a window are read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cut {
    pub edges: Vec<Edge>,
    /// Read from the words, and from the log what they do not contain yet: between these instants.
    pub whole: Option<(Whole, Timestamp, Timestamp)>,
}

impl Cut {
    /// Cuts the window that begins at `from` (inclusive; `None`: no lower bound) and ends at `to`, at midnights. The days
    /// at its edges are cut off and read from the log. Where clocks go back over midnight, two days overlap, so their
    /// neighbours are cut off as well.
    pub(super) fn new(zone: &Zone, from: Option<Timestamp>, to: Timestamp) -> Self {
        let from = from.unwrap_or(Timestamp::EPOCH).max(Timestamp::EPOCH);
        if from > to {
            return Self {
                edges: Vec::new(),
                whole: None,
            };
        }
        let near = [from, to].map(|at| zone.repeats_day_near(at));
        let (first, last) = (zone.date(from), zone.date(to));
        let in_one = |is_one_day| Self {
            edges: vec![Edge { from, to, is_one_day }],
            whole: None,
        };
        if first == last && near == [false; 2] {
            return in_one(true);
        }
        let starts = |day: Option<Date>| day.and_then(|day| Some((day, zone.start_of(day)?)));
        let after = |day: Date| day.tomorrow().ok();
        let before = |day: Date| day.yesterday().ok();
        let begin = if near[0] {
            starts(after(first).and_then(after))
        } else if zone.start_of(first) == Some(from) {
            Some((first, from))
        } else {
            starts(after(first))
        };
        let end = if near[1] {
            starts(before(last))
        } else {
            starts(Some(last))
        };
        let (Some((first, begin)), Some((last, end))) = (begin, end) else {
            return in_one(false);
        };
        if begin >= end {
            return in_one(false);
        }
        let mut edges = Vec::new();
        if from < begin {
            edges.push(Edge {
                from,
                to: begin.minus(MILLISECOND),
                is_one_day: !near[0],
            });
        }
        edges.push(Edge {
            from: end,
            to,
            is_one_day: !near[1],
        });
        let whole = Whole {
            first: number(first),
            end: number(last),
        };
        Self {
            edges,
            whole: Some((whole, begin, end.minus(MILLISECOND))),
        }
    }

    pub(super) fn of_window(zone: &Zone, window: Window, event_starts: Timestamp, as_of: Timestamp) -> Self {
        Self::new(zone, zone.start_of_window(window, event_starts, as_of), as_of)
    }
}

const MILLISECOND: Duration = Duration::from_millis(1);

#[cfg(test)]
mod tests;
