//! The SQL of a fact snapshot: one statement, a `UNION ALL` of the fragments that a claim always needs and one fragment
//! per query of the plan. Concurrent claims whose plans have the same shape share one execution.
//!
//! A snapshot only reads. It reads tables of several features (`users`, `user_attributes`, `activities`, `reward_requests`, `reversals`,
//! `event_rewards`, `reward_stock`, `event_budgets`, `event_groups`), so that a claim pays for one round trip instead of five. The
//! files of this folder hold the fragments, one file per kind of fact; `heads`, `marks` and `series` write what `maintained`
//! reads.

mod activities;
mod attributes;
mod compacted;
pub(super) mod compactions;
mod grants;
pub(super) mod heads;
mod maintained;
pub(super) mod marks;
pub(super) mod series;

use std::collections::BTreeMap;

use uuid::Uuid;

pub(super) use compacted::{HORIZON, START};
pub(super) use maintained::WORD;

use super::FactContext;
use super::series::Series;
use crate::clock::Timestamp;
use crate::contract::{Query, Selection, Subject};
use crate::db::{Db, Engine, Result, row};

/// The most activities that a bounded read takes into account for a query.
pub(super) const BOUND: usize = 512;

/// The horizons of a user's compacted activities, by kind: those that occurred before are deleted.
pub(super) type Horizons = BTreeMap<String, i64>;

/// How activities are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reading {
    /// From the log, up to [`BOUND`] of them: nearly every user has fewer, and no statement is simpler.
    Bounded,
    /// From what is maintained for the user, and from the log where it ends.
    Maintained,
    /// From the log alone.
    Log,
}

/// What a row of the statement belongs to.
#[derive(Clone, Copy, Debug)]
pub(super) enum Part {
    /// A query of the plan, by its index.
    Query(usize),
    User,
    GrantCount,
    GrantedSlots,
    Stock,
    BudgetGrants,
    BudgetAmount,
    LastReversal,
    HeldClaim,
    NewestRejection,
    GroupMax,
    GroupSlots,
    /// A kind of compacted activities, and their horizon.
    Horizon,
    /// The same, and when they were compacted.
    CompactedAt,
    /// The same for the activities of all invitees.
    InvitedHorizon,
    /// A user whom this one invited registered later than as of which the question is.
    LaterInvitee,
}

impl Part {
    /// The value of the column `part`.
    pub(super) fn number(self) -> i64 {
        match self {
            // A plan is far shorter than the maximum.
            Self::Query(index) => i64::try_from(index).unwrap_or(i64::MAX),
            Self::User => -1,
            Self::GrantCount => -2,
            Self::GrantedSlots => -3,
            Self::Stock => -4,
            Self::BudgetGrants => -5,
            Self::BudgetAmount => -6,
            Self::LastReversal => -7,
            Self::HeldClaim => -8,
            Self::NewestRejection => -9,
            Self::GroupMax => -10,
            Self::GroupSlots => -11,
            Self::Horizon => -12,
            Self::CompactedAt => -13,
            Self::InvitedHorizon => -14,
            Self::LaterInvitee => -15,
        }
    }
}

row! {
    #[derive(Debug)]
    pub(super) struct FactRow {
        pub part: i64,
        pub number: Option<i64>,
        pub text: Option<String>,
        pub id: Option<Uuid>,
    }
}

/// The first fragment, which names the columns: when the user registered, and whether the account is disabled. In every
/// fragment `$1` is the user, `$2` the instant `as_of`, `$3` the event, `$4` the key of the recurrence period.
const USER: &str = "\
    SELECT CAST(-1 AS BIGINT) AS part, created_at AS number, \
        CASE WHEN disabled THEN 'disabled' END AS text, CAST(NULL AS UUID) AS id \
        FROM users WHERE id = $1";

/// A value to bind, in the order of the placeholders.
enum Value {
    Number(i64),
    Text(String),
}

/// The statement under construction. Its text contains only constants and the numbers of queries and placeholders, so
/// that plans of the same shape share a prepared statement.
struct Assembly {
    engine: Engine,
    reading: Reading,
    horizons: Horizons,
    sql: String,
    values: Vec<Value>,
}

/// All rows of the snapshot, unordered. They are right if `horizons` are those that the rows tell.
pub(super) async fn read(
    db: &Db,
    context: &FactContext<'_>,
    queries: &[Query],
    reading: Reading,
    horizons: &Horizons,
) -> Result<Vec<FactRow>> {
    let mut assembly = Assembly {
        engine: db.engine(),
        reading,
        horizons: horizons.clone(),
        sql: USER.to_owned(),
        values: Vec::new(),
    };
    assembly.add_grants(context);
    if let Some(period) = context.budget {
        assembly.add_budget(period.key(context.instants.as_of, context.zone));
    }
    if let Some(group) = context.group {
        assembly.add_group(group.to_owned());
    }
    assembly.add_horizons(context, queries);
    for (index, query) in queries.iter().enumerate() {
        assembly.add_query(context, index, query);
    }
    let read = db
        .batched_read(assembly.sql)
        .about(context.user_id)
        .id(context.user_id)
        .number(context.instants.as_of.as_millis())
        .id(context.event_id)
        .text(context.period.key(context.instants.as_of, context.zone));
    let read = assembly.values.into_iter().fold(read, |read, value| match value {
        Value::Number(number) => read.number(number),
        Value::Text(text) => read.text(text),
    });
    read.fetch_all().await
}

/// Whether a bounded read has reached its bound for a query.
pub(super) fn is_cut_off(queries: &[Query], rows: &[FactRow]) -> bool {
    let mut counts = vec![0; queries.len()];
    for row in rows {
        let count = usize::try_from(row.part).ok().and_then(|part| counts.get_mut(part));
        let number = row.text.as_deref().and_then(|text| text.parse::<usize>().ok());
        if let Some((count, number)) = count.zip(number) {
            *count += number;
        }
    }
    let is_counted = |query: &Query| match query {
        Query::First(selection) | Query::Last(selection) => !selection.filters.is_empty(),
        query => query.selection().is_some(),
    };
    queries
        .iter()
        .zip(counts)
        .any(|(query, count)| is_counted(query) && count >= BOUND)
}

/// The horizons that the rows tell.
pub(super) fn horizons(rows: &[FactRow]) -> Horizons {
    by_kind(rows, Part::Horizon)
}

/// The numbers of the rows of this part, by kind.
pub(super) fn by_kind(rows: &[FactRow], part: Part) -> BTreeMap<String, i64> {
    let of_part = rows.iter().filter(|row| row.part == part.number());
    of_part
        .filter_map(|row| Some((row.text.clone()?, row.number?)))
        .collect()
}

/// Whether what is maintained about invitees knows too much.
pub(super) fn has_later_invitee(rows: &[FactRow]) -> bool {
    rows.iter().any(|row| row.part == Part::LaterInvitee.number())
}

/// Where the window of a selection begins; 0: no activity is earlier.
pub(super) fn start(context: &FactContext<'_>, selection: &Selection) -> i64 {
    let start = context
        .zone
        .start_of_window(selection.window, context.event_starts, context.instants.as_of);
    start.map_or(0, Timestamp::as_millis).max(0)
}

/// Days are computed from the distinct spans of so many milliseconds that contain an activity, which bounds the number of
/// rows. Each lies within one local day.
pub(super) fn granule(context: &FactContext<'_>, selection: &Selection) -> i64 {
    context.zone.granule(start(context, selection))
}

/// The horizon of compacted activities within the window of a query about the claimant.
pub(super) fn horizon_within(context: &FactContext<'_>, horizons: &Horizons, selection: &Selection) -> Option<i64> {
    let horizon = horizons
        .get(&selection.kind)
        .filter(|_| selection.subject == Subject::Claimant);
    horizon.copied().filter(|horizon| start(context, selection) < *horizon)
}

impl Assembly {
    fn add_query(&mut self, context: &FactContext<'_>, index: usize, query: &Query) {
        if let Some(selection) = query.selection()
            && let Some(horizon) = horizon_within(context, &self.horizons, selection)
        {
            self.add_compacted(context, index, horizon, query);
            return;
        }
        if self.reading == Reading::Maintained
            && let Some(series) = Series::of(query, context.zone)
            && self.add_maintained(context, index, series.id, query)
        {
            return;
        }
        match query {
            Query::Count(selection) => self.add_count(context, index, selection),
            Query::Sum(selection) => self.add_sum(context, index, selection),
            Query::DistinctDays(selection) | Query::Streak(selection) => {
                self.add_quarter_hours(context, index, selection);
            }
            Query::First(selection) => self.add_first(context, index, selection),
            Query::Last(selection) => self.add_last(context, index, selection),
            Query::Attribute(name) => self.add_attribute(context, index, name),
            // `add_grants` answers it.
            Query::Grants => {}
        }
    }

    /// `false` if the window is empty, or another fragment answers the query.
    fn add_maintained(&mut self, context: &FactContext<'_>, index: usize, series: i64, query: &Query) -> bool {
        let Some(selection) = query.selection() else {
            return false;
        };
        if start(context, selection) > context.instants.as_of.as_millis() {
            return false;
        }
        match query {
            Query::Count(_) | Query::Sum(_) => {
                let is_sum = matches!(query, Query::Sum(_));
                self.add_total(context, index, series, is_sum, selection);
            }
            Query::DistinctDays(_) | Query::Streak(_) => self.add_days(context, index, series, selection),
            // Without filters, the log's own index has the answer.
            Query::First(_) if !selection.filters.is_empty() => {
                self.add_first_after_marks(index, series, start(context, selection), selection);
            }
            Query::Last(_) if !selection.filters.is_empty() => {
                self.add_last_after_marks(index, series, start(context, selection), selection);
            }
            _ => return false,
        }
        true
    }

    /// The placeholder of the instant until which registrations and attributes count.
    fn happened_and_known_by(&mut self, context: &FactContext<'_>) -> String {
        match context.instants.happened_and_known_by() {
            None => "$2".to_owned(),
            Some(instant) => self.bind(Value::Number(instant.as_millis())),
        }
    }

    fn push(&mut self, sql: &str) {
        self.sql.push_str(sql);
    }

    /// Adds a value and returns its placeholder. `$1` to `$4` are taken.
    fn bind(&mut self, value: Value) -> String {
        self.values.push(value);
        format!("${}", self.values.len() + 4)
    }
}
