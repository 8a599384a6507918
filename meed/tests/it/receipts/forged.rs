//! Forged receipts. In the second half the forger has the server's key, and only the re-run detects the forgery.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use meed_host::auth::Role;
use meed_host::claims::{Proof, Replay, replay};
use rstest_reuse::apply;
use serde_json::{Value, json};

use super::{canonical, proof, receipt_of, salted, sha256, statement};
use crate::guests::Condition;
use crate::support::{TestApp, bundled, guest, on_both_engines, reviewing, text};

async fn genuine(app: &TestApp) -> Value {
    let event = app.event("login-streak", json!({"days": 1}), json!({})).await;
    let user = app.user(Role::User).await;
    receipt_of(app, &user, &event).await
}

fn change(receipt: &Value, pointer: &str, value: Value) -> Value {
    let mut changed = receipt.clone();
    *changed
        .pointer_mut(pointer)
        .unwrap_or_else(|| panic!("no {pointer} in {receipt:#}")) = value;
    changed
}

/// Digests and signs a changed receipt again, as only the server can.
fn resigned(app: &TestApp, mut changed: Value) -> Value {
    let terms = sha256(canonical(&changed["terms"]).as_bytes());
    changed["receipt"]["terms"] = json!(format!("sha256:{}", hex::encode(terms)));
    changed["digest"] = json!(format!("sha256:{}", hex::encode(salted(&changed))));
    let signature = app.app.keys.receipt.signing().sign(statement(&changed).as_bytes());
    changed["signature"]["value"] = json!(STANDARD.encode(signature));
    changed
}

/// The result of a third party's verification, as text.
async fn told(app: &TestApp, receipt: &Value) -> String {
    match replay(&app.app.sandbox, &proof(receipt), Some(bundled("login-streak")), None).await {
        Ok(Replay::Differs(differences)) => differences.join("\n"),
        Ok(other) => format!("{other:?}"),
        Err(error) => error.to_string(),
    }
}

#[apply(on_both_engines)]
async fn a_changed_byte_invalidates_the_digest_or_the_signature(app: TestApp) {
    let receipt = genuine(&app).await;
    assert!(told(&app, &receipt).await.starts_with("Match"));
    for (pointer, value) in [
        ("/receipt/status", json!("REJECTED")),
        ("/receipt/evaluation/fuel", json!(1)),
        ("/receipt/evaluation/facts/0/days/current", json!(2)),
        ("/receipt/evaluation/outcome/decision/outcome", json!("notEligible")),
        ("/receipt/evaluation/asOf", json!("2026-03-01T12:00:00.001Z")),
        ("/receipt/evaluation/knownBy", json!("2026-03-01T12:00:00.001Z")),
        ("/receipt/terms", json!(format!("sha256:{}", "0".repeat(64)))),
        ("/salt", json!("00".repeat(16))),
        ("/receipt/userId", json!("0199a3b0-5c1e-7a51-8f5e-0d6f2c1b9e77")),
        ("/digest", json!(format!("sha256:{}", "0".repeat(64)))),
    ] {
        let error = told(&app, &change(&receipt, pointer, value)).await;
        assert!(
            error.starts_with("the receipt says its digest is sha256:"),
            "{pointer}: {error}"
        );
    }
    for (pointer, value) in [
        ("/terms/params/days", json!(7)),
        ("/terms/recurrence/count", json!(81)),
        ("/terms/rewards/0/revision", json!(2)),
    ] {
        let error = told(&app, &change(&receipt, pointer, value)).await;
        assert!(
            error.starts_with("the receipt refers to the terms"),
            "{pointer}: {error}"
        );
    }
    for (pointer, value) in [
        ("/signature/path", json!(["00".repeat(32)])),
        ("/signature/path", json!(["x"])),
        ("/signature/leafIndex", json!(1)),
        ("/signature/treeSize", json!(0)),
        ("/signature/treeSize", json!(2)),
    ] {
        let error = told(&app, &change(&receipt, pointer, value)).await;
        assert!(error.starts_with("the path of the signature"), "{pointer}: {error}");
    }
    let genuine = receipt["signature"]["value"].as_str().expect("a signature");
    let mut bytes = STANDARD.decode(genuine).expect("base64");
    bytes[17] ^= 1;
    let other_key = app.app.keys.access.signing();
    let public = app
        .app
        .keys
        .access
        .public_key(other_key.id())
        .expect("a key")
        .to_base64url();
    for (pointer, value) in [
        ("/signature/value", json!(STANDARD.encode(bytes))),
        ("/signature/value", json!("")),
        ("/signature/value", json!("not base64!")),
        ("/signature/algorithm", json!("none")),
        ("/signature/publicKey", json!(public)),
        ("/signature/publicKey", json!("")),
        ("/signature/keyId", json!(other_key.id())),
    ] {
        let error = told(&app, &change(&receipt, pointer, value)).await;
        assert!(error.starts_with("the signature by the key"), "{pointer}: {error}");
    }
    let other = change(&receipt, "/receipt/format", json!("meed-receipt/3"));
    let error = Proof::parse(other.to_string().as_bytes()).expect_err("another format");
    assert_eq!(
        error.to_string(),
        "the format is \"meed-receipt/3\", not meed-receipt/2"
    );
    // Content without its salt or terms proves nothing.
    for member in ["/salt", "/terms"] {
        let error = told(&app, &change(&receipt, member, Value::Null)).await;
        assert!(error.contains("without its salt or its terms"), "{error}");
    }
}

#[apply(on_both_engines)]
async fn a_receipt_with_an_unknown_member_is_refused(app: TestApp) {
    let receipt = genuine(&app).await;
    for pointer in [
        "",
        "/receipt",
        "/receipt/evaluation",
        "/receipt/evaluation/local",
        "/terms",
        "/terms/rewards/0",
        "/signature",
    ] {
        let mut changed = receipt.clone();
        changed.pointer_mut(pointer).expect("an object")["extra"] = json!(1);
        assert!(Proof::parse(changed.to_string().as_bytes()).is_err(), "{pointer}");
    }
}

/// Readers of JSON differ in what they read here, so one of them could see another receipt than the one that verifies.
#[apply(on_both_engines)]
async fn a_receipt_that_readers_understand_differently_is_refused(app: TestApp) {
    let text = genuine(&app).await.to_string();
    assert!(Proof::parse(text.as_bytes()).is_ok());
    for (from, to) in [
        (r#""params":{"days":1}"#, r#""params":{"days":9,"days":1}"#),
        (r#""params":{"days":1}"#, r#""params":{"days":9007199254740993}"#),
        (r#""slot":1"#, r#""slot":2,"slot":1"#),
        (r#""terms":{"#, r#""terms":null,"terms":{"#),
    ] {
        assert!(text.contains(from), "{from} is not in {text}");
        assert!(Proof::parse(text.replace(from, to).as_bytes()).is_err(), "{to}");
    }
}

#[apply(on_both_engines)]
async fn the_re_run_detects_a_validly_signed_forgery(app: TestApp) {
    let receipt = genuine(&app).await;
    assert!(told(&app, &resigned(&app, receipt.clone())).await.starts_with("Match"));
    for (expected, pointer, value) in [
        (
            "outcome: the receipt says",
            "/receipt/evaluation/facts/0/days/current",
            json!(0),
        ),
        (
            "outcome: the receipt says",
            "/receipt/evaluation/outcome/decision/outcome",
            json!("notEligible"),
        ),
        (
            "outcome: the receipt says",
            "/receipt/evaluation/outcome",
            json!({"failure": {"code": "trap", "deterministic": true}}),
        ),
        ("fuel: the receipt says 7", "/receipt/evaluation/fuel", json!(7)),
        (
            "reasons: the receipt says",
            "/receipt/reasons",
            json!([{"source": "CONDITION", "code": "enough", "message": "Enough.", "args": {"days": "9"}}]),
        ),
        (
            "queries: the receipt says",
            "/terms/queries/0/streak/kind",
            json!("auth.logout"),
        ),
        ("state: bind gives other bytes", "/terms/params/days", json!(2)),
        ("params: bind refuses them", "/terms/params", json!({"days": "one"})),
        (
            "status: the receipt says REJECTED, the rules make it GRANTED",
            "/receipt/status",
            json!("REJECTED"),
        ),
        ("awards: the receipt says []", "/receipt/awards", json!([])),
        ("progress: the receipt says []", "/receipt/progress", json!([])),
        (
            "receivedAt: the receipt says",
            "/receipt/receivedAt",
            json!("2026-03-01T12:00:01.000Z"),
        ),
        ("slot: the receipt says 81", "/receipt/slot", json!(81)),
        ("slot: the receipt says 0", "/receipt/slot", json!(0)),
        ("period: the receipt says x64", "/receipt/period", json!("x64")),
        (
            "period: the receipt says 2026-03-01, receivedAt is in once",
            "/receipt/period",
            json!("2026-03-01"),
        ),
        (
            "period: the receipt says once, receivedAt is in 2026-03-01",
            "/terms/recurrence/period",
            json!("DAILY"),
        ),
        ("timeZone: ", "/terms/timeZone", json!("Mars/Olympus")),
        ("awards: the receipt gives", "/receipt/awards/0/revision", json!(2)),
        (
            "awards: the receipt gives",
            "/receipt/awards/0/itemId",
            json!("sku-other"),
        ),
        ("awards: the receipt gives", "/receipt/awards/0/duration", json!("P99Y")),
        ("awards: the receipt says", "/receipt/awards/0/quantity", json!(2)),
        (
            "awards: the receipt gives",
            "/receipt/awards/0/rewardId",
            json!("0199a3b0-5c1e-7a51-8f5e-0d6f2c1b9e77"),
        ),
        ("maxQuantities: ", "/receipt/evaluation/maxQuantities", json!([])),
        ("NotReplayable", "/terms/limits/stateBytes", json!(7)),
        ("NotReplayable", "/terms/engine", json!("wasmtime 1.0.0")),
        ("the receipt's state is not base64", "/terms/state", json!("?")),
        (
            "the receipt was decided by sha256:",
            "/terms/plugin/digest",
            json!(format!("sha256:{}", "0".repeat(64))),
        ),
    ] {
        let lie = resigned(&app, change(&receipt, pointer, value));
        let told = told(&app, &lie).await;
        assert!(told.lines().any(|line| line.starts_with(expected)), "{pointer}: {told}");
    }
}

#[apply(on_both_engines)]
async fn a_receipt_that_violates_the_hosts_rules_does_not_match(app: TestApp) {
    let receipt = genuine(&app).await;
    // A grant that no condition decided.
    let mut ungrounded = change(&receipt, "/receipt/evaluation", Value::Null);
    let told_of = told(&app, &resigned(&app, ungrounded.clone())).await;
    assert!(
        told_of.contains("status REJECTED or FAILED") && told_of.contains("awards"),
        "{told_of}"
    );
    ungrounded = change(&ungrounded, "/receipt/status", json!("REJECTED"));
    ungrounded = change(&ungrounded, "/receipt/awards", json!([]));
    ungrounded = change(&ungrounded, "/receipt/progress", json!([]));
    ungrounded = change(
        &ungrounded,
        "/receipt/reasons",
        json!([{"source": "HOST", "code": "sold-out", "message": ""}]),
    );
    assert_eq!(told(&app, &resigned(&app, ungrounded)).await, "NothingToRun");

    // A grant over a condition that failed.
    let module = Condition {
        evaluate: "(unreachable)",
        ..guest("trapping")
    }
    .module();
    let plugin = app.install(module.clone()).await;
    let event = app.event_on(&plugin, json!({}), json!({})).await;
    let failed = receipt_of(&app, &app.user(Role::User).await, &event).await;
    let lie = change(&failed, "/receipt/status", json!("GRANTED"));
    let lie = change(&lie, "/receipt/awards", receipt["receipt"]["awards"].clone());
    match replay(&app.app.sandbox, &proof(&resigned(&app, lie)), Some(module), None).await {
        Ok(Replay::Differs(differences)) => assert!(
            differences.iter().any(|line| line.starts_with("status")),
            "{differences:?}"
        ),
        other => panic!("{other:?}"),
    }
}

#[apply(on_both_engines)]
async fn a_review_that_does_not_lead_to_the_outcome_is_found(app: TestApp) {
    let module = reviewing("reviewed").module();
    let plugin = app.install(module.clone()).await;
    let event = app.event_on(&plugin, json!({}), json!({})).await;
    let user = app.user(Role::User).await;
    let held = receipt_of(&app, &user, &event).await;
    let path = format!("/reward-requests/{}", text(&held["receipt"], "requestId"));
    let approval = app.post(&format!("{path}/approval")).bearer(&app.operator().await);
    approval.json(&json!({"reason": "Fine"})).send().await.expect(200);
    let approved = app.read(&format!("{path}/receipt")).await;
    let replayed = async |receipt: Value| {
        let outcome = replay(&app.app.sandbox, &proof(&receipt), Some(module.clone()), None).await;
        match outcome.expect("a verdict") {
            Replay::Differs(differences) => differences.join("\n"),
            other => format!("{other:?}"),
        }
    };
    assert!(replayed(held.clone()).await.starts_with("Match"));
    assert!(replayed(approved.clone()).await.starts_with("Match"));
    let mut without = approved.clone();
    without["receipt"].as_object_mut().expect("members").remove("review");
    let mut overruled = held.clone();
    overruled["receipt"]["status"] = json!("GRANTED");
    let other_id = json!(user.id);
    for (lie, part) in [
        (without, "status"),
        (overruled, "status"),
        (change(&approved, "/receipt/status", json!("REJECTED")), "status"),
        (change(&approved, "/receipt/review/outcome", json!("DENIED")), "status"),
        (
            change(&approved, "/receipt/review/outcome", json!("EXPIRED")),
            "review by a person",
        ),
        (
            change(&approved, "/receipt/review/reviewedBy", Value::Null),
            "review by a person",
        ),
        (
            change(&approved, "/receipt/review/requestId", other_id),
            "review of this claim",
        ),
        (change(&approved, "/receipt/awards", json!([])), "awards"),
    ] {
        let found = replayed(resigned(&app, lie)).await;
        assert!(found.contains(part), "{part}: {found}");
    }
}

#[apply(on_both_engines)]
async fn the_signature_covers_what_a_re_run_cannot_check(app: TestApp) {
    let receipt = genuine(&app).await;
    for (pointer, value) in [
        ("/receipt/evaluation/local/hour", json!(23)),
        ("/receipt/evaluation/maxQuantities", json!([3])),
        ("/receipt/decidedAt", json!("2026-03-01T12:00:01.000Z")),
    ] {
        let unsigned = told(&app, &change(&receipt, pointer, value)).await;
        assert!(
            unsigned.starts_with("the receipt says its digest is"),
            "{pointer}: {unsigned}"
        );
    }
}
