//! The answers to a plan, put in the plan's order.

use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;

use super::days::{days, streak};
use super::store::{Answer, QUARTER_HOUR, Slot};
use super::{Asker, FactError};
use crate::clock::Timestamp;
use crate::contract::{Fact, MAX_INTEGER, Query};

/// All that a claim must know of its user before the condition is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// `facts[i]` answers query `i` of the plan.
    pub facts: Vec<Fact>,
    /// When the user registered.
    pub registered: Timestamp,
    pub disabled: bool,
    /// The key of the recurrence period that holds `now`.
    pub period: String,
    /// The places in that period that this user's grants hold, from 1. This is what is taken right now, whatever `now`:
    /// a claim must see a grant that arrived after it but was decided before.
    pub granted_places: BTreeSet<u32>,
    /// How many are left of each of the event's rewards that are limited. This is the stock right now, whatever `now`.
    pub stock: BTreeMap<Uuid, i64>,
    /// What of the event's budget is used right now in the period that holds `now`; `None` when it has no budget.
    pub spent: Option<Spent>,
}

/// What was granted to all users together: how many claims, and what their rewards are worth.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spent {
    pub grants: i64,
    pub amount: i64,
}

impl Snapshot {
    /// The lowest place in the period that no grant holds; a reversal frees one in the middle.
    pub fn free_place(&self) -> u32 {
        (1..=u32::MAX)
            .find(|place| !self.granted_places.contains(place))
            .unwrap_or(u32::MAX)
    }

    pub(super) fn of(asker: &Asker<'_>, queries: &[Query], answers: Vec<Answer>) -> Result<Self, FactError> {
        let mut by_slot: BTreeMap<i64, Vec<Answer>> = BTreeMap::new();
        for answer in answers {
            by_slot.entry(answer.slot).or_default().push(answer);
        }
        let mut take = |slot: Slot| by_slot.remove(&slot.number()).unwrap_or_default();

        let (registered, disabled) = take(Slot::User)
            .pop()
            .and_then(|user| Some((Timestamp::from_millis(user.number?)?, user.text.is_some())))
            .ok_or(FactError::NoSuchUser(asker.user_id))?;
        // Counts and sums always answer one row.
        let granted_ever = number(&take(Slot::GrantedEver)).unwrap_or(0);
        let granted_places = take(Slot::GrantedPlaces)
            .into_iter()
            .filter_map(|answer| u32::try_from(answer.number?).ok())
            .collect();
        let stock = take(Slot::Stock)
            .into_iter()
            .filter_map(|answer| Some((answer.id?, answer.number?)))
            .collect();
        // No row before the first grant of a period.
        let mut used = |slot| number(&take(slot)).unwrap_or(0);
        let spent = asker.budget.map(|_| Spent {
            grants: used(Slot::SpentGrants),
            amount: used(Slot::SpentAmount),
        });
        let facts = queries
            .iter()
            .enumerate()
            .map(|(index, query)| match query {
                Query::Grants => integer(index, Some(granted_ever)),
                _ => fact(asker, index, query, take(Slot::Query(index))),
            })
            .collect::<Result<_, _>>()?;
        Ok(Self {
            facts,
            registered,
            disabled,
            period: asker.period.key(asker.now, asker.zone),
            granted_places,
            stock,
            spent,
        })
    }
}

fn fact(asker: &Asker<'_>, index: usize, query: &Query, mut answers: Vec<Answer>) -> Result<Fact, FactError> {
    let days = |answers: &[Answer]| days(asker.zone, answers.iter().filter_map(quarter_hour));
    Ok(match query {
        Query::Count(_) | Query::Sum(_) | Query::Grants => integer(index, number(&answers))?,
        Query::DistinctDays(_) => integer(index, i64::try_from(days(&answers).len()).ok())?,
        Query::Streak(_) => Fact::Days(streak(asker.zone, &days(&answers), asker.now)),
        Query::First(_) | Query::Last(_) => number(&answers)
            .and_then(Timestamp::from_millis)
            .map_or(Fact::Absent, Fact::At),
        Query::Attribute(_) => answers
            .pop()
            .and_then(|answer| answer.text)
            .map_or(Fact::Absent, Fact::Text),
    })
}

fn number(answers: &[Answer]) -> Option<i64> {
    answers.first().and_then(|answer| answer.number)
}

fn quarter_hour(answer: &Answer) -> Option<Timestamp> {
    answer
        .number
        .and_then(|quarter_hours| Timestamp::from_millis(quarter_hours.checked_mul(QUARTER_HOUR)?))
}

fn integer(query: usize, value: Option<i64>) -> Result<Fact, FactError> {
    let value = value.unwrap_or(0);
    if value.unsigned_abs() > MAX_INTEGER.unsigned_abs() {
        return Err(FactError::TooLarge { query, value });
    }
    Ok(Fact::Integer(value))
}
