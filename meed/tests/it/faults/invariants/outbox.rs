//! I6: the outbox messages of grants and reversals.

use std::collections::BTreeMap;

use uuid::Uuid;

use super::Violations;
use super::clients::{in_answer, sorted};
use super::ledger::{Ledger, OutboxMessage};
use crate::faults::claims::View;

pub(super) fn check(ledger: &Ledger, _: &View, violations: &mut Violations) {
    once(ledger, "reward.granted", &["GRANTED", "REVERSED"], violations);
    once(ledger, "reward.reversed", &["REVERSED"], violations);
}

/// One message for every request with one of these statuses and for no other, with the grants of the request.
fn once(ledger: &Ledger, kind: &str, statuses: &[&str], violations: &mut Violations) {
    let mut by_request: BTreeMap<String, Vec<&OutboxMessage>> = BTreeMap::new();
    for row in ledger.messages.iter().filter(|row| row.kind == kind) {
        let request = row.payload["requestId"].as_str().unwrap_or_default();
        by_request.entry(request.to_owned()).or_default().push(row);
    }
    for request in ledger.requests.values() {
        let rows = by_request.remove(&request.id.to_string()).unwrap_or_default();
        let expected = usize::from(statuses.contains(&request.status.as_str()));
        if rows.len() != expected {
            violations.push(format!(
                "I6: request {} is {} and has {} messages {kind}",
                request.id,
                request.status,
                rows.len()
            ));
        }
        for row in rows {
            let grants = ledger.grants_of(request.id);
            let grants = grants.map(|grant| (grant.id.to_string(), grant.quantity)).collect();
            let sent = row.payload["grants"].as_array().into_iter().flatten();
            let sent = sent.map(in_answer).collect();
            let reversal = row.payload["reversalId"]
                .as_str()
                .and_then(|id| id.parse::<Uuid>().ok());
            let fits = row.user_id == request.user_id
                && row.payload["userId"] == request.user_id.to_string().as_str()
                && row.payload["eventId"] == request.event_id.to_string().as_str()
                && sorted::<(String, i64)>(grants) == sorted(sent)
                && (kind == "reward.granted"
                    || reversal.is_some_and(|id| ledger.reversals.get(&id) == Some(&request.id)));
            if !fits {
                violations.push(format!(
                    "I6: the message {kind} of request {} is wrong: {}",
                    request.id, row.payload
                ));
            }
        }
    }
    for request in by_request.keys() {
        violations.push(format!(
            "I6: a message {kind} names the request {request}, which does not exist"
        ));
    }
}
