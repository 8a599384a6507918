//! The bounds of streams: how many, how long, and what waits for a client

use std::time::Duration;

use futures_util::StreamExt as _;
use meed_host::auth::Role;
use rstest_reuse::apply;
use serde_json::json;

use super::{PATIENCE, REQUESTS, Serving, Watcher, refused};
use crate::faults::fixtures::{daily, points};
use crate::service_keys::secret;
use crate::support::{TestApp, on_both_engines, text};

#[apply(on_both_engines)]
async fn a_user_and_a_process_have_so_many_streams(app: TestApp) {
    let app = app.replica(&[("streams.max", "3"), ("streams.max_per_user", "2")]);
    let serving = Serving::start(&app).await;
    let base = &serving.base;
    let event = app.event("first-come", json!({}), json!({})).await;
    let progress = format!("/events/{}/progress/stream", text(&event, "id"));
    let users = app.crowd(3).await;
    let first = serving.requests(&users[0].token).await;
    let second = Watcher::open(base, &progress, &users[0].token, None).await;
    for path in [REQUESTS, &progress] {
        refused(base, path, &users[0].token, None, 429, "too-many-streams").await;
    }
    // The streams of a user, also those that others open, are those that tell about the user.
    let key = secret(&app, "shop", &["claims:read"]).await;
    let named = format!("{REQUESTS}?userId={}", users[0].id);
    refused(base, &named, &key, None, 429, "too-many-streams").await;
    let third = serving.requests(&users[1].token).await;
    refused(base, REQUESTS, &users[2].token, None, 503, "streams-full").await;
    // Closing one makes room.
    drop(first);
    let started = std::time::Instant::now();
    while super::ask(base, REQUESTS, &users[2].token, None).await.status() != 200 {
        assert!(started.elapsed() < PATIENCE, "the place stays taken");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    drop((second, third));
}

#[apply(on_both_engines)]
async fn a_stream_that_is_not_read_is_closed_and_not_buffered(app: TestApp) {
    // A fixed clock mints more ids in one millisecond than a cursor holds.
    let app = app.in_real_time();
    let serving = Serving::start(&app).await;
    let event = daily(&app, &[&points(&app, 1).await], 100).await;
    let user = app.user(Role::User).await;
    // In the process, so that no socket buffers what the client does not read.
    let response = app.get(REQUESTS).bearer(&user.token).begin().await;
    assert_eq!(response.status(), 200);
    let mut fast = serving.requests(&user.token).await;
    for _ in 0..80 {
        app.claim(&user.token, &event).send().await.expect(201);
        fast.data("reward-request").await;
    }
    let mut body = response.into_body().into_data_stream();
    let mut read = String::new();
    while let Some(piece) = tokio::time::timeout(PATIENCE, body.next()).await.expect("it ends") {
        read += std::str::from_utf8(&piece.expect("a piece")).expect("text");
    }
    // It got nothing after what waited, and can continue with the id of its beginning.
    assert!(!read.contains("reward-request"), "{read}");
    let last = read.lines().find_map(|line| line.strip_prefix("id: ")).expect("an id");
    let mut again = Watcher::open(&serving.base, REQUESTS, &user.token, Some(last)).await;
    let mut told = std::collections::BTreeSet::new();
    for _ in 0..80 {
        told.insert(text(&again.data("reward-request").await, "id").to_owned());
    }
    assert_eq!(told.len(), 80);
    again.is_quiet().await;
}

#[apply(on_both_engines)]
async fn a_stream_ends_after_its_maximum_age(app: TestApp) {
    let app = app.replica(&[("streams.max_age_seconds", "1")]);
    let serving = Serving::start(&app).await;
    let user = app.user(Role::User).await;
    let mut watcher = serving.requests(&user.token).await;
    watcher.ends().await;
}

#[apply(on_both_engines)]
async fn idle_streams_hold_neither_requests_in_flight_nor_the_rate_limit(app: TestApp) {
    let app = app.replica(&[("http.max_in_flight", "1"), ("http.max_connections_per_address", "2")]);
    let serving = Serving::start(&app).await;
    let event = app.event("first-come", json!({}), json!({})).await;
    let user = app.user(Role::User).await;
    let mut first = serving.requests(&user.token).await;
    let mut second = serving.requests(&user.token).await;
    // The address has no place for a third one.
    refused(&serving.base, REQUESTS, &user.token, None, 503, "streams-full").await;
    // But for other requests.
    let client = reqwest::Client::builder().no_proxy().build().expect("a client");
    let claim = client.post(format!("{}/reward-requests", serving.base));
    let claim = claim.bearer_auth(&user.token).json(&json!({"eventId": event["id"]}));
    assert_eq!(claim.send().await.expect("a response").status(), 201);
    for watcher in [&mut first, &mut second] {
        assert_eq!(watcher.data("reward-request").await["eventId"], event["id"]);
    }
}
