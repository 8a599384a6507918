//! I8: every request and every reversal has a receipt that the server signed and that agrees with the tables.

use std::collections::BTreeSet;

use meed_host::claims::SignedReversal;
use meed_host::keys::PublicKey;
use serde_json::json;
use uuid::Uuid;

use super::Violations;
use super::ledger::{Ledger, Request};
use crate::faults::claims::View;
use crate::support::TestApp;

pub(super) async fn check(fixtures: &TestApp, ledger: &Ledger, view: &View, violations: &mut Violations) {
    let jwks = serde_json::to_string(&fixtures.app.keys.receipt.jwks()).expect("the keys");
    let trusted = PublicKey::of_jwks(&jwks).expect("the keys");
    let is_new = |id: Uuid| view.looked_at.lock().expect("no panic before").insert(id);
    of_requests(fixtures, ledger, &trusted, is_new, violations).await;
    of_reversals(fixtures, ledger, &trusted, is_new, violations).await;
}

async fn of_reversals(
    fixtures: &TestApp,
    ledger: &Ledger,
    trusted: &[PublicKey],
    is_new: impl Fn(Uuid) -> bool,
    violations: &mut Violations,
) {
    if ledger.reversals.is_empty() {
        return;
    }
    let auditor = fixtures.auditor().await;
    for (id, request) in ledger.reversals.iter().filter(|(id, _)| is_new(**id)) {
        let path = format!("/reward-requests/{request}/reversal/receipt");
        let reply = fixtures.get(&path).bearer(&auditor).send().await;
        let Ok(signed) = serde_json::from_value::<SignedReversal>(reply.json) else {
            violations.push(format!(
                "I8: reversal {id} of request {request} has no receipt: {}",
                reply.status
            ));
            continue;
        };
        if let Err(error) = signed.verify(Some(trusted)) {
            violations.push(format!("I8: the receipt of reversal {id}: {error}"));
        }
        let Some(receipt) = &signed.receipt else {
            violations.push(format!("I8: the receipt of reversal {id} has no content"));
            continue;
        };
        let given: BTreeSet<_> = ledger
            .grants_of(*request)
            .map(|grant| (grant.id, grant.quantity))
            .collect();
        let taken = receipt.grants.iter().map(|grant| (grant.id, i64::from(grant.quantity)));
        let of_request = &ledger.requests[request];
        let is_theirs = receipt.id == *id
            && receipt.request_id == *request
            && receipt.event_id == of_request.event_id
            && receipt.user_id == of_request.user_id
            && given == taken.collect();
        let original = fixtures.app.claims.receipt(*request).await;
        if !is_theirs || !original.is_ok_and(|(_, original)| original.digest == receipt.request_digest) {
            violations.push(format!(
                "I8: the receipt of reversal {id} says {receipt:?}, the tables {of_request:?} and {given:?}"
            ));
        }
    }
}

async fn of_requests(
    fixtures: &TestApp,
    ledger: &Ledger,
    trusted: &[PublicKey],
    is_new: impl Fn(Uuid) -> bool,
    violations: &mut Violations,
) {
    for request in ledger.requests.values().filter(|request| is_new(request.id)) {
        let (_, signed) = match fixtures.app.claims.receipt(request.id).await {
            Ok(receipt) => receipt,
            Err(error) => {
                violations.push(format!("I8: request {} has no receipt: {error}", request.id));
                continue;
            }
        };
        if let Err(error) = signed.verify(Some(trusted)) {
            violations.push(format!("I8: the receipt of request {}: {error}", request.id));
        }
        let signed = serde_json::to_value(&signed).expect("JSON");
        let (receipt, terms) = (&signed["receipt"], &signed["terms"]);
        let said = json!([
            receipt["requestId"],
            terms["eventId"],
            terms["eventRevision"],
            receipt["userId"],
            receipt["period"],
            receipt["slot"],
            receipt["status"],
        ]);
        if said != row(request) {
            violations.push(format!(
                "I8: the receipt of request {} says {said}, the table {}",
                request.id,
                row(request)
            ));
        }
        let awards = receipt["awards"].as_array().expect("awards");
        let mut awards: Vec<_> = awards
            .iter()
            .map(|award| {
                let quantity = award["quantity"].as_u64().expect("a quantity");
                (
                    award["rewardId"].as_str().expect("an id").to_owned(),
                    u32::try_from(quantity).unwrap_or_default(),
                )
            })
            .collect();
        let mut grants: Vec<_> = ledger
            .grants_of(request.id)
            .map(|grant| {
                (
                    grant.reward_id.to_string(),
                    u32::try_from(grant.quantity).unwrap_or_default(),
                )
            })
            .collect();
        awards.sort();
        grants.sort();
        if awards != grants {
            violations.push(format!(
                "I8: the receipt of request {} awards {awards:?}, given are {grants:?}",
                request.id
            ));
        }
    }
}

fn row(request: &Request) -> serde_json::Value {
    // A request that was reversed later is granted in its receipt.
    let status = if request.status == "REVERSED" {
        "GRANTED"
    } else {
        &request.status
    };
    json!([
        request.id,
        request.event_id,
        request.event_revision,
        request.user_id,
        request.period,
        request.slot,
        status,
    ])
}
