//! What must hold after every run, whatever happened in it. All violations are told, each with its ids.
//!
//! | | |
//! |---|---|
//! | I1 | no more is given than there is, and all of it where enough people came |
//! | I2 | what is left and what was given since the stock is counted, less what was taken back, make the total |
//! | I3 | no more is granted than an event's budget allows, and its counts are what the grants that stand are worth |
//! | I4 | nobody has more grants in a period than the event allows, and no place twice |
//! | I5 | what clients and operators were told is there, with the same content, and whoever holds a grant is told so |
//! | I6 | a grant and a reversal are told to the world exactly once; a rejection gives nothing and tells nothing |
//! | I7 | nothing is left open: no request half-way, no transaction, no lock |
//! | I8 | every receipt, of a request or of a reversal, is signed and says what the tables say |

mod books;
mod budgets;
mod clients;
mod outbox;
mod receipts;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use uuid::Uuid;

use super::claims::{View, id_of};
use crate::support::TestApp;
use books::Books;

type Violations = Vec<String>;

const CHECKS: &[fn(&Books, &View, &mut Violations)] = &[
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

/// `exhausted`: rewards and events with budgets that enough people asked for, so that nothing may be left of them.
pub async fn check(stage: &TestApp, view: &View, exhausted: &[&Value]) {
    let mut violations = Vec::new();
    books::nothing_is_open(&stage.app.db, &mut violations).await;
    let books = Books::read(&stage.app.db).await;
    for check in CHECKS {
        check(&books, view, &mut violations);
    }
    for exhausted in exhausted {
        let id = id_of(exhausted);
        if books.events.contains_key(&id) {
            budgets::is_used_up(&books, id, &mut violations);
        } else if books.stock.get(&id).is_none_or(|stock| stock.remaining != 0) {
            let stock = books.stock.get(&id);
            violations.push(format!(
                "I1: enough people asked for reward {id}, but there is {stock:?}"
            ));
        }
    }
    receipts::check(stage, &books, view, &mut violations).await;
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

fn stock(books: &Books, _: &View, violations: &mut Violations) {
    let mut given: BTreeMap<Uuid, i64> = BTreeMap::new();
    for grant in &books.grants {
        let stock = books.stock.get(&grant.reward_id);
        let is_held = books
            .requests
            .get(&grant.request_id)
            .is_some_and(|request| request.status == "GRANTED");
        if is_held && stock.is_some_and(|stock| grant.stock_since == Some(stock.since)) {
            *given.entry(grant.reward_id).or_default() += grant.quantity;
        }
    }
    for (id, stock) in &books.stock {
        let given = given.get(id).copied().unwrap_or_default();
        if given > stock.total || stock.remaining < 0 {
            violations.push(format!("I1: of reward {id} {given} are given of {}", stock.total));
        }
        if stock.remaining + given != stock.total {
            violations.push(format!(
                "I2: of reward {id} {} are left and {given} given, which is not {}",
                stock.remaining, stock.total
            ));
        }
    }
}

fn limits(books: &Books, _: &View, violations: &mut Violations) {
    let mut places: BTreeMap<_, Vec<i64>> = BTreeMap::new();
    for request in books.requests.values().filter(|request| request.status == "GRANTED") {
        let key = (request.event_id, request.user_id, &request.period);
        places.entry(key).or_default().push(request.sequence);
    }
    for ((event, user, period), places) in places {
        let limit = books.limit(event);
        let distinct: BTreeSet<_> = places.iter().collect();
        let in_range = places.iter().all(|place| (1..=limit).contains(place));
        if distinct.len() != places.len() || !in_range {
            violations.push(format!(
                "I4: user {user} has the places {places:?} in {period} of event {event}, which allows {limit}"
            ));
        }
    }
}

fn grants_belong_to_requests(books: &Books, _: &View, violations: &mut Violations) {
    for request in books.requests.values() {
        let grants = books.grants_of(request.id).count();
        let should_give = matches!(request.status.as_str(), "GRANTED" | "REVERSED");
        if should_give != (grants > 0) {
            violations.push(format!(
                "I6: request {} is {} and has {grants} grants",
                request.id, request.status
            ));
        }
    }
    for grant in &books.grants {
        if !books.requests.contains_key(&grant.request_id) {
            violations.push(format!("I6: grant {} belongs to no request", grant.id));
        }
    }
}

fn reversals_belong_to_requests(books: &Books, _: &View, violations: &mut Violations) {
    for request in books.requests.values() {
        let reversals = books.reversals.values().filter(|of| **of == request.id).count();
        if reversals != usize::from(request.status == "REVERSED") {
            violations.push(format!(
                "I6: request {} is {} and has {reversals} reversals",
                request.id, request.status
            ));
        }
    }
}

fn statuses(books: &Books, _: &View, violations: &mut Violations) {
    for request in books.requests.values() {
        if !matches!(request.status.as_str(), "GRANTED" | "REJECTED" | "FAILED" | "REVERSED") {
            violations.push(format!("I7: request {} is {}", request.id, request.status));
        }
    }
}
