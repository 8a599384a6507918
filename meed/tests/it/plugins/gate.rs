//! The self-checks of an admitted module: its examples bind, and its own cases pass.

use meed_host::auth::Role;
use meed_host::plugins::cases::{self, Case};
use rstest_reuse::apply;
use serde_json::{Value, json};

use crate::guests::{Condition, ENDLESS};
use crate::support::{TestApp, bundled, guest, on_both_engines, text};

/// A module that contains these cases.
fn carrying(module: Vec<u8>, cases: Value) -> Vec<u8> {
    let cases: Vec<Case> = serde_json::from_value(cases).expect("cases");
    cases::embed(module, &cases).expect("a module with cases")
}

/// The code and the message of the refusal.
async fn refusal(app: &TestApp, module: Vec<u8>) -> (String, String) {
    let problem = app.upload(module).await.expect_problem(422, "plugin-refused");
    (
        text(&problem, "refusal").to_owned(),
        text(&problem, "detail").to_owned(),
    )
}

fn with_schema(schema: &Value, bind: &'static str) -> Vec<u8> {
    let mut condition = guest("proposing");
    condition.manifest.params_schema = schema.to_string();
    Condition { bind, ..condition }.module()
}

fn five_of_seven_days() -> Value {
    json!({
        "description": "five of seven days",
        "params": {"days": 7},
        "facts": [{"days": {"current": 5, "longest": 5, "lastDay": "2026-03-02"}}],
        "expect": {"decision": {
            "outcome": "notEligible",
            "reasons": [{
                "code": "streak-too-short", "message": "Log in on 2 more days in a row.", "args": {"missing": "2"},
            }],
            "progress": [{"key": "days", "current": 5, "target": 7}],
            "awards": {"chosen": []},
            "retryAt": "2026-03-04T00:00:00.000Z",
        }},
        "fuelCeiling": 10_000,
    })
}

#[apply(on_both_engines)]
async fn a_module_whose_cases_pass_is_stored_with_them(app: TestApp) {
    let module = carrying(bundled("login-streak"), json!([five_of_seven_days()]));
    let version = app.upload(module.clone()).await.expect(201);
    let path = format!("/plugins/login-streak/versions/{}/module", text(&version, "version"));
    let token = app.operator().await;
    let stored = app.get(&path).bearer(&token).send().await;
    assert_eq!(stored.bytes, module);
}

#[apply(on_both_engines)]
async fn a_failed_case_is_reported_with_its_diff(app: TestApp) {
    let mut wrong = five_of_seven_days();
    wrong["expect"]["decision"]["progress"][0]["current"] = json!(6);
    let (code, detail) = refusal(
        &app,
        carrying(bundled("login-streak"), json!([five_of_seven_days(), wrong])),
    )
    .await;
    assert_eq!(code, "case-failed");
    assert!(detail.contains("case 2 (five of seven days)"), "{detail}");
    assert!(
        detail.contains(r#"-         "current": 6"#) && detail.contains(r#"+         "current": 5"#),
        "{detail}"
    );
    assert_eq!(app.read("/plugins").await["items"], json!([]));
}

#[apply(on_both_engines)]
async fn a_case_beyond_its_fuel_ceiling_fails(app: TestApp) {
    let mut dear = five_of_seven_days();
    dear["fuelCeiling"] = json!(100);
    let (code, detail) = refusal(&app, carrying(bundled("login-streak"), json!([dear]))).await;
    assert_eq!(code, "case-failed");
    assert!(detail.contains("the case allows 100"), "{detail}");
}

#[apply(on_both_engines)]
async fn cases_that_cannot_be_run_are_refused(app: TestApp) {
    let without_facts = json!([{"params": {"days": 7}, "expect": {"failure": "trap"}}]);
    let (code, detail) = refusal(&app, carrying(bundled("login-streak"), without_facts)).await;
    assert_eq!(code, "bad-cases");
    assert!(detail.contains("no facts"), "{detail}");

    let nonsense = meed_host::sandbox::with_custom_section(bundled("login-streak"), cases::SECTION, b"{}");
    let (code, detail) = refusal(&app, nonsense).await;
    assert_eq!(code, "bad-cases");
    assert!(detail.contains("not an array of cases"), "{detail}");
}

#[apply(on_both_engines)]
async fn the_examples_of_the_schema_must_bind(app: TestApp) {
    let contradiction = json!({"type": "object", "required": ["days"], "examples": [{}]});
    let (code, detail) = refusal(&app, with_schema(&contradiction, "")).await;
    assert_eq!(code, "example-does-not-bind");
    assert!(detail.contains("/examples/0") && detail.contains("days"), "{detail}");

    let trapping = json!({"type": "object", "default": {}});
    let (code, detail) = refusal(&app, with_schema(&trapping, "unreachable")).await;
    assert_eq!(code, "example-does-not-bind");
    assert!(detail.contains("/default") && detail.contains("trap"), "{detail}");

    let endless = json!({"type": "object", "properties": {"days": {"default": 3}}});
    let (code, detail) = refusal(&app, with_schema(&endless, ENDLESS)).await;
    assert_eq!(code, "example-does-not-bind");
    assert!(detail.contains("/properties") && detail.contains("fuel"), "{detail}");
}

#[apply(on_both_engines)]
async fn an_operator_uploads_one_at_a_time(app: TestApp) {
    let token = app.token(Role::Operator).await;
    let uploads: Vec<_> = (0..6)
        .map(|number| {
            let module = guest(&format!("number-{number}")).module();
            let call = app.post("/plugins").bearer(&token);
            tokio::spawn(call.bytes("application/wasm", module).send())
        })
        .collect();
    let (mut taken, mut busy) = (0, 0);
    for upload in uploads {
        let reply = upload.await.expect("an answer");
        if reply.status == 201 {
            taken += 1;
        } else {
            assert_eq!(reply.header("retry-after"), "1");
            reply.expect_problem(429, "upload-busy");
            busy += 1;
        }
    }
    assert_eq!(taken + busy, 6);
    assert!(taken >= 1 && busy >= 1, "{taken} taken, {busy} busy");
    // After a refused upload the operator can upload again.
    let call = app.post("/plugins").bearer(&token);
    call.bytes("application/wasm", guest("after-all").module())
        .send()
        .await
        .expect(201);
}

#[apply(on_both_engines)]
async fn the_storage_of_an_operator_is_limited(app: TestApp) {
    let app = app.replica(&[("plugins.uploads.versions", "1")]);
    let token = app.operator().await;
    let push = async |name: &str| {
        let call = app.post("/plugins").bearer(&token);
        call.bytes("application/wasm", guest(name).module()).send().await
    };
    push("first").await.expect(201);
    let problem = push("second").await.expect_problem(409, "upload-storage-limit");
    assert!(text(&problem, "detail").contains("1 versions"), "{problem:#}");
    // Known bytes use no more storage.
    push("first").await.expect(200);
}
