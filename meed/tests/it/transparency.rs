//! The transparency log: `/audit/checkpoints`, `/reward-requests/{id}/inclusion`, `meed audit`

mod appending;
mod proofs;
mod releases;
mod tampering;

use meed_host::auth::Role;
use meed_host::transparency::{Checkpoint, Report};
use serde_json::{Value, json};

use crate::support::{TestApp, TestUser, reviewing, text};

/// What happened before the log was verified.
struct History {
    user: TestUser,
    granted: Value,
    reversed: Value,
}

/// Claims that were granted, rejected, reversed, approved and denied, and one that is held.
async fn history(app: &TestApp) -> History {
    let operator = app.operator().await;
    let (user, other, third) = (
        app.user(Role::User).await,
        app.user(Role::User).await,
        app.user(Role::User).await,
    );
    let open = app.event("first-come", json!({}), json!({})).await;
    let streak = app.event("login-streak", json!({"days": 9}), json!({})).await;
    let plugin = app.install(reviewing("reviewed").module()).await;
    let reviewed = app.event_on(&plugin, json!({}), json!({})).await;
    let granted = app.claim(&user.token, &open).send().await.expect(201);
    let reversed = app.claim(&other.token, &open).send().await.expect(201);
    app.claim(&third.token, &open).send().await.expect(201);
    for user in [&user, &other] {
        assert_eq!(
            app.claim(&user.token, &streak).send().await.expect(201)["status"],
            "REJECTED"
        );
    }
    let reason = json!({"reason": "A mistake"});
    let path = format!("/reward-requests/{}/reversal", text(&reversed, "id"));
    app.post(&path).bearer(&operator).json(&reason).send().await.expect(201);
    for (user, decision) in [(&user, "approval"), (&other, "denial")] {
        let held = app.claim(&user.token, &reviewed).send().await.expect(201);
        let path = format!("/reward-requests/{}/{decision}", text(&held, "id"));
        app.post(&path).bearer(&operator).json(&reason).send().await.expect(200);
    }
    app.claim(&third.token, &reviewed).send().await.expect(201);
    History {
        user,
        granted,
        reversed,
    }
}

/// Appends everything that is queued, and signs a checkpoint.
async fn append(app: &TestApp) {
    assert!(app.app.sequencer.append_all().await.expect("leaves"));
}

async fn verify(app: &TestApp, older: Option<&Checkpoint>) -> Report {
    let (verifier, _) = meed_host::app::verifier(app.config(), &app.app.db, &[]).expect("a verifier");
    verifier.verify(older).await.expect("a report")
}

#[track_caller]
fn assert_good(report: &Report) {
    assert!(report.is_good(), "{:#?}", report.findings);
}

/// The newest checkpoint.
async fn newest(app: &TestApp) -> Value {
    let page = app.read("/audit/checkpoints?pageSize=1").await;
    page["items"][0].clone()
}

fn checkpoint(stored: &Value) -> Checkpoint {
    Checkpoint::parse(text(stored, "checkpoint")).expect("a checkpoint")
}
