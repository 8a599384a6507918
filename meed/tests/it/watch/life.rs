//! A stream ends with the right to watch

use std::time::Duration;

use meed_host::auth::Role;
use rstest_reuse::apply;
use serde_json::{Value, json};

use super::{REQUESTS, Serving, Watcher};
use crate::service_keys::create;
use crate::support::{TestApp, on_both_engines, text};

/// What the task does every five seconds.
async fn check(app: &TestApp) {
    app.app.check_passes().await.expect("the passes are checked");
}

#[apply(on_both_engines)]
async fn a_logout_ends_the_streams_of_its_session(app: TestApp) {
    let serving = Serving::start(&app).await;
    let event = app.event("first-come", json!({}), json!({})).await;
    let user = app.user(Role::User).await;
    let elsewhere = app.log_in(&user).await;
    let progress = format!("/events/{}/progress/stream", text(&event, "id"));
    let mut here = [
        serving.requests(&user.token).await,
        Watcher::open(&serving.base, &progress, &user.token, None).await,
    ];
    here[1].data("progress").await;
    let mut there = serving.requests(&elsewhere).await;
    check(&app).await;
    // In another process.
    let replica = app.replica(&[]);
    replica
        .post("/auth/logout")
        .bearer(&user.token)
        .send()
        .await
        .expect(204);
    check(&app).await;
    for watcher in &mut here {
        watcher.ends().await;
    }
    app.claim(&elsewhere, &event).send().await.expect(201);
    there.data("reward-request").await;
}

#[apply(on_both_engines)]
async fn a_disabled_user_another_role_and_an_erasure_end_streams(app: TestApp) {
    let serving = Serving::start(&app).await;
    let admin = app.token(Role::Admin).await;
    let key = text(&create(&app, "shop", &["claims:read"], json!({})).await, "secret").to_owned();
    let users = app.crowd(3).await;
    let paths = users
        .iter()
        .map(|user| format!("/users/{}", user.id))
        .collect::<Vec<_>>();
    let changes = [
        ("PATCH", &paths[0], json!({"disabled": true})),
        ("PATCH", &paths[1], json!({"role": "OPERATOR"})),
        ("DELETE", &paths[2], Value::Null),
    ];
    for (user, (method, path, body)) in users.iter().zip(changes) {
        let named = format!("{REQUESTS}?userId={}", user.id);
        let mut own = serving.requests(&user.token).await;
        let mut shop = Watcher::open(&serving.base, &named, &key, None).await;
        check(&app).await;
        let call = app.call(method, path).bearer(&admin);
        let call = if body.is_null() { call } else { call.json(&body) };
        let reply = call.send().await;
        assert!(reply.status.is_success(), "{method}: {:#}", reply.json);
        check(&app).await;
        own.ends().await;
        if !body["role"].is_string() {
            shop.ends().await;
        }
    }
}

#[apply(on_both_engines)]
async fn a_revoked_key_and_a_key_with_other_scopes_end_streams(app: TestApp) {
    // The copy of a key is as old as that of a session.
    let app = app.replica(&[("auth.session_cache_seconds", "0")]);
    let serving = Serving::start(&app).await;
    let admin = app.token(Role::Admin).await;
    let user = app.user(Role::User).await;
    let named = format!("{REQUESTS}?userId={}", user.id);
    for method in ["DELETE", "PUT"] {
        let created = create(&app, method, &["claims:read"], json!({})).await;
        let mut watcher = Watcher::open(&serving.base, &named, text(&created, "secret"), None).await;
        check(&app).await;
        let path = format!("/service-keys/{}", text(&created, "id"));
        let call = app.call(method, &path).bearer(&admin).header("if-match", "*");
        let reply = call
            .json(&json!({"name": method, "scopes": ["rewards:read"]}))
            .send()
            .await;
        assert!(reply.status.is_success(), "{method}: {:#}", reply.json);
        check(&app).await;
        watcher.ends().await;
    }
}

#[apply(on_both_engines)]
async fn a_stream_ends_with_its_token(app: TestApp) {
    let app = app.replica(&[("auth.access_token_seconds", "2")]);
    let serving = Serving::start(&app).await;
    let user = app.user(Role::User).await;
    let token = app.log_in(&user).await;
    let mut watcher = serving.requests(&token).await;
    let started = std::time::Instant::now();
    watcher.ends().await;
    assert!(started.elapsed() < Duration::from_secs(4), "{:?}", started.elapsed());
    // A process that stops ends all, and says when to come back.
    let mut watcher = serving.requests(&app.log_in(&user).await).await;
    app.app.watch.shut_down();
    let farewell = watcher.sent().await.expect("a farewell");
    assert!(
        farewell.retry.is_some_and(|retry| (2_000..7_000).contains(&retry)),
        "{farewell:?}"
    );
    watcher.ends().await;
    super::refused(
        &serving.base,
        REQUESTS,
        &app.log_in(&user).await,
        None,
        503,
        "streams-full",
    )
    .await;
}
