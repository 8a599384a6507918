//! I8: every request has a receipt that the server signed, and the two say the same.

use meed_host::keys::PublicKey;
use serde_json::json;

use super::Violations;
use super::books::{Books, Request};
use crate::support::TestApp;

pub(super) async fn check(stage: &TestApp, books: &Books, violations: &mut Violations) {
    let jwks = serde_json::to_string(&stage.app.keys.receipt.jwks()).expect("the keys");
    let trusted = PublicKey::of_jwks(&jwks).expect("the keys");
    for request in books.requests.values() {
        let (_, signed) = match stage.app.requests.receipt(request.id).await {
            Ok(receipt) => receipt,
            Err(error) => {
                violations.push(format!("I8: request {} has no receipt: {error}", request.id));
                continue;
            }
        };
        if let Err(error) = signed.verify(Some(&trusted)) {
            violations.push(format!("I8: the receipt of request {}: {error}", request.id));
        }
        let receipt = serde_json::to_value(&signed.receipt).expect("JSON");
        let said = json!([
            receipt["requestId"],
            receipt["eventId"],
            receipt["eventRevision"],
            receipt["userId"],
            receipt["period"],
            receipt["sequence"],
            receipt["status"],
        ]);
        if said != row(request) {
            violations.push(format!(
                "I8: the receipt of request {} says {said}, the table {}",
                request.id,
                row(request)
            ));
        }
        let mut awards: Vec<_> = signed
            .receipt
            .awards
            .iter()
            .map(|award| (award.reward_id.clone(), award.quantity))
            .collect();
        let mut grants: Vec<_> = books
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
    // What was taken back later was granted when the receipt was written.
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
        request.sequence,
        status,
    ])
}
