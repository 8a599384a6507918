//! The fact snapshot: the rows of the store, converted to facts in the order of the plan.

use std::collections::{BTreeMap, BTreeSet};

use jiff::civil::Date;
use uuid::Uuid;

use super::days::{days, streak};
use super::kernel::integer;
use super::store::{FactRow, HORIZON, Horizons, Part, START, WORD, granule, horizon_within, start};
use super::words::{self, Cut, Whole};
use super::{FactContext, FactError, compacted};
use crate::clock::Timestamp;
use crate::contract::{Fact, Query, Selection};

/// Everything that a claim needs to know about its user before the condition runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// `facts[i]` answers query `i` of the plan.
    pub facts: Vec<Fact>,
    /// The time of the user's registration.
    pub registered: Timestamp,
    pub disabled: bool,
    /// The key of the recurrence period that contains `as_of`.
    pub period: String,
    /// The slots of that period that the user's grants occupy, from 1. The value is current, independent of `as_of`: a
    /// claim must see a grant whose claim arrived later but was decided earlier.
    pub granted_slots: BTreeSet<u32>,
    /// When a grant of the user was last reversed, by the clock of the process that reversed it. The value is current.
    pub last_reversal: Option<Timestamp>,
    /// The user's claim on the event that is held for a review; there is at most one. The value is current.
    pub held_claim: Option<Uuid>,
    /// The newest rejection of the user on the event. The value is current.
    pub newest_rejection: Option<Rejection>,
    /// The remaining stock of each limited reward of the event. The value is current, independent of `as_of`.
    pub stock: BTreeMap<Uuid, i64>,
    /// The current usage of the event's budget in the period that contains `as_of`; `None` if the event has no budget.
    pub budget_usage: Option<BudgetUsage>,
    /// The user's grants in the event's group; `None` if the event is in none. The value is current.
    pub group: Option<GroupUsage>,
}

/// What a user has of an event group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupUsage {
    /// The most grants that a user may have.
    pub max: u32,
    /// The numbers of the user's grants and held claims, from 1.
    pub slots: BTreeSet<u32>,
}

impl GroupUsage {
    pub fn is_used_up(&self) -> bool {
        self.slots.len() >= self.max as usize
    }

    /// The lowest free number.
    pub fn free_slot(&self) -> u32 {
        lowest_free(&self.slots)
    }
}

/// A rejection. Repeated claims with the same answer store it once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// Of its request.
    pub id: Uuid,
    /// A digest of its content.
    pub said: String,
    pub decided_at: Timestamp,
}

/// What was granted to all users of an event together: the number of claims, and the total value of their rewards.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BudgetUsage {
    pub grants: i64,
    pub amount: i64,
}

impl Snapshot {
    /// The lowest free slot of the period. A reversal may free a slot below the highest granted one.
    pub fn free_slot(&self) -> u32 {
        lowest_free(&self.granted_slots)
    }

    pub(super) fn from_rows(
        context: &FactContext<'_>,
        queries: &[Query],
        rows: Vec<FactRow>,
        horizons: &Horizons,
    ) -> Result<Self, FactError> {
        compacted::check(context, queries, &rows, horizons)?;
        let mut by_part: BTreeMap<i64, Vec<FactRow>> = BTreeMap::new();
        for row in rows {
            by_part.entry(row.part).or_default().push(row);
        }
        let mut take = |part: Part| by_part.remove(&part.number()).unwrap_or_default();

        let (registered, disabled) = take(Part::User)
            .pop()
            .and_then(|user| Some((Timestamp::from_millis(user.number?)?, user.text.is_some())))
            .ok_or(FactError::NoSuchUser(context.user_id))?;
        // A count always has one row.
        let grant_count = number(&take(Part::GrantCount)).unwrap_or(0);
        let slots = |rows: Vec<FactRow>| -> BTreeSet<u32> {
            let numbers = rows.into_iter().filter_map(|row| u32::try_from(row.number?).ok());
            numbers.collect()
        };
        let granted_slots = slots(take(Part::GrantedSlots));
        let group = context.group.map(|_| GroupUsage {
            // The group exists as long as an event is in it.
            max: number(&take(Part::GroupMax)).map_or(u32::MAX, |max| u32::try_from(max).unwrap_or(u32::MAX)),
            slots: slots(take(Part::GroupSlots)),
        });
        let stock = take(Part::Stock)
            .into_iter()
            .filter_map(|row| Some((row.id?, row.number?)))
            .collect();
        let held_claim = take(Part::HeldClaim).pop().and_then(|row| row.id);
        let last_reversal = number(&take(Part::LastReversal)).and_then(Timestamp::from_millis);
        let newest_rejection = take(Part::NewestRejection).pop().and_then(|row| {
            Some(Rejection {
                id: row.id?,
                said: row.text?,
                decided_at: Timestamp::from_millis(row.number?)?,
            })
        });
        // There is no row before the first grant of a period.
        let mut used = |part| number(&take(part)).unwrap_or(0);
        let budget_usage = context.budget.map(|_| BudgetUsage {
            grants: used(Part::BudgetGrants),
            amount: used(Part::BudgetAmount),
        });
        let facts = queries
            .iter()
            .enumerate()
            .map(|(index, query)| match query {
                Query::Grants => Ok(integer(index, grant_count.into())?),
                _ => fact(context, horizons, index, query, take(Part::Query(index))),
            })
            .collect::<Result<_, _>>()?;
        Ok(Self {
            facts,
            registered,
            disabled,
            period: context.period.key(context.instants.as_of, context.zone),
            granted_slots,
            last_reversal,
            held_claim,
            newest_rejection,
            stock,
            budget_usage,
            group,
        })
    }
}

fn lowest_free(slots: &BTreeSet<u32>) -> u32 {
    let mut numbers = 1..=u32::MAX;
    numbers.find(|slot| !slots.contains(slot)).unwrap_or(u32::MAX)
}

fn fact(
    context: &FactContext<'_>,
    horizons: &Horizons,
    index: usize,
    query: &Query,
    mut rows: Vec<FactRow>,
) -> Result<Fact, FactError> {
    Ok(match query {
        Query::Count(_) | Query::Sum(_) | Query::Grants => integer(index, total(&rows))?,
        Query::DistinctDays(selection) => {
            integer(index, days_of_rows(context, horizons, selection, &rows).len() as i128)?
        }
        Query::Streak(selection) => {
            let days = days_of_rows(context, horizons, selection, &rows);
            Fact::Days(streak(context.zone, &days, context.instants.as_of))
        }
        Query::First(_) => at(numbers(&rows).min()),
        Query::Last(_) => at(numbers(&rows).max()),
        Query::Attribute(_) => rows.pop().and_then(|row| row.text).map_or(Fact::Absent, Fact::Text),
    })
}

fn number(rows: &[FactRow]) -> Option<i64> {
    rows.first().and_then(|row| row.number)
}

/// Without the mark that only shows that there is an answer.
fn numbers(rows: &[FactRow]) -> impl Iterator<Item = i64> {
    let rows = rows.iter().filter(|row| row.text.as_deref() != Some(START));
    rows.filter_map(|row| row.number)
}

fn at(millis: Option<i64>) -> Fact {
    millis.and_then(Timestamp::from_millis).map_or(Fact::Absent, Fact::At)
}

/// The rows of a query about what is maintained are the differences between the ends of its window.
fn total(rows: &[FactRow]) -> i128 {
    numbers(rows).map(i128::from).sum()
}

/// The days of spans with an activity, of words where they are maintained, and of marks where activities are compacted.
fn days_of_rows(
    context: &FactContext<'_>,
    horizons: &Horizons,
    selection: &Selection,
    rows: &[FactRow],
) -> BTreeSet<Date> {
    let zone = context.zone;
    let horizon = horizon_within(context, horizons, selection);
    let whole = if let Some(horizon) = horizon.filter(|_| context.instants.known_by.is_some()) {
        Whole::before_horizon(context, selection, horizon)
    } else {
        let cut = Cut::of_window(zone, selection.window, context.event_starts, context.instants.as_of);
        cut.whole.map(|(whole, ..)| whole)
    };
    let (marks, rows): (Vec<&FactRow>, Vec<&FactRow>) = rows
        .iter()
        .partition(|row| matches!(row.text.as_deref(), Some(START | HORIZON)));
    let word = |row: &FactRow| row.text.as_deref()?.strip_prefix(WORD)?.parse::<i64>().ok();
    let (words, spans): (Vec<&FactRow>, Vec<&FactRow>) = rows.into_iter().partition(|row| word(row).is_some());
    let granule = granule(context, selection);
    let begin = |row: &FactRow| Timestamp::from_millis(row.number?.checked_mul(granule)?);
    let mut days = days(zone, spans.into_iter().filter_map(begin));
    for row in words {
        if let (Some(word), Some(bits), Some(whole)) = (word(row), row.number, whole) {
            days.extend(words::days_of(word, bits, whole));
        }
    }
    for mark in marks {
        let near = match mark.text.as_deref() {
            Some(START) => Some(start(context, selection)),
            // The mark at the beginning has all days before the horizon.
            _ => horizon.filter(|_| whole.is_some()),
        };
        if let (Some(near), Some(bits)) = (near.and_then(Timestamp::from_millis), mark.number) {
            days.extend(words::days_near(zone, near, bits));
        }
    }
    days
}
