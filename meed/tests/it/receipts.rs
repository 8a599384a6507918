//! `/reward-requests/{id}/receipt` and its replay

mod forged;
mod replay;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use meed_host::auth::Role;
use meed_host::claims::{SignedReceipt, check_seed};
use meed_host::events::Secret;
use rstest_reuse::apply;
use serde_json::{Value, json};

use crate::support::{TestApp, TestUser, on_both_engines, text};

/// Claims, and returns the receipt as JSON.
async fn receipt_of(app: &TestApp, user: &TestUser, event: &Value) -> Value {
    let token = app.log_in(user).await;
    let request = app.claim(&token, event).send().await.expect(201);
    let path = format!("/reward-requests/{}/receipt", text(&request, "id"));
    app.get(&path).bearer(&token).send().await.expect(200)
}

fn signed(receipt: &Value) -> SignedReceipt {
    serde_json::from_value(receipt.clone()).expect("a receipt")
}

#[apply(on_both_engines)]
async fn a_receipt_says_what_was_claimed_and_how_it_was_decided(app: TestApp) {
    let event = app
        .event("login-streak", json!({"days": 7}), json!({"timeZone": "Asia/Seoul"}))
        .await;
    let user = app.user(Role::User).await;
    let signed = receipt_of(&app, &user, &event).await;
    let receipt = &signed["receipt"];
    let request = app
        .read(&format!("/reward-requests/{}", text(receipt, "requestId")))
        .await;
    for member in [
        "eventId",
        "eventRevision",
        "userId",
        "status",
        "reasons",
        "progress",
        "period",
        "receivedAt",
        "decidedAt",
    ] {
        assert_eq!(receipt[member], request[member], "{member}");
    }
    assert_eq!(
        (text(receipt, "format"), &receipt["sequence"]),
        ("meed-receipt/1", &json!(1))
    );
    assert_eq!(
        (&receipt["seedCommitment"], &receipt["awards"]),
        (&event["seedCommitment"], &json!([]))
    );
    let evaluation = &receipt["evaluation"];
    assert_eq!(
        evaluation["plugin"],
        json!({
            "name": "login-streak", "version": event["condition"]["version"], "digest": event["condition"]["digest"],
        })
    );
    assert_eq!(evaluation["params"], json!({"days": 7}));
    assert_eq!(
        evaluation["facts"],
        json!([{"days": {"current": 1, "longest": 1, "lastDay": "2026-03-01"}}])
    );
    assert_eq!(evaluation["queries"][0]["streak"]["window"], json!({"lastDays": 8}));
    assert_eq!(
        evaluation["limits"],
        json!({
            "evaluateFuel": 1_000_000, "setupFuel": 10_000_000, "memoryBytes": 2 << 20, "tableElements": 10_000,
            "inputBytes": 256 << 10, "stateBytes": 16 << 10, "decisionBytes": 16 << 10,
        })
    );
    assert_eq!(evaluation["outcome"]["decision"]["progress"], receipt["progress"]);
    assert_eq!(text(evaluation, "engine"), app.app.sandbox.fingerprint());
    let context = &evaluation["context"];
    assert_eq!(
        (text(context, "now"), &context["local"]["hour"]),
        ("2026-03-01T12:00:00.000Z", &json!(21))
    );
    assert_eq!(context["rewards"][0]["id"], event["rewardIds"][0]);
}

#[apply(on_both_engines)]
async fn anyone_can_verify_the_signature(app: TestApp) {
    let event = app
        .event(
            "first-come",
            json!({}),
            json!({"title": "Überraschung \u{1f381}\n\"quoted\""}),
        )
        .await;
    let user = app.user(Role::User).await;
    let signed = receipt_of(&app, &user, &event).await;
    // Without Meed's code, as a third party would verify it: canonical JSON, SHA-256, Ed25519.
    let canonical = serde_json_canonicalizer::to_string(&signed["receipt"]).expect("canonical JSON");
    assert_eq!(
        text(&signed, "digest"),
        format!("sha256:{}", hex::encode(digest(&SHA256, canonical.as_bytes())))
    );
    let keys = app.get("/.well-known/receipt-keys.json").send().await.expect(200);
    let key = &keys["keys"][0];
    let signature = &signed["signature"];
    assert_eq!(
        (
            text(signature, "algorithm"),
            &signature["keyId"],
            &signature["publicKey"]
        ),
        ("Ed25519", &key["kid"], &key["x"])
    );
    let key = URL_SAFE_NO_PAD.decode(text(key, "x")).expect("base64url");
    let value = STANDARD.decode(text(signature, "value")).expect("base64");
    aws_lc_rs::signature::UnparsedPublicKey::new(&aws_lc_rs::signature::ED25519, key)
        .verify(canonical.as_bytes(), &value)
        .expect("a true signature");
}

#[apply(on_both_engines)]
async fn owners_operators_and_auditors_can_read_it(app: TestApp) {
    let event = app.event("first-come", json!({}), json!({})).await;
    let (user, other, admin) = (
        app.user(Role::User).await,
        app.user(Role::User).await,
        app.user(Role::Admin).await,
    );
    let receipt = receipt_of(&app, &user, &event).await;
    let path = format!("/reward-requests/{}/receipt", text(&receipt["receipt"], "requestId"));
    for token in [&user.token, &app.operator().await, &app.auditor().await, &admin.token] {
        assert_eq!(app.get(&path).bearer(token).send().await.expect(200), receipt);
    }
    app.get(&path)
        .bearer(&other.token)
        .send()
        .await
        .expect_problem(404, "no-such-reward-request");
    app.get(&path).send().await.expect_problem(401, "unauthenticated");
}

#[apply(on_both_engines)]
async fn receipts_signed_before_a_new_key_still_verify(app: TestApp) {
    let event = app.event("first-come", json!({}), json!({})).await;
    let (ada, bob) = (app.user(Role::User).await, app.user(Role::User).await);
    let old = receipt_of(&app, &ada, &event).await;
    app.at("2026-03-01T12:05:00Z");
    meed::keys::generate(&app.keys_directory(), &app.clock, false).expect("new keys");
    let restarted = app.replica(&[]);
    let new = receipt_of(&restarted, &bob, &event).await;
    assert_ne!(old["signature"]["keyId"], new["signature"]["keyId"]);
    let jwks = restarted.get("/.well-known/receipt-keys.json").send().await;
    let keys = meed_host::keys::PublicKey::of_jwks(&String::from_utf8(jwks.bytes).expect("text")).expect("keys");
    for receipt in [&old, &new] {
        signed(receipt).verify(Some(&keys)).expect("a true receipt");
    }
    let path = format!("/reward-requests/{}/receipt", text(&old["receipt"], "requestId"));
    assert_eq!(restarted.get(&path).bearer(&ada.token).send().await.expect(200), old);
}

#[apply(on_both_engines)]
async fn the_seed_can_be_recomputed_after_the_event(app: TestApp) {
    let changes = json!({"endDate": "2026-03-02T00:00:00Z", "recurrence": {"period": "DAILY", "count": 2}});
    let event = app.event("first-come", json!({}), changes).await;
    let user = app.user(Role::User).await;
    let receipts = [
        receipt_of(&app, &user, &event).await,
        receipt_of(&app, &user, &event).await,
    ];
    app.at("2026-03-02T00:01:00Z");
    let published = app.read(&format!("/events/{}", text(&event, "id"))).await["seedSecret"].clone();
    let published = published.as_str().expect("the secret");
    let secret = hex::decode(published).expect("hexadecimal");
    for (sequence, whole) in (1..).zip(&receipts) {
        let receipt = &whole["receipt"];
        assert_eq!(text(receipt, "seedCommitment"), hex::encode(digest(&SHA256, &secret)));
        let message = format!(
            "meed-seed/1\nclaim\n{}\n{}\n2026-03-01\n{sequence}",
            text(&event, "id"),
            user.id
        );
        let seed = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &secret), message.as_bytes());
        assert_eq!(text(&receipt["evaluation"]["context"], "seed"), hex::encode(seed));
        let check = |secret: &str| check_seed(&signed(whole), &Secret::from_hex(secret).expect("a secret"));
        assert_eq!(check(published), Some(Ok(())));
        assert!(matches!(check(&"0".repeat(64)), Some(Err(fault)) if fault.contains("committed")));
    }
}
