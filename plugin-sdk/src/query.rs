//! The queries of a rule: builders of single queries, each with the type of its fact.

use crate::bindings::types as wire;
use crate::{Streak, Timestamp};
use std::marker::PhantomData;

/// The number of activities of a kind, e.g. `count("invite.accepted")`.
pub fn count(kind: impl Into<String>) -> Query<i64> {
    Query::new(Measure::Count, kind.into())
}

/// The sum of the amounts of the activities of a kind, in minor units (cents).
pub fn sum(kind: impl Into<String>) -> Query<i64> {
    Query::new(Measure::Sum, kind.into())
}

/// The number of calendar days, in the event's zone, with at least one activity of a kind.
pub fn distinct_days(kind: impl Into<String>) -> Query<i64> {
    Query::new(Measure::DistinctDays, kind.into())
}

/// The run of consecutive calendar days, in the event's zone, with an activity of a kind.
///
/// The window bounds the run: ask for one day more than you need, because a run may end yesterday.
pub fn streak(kind: impl Into<String>) -> Query<Streak> {
    Query::new(Measure::Streak, kind.into())
}

/// When the first activity of a kind happened.
pub fn first(kind: impl Into<String>) -> Query<Option<Timestamp>> {
    Query::new(Measure::First, kind.into())
}

/// When the last activity of a kind happened.
pub fn last(kind: impl Into<String>) -> Query<Option<Timestamp>> {
    Query::new(Measure::Last, kind.into())
}

/// An attribute of the user as text, e.g. `attribute("region")`.
pub fn attribute(name: impl Into<String>) -> Attribute {
    Attribute(name.into())
}

/// How often this user was granted this event before, in all periods.
pub fn grants() -> Grants {
    Grants
}

/// A query about activities, whose fact is an `A`.
///
/// By default it selects the claimant's own activities in the event's period. Every window ends now.
#[derive(Debug, Clone, PartialEq)]
#[must_use]
pub struct Query<A> {
    measure: Measure,
    selection: wire::Selection,
    answer: PhantomData<fn() -> A>,
}

/// How the selected activities are aggregated.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Measure {
    Count,
    Sum,
    DistinctDays,
    Streak,
    First,
    Last,
}

impl<A> Query<A> {
    fn new(measure: Measure, kind: String) -> Self {
        let selection = wire::Selection {
            kind,
            subject: wire::Subject::Claimant,
            window: wire::Window::EventPeriod,
            filters: Vec::new(),
        };
        Self {
            measure,
            selection,
            answer: PhantomData,
        }
    }

    /// From the event's start. This is the default; calling it only makes the rule easier to read.
    pub fn event_period(self) -> Self {
        self.within(wire::Window::EventPeriod)
    }

    /// All activities. The cost grows with the user's history.
    pub fn all_time(self) -> Self {
        self.within(wire::Window::AllTime)
    }

    /// This many calendar days in the event's zone, today included: 1 is today. At most 3660.
    pub fn last_days(self, days: u32) -> Self {
        self.within(wire::Window::LastDays(days))
    }

    /// From this instant on.
    pub fn since(self, instant: Timestamp) -> Self {
        self.within(wire::Window::Since(instant.millis()))
    }

    /// Only activities with this attribute, as text: numbers and booleans as JSON writes them. All filters must
    /// match.
    pub fn filter(mut self, attribute: impl Into<String>, equals: impl Into<String>) -> Self {
        self.selection.filters.push(wire::Filter {
            attribute: attribute.into(),
            equals: equals.into(),
        });
        self
    }

    /// The activities of all users whom the claimant invited, instead of the claimant's own.
    pub fn of_invitees(mut self) -> Self {
        self.selection.subject = wire::Subject::Invitees;
        self
    }

    fn within(mut self, window: wire::Window) -> Self {
        self.selection.window = window;
        self
    }

    pub(crate) fn into_wire(self) -> wire::Query {
        let query = match self.measure {
            Measure::Count => wire::Query::Count,
            Measure::Sum => wire::Query::Sum,
            Measure::DistinctDays => wire::Query::DistinctDays,
            Measure::Streak => wire::Query::Streak,
            Measure::First => wire::Query::First,
            Measure::Last => wire::Query::Last,
        };
        query(self.selection)
    }
}

/// A query for an attribute of the user. The fact is its text, or `None` if the user has no such attribute.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub struct Attribute(pub(crate) String);

/// A query for earlier grants of this event to this user. The fact is their number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub struct Grants;

impl Default for Streak {
    /// No activity.
    fn default() -> Self {
        Self {
            current: 0,
            longest: 0,
            last_day: None,
        }
    }
}

/// A type of fact: `i64`, [`Streak`], `Option<Timestamp>`, `Option<String>`.
pub trait Answer: Sized {
    #[doc(hidden)]
    fn from_wire(fact: wire::Fact) -> Option<Self>;
    #[doc(hidden)]
    fn into_wire(self) -> wire::Fact;
}

impl Answer for i64 {
    fn from_wire(fact: wire::Fact) -> Option<Self> {
        match fact {
            wire::Fact::Integer(integer) => Some(integer),
            _ => None,
        }
    }

    fn into_wire(self) -> wire::Fact {
        wire::Fact::Integer(self)
    }
}

impl Answer for Streak {
    fn from_wire(fact: wire::Fact) -> Option<Self> {
        match fact {
            wire::Fact::Days(streak) => Some(streak),
            _ => None,
        }
    }

    fn into_wire(self) -> wire::Fact {
        wire::Fact::Days(self)
    }
}

impl Answer for Option<Timestamp> {
    fn from_wire(fact: wire::Fact) -> Option<Self> {
        match fact {
            wire::Fact::At(millis) => Some(Some(Timestamp::from_millis(millis))),
            wire::Fact::Absent => Some(None),
            _ => None,
        }
    }

    fn into_wire(self) -> wire::Fact {
        self.map_or(wire::Fact::Absent, |instant| wire::Fact::At(instant.millis()))
    }
}

impl Answer for Option<String> {
    fn from_wire(fact: wire::Fact) -> Option<Self> {
        match fact {
            wire::Fact::Text(text) => Some(Some(text)),
            wire::Fact::Absent => Some(None),
            _ => None,
        }
    }

    fn into_wire(self) -> wire::Fact {
        self.map_or(wire::Fact::Absent, wire::Fact::Text)
    }
}
