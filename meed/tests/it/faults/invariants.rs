//! The invariants that must hold after every run. The test reports all violations with their ids.
//!
//! | | |
//! |---|---|
//! | I1 | grants never exceed the stock, and use it up if enough users claimed |
//! | I2 | the remaining stock plus the grants since the stock began, without reversed ones, is the total |
//! | I3 | grants never exceed an event's budget, and its counts equal the number and value of the current grants |
//! | I4 | no user has more grants in a period than the event allows, or the same slot twice |
//! | I5 | everything in a response is stored with the same content, and a repeated claim of a user with all grants returns a grant |
//! | I6 | every grant and reversal has exactly one outbox message; a rejection has no grant and no message |
//! | I7 | no request is undecided, no transaction is open, no lock is held |
//! | I8 | every receipt of a request or reversal is signed and agrees with the tables |
//! | I9 | every request, reversal and audit entry is in the transparency log or queued for it, and the log is whole |

mod budgets;
mod clients;
mod ledger;
mod outbox;
mod receipts;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use uuid::Uuid;

use super::claims::{View, id_of};
use crate::support::TestApp;
use ledger::Ledger;

type Violations = Vec<String>;

const CHECKS: &[fn(&Ledger, &View, &mut Violations)] = &[
    stock,
    budgets::check,
    limits,
    clients::what_they_saw,
    clients::refusals_name_a_grant,
    clients::who_holds_a_grant_is_not_turned_away,
    clients::one_answer_per_key,
    clients::kept_answers,
    clients::reversals,
    grants_belong_to_requests,
    reversals_belong_to_requests,
    outbox::check,
    statuses,
];

/// `exhausted`: rewards and events with budgets for which enough users claimed, so that nothing may remain.
pub async fn check(fixtures: &TestApp, view: &View, exhausted: &[&Value]) {
    let mut violations = Vec::new();
    ledger::check_nothing_is_open(&fixtures.app.db, &mut violations).await;
    let ledger = Ledger::read(&fixtures.app.db).await;
    for check in CHECKS {
        check(&ledger, view, &mut violations);
    }
    for exhausted in exhausted {
        let id = id_of(exhausted);
        if ledger.events.contains_key(&id) {
            budgets::is_used_up(&ledger, id, &mut violations);
        } else if ledger.stock.get(&id).is_none_or(|stock| stock.remaining != 0) {
            let stock = ledger.stock.get(&id);
            violations.push(format!(
                "I1: enough users claimed reward {id}, but the stock is {stock:?}"
            ));
        }
    }
    receipts::check(fixtures, &ledger, view, &mut violations).await;
    check_transparency_log(fixtures, &mut violations).await;
    assert!(
        violations.is_empty(),
        "{} violations:\n{}",
        violations.len(),
        violations
            .iter()
            .take(40)
            .map(String::as_str)
            .collect::<Vec<_>>()
            .join("\n")
    );
}

async fn check_transparency_log(fixtures: &TestApp, violations: &mut Violations) {
    let (verifier, _) = meed_host::app::verifier(fixtures.config(), &fixtures.app.db, &[]).expect("a verifier");
    let report = verifier.verify(None).await.expect("a report");
    violations.extend(report.findings.iter().map(|finding| format!("I9: {finding}")));
}

fn stock(ledger: &Ledger, _: &View, violations: &mut Violations) {
    let mut given: BTreeMap<Uuid, i64> = BTreeMap::new();
    for grant in &ledger.grants {
        let stock = ledger.stock.get(&grant.reward_id);
        let is_held = ledger
            .requests
            .get(&grant.request_id)
            .is_some_and(|request| request.status == "GRANTED");
        if is_held && stock.is_some_and(|stock| grant.stock_since == Some(stock.since)) {
            *given.entry(grant.reward_id).or_default() += grant.quantity;
        }
    }
    for (id, stock) in &ledger.stock {
        let given = given.get(id).copied().unwrap_or_default();
        if given > stock.total || stock.remaining < 0 {
            violations.push(format!(
                "I1: reward {id} has {given} grants of a stock of {}",
                stock.total
            ));
        }
        if stock.remaining + given != stock.total {
            violations.push(format!(
                "I2: reward {id} has {} remaining and {given} granted, which is not {}",
                stock.remaining, stock.total
            ));
        }
    }
}

fn limits(ledger: &Ledger, _: &View, violations: &mut Violations) {
    let mut slots: BTreeMap<_, Vec<i64>> = BTreeMap::new();
    for request in ledger.requests.values().filter(|request| request.status == "GRANTED") {
        let key = (request.event_id, request.user_id, &request.period);
        slots.entry(key).or_default().push(request.slot);
    }
    for ((event, user, period), slots) in slots {
        let limit = ledger.limit(event);
        let distinct: BTreeSet<_> = slots.iter().collect();
        let in_range = slots.iter().all(|slot| (1..=limit).contains(slot));
        if distinct.len() != slots.len() || !in_range {
            violations.push(format!(
                "I4: user {user} has the slots {slots:?} in {period} of event {event}, which allows {limit}"
            ));
        }
    }
}

fn grants_belong_to_requests(ledger: &Ledger, _: &View, violations: &mut Violations) {
    for request in ledger.requests.values() {
        let grants = ledger.grants_of(request.id).count();
        let should_give = matches!(request.status.as_str(), "GRANTED" | "REVERSED");
        if should_give != (grants > 0) {
            violations.push(format!(
                "I6: request {} is {} and has {grants} grants",
                request.id, request.status
            ));
        }
    }
    for grant in &ledger.grants {
        if !ledger.requests.contains_key(&grant.request_id) {
            violations.push(format!("I6: grant {} belongs to no request", grant.id));
        }
    }
}

fn reversals_belong_to_requests(ledger: &Ledger, _: &View, violations: &mut Violations) {
    for request in ledger.requests.values() {
        let reversals = ledger.reversals.values().filter(|of| **of == request.id).count();
        if reversals != usize::from(request.status == "REVERSED") {
            violations.push(format!(
                "I6: request {} is {} and has {reversals} reversals",
                request.id, request.status
            ));
        }
    }
}

fn statuses(ledger: &Ledger, _: &View, violations: &mut Violations) {
    for request in ledger.requests.values() {
        if !matches!(request.status.as_str(), "GRANTED" | "REJECTED" | "FAILED" | "REVERSED") {
            violations.push(format!("I7: request {} is {}", request.id, request.status));
        }
    }
}
