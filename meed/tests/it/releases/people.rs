//! At least two people stand behind each release.

use meed_host::auth::Role;
use rstest_reuse::apply;
use serde_json::{Value, json};

use super::{People, act, approve, five_days, propose, protected, streak, why};
use crate::support::{TestApp, TestUser, guest, on_both_engines, text, with};

#[apply(on_both_engines)]
async fn no_author_approves_not_even_who_only_edited(app: TestApp) {
    let event = streak(&app).await;
    let app = protected(&app);
    let people = People::of(&app).await;
    let release = propose(&app, &people.author, five_days(&event)).await;
    let waived = act(&app, &people.admin, &release, "waiver", why()).await.expect(200);
    let own = act(
        &app,
        &people.author,
        &release,
        "approval",
        json!({"hash": waived["hash"]}),
    )
    .await;
    own.expect_problem(403, "second-person-required");

    // The approver edits it, and is an author from then on.
    let path = format!("/releases/{}", text(&release, "id"));
    let call = app.put(&path).bearer(&people.approver.token).header("if-match", "*");
    let edited = call.json(&five_days(&event)).send().await.expect(200);
    assert_eq!(edited["authors"], json!([people.author.id, people.approver.id]));
    let approval = json!({"hash": edited["hash"]});
    for author in [&people.author, &people.approver] {
        act(&app, author, &release, "approval", approval.clone())
            .await
            .expect_problem(403, "second-person-required");
    }
    act(&app, &people.admin, &release, "approval", approval)
        .await
        .expect(200);
}

#[apply(on_both_engines)]
async fn only_people_with_the_scope_approve(app: TestApp) {
    let event = streak(&app).await;
    let people = People::of(&app).await;
    let release = propose(&app, &people.author, five_days(&event)).await;
    let approval = json!({"hash": release["hash"]});
    for role in [Role::User, Role::Auditor] {
        let other = app.user(role).await;
        for action in [
            "approval",
            "rejection",
            "activation",
            "rollback",
            "waiver",
            "resumption",
        ] {
            act(&app, &other, &release, action, approval.clone())
                .await
                .expect_problem(403, "forbidden");
        }
    }
    // No key can have the scope.
    for scope in ["releases:approve", "releases:waive"] {
        let body = json!({"name": "ci", "scopes": [scope]});
        let call = app.post("/service-keys").bearer(&people.admin.token).json(&body);
        call.send().await.expect_problem(422, "invalid-body");
    }
}

#[apply(on_both_engines)]
async fn an_approval_needs_a_recent_proof(app: TestApp) {
    let event = streak(&app).await;
    let people = People::of(&app).await;
    let release = propose(&app, &people.author, five_days(&event)).await;
    app.at("2026-03-01T12:16:00Z");
    let late = TestUser {
        token: app
            .post("/auth/refresh")
            .json(&json!({"refreshToken": people.approver.refresh_token}))
            .send()
            .await
            .expect(200)["accessToken"]
            .as_str()
            .expect("a token")
            .to_owned(),
        ..people.approver.clone()
    };
    act(&app, &late, &release, "approval", json!({"hash": release["hash"]}))
        .await
        .expect_problem(403, "step-up-required");
}

async fn key(app: &TestApp, maker: &TestUser) -> TestUser {
    let scopes = ["releases:read", "releases:write", "events:read", "plugins:write"];
    let body = json!({"name": "ci", "scopes": scopes});
    let call = app.post("/service-keys").bearer(&maker.token).json(&body);
    let made = call.send().await.expect(201);
    TestUser {
        id: text(&made, "id").to_owned(),
        token: text(&made, "secret").to_owned(),
        ..maker.clone()
    }
}

#[apply(on_both_engines)]
async fn a_service_key_counts_as_the_person_who_made_it(app: TestApp) {
    let event = streak(&app).await;
    let app = protected(&app);
    let people = People::of(&app).await;
    let key = key(&app, &people.admin).await;
    let release = propose(&app, &key, five_days(&event)).await;
    assert_eq!(
        (&release["createdBy"], &release["authors"]),
        (&json!(key.id), &json!([people.admin.id]))
    );
    let waived = act(&app, &people.admin, &release, "waiver", why()).await.expect(200);
    let approval = json!({"hash": waived["hash"]});
    act(&app, &people.admin, &release, "approval", approval.clone())
        .await
        .expect_problem(403, "second-person-required");
    act(&app, &key, &release, "approval", approval.clone())
        .await
        .expect_problem(403, "forbidden");
    act(&app, &people.approver, &release, "approval", approval)
        .await
        .expect(200);
    // What is approved, the key may activate.
    act(&app, &key, &release, "activation", json!({})).await.expect(200);
}

#[apply(on_both_engines)]
async fn without_a_known_author_the_uploader_does_not_approve(app: TestApp) {
    let event = streak(&app).await;
    let app = protected(&app);
    let people = People::of(&app).await;
    let module = guest("sesame").module();
    let call = app.post("/plugins").bearer(&people.approver.token);
    let plugin = call.bytes("application/wasm", module).send().await.expect(201);
    // A key of the command line has no maker.
    let new = serde_json::from_value(json!({"name": "ci", "scopes": ["releases:write"]})).expect("a key");
    let made = app.app.service_keys.create(new, None).await.expect("a key");
    let made: Value = serde_json::to_value(made).expect("a document");
    let key = TestUser {
        token: text(&made, "secret").to_owned(),
        ..people.author.clone()
    };
    let condition = json!({"plugin": plugin["name"], "version": plugin["version"], "params": {}});
    let release = propose(&app, &key, with(five_days(&event), json!({"condition": condition}))).await;
    assert_eq!(release["authors"], json!([]));
    approve(&app, &people, &release)
        .await
        .expect_problem(403, "second-person-required");
    let hash = app.read(&format!("/releases/{}", text(&release, "id"))).await;
    act(
        &app,
        &people.author,
        &release,
        "approval",
        json!({"hash": hash["hash"]}),
    )
    .await
    .expect(200);
}

#[apply(on_both_engines)]
async fn an_uploader_may_approve_what_another_person_proposes(app: TestApp) {
    let event = streak(&app).await;
    let app = protected(&app);
    let people = People::of(&app).await;
    let call = app.post("/plugins").bearer(&people.approver.token);
    let plugin = call
        .bytes("application/wasm", guest("sesame").module())
        .send()
        .await
        .expect(201);
    let condition = json!({"plugin": plugin["name"], "version": plugin["version"], "params": {}});
    let release = propose(
        &app,
        &people.author,
        with(five_days(&event), json!({"condition": condition})),
    )
    .await;
    approve(&app, &people, &release).await.expect(200);
}
