//! I3: the usage of budgets, recomputed from the grants.

use std::collections::BTreeMap;

use uuid::Uuid;

use super::Violations;
use super::ledger::{Event, Ledger, Request};
use crate::faults::claims::View;

/// The number and the value of current grants, by event and period of the budget.
fn used(ledger: &Ledger, violations: &mut Violations) -> BTreeMap<(Uuid, String), (i64, i64)> {
    let mut used: BTreeMap<_, (i64, i64)> = BTreeMap::new();
    for request in ledger.requests.values() {
        let has_budget = ledger.events.get(&request.event_id).is_some_and(Event::has_budget);
        if request.status != "GRANTED" || !has_budget {
            continue;
        }
        let Some((period, amount)) = &request.budget else {
            violations.push(format!(
                "I3: request {} was granted without using its event's budget",
                request.id
            ));
            continue;
        };
        let worth = worth(ledger, request);
        if *amount != worth {
            violations.push(format!(
                "I3: request {} has the value {worth}, but used {amount} of the budget",
                request.id
            ));
        }
        let used = used.entry((request.event_id, period.clone())).or_default();
        *used = (used.0 + 1, used.1 + worth);
    }
    used
}

/// The value that counts for the budget.
fn worth(ledger: &Ledger, request: &Request) -> i64 {
    if ledger
        .events
        .get(&request.event_id)
        .is_none_or(|event| event.max_amount.is_none())
    {
        return 0;
    }
    ledger
        .grants_of(request.id)
        .map(|grant| grant.value * grant.quantity)
        .sum()
}

pub(super) fn check(ledger: &Ledger, _: &View, violations: &mut Violations) {
    let mut used = used(ledger, violations);
    for ((event, period), (grants, amount)) in &used {
        let allowed = &ledger.events[event];
        if allowed.max_grants.is_some_and(|most| *grants > most)
            || allowed.max_amount.is_some_and(|most| *amount > most)
        {
            violations.push(format!(
                "I3: event {event} has {grants} grants with the value {amount} in {period}, more than {allowed:?} allows"
            ));
        }
    }
    for ((event, period), counted) in &ledger.budgets {
        let used = used.remove(&(*event, period.clone())).unwrap_or_default();
        if used != *counted {
            violations.push(format!(
                "I3: event {event} has the usage {used:?} in {period}, but the table counts {counted:?}"
            ));
        }
    }
    for key in used.keys() {
        violations.push(format!("I3: no budget counts the grants of {key:?}"));
    }
}

/// The only used period has no room for one more grant.
pub(super) fn is_used_up(ledger: &Ledger, id: Uuid, violations: &mut Violations) {
    let event = &ledger.events[&id];
    let of_event = |request: &&Request| request.event_id == id && request.status == "GRANTED";
    let each = ledger
        .requests
        .values()
        .find(of_event)
        .map_or(0, |request| worth(ledger, request));
    let counted: Vec<_> = ledger.budgets.iter().filter(|((event, _), _)| *event == id).collect();
    let is_used_up = counted.iter().any(|(_, (grants, amount))| {
        event.max_grants.is_some_and(|most| *grants >= most)
            || event.max_amount.is_some_and(|most| amount + each > most)
    });
    if !is_used_up {
        violations.push(format!(
            "I3: enough users claimed event {id}, but only {counted:?} of {event:?} is used"
        ));
    }
}
