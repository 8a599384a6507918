//! I3: what events with a budget have given, counted anew from the grants themselves.

use std::collections::BTreeMap;

use uuid::Uuid;

use super::Violations;
use super::books::{Books, Event, Request};
use crate::faults::claims::View;

/// What stands, by event and the budget's period: so many grants, worth so much.
fn used(books: &Books, violations: &mut Violations) -> BTreeMap<(Uuid, String), (i64, i64)> {
    let mut used: BTreeMap<_, (i64, i64)> = BTreeMap::new();
    for request in books.requests.values() {
        let has_budget = books.events.get(&request.event_id).is_some_and(Event::has_budget);
        if request.status != "GRANTED" || !has_budget {
            continue;
        }
        let Some((period, amount)) = &request.budget else {
            violations.push(format!(
                "I3: request {} was granted without its event's budget",
                request.id
            ));
            continue;
        };
        let worth = worth(books, request);
        if *amount != worth {
            violations.push(format!(
                "I3: request {} is worth {worth} and took {amount} from the budget",
                request.id
            ));
        }
        let used = used.entry((request.event_id, period.clone())).or_default();
        *used = (used.0 + 1, used.1 + worth);
    }
    used
}

/// As far as the budget bounds the worth.
fn worth(books: &Books, request: &Request) -> i64 {
    if books
        .events
        .get(&request.event_id)
        .is_none_or(|event| event.max_amount.is_none())
    {
        return 0;
    }
    books
        .grants_of(request.id)
        .map(|grant| grant.value * grant.quantity)
        .sum()
}

pub(super) fn check(books: &Books, _: &View, violations: &mut Violations) {
    let mut used = used(books, violations);
    for ((event, period), (grants, amount)) in &used {
        let allowed = &books.events[event];
        if allowed.max_grants.is_some_and(|most| *grants > most)
            || allowed.max_amount.is_some_and(|most| *amount > most)
        {
            violations.push(format!(
                "I3: of event {event} {grants} grants worth {amount} stand in {period}, where {allowed:?} allows less"
            ));
        }
    }
    for ((event, period), counted) in &books.budgets {
        let used = used.remove(&(*event, period.clone())).unwrap_or_default();
        if used != *counted {
            violations.push(format!(
                "I3: {used:?} stands of event {event} in {period}, and {counted:?} is counted"
            ));
        }
    }
    for key in used.keys() {
        violations.push(format!("I3: no budget counts what was granted of {key:?}"));
    }
}

/// Not one more grant fits into the only period that was used.
pub(super) fn is_used_up(books: &Books, id: Uuid, violations: &mut Violations) {
    let event = &books.events[&id];
    let of_event = |request: &&Request| request.event_id == id && request.status == "GRANTED";
    let each = books
        .requests
        .values()
        .find(of_event)
        .map_or(0, |request| worth(books, request));
    let counted: Vec<_> = books.budgets.iter().filter(|((event, _), _)| *event == id).collect();
    let is_used_up = counted.iter().any(|(_, (grants, amount))| {
        event.max_grants.is_some_and(|most| *grants >= most)
            || event.max_amount.is_some_and(|most| amount + each > most)
    });
    if !is_used_up {
        violations.push(format!(
            "I3: enough people asked for event {id}, but of {event:?} only {counted:?} is used"
        ));
    }
}
