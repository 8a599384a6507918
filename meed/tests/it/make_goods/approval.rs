//! Who approves a make-good, and what an approval is for.

use meed_host::auth::Role;
use rstest_reuse::apply;
use serde_json::{Value, json};

use super::{approve, buyer, claim, entries, mend, propose, proposed, read, run, statuses, sum};
use crate::support::{TestApp, TestUser, on_both_engines, text};

/// An event whose rule refused two users wrongly, and was mended.
async fn mended(app: &TestApp) -> (Value, [TestUser; 2]) {
    app.at("2026-03-02T12:00:00Z");
    let event = app.event("activity-count", sum(500), json!({})).await;
    let users = [buyer(app, 450).await, buyer(app, 460).await];
    for user in &users {
        claim(app, user, &event).await;
    }
    app.at("2026-03-02T12:10:00Z");
    mend(app, &event, sum(400)).await;
    (event, users)
}

#[apply(on_both_engines)]
async fn an_author_cannot_approve_not_even_who_only_took_out_an_entry(app: TestApp) {
    let (event, [user, other]) = mended(&app).await;
    let (author, editor) = (app.user(Role::Operator).await, app.user(Role::Operator).await);
    let approver = app.user(Role::Admin).await;
    let make_good = proposed(&app, &author, &event).await;
    approve(&app, &author, &make_good)
        .await
        .expect_problem(403, "second-person-required");

    let found = entries(&app, &make_good).await;
    assert_eq!(found.len(), 2, "{found:#?}");
    let of = |user: &TestUser| found.iter().find(|entry| entry["userId"] == user.id);
    let path = format!("/make-goods/{}/exclusions", text(&make_good, "id"));
    let body = json!({"entryIds": [of(&other).expect("an entry")["id"]]});
    let call = app.post(&path).bearer(&editor.token).json(&body);
    let edited = call.send().await.expect(200);
    assert_ne!(edited["hash"], make_good["hash"]);
    assert_eq!(edited["counts"]["grants"], 1);
    // Not what the approver looked at.
    approve(&app, &approver, &make_good)
        .await
        .expect_problem(409, "make-good-hash");
    for one in [&author, &editor] {
        approve(&app, one, &edited)
            .await
            .expect_problem(403, "second-person-required");
    }
    approve(&app, &approver, &edited).await.expect(200);
    run(&app).await;
    assert_eq!(statuses(&app, &user).await, ["GRANTED", "REJECTED"]);
    assert_eq!(statuses(&app, &other).await, ["REJECTED"]);
}

#[apply(on_both_engines)]
async fn only_people_with_the_scope_approve(app: TestApp) {
    let (event, _) = mended(&app).await;
    let author = app.user(Role::Operator).await;
    let make_good = proposed(&app, &author, &event).await;
    for role in [Role::User, Role::Auditor] {
        let other = app.user(role).await;
        approve(&app, &other, &make_good).await.expect_problem(403, "forbidden");
        propose(&app, &other, &event, json!({}))
            .await
            .expect_problem(403, "forbidden");
    }
    let admin = app.user(Role::Admin).await;
    let body = json!({"name": "ci", "scopes": ["make-goods:approve"]});
    let call = app.post("/service-keys").bearer(&admin.token).json(&body);
    call.send().await.expect_problem(422, "invalid-body");
}

#[apply(on_both_engines)]
async fn another_condition_of_the_event_needs_another_proposal(app: TestApp) {
    let (event, [user, _]) = mended(&app).await;
    let (author, approver) = (app.user(Role::Operator).await, app.user(Role::Operator).await);
    let make_good = proposed(&app, &author, &event).await;
    mend(&app, &event, sum(300)).await;
    approve(&app, &approver, &make_good)
        .await
        .expect_problem(409, "make-good-outdated");
    // One at a time.
    let open = propose(&app, &author, &event, json!({}))
        .await
        .expect_problem(409, "make-good-open");
    assert_eq!(open["makeGoodId"], make_good["id"]);
    let path = format!("/make-goods/{}/withdrawal", text(&make_good, "id"));
    let call = app
        .post(&path)
        .bearer(&author.token)
        .json(&json!({"reason": "300 it is"}));
    assert_eq!(call.send().await.expect(200)["state"], "WITHDRAWN");
    let again = proposed(&app, &author, &event).await;
    // It changes between the approval and the application.
    approve(&app, &approver, &again).await.expect(200);
    mend(&app, &event, sum(200)).await;
    run(&app).await;
    let failed = read(&app, &again).await;
    assert_eq!(failed["state"], "FAILED", "{failed:#}");
    assert_eq!(statuses(&app, &user).await, ["REJECTED"]);
}

#[apply(on_both_engines)]
async fn each_step_is_in_the_audit_log_and_announced(app: TestApp) {
    let (event, _) = mended(&app).await;
    let (author, approver) = (app.user(Role::Operator).await, app.user(Role::Operator).await);
    let make_good = proposed(&app, &author, &event).await;
    approve(&app, &approver, &make_good).await.expect(200);
    run(&app).await;
    let messages = "SELECT COUNT(*) FROM outbox WHERE kind LIKE 'make-good.%'";
    assert_eq!(app.count(messages).await, 3, "proposed, approved, applied");
    let auditor = app.user(Role::Auditor).await;
    let path = format!("/audit?target={}", text(&make_good, "id"));
    let log = app.get(&path).bearer(&auditor.token).send().await.expect(200);
    assert!(log["items"].as_array().expect("items").len() >= 4, "{log:#}");
}
