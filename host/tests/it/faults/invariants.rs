//! What must hold after every run, whatever happened in it. All violations are told, each with its ids.
//!
//! | | |
//! |---|---|
//! | I1 | no more is given than there is, and all of it where enough people came |
//! | I2 | what is left and what was given since the stock is counted make the total |
//! | I3 | no more is granted than an event's budget allows, and its counts are what was granted |
//! | I4 | nobody has more grants in a period than the event allows, and no place twice |
//! | I5 | what a client was told is there, with the same content |
//! | I6 | a grant is told to the world exactly once; a rejection gives nothing and tells nothing |
//! | I7 | nothing is left open: no request half-way, no transaction, no lock |
//! | I8 | every receipt is signed and says what the tables say |

mod books;
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
    budgets,
    limits,
    what_clients_saw,
    refusals_name_a_grant,
    one_answer_per_key,
    kept_answers,
    grants_belong_to_requests,
    outbox,
    statuses,
];

/// `exhausted`: rewards that enough people asked for, so that nothing may be left.
pub async fn check(stage: &TestApp, view: &View, exhausted: &[&Value]) {
    let mut violations = Vec::new();
    books::nothing_is_open(&stage.app.db, &mut violations).await;
    let books = Books::read(&stage.app.db).await;
    for check in CHECKS {
        check(&books, view, &mut violations);
    }
    for reward in exhausted {
        let id = id_of(reward);
        let left = books.stock.get(&id).map(|stock| stock.remaining);
        if left != Some(0) {
            violations.push(format!(
                "I1: enough people asked for reward {id}, but {left:?} are left"
            ));
        }
    }
    receipts::check(stage, &books, &mut violations).await;
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

fn budgets(books: &Books, _: &View, violations: &mut Violations) {
    let mut used: BTreeMap<(Uuid, &str), (i64, i64)> = BTreeMap::new();
    for request in books.requests.values().filter(|request| request.status == "GRANTED") {
        if let Some((period, amount)) = &request.budget {
            let used = used.entry((request.event_id, period)).or_default();
            *used = (used.0 + 1, used.1 + amount);
        }
    }
    for ((event, period), budget) in &books.budgets {
        let used = used.remove(&(*event, period.as_str())).unwrap_or_default();
        let is_kept =
            budget.max_grants.is_none_or(|most| used.0 <= most) && budget.max_amount.is_none_or(|most| used.1 <= most);
        if !is_kept || used != (budget.grants, budget.amount) {
            violations.push(format!(
                "I3: {used:?} are used of event {event} in {period}, where there is {budget:?}"
            ));
        }
    }
    for key in used.keys() {
        violations.push(format!("I3: no budget counts what was granted of {key:?}"));
    }
}

fn limits(books: &Books, _: &View, violations: &mut Violations) {
    let mut places: BTreeMap<_, Vec<i64>> = BTreeMap::new();
    for request in books.requests.values().filter(|request| request.status == "GRANTED") {
        let key = (request.event_id, request.user_id, &request.period);
        places.entry(key).or_default().push(request.sequence);
    }
    for ((event, user, period), places) in places {
        let limit = books.limits.get(&event).copied().unwrap_or_default();
        let distinct: BTreeSet<_> = places.iter().collect();
        let in_range = places.iter().all(|place| (1..=limit).contains(place));
        if distinct.len() != places.len() || !in_range {
            violations.push(format!(
                "I4: user {user} has the places {places:?} in {period} of event {event}, which allows {limit}"
            ));
        }
    }
}

fn what_clients_saw(books: &Books, view: &View, violations: &mut Violations) {
    for answer in view.answers.iter().filter(|answer| matches!(answer.status, 200 | 201)) {
        let told = &answer.body;
        let Some(request) = books.requests.get(&id_of(told)) else {
            violations.push(format!(
                "I5: a client was told of request {}, which is not there",
                told["id"]
            ));
            continue;
        };
        let grants: Vec<_> = books
            .grants_of(request.id)
            .map(|grant| (grant.id.to_string(), grant.quantity))
            .collect();
        let told_grants: Vec<_> = told["grants"].as_array().into_iter().flatten().map(in_answer).collect();
        let same_content = request.user_id == answer.ask.user
            && request.event_id == answer.ask.event
            && (told["status"] == request.status.as_str() || request.status == "REVERSED")
            && told["period"] == request.period.as_str()
            && sorted(grants.clone()) == sorted(told_grants);
        if !same_content {
            violations.push(format!(
                "I5: a client was told {told}, but there are {request:?} and {grants:?}"
            ));
        }
    }
}

fn in_answer(grant: &Value) -> (String, i64) {
    let id = grant["id"].as_str().unwrap_or_default();
    (id.to_owned(), grant["quantity"].as_i64().unwrap_or_default())
}

fn sorted<T: Ord>(mut list: Vec<T>) -> Vec<T> {
    list.sort();
    list
}

fn refusals_name_a_grant(books: &Books, view: &View, violations: &mut Violations) {
    for answer in view
        .answers
        .iter()
        .filter(|answer| answer.body["code"] == "already-granted")
    {
        let named = answer.body["rewardRequestId"].as_str().and_then(|id| id.parse().ok());
        let request = named.and_then(|id: Uuid| books.requests.get(&id));
        if !request.is_some_and(|request| request.user_id == answer.ask.user && request.status != "REJECTED") {
            violations.push(format!(
                "I5: user {} was refused for a grant that is not there: {}",
                answer.ask.user, answer.text
            ));
        }
    }
}

/// Whoever repeats a claim under its key is told the same, byte for byte; only a failure may be tried again.
fn one_answer_per_key(_: &Books, view: &View, violations: &mut Violations) {
    let mut told: BTreeMap<_, BTreeSet<(u16, &str)>> = BTreeMap::new();
    for answer in &view.answers {
        if let Some(key) = &answer.ask.key
            && answer.body["status"] != "FAILED"
        {
            // A refusal (409) carries the id of its own request and is made anew each time.
            let text = if answer.status == 201 { &answer.text } else { "" };
            told.entry((answer.ask.user, key))
                .or_default()
                .insert((answer.status, text));
        }
    }
    for ((user, key), answers) in told.iter().filter(|(_, answers)| answers.len() > 1) {
        violations.push(format!(
            "I5: user {user} was told different things under the key {key}: {answers:?}"
        ));
    }
}

fn kept_answers(books: &Books, _: &View, violations: &mut Violations) {
    for kept in &books.kept {
        let answer: Value = serde_json::from_str(&kept.response).unwrap_or_default();
        let fits = books.requests.get(&kept.request_id).is_some_and(|request| {
            request.user_id == kept.user_id
                && answer["id"] == kept.request_id.to_string().as_str()
                && answer["status"] != "FAILED"
                && (answer["status"] == request.status.as_str() || request.status == "REVERSED")
        });
        if !fits {
            violations.push(format!(
                "I5: under the key {} an answer is kept for no such request: {answer}",
                kept.key
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

fn outbox(books: &Books, _: &View, violations: &mut Violations) {
    let mut told: BTreeMap<String, Vec<&books::Told>> = BTreeMap::new();
    for row in books.told.iter().filter(|row| row.kind == "reward.granted") {
        let request = row.payload["requestId"].as_str().unwrap_or_default();
        told.entry(request.to_owned()).or_default().push(row);
    }
    for request in books.requests.values() {
        let rows = told.remove(&request.id.to_string()).unwrap_or_default();
        let expected = usize::from(matches!(request.status.as_str(), "GRANTED" | "REVERSED"));
        if rows.len() != expected {
            violations.push(format!(
                "I6: request {} is {} and was told {} times",
                request.id,
                request.status,
                rows.len()
            ));
        }
        for row in rows {
            let grants = books
                .grants_of(request.id)
                .map(|grant| (grant.id.to_string(), grant.quantity))
                .collect();
            let told = row.payload["grants"]
                .as_array()
                .into_iter()
                .flatten()
                .map(in_answer)
                .collect();
            let fits = row.user_id == request.user_id
                && row.payload["userId"] == request.user_id.to_string().as_str()
                && row.payload["eventId"] == request.event_id.to_string().as_str()
                && sorted::<(String, i64)>(grants) == sorted(told);
            if !fits {
                violations.push(format!("I6: request {} was told as {}", request.id, row.payload));
            }
        }
    }
    for request in told.keys() {
        violations.push(format!("I6: a grant was told of request {request}, which is not there"));
    }
}

fn statuses(books: &Books, _: &View, violations: &mut Violations) {
    for request in books.requests.values() {
        if !matches!(request.status.as_str(), "GRANTED" | "REJECTED" | "FAILED" | "REVERSED") {
            violations.push(format!("I7: request {} is {}", request.id, request.status));
        }
    }
}
