//! How much a user's refusals store and tell

use meed_host::auth::Role;
use rstest_reuse::apply;
use serde_json::json;

use crate::support::{TestApp, on_both_engines};

const REQUESTS: &str = "SELECT COUNT(*) FROM reward_requests";
const TOLD: &str = "SELECT COUNT(*) FROM outbox WHERE kind = 'reward.limit-reached'";

#[apply(on_both_engines)]
async fn the_same_rejection_again_is_the_same_request(app: TestApp) {
    let event = app.event("login-streak", json!({"days": 7}), json!({})).await;
    let user = app.user(Role::User).await;
    let first = app.claim(&user.token, &event).send().await;
    let location = first.header("location").to_owned();
    let first = first.expect(201);
    assert_eq!(first["status"], "REJECTED");
    // Under a key the status is that of its repeats.
    for (key, status) in [(None, 200), (Some("a"), 201), (Some("b"), 201)] {
        let call = app.claim(&user.token, &event);
        let call = match key {
            Some(key) => call.header("idempotency-key", key),
            None => call,
        };
        let again = call.send().await;
        assert_eq!(again.header("location"), location);
        assert_eq!(again.expect(status), first);
    }
    // The key has this response from now on.
    let repeat = app.claim(&user.token, &event).header("idempotency-key", "a");
    let repeat = repeat.send().await;
    assert_eq!(repeat.header("idempotent-replayed"), "true");
    assert_eq!(repeat.expect(201), first);
    assert_eq!(app.count(REQUESTS).await, 1);
    // Another user has a request of their own, and progress is another answer.
    let other = app.user(Role::User).await;
    app.claim(&other.token, &event).send().await.expect(201);
    app.at("2026-03-02T12:00:00Z");
    let token = app.log_in(&user).await;
    let second = app.claim(&token, &event).send().await.expect(201);
    assert_ne!(second["progress"], first["progress"]);
    assert_eq!(app.count(REQUESTS).await, 3);
}

#[apply(on_both_engines)]
async fn a_rejection_that_was_not_told_last_is_the_same_request_too(app: TestApp) {
    let event = app.event("user-attributes", json!({"minLevel": 9}), json!({})).await;
    let user = app.user(Role::User).await;
    let operator = app.operator().await;
    let path = format!("/users/{}/attributes", user.id);
    let claim = async |level: &str, key: Option<&str>| {
        let level = app.put(&path).bearer(&operator).json(&json!({"level": level}));
        level.send().await.expect(200);
        let call = app.claim(&user.token, &event);
        let call = match key {
            Some(key) => call.header("idempotency-key", key),
            None => call,
        };
        call.send().await
    };
    let one = claim("1", None).await.expect(201);
    app.at("2026-03-01T12:00:01Z");
    let two = claim("2", None).await.expect(201);
    assert_ne!(one["id"], two["id"]);
    app.at("2026-03-01T12:00:02Z");
    assert_eq!(claim("1", None).await.expect(200), one);
    assert_eq!(claim("1", Some("k")).await.expect(201), one);
    app.at("2026-03-01T12:00:03Z");
    assert_eq!(claim("2", Some("k-2")).await.expect(201), two);
    assert_eq!(app.count(REQUESTS).await, 2);
}

#[apply(on_both_engines)]
async fn a_limit_that_is_reached_is_told_once(app: TestApp) {
    let reward = app.reward(json!({"type": "ITEM", "stock": 0})).await;
    let scarce = json!({"rewardIds": [reward["id"]]});
    let events = [
        app.event("first-come", json!({}), scarce.clone()).await,
        app.event("first-come", json!({}), scarce).await,
    ];
    for number in 0..4 {
        let user = app.user(Role::User).await;
        for event in &events {
            let key = format!("k-{number}");
            let rejected = app.claim(&user.token, event).header("idempotency-key", &key);
            let rejected = rejected.send().await;
            // The second event's claim is another one under the same key.
            assert!(matches!(rejected.status.as_u16(), 201 | 422));
            let other = app.claim(&user.token, event).send().await;
            assert!(matches!(other.status.as_u16(), 200 | 201));
        }
    }
    assert_eq!(app.count(TOLD).await, 2);
}
