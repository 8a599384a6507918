//! The console in a real browser: `console/test/run.mjs` drives Chromium against a server with data of this module.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use meed_host::auth::Role;
use meed_host::contract::{Outcome, Reason};
use rstest_reuse::apply;
use serde_json::{Value, json};

use crate::support::{Receiver, TestApp, TestUser, guest, on_both_engines, reviewing, text};
use crate::webhook_endpoints;

/// A text that would run, or break a page, if anything but text were made of it.
const HOSTILE: &str = "<img src=x onerror=\"window.hacked=1\"><script>window.hacked=1</script>{t}${1}'\"&amp;";

fn tool(variable: &str) -> PathBuf {
    let tool = std::env::var_os(variable);
    tool.unwrap_or_else(|| panic!("{variable} is not set: run the tests with `cargo xtask test`, which provides it"))
        .into()
}

fn account(user: &TestUser) -> Value {
    json!({"id": user.id, "email": user.email, "password": user.password})
}

/// A rejection, a grant and a held claim, at events, with rewards, by plugins and of a user with hostile texts.
async fn world(app: &TestApp) -> Value {
    let operator = app.user(Role::Operator).await;
    let mut rejecting = guest("rejecting");
    HOSTILE.clone_into(&mut rejecting.manifest.title);
    if let Ok(decision) = &mut rejecting.decision {
        decision.outcome = Outcome::NotEligible;
        decision.reasons = vec![Reason {
            code: "too-few".to_owned(),
            message: HOSTILE.to_owned(),
            args: [("missing".to_owned(), "2".to_owned())].into(),
        }];
    }
    let user = app.user(Role::User).await;
    let attributes = app
        .put(&format!("/users/{}/attributes", user.id))
        .bearer(&operator.token);
    attributes.json(&json!({"level": HOSTILE})).send().await.expect(200);
    let activity = json!({
        "kind": "shop.purchase", "userId": user.id, "id": "p-1", "source": "shop", "amount": 5,
        "attributes": {"note": HOSTILE}, "occurredAt": "2026-03-01T11:00:00Z",
    });
    let reported = app
        .post("/activities")
        .bearer(&operator.token)
        .json(&activity)
        .send()
        .await;
    assert!(reported.status.is_success(), "{:#}", reported.json);
    let reward = app
        .reward(json!({"type": "COUPON", "value": 5, "stock": 100, "description": HOSTILE}))
        .await;
    let changes = json!({"title": HOSTILE, "description": HOSTILE, "rewardIds": [reward["id"]]});
    let mut claims = serde_json::Map::new();
    let mut events = serde_json::Map::new();
    for (name, condition) in [
        ("granted", guest("granting")),
        ("rejected", rejecting),
        ("held", reviewing("reviewing")),
    ] {
        let plugin = app.install(condition.module()).await;
        let event = app.event_on(&plugin, json!({}), changes.clone()).await;
        let claim = app.claim(&user.token, &event).send().await;
        assert_eq!(claim.status, 201, "{:#}", claim.json);
        claims.insert(name.to_owned(), claim.json["id"].clone());
        events.insert(name.to_owned(), event["id"].clone());
    }
    let (backtest, release) = proposal(app, &events["rejected"]).await;
    json!({
        "user": user.id, "claims": claims, "events": events, "reward": text(&reward, "id"), "hostile": HOSTILE,
        "backtest": backtest, "release": release,
    })
}

/// A finished backtest that grants what was rejected with a hostile reason, and a release with it that waits for an approval,
/// with a hostile title and comment.
async fn proposal(app: &TestApp, event: &Value) -> (Value, Value) {
    // The end of a period is exclusive, and the claims are of now.
    app.clock.set(app.clock.now().plus(Duration::from_secs(1)));
    let token = app.operator().await;
    let condition = json!({"plugin": "granting", "version": "1.2.3", "params": {}});
    let body = json!({"eventId": event, "candidate": condition});
    let asked = app.post("/backtests").bearer(&token).json(&body).send().await;
    let backtest = asked.expect(202)["id"].clone();
    while app.app.backtests.advance().await.expect("a step") {}
    let body = json!({
        "eventId": event, "eventRevision": 1, "title": HOSTILE, "condition": condition, "backtestId": backtest,
    });
    let proposed = app.post("/releases").bearer(&token).json(&body).send().await;
    let release = proposed.expect(201)["id"].clone();
    let path = format!("/releases/{}/comments", release.as_str().expect("an id"));
    let comment = app.post(&path).bearer(&token).json(&json!({"text": HOSTILE}));
    comment.send().await.expect(204);
    (backtest, release)
}

/// A delivery that a receiver refuses with a hostile answer.
async fn endpoint(app: &TestApp) -> (Value, Receiver) {
    let receiver = Receiver::answering(|_, _| (500, HOSTILE.to_owned(), Duration::ZERO)).await;
    let body = json!({"url": receiver.url, "types": ["claim.held"], "name": "shop", "description": HOSTILE});
    let token = app.operator().await;
    let made = app
        .post("/webhook-endpoints")
        .bearer(&token)
        .json(&body)
        .send()
        .await
        .expect(201);
    (made["id"].clone(), receiver)
}

#[apply(on_both_engines)]
async fn every_screen_works_in_a_browser(app: TestApp) {
    let engine = match &app.app.db {
        meed_host::db::Db::Sqlite { .. } => "sqlite",
        meed_host::db::Db::Postgres { .. } => "postgres",
    };
    let (app, _relaying) = webhook_endpoints::relayed(&app);
    let (endpoint, _receiver) = endpoint(&app).await;
    let world = world(&app).await;
    let (operator, auditor, admin) = (
        app.user(Role::Operator).await,
        app.user(Role::Auditor).await,
        app.user(Role::Admin).await,
    );
    let fixture = json!({
        "url": app.listen().await, "world": world, "endpoint": endpoint,
        "now": "2026-03-01T12:00:00Z", "everyLook": engine == "sqlite",
        "module": app.directory().join("module.wasm"),
        "accounts": {"OPERATOR": account(&operator), "AUDITOR": account(&auditor), "ADMIN": account(&admin)},
    });
    fs::write(app.directory().join("module.wasm"), guest("uploaded").module()).expect("a file");
    let file = app.directory().join("console.json");
    fs::write(&file, fixture.to_string()).expect("a file");
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let pictures = root.join("target/console").join(engine);
    let mut driver = Command::new("node");
    driver.arg(root.join("console/test/run.mjs")).arg(&file).arg(&pictures);
    driver.env("MEED_TEST_CHROMIUM", tool("MEED_TEST_CHROMIUM"));
    // The server must run while the browser does.
    let output = tokio::task::spawn_blocking(move || driver.output()).await;
    let output = output.expect("the driver runs").expect("node starts");
    let [out, err] = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    assert!(output.status.success(), "{out}\n{err}");
    println!("{out}");
}
