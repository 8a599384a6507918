//! I5: what clients and operators were told, against the tables and against what they were told before.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use serde_json::Value;
use uuid::Uuid;

use super::Violations;
use super::books::Books;
use crate::faults::claims::{View, id_of};

pub(super) fn what_they_saw(books: &Books, view: &View, violations: &mut Violations) {
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

/// A refusal names a grant of the user in that very event. It may be taken back by now.
pub(super) fn refusals_name_a_grant(books: &Books, view: &View, violations: &mut Violations) {
    let refusals = view.answers.iter();
    for answer in refusals.filter(|answer| answer.body["code"] == "already-granted") {
        let named = answer.body["rewardRequestId"].as_str().and_then(|id| id.parse().ok());
        let request = named.and_then(|id: Uuid| books.requests.get(&id));
        let ids = |grants: &Value| -> BTreeSet<String> {
            let ids = grants.as_array().into_iter().flatten().filter_map(Value::as_str);
            ids.map(str::to_owned).collect()
        };
        let is_theirs = request.is_some_and(|request| {
            let given: BTreeSet<_> = books.grants_of(request.id).map(|grant| grant.id.to_string()).collect();
            request.user_id == answer.ask.user
                && request.event_id == answer.ask.event
                && matches!(request.status.as_str(), "GRANTED" | "REVERSED")
                && !given.is_empty()
                && ids(&answer.body["grantIds"]) == given
        });
        if !is_theirs {
            violations.push(format!(
                "I5: user {} was refused in event {} for a grant that is not there: {}; there is {request:?}",
                answer.ask.user, answer.ask.event, answer.text
            ));
        }
    }
}

/// Whoever has all the grants of a period and asks after they were told so is told of the grant, whatever became of the
/// stock and the budget. Grants that were taken back later do not count, and a key keeps its first answer.
pub(super) fn who_holds_a_grant_is_not_turned_away(books: &Books, view: &View, violations: &mut Violations) {
    let mut known: BTreeMap<Uuid, Instant> = BTreeMap::new();
    let mut first_asked: BTreeMap<_, Instant> = BTreeMap::new();
    for answer in &view.answers {
        if answer.is_granted() {
            let known = known.entry(id_of(&answer.body)).or_insert(answer.told);
            *known = answer.told.min(*known);
        }
        let asked = first_asked
            .entry((answer.ask.user, &answer.ask.key))
            .or_insert(answer.asked);
        *asked = answer.asked.min(*asked);
    }
    let mut held: BTreeMap<_, Vec<Instant>> = BTreeMap::new();
    for request in books.requests.values().filter(|request| request.status == "GRANTED") {
        if let Some(told) = known.get(&request.id) {
            let place = (request.event_id, request.user_id, request.period.as_str());
            held.entry(place).or_default().push(*told);
        }
    }
    for answer in view.answers.iter().filter(|answer| answer.is_turned_away()) {
        let asked = match &answer.ask.key {
            Some(_) => first_asked[&(answer.ask.user, &answer.ask.key)],
            None => answer.asked,
        };
        let period = answer.body["period"].as_str().unwrap_or_default();
        let place = (answer.ask.event, answer.ask.user, period);
        let held_then = held
            .get(&place)
            .into_iter()
            .flatten()
            .filter(|told| **told < asked)
            .count();
        if i64::try_from(held_then).is_ok_and(|held| held >= books.limit(answer.ask.event)) {
            violations.push(format!(
                "I5: user {} held {held_then} grants of event {} in {period} and was told {}",
                answer.ask.user, answer.ask.event, answer.text
            ));
        }
    }
}

/// Of those who take a grant back, one is told so at most, and all others of the very same reversal.
pub(super) fn reversals(books: &Books, view: &View, violations: &mut Violations) {
    let mut done: BTreeMap<Uuid, usize> = BTreeMap::new();
    for told in &view.reversals {
        let (body, request) = (&told.body, told.request);
        let reversal = match told.status {
            201 => {
                *done.entry(request).or_default() += 1;
                &body["id"]
            }
            409 if body["code"] == "already-reversed" => &body["reversalId"],
            _ => &Value::Null,
        };
        let reversal = reversal.as_str().and_then(|id| id.parse::<Uuid>().ok());
        let is_there = reversal.is_some_and(|id| books.reversals.get(&id) == Some(&request));
        let given: BTreeSet<_> = books.grants_of(request).map(|grant| grant.id.to_string()).collect();
        let taken = body["grants"].as_array().into_iter().flatten();
        let taken: BTreeSet<_> = taken.map(|grant| in_answer(grant).0).collect();
        if !is_there || (told.status == 201 && given != taken) {
            violations.push(format!(
                "I5: a reversal of request {request} was answered with {}: {body}",
                told.status
            ));
        }
    }
    for (request, times) in done.iter().filter(|(_, times)| **times > 1) {
        violations.push(format!("I5: request {request} was taken back {times} times"));
    }
}

/// Whoever repeats a claim under its key is told the same, byte for byte; only a failure may be tried again, and a refusal
/// for a grant that was taken back later.
pub(super) fn one_answer_per_key(books: &Books, view: &View, violations: &mut Violations) {
    let mut told: BTreeMap<_, BTreeSet<(u16, &str)>> = BTreeMap::new();
    for answer in &view.answers {
        let named = answer.body["rewardRequestId"]
            .as_str()
            .and_then(|id| id.parse::<Uuid>().ok());
        let is_void = named
            .and_then(|id| books.requests.get(&id))
            .is_some_and(|request| request.status == "REVERSED");
        if let Some(key) = &answer.ask.key
            && answer.body["status"] != "FAILED"
            && !is_void
        {
            // A refusal (409) carries the id of its own request and is made anew each time.
            let text = if answer.status == 201 { &answer.text } else { "" };
            let told = told.entry((answer.ask.user, key)).or_default();
            told.insert((answer.status, text));
        }
    }
    for ((user, key), answers) in told.iter().filter(|(_, answers)| answers.len() > 1) {
        violations.push(format!(
            "I5: user {user} was told different things under the key {key}: {answers:?}"
        ));
    }
    // Once an answer is kept, nothing else is told.
    let mut kept: BTreeMap<_, Instant> = BTreeMap::new();
    for answer in view.answers.iter().filter(|answer| answer.status == 201) {
        let since = kept.entry((answer.ask.user, &answer.ask.key)).or_insert(answer.told);
        *since = answer.told.min(*since);
    }
    for answer in view
        .answers
        .iter()
        .filter(|answer| answer.body["code"] == "already-granted")
    {
        let since = kept.get(&(answer.ask.user, &answer.ask.key));
        if answer.ask.key.is_some() && since.is_some_and(|since| *since < answer.asked) {
            violations.push(format!(
                "I5: user {} had an answer under the key {:?} and was told {}",
                answer.ask.user, answer.ask.key, answer.text
            ));
        }
    }
}

pub(super) fn kept_answers(books: &Books, _: &View, violations: &mut Violations) {
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

/// A grant as it is told: its id, and how much of the reward.
pub(super) fn in_answer(grant: &Value) -> (String, i64) {
    let id = grant["id"].as_str().unwrap_or_default();
    (id.to_owned(), grant["quantity"].as_i64().unwrap_or_default())
}

pub(super) fn sorted<T: Ord>(mut list: Vec<T>) -> Vec<T> {
    list.sort();
    list
}
