//! `/reward-requests/{id}/receipt` and its replay

mod erased;
mod forged;
mod format1;
mod replay;
mod terms;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use meed_host::auth::Role;
use meed_host::claims::{Proof, check_seed};
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

pub(crate) fn proof(receipt: &Value) -> Proof {
    Proof::parse(receipt.to_string().as_bytes()).expect("a receipt")
}

fn canonical(value: &Value) -> String {
    serde_json_canonicalizer::to_string(value).expect("canonical JSON")
}

fn sha256(bytes: &[u8]) -> Vec<u8> {
    digest(&SHA256, bytes).as_ref().to_vec()
}

/// The digest of a receipt as a third party computes it.
fn salted(signed: &Value) -> Vec<u8> {
    let salt = hex::decode(text(signed, "salt")).expect("hexadecimal");
    sha256(&[salt.as_slice(), canonical(&signed["receipt"]).as_bytes()].concat())
}

/// The text that the key signed: the root that digest and path lead to, as a third party computes it.
fn statement(signed: &Value) -> String {
    let signature = &signed["signature"];
    let (mut index, size) = (
        signature["leafIndex"].as_u64().expect("an index"),
        &signature["treeSize"],
    );
    let mut last = size.as_u64().expect("a size") - 1;
    let digest = text(signed, "digest").strip_prefix("sha256:").expect("a digest");
    let mut hash = sha256(&[&[0], hex::decode(digest).expect("hexadecimal").as_slice()].concat());
    for sibling in signature["path"].as_array().expect("a path") {
        let sibling = hex::decode(sibling.as_str().expect("text")).expect("hexadecimal");
        if index % 2 == 1 || index == last {
            hash = sha256(&[[1].as_slice(), &sibling, &hash].concat());
            while index % 2 == 0 && index != 0 {
                (index, last) = (index / 2, last / 2);
            }
        } else {
            hash = sha256(&[[1].as_slice(), &hash, &sibling].concat());
        }
        (index, last) = (index / 2, last / 2);
    }
    format!("meed-receipts/2\n{size}\n{}", hex::encode(hash))
}

#[apply(on_both_engines)]
async fn a_receipt_says_what_was_claimed_and_how_it_was_decided(app: TestApp) {
    let event = app
        .event("login-streak", json!({"days": 7}), json!({"timeZone": "Asia/Seoul"}))
        .await;
    let user = app.user(Role::User).await;
    let signed = receipt_of(&app, &user, &event).await;
    let (receipt, terms) = (&signed["receipt"], &signed["terms"]);
    let request = app
        .read(&format!("/reward-requests/{}", text(receipt, "requestId")))
        .await;
    for member in [
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
        (text(receipt, "format"), &receipt["slot"]),
        ("meed-receipt/2", &json!(1))
    );
    assert_eq!(receipt["awards"], json!([]));
    let reward = app
        .read(&format!("/rewards/{}", event["rewardIds"][0].as_str().expect("an id")))
        .await;
    for (member, expected) in [
        ("format", json!("meed-terms/1")),
        ("eventId", request["eventId"].clone()),
        ("eventRevision", request["eventRevision"].clone()),
        ("title", event["title"].clone()),
        ("starts", event["startDate"].clone()),
        ("ends", event["endDate"].clone()),
        ("timeZone", json!("Asia/Seoul")),
        ("recurrence", json!({"period": "ONCE", "count": 1})),
        ("seedCommitment", event["seedCommitment"].clone()),
        ("params", json!({"days": 7})),
        (
            "rewards",
            json!([{
                "id": reward["id"], "revision": 1, "type": reward["type"], "itemId": reward["itemId"],
                "value": reward["value"], "duration": reward["duration"],
            }]),
        ),
    ] {
        assert_eq!(terms[member], expected, "{member}");
    }
    assert_eq!(
        text(receipt, "terms"),
        format!("sha256:{}", hex::encode(sha256(canonical(terms).as_bytes())))
    );
    let evaluation = &receipt["evaluation"];
    assert_eq!(
        terms["plugin"],
        json!({
            "name": "login-streak", "version": event["condition"]["version"], "digest": event["condition"]["digest"],
        })
    );
    assert_eq!(
        evaluation["facts"],
        json!([{"days": {"current": 1, "longest": 1, "lastDay": "2026-03-01"}}])
    );
    assert_eq!(terms["queries"][0]["streak"]["window"], json!({"lastDays": 8}));
    assert_eq!(
        terms["limits"],
        json!({
            "evaluateFuel": 1_000_000, "setupFuel": 10_000_000, "memoryBytes": 2 << 20, "tableElements": 10_000,
            "inputBytes": 256 << 10, "stateBytes": 16 << 10, "decisionBytes": 16 << 10,
        })
    );
    assert_eq!(evaluation["outcome"]["decision"]["progress"], receipt["progress"]);
    assert_eq!(text(terms, "engine"), app.app.sandbox.fingerprint());
    for instant in ["asOf", "knownBy"] {
        assert_eq!(text(evaluation, instant), "2026-03-01T12:00:00.000Z");
    }
    assert_eq!(evaluation["local"]["hour"], 21);
    assert_eq!(evaluation["maxQuantities"], json!([1]));
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
    // Without Meed's code, as a third party would verify it: canonical JSON, SHA-256, a Merkle path, Ed25519.
    assert_eq!(
        text(&signed, "digest"),
        format!("sha256:{}", hex::encode(salted(&signed)))
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
        .verify(statement(&signed).as_bytes(), &value)
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
        proof(receipt).verify(Some(&keys)).expect("a true receipt");
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
    for (slot, whole) in (1..).zip(&receipts) {
        let receipt = &whole["receipt"];
        assert_eq!(
            text(&whole["terms"], "seedCommitment"),
            hex::encode(digest(&SHA256, &secret))
        );
        let message = format!(
            "meed-seed/1\nclaim\n{}\n{}\n2026-03-01\n{slot}",
            text(&event, "id"),
            user.id
        );
        let seed = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &secret), message.as_bytes());
        assert_eq!(text(&receipt["evaluation"], "seed"), hex::encode(seed));
        let check = |secret: &str| check_seed(&proof(whole), &Secret::from_hex(secret).expect("a secret"));
        assert_eq!(check(published), Some(Ok(())));
        assert!(matches!(check(&"0".repeat(64)), Some(Err(fault)) if fault.contains("committed")));
    }
}
