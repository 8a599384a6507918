//! The ways in which one fact can differ: ordered ones, one step after the other, and single other values.
//!
//! A way leaves a fact possible: no more days than its window has, no instant after the decision, a streak whose parts
//! agree. Texts come from the condition's own params and schema. Pure; must not know: what runs.

use jiff::Span;
use jiff::civil::Date;

use super::hints::{Hints, MINUTE};
use crate::clock::Timestamp;
use crate::contract::{Context, Fact, MAX_INTEGER, Query, Selection, Streak, Window};

const DAY: i64 = 24 * 60 * MINUTE;
/// How far numbers are followed: counts, sums of minor units, days, and minutes of an instant.
const MAX_COUNT: u64 = 1 << 20;
const MAX_SUM: u64 = 1 << 42;
const MAX_DAYS: u64 = 3660;
const MAX_MINUTES: u64 = 3660 * 24 * 60;
/// The most single values of a fact, and the most hints of a way.
const MAX_VALUES: usize = 16;
const MAX_HINTS: usize = 8;

/// What changes along an ordered way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Integer,
    CurrentDays,
    LongestDays,
    Instant,
    /// An attribute that is a whole number.
    NumberInText,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    Up,
    Down,
}

/// A fact that moves step by step.
#[derive(Clone, Debug)]
pub(super) struct Steps {
    pub index: usize,
    pub part: Part,
    pub direction: Direction,
    base: Fact,
    /// In the time zone of the event.
    today: Date,
    /// The last step that keeps the fact possible, or that is tried at all.
    pub limit: u64,
    /// Distances that are likely to matter, in ascending order.
    pub hints: Vec<u64>,
}

/// A way of one fact.
#[derive(Clone, Debug)]
pub(super) enum Way {
    Steps(Steps),
    /// Other values that have no order.
    Values {
        index: usize,
        values: Vec<Fact>,
    },
}

impl Steps {
    /// The fact at this distance; 0 is the fact as it is.
    pub(super) fn at(&self, distance: u64) -> Fact {
        if distance == 0 {
            return self.base.clone();
        }
        let moved = |from: i64| {
            let by = i64::try_from(distance).unwrap_or(i64::MAX);
            match self.direction {
                Direction::Up => from.saturating_add(by),
                Direction::Down => from.saturating_sub(by),
            }
        };
        let days = |from: u32| u32::try_from(moved(i64::from(from)).max(0)).unwrap_or(u32::MAX);
        match (&self.base, self.part) {
            (Fact::Integer(number), _) => Fact::Integer(moved(*number).clamp(-MAX_INTEGER, MAX_INTEGER)),
            (Fact::At(at), _) => {
                let by = MINUTE.saturating_mul(i64::try_from(distance).unwrap_or(i64::MAX));
                let millis = match self.direction {
                    Direction::Up => at.as_millis().saturating_add(by),
                    Direction::Down => at.as_millis().saturating_sub(by),
                };
                Timestamp::from_millis(millis).map_or(Fact::Absent, Fact::At)
            }
            (Fact::Text(text), _) => Fact::Text(
                text.parse()
                    .map_or_else(|_| text.clone(), |number| moved(number).to_string()),
            ),
            (Fact::Days(streak), Part::LongestDays) => Fact::Days(Streak {
                longest: days(streak.longest),
                ..*streak
            }),
            (Fact::Days(streak), _) => Fact::Days(self.with_current(*streak, days(streak.current))),
            (Fact::Absent, _) => Fact::Absent,
        }
    }

    /// The distances that are tried for a bracket: steps that grow, and the last one.
    pub(super) fn growing(&self) -> impl Iterator<Item = u64> + use<> {
        let limit = self.limit;
        let small = [1, 2, 4, 8].into_iter();
        let large = (1..16).map(|power| 1_u64 << (4 * power));
        let inner = small.chain(large).take_while(move |distance| *distance < limit);
        inner.chain((limit > 0).then_some(limit))
    }

    /// A streak whose current run has another length, and ends at a day that agrees with it.
    fn with_current(&self, streak: Streak, current: u32) -> Streak {
        let ended = |before| self.today.checked_sub(Span::new().days(before)).ok();
        let last_day = match (current, streak.current) {
            (0, 0) => streak.last_day,
            // The run broke before yesterday.
            (0, _) => ended(2),
            (_, 0) => Some(self.today),
            _ => streak.last_day,
        };
        Streak {
            current,
            longest: streak.longest.max(current),
            last_day: if streak.longest == 0 && current == 0 {
                None
            } else {
                last_day
            },
        }
    }
}

/// The ways of a fact, the most likely first: upwards, other values, downwards.
#[expect(clippy::too_many_lines, reason = "one arm for each kind of query")]
pub(super) fn ways(index: usize, query: &Query, fact: &Fact, context: &Context, hints: &Hints) -> Vec<Way> {
    let today = context.local.date;
    let steps = |part, direction, limit: u64, targets: Vec<u64>| {
        let mut near: Vec<u64> = targets
            .into_iter()
            .filter(|distance| (1..=limit).contains(distance))
            .collect();
        near.sort_unstable();
        near.dedup();
        near.truncate(MAX_HINTS);
        let steps = Steps {
            index,
            part,
            direction,
            base: fact.clone(),
            today,
            limit,
            hints: near,
        };
        (limit > 0).then_some(Way::Steps(steps))
    };
    let both = |part, from: i64, up: u64, down: u64| {
        let (ups, downs) = hints.around(from);
        [
            steps(part, Direction::Up, up, ups),
            steps(part, Direction::Down, down, downs),
        ]
    };
    let mut found: Vec<Option<Way>> = Vec::new();
    match (query, fact) {
        (Query::Sum(_), Fact::Integer(sum)) => {
            found.extend(both(
                Part::Integer,
                *sum,
                above(*sum).min(MAX_SUM),
                MAX_SUM.min(below(*sum)),
            ));
        }
        (Query::DistinctDays(selection), Fact::Integer(days)) => {
            let most = i64::try_from(most_days(selection, context)).unwrap_or(i64::MAX);
            found.extend(both(Part::Integer, *days, distance(*days, most), distance(0, *days)));
        }
        (_, Fact::Integer(count)) => {
            found.extend(both(
                Part::Integer,
                *count,
                MAX_COUNT.min(above(*count)),
                distance(0, *count),
            ));
        }
        (Query::Streak(selection), Fact::Days(streak)) => {
            let (current, longest) = (i64::from(streak.current), i64::from(streak.longest));
            let most = i64::try_from(most_days(selection, context)).unwrap_or(i64::MAX);
            found.extend(both(
                Part::CurrentDays,
                current,
                distance(current, most),
                distance(0, current),
            ));
            found.extend(both(
                Part::LongestDays,
                longest,
                distance(longest, most),
                distance(current, longest),
            ));
        }
        (_, Fact::At(at)) => {
            let (later, earlier) = hints.instants(*at, context);
            let until_now = minutes(context.now.as_millis() - at.as_millis()).min(MAX_MINUTES);
            let since_epoch = minutes(at.as_millis()).min(MAX_MINUTES);
            found.push(steps(Part::Instant, Direction::Up, until_now, later));
            found.push(steps(Part::Instant, Direction::Down, since_epoch, earlier));
            found.push(values(index, vec![Fact::Absent]));
        }
        (Query::First(_) | Query::Last(_), Fact::Absent) => {
            let starts = context.event.starts.as_millis();
            let at = |millis| {
                Timestamp::from_millis(millis)
                    .filter(|at| *at <= context.now)
                    .map(Fact::At)
            };
            let instants = [
                Some(Fact::At(context.now)),
                at(starts),
                at(starts - 1),
                at(starts - DAY),
            ];
            found.push(values(index, instants.into_iter().flatten().collect()));
        }
        (Query::Attribute(_), Fact::Text(text)) => {
            let number = text.parse::<i64>().ok().filter(|number| number.to_string() == *text);
            if let Some(number) = number {
                let down = if number > 0 { distance(0, number) } else { MAX_COUNT };
                found.extend(both(
                    Part::NumberInText,
                    number,
                    MAX_COUNT.min(above(number)),
                    down.min(MAX_COUNT),
                ));
            }
            let mut others = hints.texts(number.is_none());
            others.retain(|other| other != text);
            let others = others.into_iter().map(Fact::Text).chain([Fact::Absent]);
            found.push(values(index, others.collect()));
        }
        (Query::Attribute(_), Fact::Absent) => {
            found.push(values(index, hints.texts(true).into_iter().map(Fact::Text).collect()));
        }
        _ => {}
    }
    let mut ways: Vec<Way> = found.into_iter().flatten().collect();
    ways.sort_by_key(|way| match way {
        Way::Steps(steps) if steps.direction == Direction::Up => 0,
        Way::Values { .. } => 1,
        Way::Steps(_) => 2,
    });
    ways
}

fn values(index: usize, mut values: Vec<Fact>) -> Option<Way> {
    values.dedup();
    values.truncate(MAX_VALUES);
    (!values.is_empty()).then_some(Way::Values { index, values })
}

/// From a smaller to a larger number; 0 if it is not larger.
fn distance(from: i64, to: i64) -> u64 {
    u64::try_from(i128::from(to) - i128::from(from)).unwrap_or(0)
}

fn above(number: i64) -> u64 {
    distance(number, MAX_INTEGER)
}

fn below(number: i64) -> u64 {
    distance(-MAX_INTEGER, number)
}

fn minutes(millis: i64) -> u64 {
    u64::try_from(millis / MINUTE).unwrap_or(0)
}

/// The most days that the window can have, now or later in the event.
fn most_days(selection: &Selection, context: &Context) -> u64 {
    let between = |starts: Timestamp, ends: Timestamp| {
        let days = (ends.as_millis() - starts.as_millis()) / DAY;
        // Both ends are in a day, and a day may be shorter.
        u64::try_from(days).unwrap_or(0) + 2
    };
    let most = match selection.window {
        Window::LastDays(days) => u64::from(days),
        Window::EventPeriod => between(context.event.starts, context.event.ends),
        Window::AllTime | Window::Since(_) => MAX_DAYS,
    };
    most.min(MAX_DAYS)
}
