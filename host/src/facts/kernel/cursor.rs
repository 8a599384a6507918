//! The answers to the queries of a plan as of an instant that moves.

use super::bounds::{TooLarge, integer};
use super::log::{KnownBy, Log};
use super::window::{Moving, Scope};
use crate::clock::Timestamp;
use crate::contract::{Fact, Query, Selection};

/// The answers to `queries` as of one instant.
pub fn answer(
    log: &Log,
    scope: Scope<'_>,
    queries: &[Query],
    as_of: Timestamp,
    known_by: KnownBy,
) -> Result<Vec<Fact>, TooLarge> {
    let mut cursor = Cursor::new(log, scope, queries, known_by);
    cursor.seek(as_of);
    cursor.facts()
}

/// Stands at an instant and answers as of it. Moving forward costs a constant time per entry of the log; a streak costs
/// a constant time per day besides.
#[derive(Debug)]
pub struct Cursor<'a> {
    scope: Scope<'a>,
    as_of: Timestamp,
    answers: Vec<Answer>,
    windows: Vec<Moving<'a>>,
    attributes: Vec<Steps<Option<&'a str>>>,
    grants: Steps<i128>,
}

/// Where the answer to a query comes from.
#[derive(Clone, Copy, Debug)]
enum Answer {
    /// A window, by its index.
    Count(usize),
    Sum(usize),
    DistinctDays(usize),
    Streak(usize),
    First(usize),
    Last(usize),
    /// An attribute, by its index.
    Attribute(usize),
    Grants,
}

/// A value that changes at some instants, in their order.
#[derive(Debug)]
struct Steps<T> {
    steps: Vec<(Timestamp, T)>,
    /// Steps before this one have been made.
    made: usize,
}

impl<T: Copy> Steps<T> {
    fn new(steps: Vec<(Timestamp, T)>) -> Self {
        Self { steps, made: 0 }
    }

    fn advance(&mut self, as_of: Timestamp) {
        self.made += self.steps[self.made..]
            .iter()
            .take_while(|(at, _)| *at <= as_of)
            .count();
    }

    fn value(&self) -> Option<T> {
        let made = self.steps[..self.made].last();
        made.map(|(_, value)| *value)
    }

    fn next(&self) -> Option<Timestamp> {
        self.steps.get(self.made).map(|(at, _)| *at)
    }
}

impl<'a> Cursor<'a> {
    /// Before all time. [`Cursor::seek`] moves it.
    pub fn new(log: &'a Log, scope: Scope<'a>, queries: &'a [Query], known_by: KnownBy) -> Self {
        let mut selections: Vec<(&Selection, bool)> = Vec::new();
        let mut attributes = Vec::new();
        // Queries about the same activities share a window.
        let mut window = |selection: &'a Selection, with_days: bool| {
            let known = selections.iter().position(|(known, _)| *known == selection);
            let index = known.unwrap_or_else(|| {
                selections.push((selection, false));
                selections.len() - 1
            });
            selections[index].1 |= with_days;
            index
        };
        let answers = queries
            .iter()
            .map(|query| match query {
                Query::Count(selection) => Answer::Count(window(selection, false)),
                Query::Sum(selection) => Answer::Sum(window(selection, false)),
                Query::DistinctDays(selection) => Answer::DistinctDays(window(selection, true)),
                Query::Streak(selection) => Answer::Streak(window(selection, true)),
                Query::First(selection) => Answer::First(window(selection, false)),
                Query::Last(selection) => Answer::Last(window(selection, false)),
                Query::Attribute(name) => {
                    attributes.push(values(log, name, known_by));
                    Answer::Attribute(attributes.len() - 1)
                }
                Query::Grants => Answer::Grants,
            })
            .collect();
        let windows = selections
            .into_iter()
            .map(|(selection, with_days)| Moving::new(selection, log, known_by, with_days))
            .collect();
        Self {
            scope,
            as_of: Timestamp::MIN,
            answers,
            windows,
            attributes,
            grants: numbers_of_grants(log, known_by),
        }
    }

    /// Moves to an instant. To an earlier one it starts anew.
    pub fn seek(&mut self, as_of: Timestamp) {
        if as_of < self.as_of {
            self.windows.iter_mut().for_each(Moving::reset);
            self.attributes.iter_mut().for_each(|steps| steps.made = 0);
            self.grants.made = 0;
        }
        self.as_of = as_of;
        for window in &mut self.windows {
            window.advance(self.scope, as_of);
        }
        for steps in &mut self.attributes {
            steps.advance(as_of);
        }
        self.grants.advance(as_of);
    }

    pub fn as_of(&self) -> Timestamp {
        self.as_of
    }

    /// The answers in the order of the queries.
    pub fn facts(&self) -> Result<Vec<Fact>, TooLarge> {
        let at = |instant: Option<Timestamp>| Ok(instant.map_or(Fact::Absent, Fact::At));
        self.answers
            .iter()
            .enumerate()
            .map(|(query, answer)| match *answer {
                Answer::Count(window) => integer(query, self.windows[window].count()),
                Answer::Sum(window) => integer(query, self.windows[window].sum()),
                Answer::DistinctDays(window) => integer(query, self.windows[window].distinct_days()),
                Answer::Streak(window) => {
                    let streak = self.windows[window].streak(self.scope.zone, self.as_of);
                    Ok(Fact::Days(streak))
                }
                Answer::First(window) => at(self.windows[window].first()),
                Answer::Last(window) => at(self.windows[window].last()),
                Answer::Attribute(index) => {
                    let value = self.attributes[index].value().flatten();
                    Ok(value.map_or(Fact::Absent, |value| Fact::Text(value.to_owned())))
                }
                Answer::Grants => integer(query, self.grants.value().unwrap_or(0)),
            })
            .collect()
    }

    /// The next instant at which an answer can change: something is counted then, or [`Cursor::next_edge`].
    pub fn next_change(&self) -> Option<Timestamp> {
        let arrivals = self.windows.iter().filter_map(Moving::next_arrival);
        let values = self.attributes.iter().filter_map(Steps::next);
        let entries = arrivals.chain(values).chain(self.grants.next());
        entries.chain(self.next_edge()).min()
    }

    /// The next instant at which an answer can change although nothing happens: a local midnight.
    pub fn next_edge(&self) -> Option<Timestamp> {
        let edges = self.windows.iter();
        edges
            .filter_map(|window| window.next_edge(self.scope.zone, self.as_of))
            .min()
    }
}

/// The values of an attribute.
fn values<'a>(log: &'a Log, name: &str, known_by: KnownBy) -> Steps<Option<&'a str>> {
    let changes = log.attributes.iter().filter(|change| change.name == name);
    let steps = changes.filter_map(|change| {
        let counts_from = known_by.counts_from(change.set_at, change.set_at)?;
        Some((counts_from, change.value.as_deref()))
    });
    Steps::new(steps.collect())
}

/// How many grants stand.
fn numbers_of_grants(log: &Log, known_by: KnownBy) -> Steps<i128> {
    let mut steps = Vec::new();
    for grant in &log.grants {
        let Some(granted) = known_by.counts_from(grant.received_at, grant.decided_at) else {
            continue;
        };
        steps.push((granted, 1));
        let reversed = grant.reversed_at.and_then(|at| known_by.counts_from(at, at));
        steps.extend(reversed.map(|at| (at.max(granted), -1)));
    }
    steps.sort_by_key(|(at, _)| *at);
    let mut standing = 0;
    for (_, change) in &mut steps {
        standing += *change;
        *change = standing;
    }
    Steps::new(steps)
}
