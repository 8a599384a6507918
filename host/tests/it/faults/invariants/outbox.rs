//! I6: what the world is told of grants and reversals.

use std::collections::BTreeMap;

use uuid::Uuid;

use super::Violations;
use super::books::{Books, Told};
use super::clients::{in_answer, sorted};
use crate::faults::claims::View;

pub(super) fn check(books: &Books, _: &View, violations: &mut Violations) {
    once(books, "reward.granted", &["GRANTED", "REVERSED"], violations);
    once(books, "reward.reversed", &["REVERSED"], violations);
}

/// Of every request in one of these statuses and of no other, with its own grants.
fn once(books: &Books, kind: &str, statuses: &[&str], violations: &mut Violations) {
    let mut told: BTreeMap<String, Vec<&Told>> = BTreeMap::new();
    for row in books.told.iter().filter(|row| row.kind == kind) {
        let request = row.payload["requestId"].as_str().unwrap_or_default();
        told.entry(request.to_owned()).or_default().push(row);
    }
    for request in books.requests.values() {
        let rows = told.remove(&request.id.to_string()).unwrap_or_default();
        let expected = usize::from(statuses.contains(&request.status.as_str()));
        if rows.len() != expected {
            violations.push(format!(
                "I6: request {} is {} and {kind} was told {} times",
                request.id,
                request.status,
                rows.len()
            ));
        }
        for row in rows {
            let grants = books.grants_of(request.id);
            let grants = grants.map(|grant| (grant.id.to_string(), grant.quantity)).collect();
            let told = row.payload["grants"].as_array().into_iter().flatten();
            let told = told.map(in_answer).collect();
            let reversal = row.payload["reversalId"]
                .as_str()
                .and_then(|id| id.parse::<Uuid>().ok());
            let fits = row.user_id == request.user_id
                && row.payload["userId"] == request.user_id.to_string().as_str()
                && row.payload["eventId"] == request.event_id.to_string().as_str()
                && sorted::<(String, i64)>(grants) == sorted(told)
                && (kind == "reward.granted"
                    || reversal.is_some_and(|id| books.reversals.get(&id) == Some(&request.id)));
            if !fits {
                violations.push(format!("I6: of request {} was told {kind} {}", request.id, row.payload));
            }
        }
    }
    for request in told.keys() {
        violations.push(format!("I6: {kind} was told of request {request}, which is not there"));
    }
}
