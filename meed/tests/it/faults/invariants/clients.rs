//! I5: the responses of clients and operators, compared with the tables and with earlier responses.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use serde_json::Value;
use uuid::Uuid;

use super::Violations;
use super::ledger::Ledger;
use crate::faults::claims::{View, id_of};

pub(super) fn what_they_saw(ledger: &Ledger, view: &View, violations: &mut Violations) {
    for answer in view.answers.iter().filter(|answer| matches!(answer.status, 200 | 201)) {
        let body = &answer.body;
        let Some(request) = ledger.requests.get(&id_of(body)) else {
            violations.push(format!(
                "I5: a response names the request {}, which does not exist",
                body["id"]
            ));
            continue;
        };
        let grants: Vec<_> = ledger
            .grants_of(request.id)
            .map(|grant| (grant.id.to_string(), grant.quantity))
            .collect();
        let answered_grants: Vec<_> = body["grants"].as_array().into_iter().flatten().map(in_answer).collect();
        let same_content = request.user_id == answer.ask.user
            && request.event_id == answer.ask.event
            && (body["status"] == request.status.as_str() || request.status == "REVERSED")
            && body["period"] == request.period.as_str()
            && sorted(grants.clone()) == sorted(answered_grants);
        if !same_content {
            violations.push(format!(
                "I5: a response is {body}, but the tables have {request:?} and {grants:?}"
            ));
        }
    }
}

/// A refusal names a grant of the user in the same event, which may have been reversed since.
pub(super) fn refusals_name_a_grant(ledger: &Ledger, view: &View, violations: &mut Violations) {
    let refusals = view.answers.iter();
    for answer in refusals.filter(|answer| answer.body["code"] == "already-granted") {
        let named = answer.body["rewardRequestId"].as_str().and_then(|id| id.parse().ok());
        let request = named.and_then(|id: Uuid| ledger.requests.get(&id));
        let ids = |grants: &Value| -> BTreeSet<String> {
            let ids = grants.as_array().into_iter().flatten().filter_map(Value::as_str);
            ids.map(str::to_owned).collect()
        };
        let is_theirs = request.is_some_and(|request| {
            let given: BTreeSet<_> = ledger.grants_of(request.id).map(|grant| grant.id.to_string()).collect();
            request.user_id == answer.ask.user
                && request.event_id == answer.ask.event
                && matches!(request.status.as_str(), "GRANTED" | "REVERSED")
                && !given.is_empty()
                && ids(&answer.body["grantIds"]) == given
        });
        if !is_theirs {
            violations.push(format!(
                "I5: user {} was refused in event {} because of a grant that does not exist: {}; the table has {request:?}",
                answer.ask.user, answer.ask.event, answer.text
            ));
        }
    }
}

/// How long a process may repeat an earlier "sold out" after a grant in another process: without Redis it hears of the stock
/// that was returned when its copy is outdated.
const OUTDATED: Duration = Duration::from_secs(2);

/// A user with all grants of a period who claims again gets the grant in the response, regardless of
/// stock and budget. Grants that were reversed later do not count, and a key keeps its first response.
pub(super) fn who_holds_a_grant_is_not_turned_away(ledger: &Ledger, view: &View, violations: &mut Violations) {
    let mut known: BTreeMap<Uuid, Instant> = BTreeMap::new();
    let mut first_asked: BTreeMap<_, Instant> = BTreeMap::new();
    for answer in &view.answers {
        if answer.is_granted() {
            let known = known.entry(id_of(&answer.body)).or_insert(answer.answered_at);
            *known = answer.answered_at.min(*known);
        }
        let asked = first_asked
            .entry((answer.ask.user, &answer.ask.key))
            .or_insert(answer.sent_at);
        *asked = answer.sent_at.min(*asked);
    }
    let mut held: BTreeMap<_, Vec<Instant>> = BTreeMap::new();
    for request in ledger.requests.values().filter(|request| request.status == "GRANTED") {
        if let Some(answered_at) = known.get(&request.id) {
            let place = (request.event_id, request.user_id, request.period.as_str());
            held.entry(place).or_default().push(*answered_at);
        }
    }
    for answer in view.answers.iter().filter(|answer| answer.is_turned_away()) {
        let asked = match &answer.ask.key {
            Some(_) => first_asked[&(answer.ask.user, &answer.ask.key)],
            None => answer.sent_at,
        };
        let is_repeat = view
            .answers
            .iter()
            .any(|earlier| earlier.body["id"] == answer.body["id"] && earlier.answered_at < answer.sent_at);
        let known_since = if is_repeat { OUTDATED } else { Duration::ZERO };
        let period = answer.body["period"].as_str().unwrap_or_default();
        let place = (answer.ask.event, answer.ask.user, period);
        let held_then = held
            .get(&place)
            .into_iter()
            .flatten()
            .filter(|answered_at| **answered_at + known_since < asked)
            .count();
        if i64::try_from(held_then).is_ok_and(|held| held >= ledger.limit(answer.ask.event)) {
            violations.push(format!(
                "I5: user {} had {held_then} grants of event {} in {period}, but the response was {}",
                answer.ask.user, answer.ask.event, answer.text
            ));
        }
    }
}

/// At most one of several reversals of a request succeeds, and all responses name the same reversal.
pub(super) fn reversals(ledger: &Ledger, view: &View, violations: &mut Violations) {
    let mut done: BTreeMap<Uuid, usize> = BTreeMap::new();
    for answer in &view.reversals {
        let (body, request) = (&answer.body, answer.request);
        let reversal = match answer.status {
            201 => {
                *done.entry(request).or_default() += 1;
                &body["id"]
            }
            409 if body["code"] == "already-reversed" => &body["reversalId"],
            _ => &Value::Null,
        };
        let reversal = reversal.as_str().and_then(|id| id.parse::<Uuid>().ok());
        let is_there = reversal.is_some_and(|id| ledger.reversals.get(&id) == Some(&request));
        let given: BTreeSet<_> = ledger.grants_of(request).map(|grant| grant.id.to_string()).collect();
        let taken = body["grants"].as_array().into_iter().flatten();
        let taken: BTreeSet<_> = taken.map(|grant| in_answer(grant).0).collect();
        if !is_there || (answer.status == 201 && given != taken) {
            violations.push(format!(
                "I5: a reversal of request {request} was answered with {}: {body}",
                answer.status
            ));
        }
    }
    for (request, times) in done.iter().filter(|(_, times)| **times > 1) {
        violations.push(format!("I5: request {request} was reversed {times} times"));
    }
}

/// A repeated claim with the same key has the same response, byte for byte; except after a failure, or a refusal
/// because of a grant that was reversed later.
pub(super) fn one_answer_per_key(ledger: &Ledger, view: &View, violations: &mut Violations) {
    let mut responses: BTreeMap<_, BTreeSet<(u16, &str)>> = BTreeMap::new();
    for answer in &view.answers {
        let named = answer.body["rewardRequestId"]
            .as_str()
            .and_then(|id| id.parse::<Uuid>().ok());
        let is_void = named
            .and_then(|id| ledger.requests.get(&id))
            .is_some_and(|request| request.status == "REVERSED");
        if let Some(key) = &answer.ask.key
            && answer.body["status"] != "FAILED"
            && !is_void
        {
            // A refusal (409) contains the id of the HTTP request, so each one is different.
            let text = if answer.status == 201 { &answer.text } else { "" };
            let responses = responses.entry((answer.ask.user, key)).or_default();
            responses.insert((answer.status, text));
        }
    }
    for ((user, key), answers) in responses.iter().filter(|(_, answers)| answers.len() > 1) {
        violations.push(format!(
            "I5: user {user} received different responses for the key {key}: {answers:?}"
        ));
    }
    // After a response is stored, no other response is sent.
    let mut kept: BTreeMap<_, Instant> = BTreeMap::new();
    for answer in view.answers.iter().filter(|answer| answer.status == 201) {
        let since = kept
            .entry((answer.ask.user, &answer.ask.key))
            .or_insert(answer.answered_at);
        *since = answer.answered_at.min(*since);
    }
    for answer in view
        .answers
        .iter()
        .filter(|answer| answer.body["code"] == "already-granted")
    {
        let since = kept.get(&(answer.ask.user, &answer.ask.key));
        if answer.ask.key.is_some() && since.is_some_and(|since| *since < answer.sent_at) {
            violations.push(format!(
                "I5: user {} had a stored response for the key {:?}, but received {}",
                answer.ask.user, answer.ask.key, answer.text
            ));
        }
    }
}

pub(super) fn kept_answers(ledger: &Ledger, _: &View, violations: &mut Violations) {
    for kept in &ledger.stored_responses {
        let answer: Value = serde_json::from_str(&kept.response).unwrap_or_default();
        let fits = ledger.requests.get(&kept.request_id).is_some_and(|request| {
            request.user_id == kept.user_id
                && answer["id"] == kept.request_id.to_string().as_str()
                && answer["status"] != "FAILED"
                && (answer["status"] == request.status.as_str() || request.status == "REVERSED")
        });
        if !fits {
            violations.push(format!(
                "I5: the response stored for the key {} names a request that does not exist: {answer}",
                kept.key
            ));
        }
    }
}

/// A grant in a response: its id and quantity.
pub(super) fn in_answer(grant: &Value) -> (String, i64) {
    let id = grant["id"].as_str().unwrap_or_default();
    (id.to_owned(), grant["quantity"].as_i64().unwrap_or_default())
}

pub(super) fn sorted<T: Ord>(mut list: Vec<T>) -> Vec<T> {
    list.sort();
    list
}
