//! Running a decision again from its receipt

use meed_host::auth::Role;
use meed_host::claims::{Proof, Replay, ReplayError, replay};
use meed_host::contract::{Arguments, Reason};
use meed_host::sandbox::Digest;
use rstest_reuse::apply;
use serde_json::{Value, json};

use super::{proof, receipt_of};
use crate::guests::{Condition, ENDLESS};
use crate::support::{TestApp, bundled, guest, on_both_engines, padded, reviewing, text};

async fn replayed(app: &TestApp, receipt: &Value, module: Option<Vec<u8>>) -> Result<Replay, ReplayError> {
    replay(&app.app.sandbox, &proof(receipt), module, None).await
}

async fn assert_match(app: &TestApp, receipt: &Value, module: Vec<u8>) {
    let fuel = receipt["receipt"]["evaluation"]["fuel"].as_u64().expect("fuel");
    let replay = replayed(app, receipt, Some(module)).await.expect("a verdict");
    assert_eq!(replay, Replay::Match { fuel });
}

#[apply(on_both_engines)]
async fn every_bundled_condition_matches(app: TestApp) {
    let reward = app.reward(json!({"type": "ITEM"})).await;
    let user = app.user(Role::User).await;
    let cases = [
        ("REJECTED", "login-streak", json!({"days": 7})),
        ("GRANTED", "login-streak", json!({"days": 1})),
        ("REJECTED", "invite-count", json!({"count": 1})),
        ("GRANTED", "activity-count", json!({"kind": "auth.login", "count": 1})),
        (
            "REJECTED",
            "activity-count",
            json!({"kind": "shop.purchase", "sum": 5, "where": {"shop": "ä\n\u{1f381}"}}),
        ),
        ("REJECTED", "user-attributes", json!({"minLevel": 10, "region": "KR"})),
        ("GRANTED", "first-come", json!({})),
        ("GRANTED", "lucky-draw", json!({"weights": {text(&reward, "id"): 1}})),
    ];
    for (status, plugin, params) in cases {
        let event = app
            .event(
                plugin,
                params,
                json!({"rewardIds": [reward["id"]], "timeZone": "Asia/Seoul"}),
            )
            .await;
        let receipt = receipt_of(&app, &user, &event).await;
        assert_eq!(text(&receipt["receipt"], "status"), status, "{plugin}");
        assert_match(&app, &receipt, bundled(plugin)).await;
    }
}

#[apply(on_both_engines)]
async fn a_replay_needs_only_the_receipt_and_the_module(app: TestApp) {
    let event = app.event("login-streak", json!({"days": 7}), json!({})).await;
    let user = app.user(Role::User).await;
    let receipt = receipt_of(&app, &user, &event).await;
    app.app.db.close().await;
    app.at("2031-01-01T00:00:00Z");
    // As an indented file.
    let file = serde_json::to_string_pretty(&receipt).expect("JSON");
    let signed = Proof::parse(file.as_bytes()).expect("a receipt");
    let replay = replay(&app.app.sandbox, &signed, Some(bundled("login-streak")), None)
        .await
        .expect("a verdict");
    assert!(matches!(replay, Replay::Match { .. }), "{replay:?}");
}

#[apply(on_both_engines)]
async fn a_failure_by_fuel_matches(app: TestApp) {
    let user = app.user(Role::User).await;
    for (name, evaluate, code) in [
        ("endless", ENDLESS, "out-of-fuel"),
        ("trapping", "(unreachable)", "trap"),
    ] {
        let module = Condition {
            evaluate,
            ..guest(name)
        }
        .module();
        let plugin = app.install(module.clone()).await;
        let event = app.event_on(&plugin, json!({}), json!({})).await;
        let receipt = receipt_of(&app, &user, &event).await;
        let outcome = &receipt["receipt"]["evaluation"]["outcome"];
        assert_eq!(outcome, &json!({"failure": {"code": code, "deterministic": true}}));
        assert_match(&app, &receipt, module).await;
    }
}

#[apply(on_both_engines)]
async fn a_decision_that_needs_review_matches(app: TestApp) {
    let plugin = app.install(reviewing("reviewed").module()).await;
    let event = app.event_on(&plugin, json!({}), json!({})).await;
    let user = app.user(Role::User).await;
    let receipt = receipt_of(&app, &user, &event).await;
    assert_match(&app, &receipt, reviewing("reviewed").module()).await;
    let receipt = &receipt["receipt"];
    assert_eq!((text(receipt, "status"), &receipt["awards"]), ("HELD", &json!([])));
    let decision = &receipt["evaluation"]["outcome"]["decision"];
    assert_eq!(
        (text(decision, "outcome"), text(decision, "awards")),
        ("needsReview", "all")
    );
    let reasons = receipt["reasons"].as_array().expect("reasons");
    assert_eq!(text(&reasons[0], "code"), "needs-review");
    assert_eq!(reasons[0]["source"], "HOST");
    assert_eq!(
        reasons[1..],
        [json!({
            "source": "CONDITION", "code": "large-amount", "message": "Amounts above 500 need a review.",
            "args": {"limit": "500"},
        })]
    );
    let path = format!("/events/{}/progress", text(&event, "id"));
    let progress = app.get(&path).bearer(&user.token).send().await.expect(200);
    assert_eq!(
        (&progress["eligible"], &progress["heldRequestId"]),
        (&json!(false), &receipt["requestId"])
    );
    assert_eq!(text(&progress["reasons"][0], "code"), "claim-held");
    assert_eq!(
        progress["reasons"].as_array().map(|reasons| &reasons[1..]),
        Some(&reasons[..])
    );
}

#[apply(on_both_engines)]
async fn a_machine_dependent_failure_is_not_replayable(app: TestApp) {
    let deep = "(call $deep)";
    let module = Condition {
        items: "(func $deep (call $deep))".to_owned(),
        evaluate: deep,
        ..guest("deep")
    }
    .module();
    let plugin = app.install(module.clone()).await;
    let event = app.event_on(&plugin, json!({}), json!({})).await;
    let user = app.user(Role::User).await;
    let receipt = receipt_of(&app, &user, &event).await;
    assert_eq!(
        receipt["receipt"]["evaluation"]["outcome"]["failure"]["deterministic"],
        false
    );
    let replay = replayed(&app, &receipt, Some(module)).await.expect("a verdict");
    assert!(
        matches!(&replay, Replay::NotReplayable(why) if why.contains("stack-overflow")),
        "{replay:?}"
    );
}

#[apply(on_both_engines)]
async fn decisions_of_the_host_need_no_re_run(app: TestApp) {
    let ended = app
        .event("first-come", json!({}), json!({"endDate": "2026-03-01T12:00:00Z"}))
        .await;
    let disabled = app.event("login-streak", json!({"days": 1}), json!({})).await;
    app.set_plugin(
        "login-streak",
        disabled["condition"]["version"].as_str().expect("a version"),
        "DISABLED",
    )
    .await;
    let user = app.user(Role::User).await;
    for event in [ended, disabled] {
        let receipt = receipt_of(&app, &user, &event).await;
        assert_eq!(receipt["receipt"]["evaluation"], Value::Null);
        assert_eq!(
            replayed(&app, &receipt, None).await.expect("a verdict"),
            Replay::NothingToRun
        );
    }
}

#[apply(on_both_engines)]
async fn only_the_same_module_is_accepted(app: TestApp) {
    let event = app.event("first-come", json!({}), json!({})).await;
    let user = app.user(Role::User).await;
    let receipt = receipt_of(&app, &user, &event).await;
    let needed = text(&event["condition"], "digest").to_owned();
    let missing = replayed(&app, &receipt, None).await.expect_err("no module");
    assert!(missing.to_string().contains(&needed), "{missing}");
    let other = padded(bundled("first-come"), "not the same");
    let passed = Digest::of(&other).to_string();
    let error = replayed(&app, &receipt, Some(other)).await.expect_err("another module");
    assert!(matches!(error, ReplayError::OtherPlugin { .. }), "{error:?}");
    assert!(
        error.to_string().contains(&needed) && error.to_string().contains(&passed),
        "{error}"
    );
}

#[apply(on_both_engines)]
async fn only_trusted_keys_are_accepted(app: TestApp) {
    let event = app.event("first-come", json!({}), json!({})).await;
    let user = app.user(Role::User).await;
    let receipt = proof(&receipt_of(&app, &user, &event).await);
    let module = || Some(bundled("first-come"));
    let jwks = async |path: &str| {
        let reply = app.get(path).send().await;
        meed_host::keys::PublicKey::of_jwks(&String::from_utf8(reply.bytes).expect("text")).expect("keys")
    };
    let receipt_keys = jwks("/.well-known/receipt-keys.json").await;
    let replayed = replay(&app.app.sandbox, &receipt, module(), Some(&receipt_keys))
        .await
        .expect("a verdict");
    assert!(matches!(replayed, Replay::Match { .. }), "{replayed:?}");
    for keys in [jwks("/.well-known/jwks.json").await, Vec::new()] {
        let error = replay(&app.app.sandbox, &receipt, module(), Some(&keys))
            .await
            .expect_err("not trusted");
        assert!(error.to_string().contains("signature"), "{error}");
    }
}

#[apply(on_both_engines)]
async fn a_decision_within_raised_limits_is_replayed_by_the_executable(app: TestApp) {
    let raised = app.replica_with(|_, limits| {
        let call = &mut limits.standard.call;
        call.evaluate_fuel = 3_000_000;
        call.setup_fuel = 20_000_000;
        call.table_elements = 20_000;
        call.memory_bytes = 4 << 20;
        call.input_bytes = 512 << 10;
        call.state_bytes = 32 << 10;
        call.decision_bytes = 32 << 10;
    });
    // More state and a longer answer than the defaults allow.
    let mut large = guest("large");
    if let (Ok(binding), Ok(decision)) = (&mut large.binding, &mut large.decision) {
        binding.state = vec![7; 20 << 10];
        decision.reasons = vec![
            Reason {
                code: "long".to_owned(),
                message: "x".repeat(1000),
                args: Arguments::new(),
            };
            20
        ];
    }
    let plugin = raised.install(large.module()).await;
    let event = raised.event_on(&plugin, json!({}), json!({})).await;
    let user = raised.user(Role::User).await;
    let receipt = receipt_of(&raised, &user, &event).await;
    assert_eq!(text(&receipt["receipt"], "status"), "GRANTED");

    let elsewhere = replayed(&app, &receipt, Some(large.module())).await.expect("a verdict");
    assert!(
        matches!(&elsewhere, Replay::NotReplayable(why) if why.contains("state_bytes: 32768")),
        "{elsewhere:?}"
    );

    let directory = tempfile::tempdir().expect("a directory");
    let (file, module) = (
        directory.path().join("receipt.json"),
        directory.path().join("large.wasm"),
    );
    std::fs::write(&file, receipt.to_string()).expect("a file");
    std::fs::write(&module, large.module()).expect("a file");
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_meed"))
        .arg("replay")
        .arg(&file)
        .arg("--plugin")
        .arg(&module)
        .current_dir(directory.path())
        .output()
        .expect("the command starts");
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && printed.contains("MATCH"),
        "{printed}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
}
