//! The content of a receipt can be erased: digest and signature still verify, and nothing else is left.

use meed_host::auth::Role;
use meed_host::claims::{Replay, SignedReversal, replay};
use rstest_reuse::apply;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{proof, receipt_of};
use crate::support::{TestApp, on_both_engines, text};

/// Erases the content and the salt of a request's receipts, as a user's erasure does.
pub async fn erase(app: &TestApp, request: &str) {
    let id: Uuid = request.parse().expect("an id");
    let mut tx = app.app.db.begin().await.expect("a transaction");
    for sql in [
        "UPDATE reward_requests SET receipt = NULL, receipt_salt = NULL WHERE id = $1",
        "UPDATE reversals SET receipt = NULL, receipt_salt = NULL WHERE request_id = $1",
    ] {
        assert_eq!(tx.query(sql).bind(id).execute(&mut tx).await.expect("rows"), 1);
    }
    tx.commit().await.expect("a commit");
}

#[apply(on_both_engines)]
async fn digest_and_signature_of_an_erased_receipt_verify(app: TestApp) {
    let event = app.event("first-come", json!({}), json!({})).await;
    let user = app.user(Role::User).await;
    let whole = receipt_of(&app, &user, &event).await;
    let request = text(&whole["receipt"], "requestId");
    let path = format!("/reward-requests/{request}/reversal");
    app.post(&path)
        .bearer(&app.operator().await)
        .json(&json!({"reason": "Returned"}))
        .send()
        .await
        .expect(201);
    let reversal = app.read(&format!("{path}/receipt")).await;

    erase(&app, request).await;
    let erased = app.read(&format!("/reward-requests/{request}/receipt")).await;
    for member in ["receipt", "terms", "salt"] {
        assert_eq!(erased[member], Value::Null, "{member}");
    }
    assert_eq!(
        (&erased["digest"], &erased["signature"]),
        (&whole["digest"], &whole["signature"])
    );
    let replayed = replay(&app.app.sandbox, &proof(&erased), None, None).await;
    assert_eq!(replayed.expect("a verdict"), Replay::Erased);
    let mut forged = erased.clone();
    forged["digest"] = json!(format!("sha256:{}", "0".repeat(64)));
    assert!(replay(&app.app.sandbox, &proof(&forged), None, None).await.is_err());

    let left = app.read(&format!("{path}/receipt")).await;
    assert_eq!(left["digest"], reversal["digest"]);
    assert_eq!(left["receipt"], Value::Null);
    let left: SignedReversal = serde_json::from_value(left).expect("a reversal");
    left.verify(None).expect("a true reversal");
}
