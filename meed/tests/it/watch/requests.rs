//! What a stream of reward requests tells, and to whom

use std::time::Duration;

use meed_host::auth::Role;
use meed_host::outbox::{self, Message};
use rstest_reuse::apply;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{REQUESTS, Serving, Watcher, many, refused};
use crate::reward_requests::received::Working;
use crate::rewards::codes::{codes, coupon};
use crate::service_keys::secret;
use crate::support::{TestApp, bundled, guest, on_both_engines, reviewing, text};

async fn reads(app: &TestApp, token: &str, request: &Value) -> Value {
    let path = format!("/reward-requests/{}", text(request, "id"));
    app.get(&path).bearer(token).send().await.expect(200)
}

#[apply(on_both_engines)]
async fn a_grant_arrives_as_the_reward_request_that_a_get_returns(app: TestApp) {
    let serving = Serving::start(&app).await;
    let event = app.event("first-come", json!({}), json!({})).await;
    let (user, other) = (app.user(Role::User).await, app.user(Role::User).await);
    let mut watcher = serving.requests(&user.token).await;
    // The grant of another user never arrives.
    app.claim(&other.token, &event).send().await.expect(201);
    let request = app.claim(&user.token, &event).send().await.expect(201);
    let sent = watcher.data("reward-request").await;
    assert_eq!(sent, request);
    assert_eq!(sent, reads(&app, &user.token, &request).await);
    // A repeat is no change.
    app.claim(&user.token, &event)
        .send()
        .await
        .expect_problem(409, "already-granted");
    watcher.is_quiet().await;
}

#[apply(on_both_engines)]
async fn the_owner_sees_codes_and_a_service_key_does_not(app: TestApp) {
    let serving = Serving::start(&app).await;
    let reward = coupon(&app, 1, json!({})).await;
    let event = app
        .event("first-come", json!({}), json!({"rewardIds": [reward["id"]]}))
        .await;
    let user = app.user(Role::User).await;
    let key = secret(&app, "shop", &["claims:read"]).await;
    let mut own = serving.requests(&user.token).await;
    let named = format!("{REQUESTS}?userId={}", user.id);
    let mut shop = Watcher::open(&serving.base, &named, &key, None).await;
    app.claim(&user.token, &event).send().await.expect(201);
    let sent = own.data("reward-request").await;
    assert_eq!(sent["grants"][0]["codes"], json!(codes(1)), "{sent:#}");
    let sent = shop.data("reward-request").await;
    assert_eq!(
        (sent["status"].as_str(), &sent["grants"][0]["codes"]),
        (Some("GRANTED"), &Value::Null)
    );
}

#[apply(on_both_engines)]
async fn the_decision_on_a_pending_claim_arrives(app: TestApp) {
    let serving = Serving::start(&app).await;
    let grants = app.event("first-come", json!({}), json!({"respondAsync": true})).await;
    let plugin = app.install(bundled("login-streak")).await;
    let rejects = app
        .event_on(&plugin, json!({"days": 9}), json!({"respondAsync": true}))
        .await;
    let user = app.user(Role::User).await;
    let mut watcher = serving.requests(&user.token).await;
    let received = app.claim(&user.token, &rejects).send().await.expect(202);
    let working = Working::start(&app);
    let sent = watcher.data("reward-request").await;
    assert_eq!((&sent["id"], text(&sent, "status")), (&received["id"], "REJECTED"));
    assert_eq!(sent, reads(&app, &user.token, &received).await);
    let received = app.claim(&user.token, &grants).send().await.expect(202);
    let sent = watcher.data("reward-request").await;
    assert_eq!((&sent["id"], text(&sent, "status")), (&received["id"], "GRANTED"));
    // The rejection of another claim is its response.
    let answered = app.event_on(&plugin, json!({"days": 9}), json!({})).await;
    app.claim(&user.token, &answered).send().await.expect(201);
    watcher.is_quiet().await;
    working.stop().await;
}

#[apply(on_both_engines)]
async fn a_pending_claim_that_fails_arrives(app: TestApp) {
    let serving = Serving::start(&app).await;
    let mut failing = guest("failing");
    failing.evaluate = "(unreachable)";
    let plugin = app.install(failing.module()).await;
    let event = app.event_on(&plugin, json!({}), json!({"respondAsync": true})).await;
    let user = app.user(Role::User).await;
    let mut watcher = serving.requests(&user.token).await;
    app.claim(&user.token, &event).send().await.expect(202);
    let working = Working::start(&app);
    assert_eq!(text(&watcher.data("reward-request").await, "status"), "FAILED");
    working.stop().await;
}

#[apply(on_both_engines)]
async fn a_held_claim_its_review_and_its_reversal_arrive_in_order(app: TestApp) {
    let serving = Serving::start(&app).await;
    let plugin = app.install(reviewing("reviewed").module()).await;
    let event = app.event_on(&plugin, json!({}), json!({})).await;
    let (operator, user) = (app.operator().await, app.user(Role::User).await);
    let mut watcher = serving.requests(&user.token).await;
    let request = app.claim(&user.token, &event).send().await.expect(201);
    assert_eq!(text(&watcher.data("reward-request").await, "status"), "HELD");
    let path = format!("/reward-requests/{}", text(&request, "id"));
    for (step, status) in [("approval", "GRANTED"), ("reversal", "REVERSED")] {
        let call = app.post(&format!("{path}/{step}")).bearer(&operator);
        let reply = call.json(&json!({"reason": "checked"})).send().await;
        assert!(reply.status.is_success(), "{:#}", reply.json);
        let sent = watcher.data("reward-request").await;
        assert_eq!((&sent["id"], text(&sent, "status")), (&request["id"], status));
    }
    // Another claim is denied.
    let request = app.claim(&user.token, &event).send().await.expect(201);
    assert_eq!(text(&watcher.data("reward-request").await, "status"), "HELD");
    let path = format!("/reward-requests/{}/denial", text(&request, "id"));
    let call = app.post(&path).bearer(&operator).json(&json!({"reason": "checked"}));
    assert!(call.send().await.status.is_success());
    assert_eq!(text(&watcher.data("reward-request").await, "status"), "REJECTED");
}

#[apply(on_both_engines)]
async fn a_client_that_comes_back_loses_and_repeats_nothing(app: TestApp) {
    let serving = Serving::start(&app).await;
    let event = app.event("first-come", json!({}), many()).await;
    let user = app.user(Role::User).await;
    // A second each, because ids of one millisecond have no order.
    let mut second = 0;
    let mut claim = async || {
        second += 1;
        app.at(&format!("2026-03-01T12:00:{second:02}Z"));
        app.claim(&user.token, &event).send().await.expect(201)
    };
    // Before any event.
    let watcher = serving.requests(&user.token).await;
    let first = claim().await;
    let mut watcher = serving.resume(&user.token, watcher).await;
    assert_eq!(watcher.data("reward-request").await, first);
    // After one.
    let (second, third) = (claim().await, claim().await);
    let mut watcher = serving.resume(&user.token, watcher).await;
    let told = [
        watcher.data("reward-request").await,
        watcher.data("reward-request").await,
    ];
    assert_eq!(told, [second, third]);
    watcher.is_quiet().await;
    // In the middle of what was missed.
    let (fourth, fifth) = (claim().await, claim().await);
    let mut watcher = serving.resume(&user.token, watcher).await;
    assert_eq!(watcher.data("reward-request").await, fourth);
    let mut watcher = serving.resume(&user.token, watcher).await;
    assert_eq!(watcher.data("reward-request").await, fifth);
    let sixth = claim().await;
    assert_eq!(watcher.data("reward-request").await, sixth);
    let mut watcher = serving.resume(&user.token, watcher).await;
    watcher.is_quiet().await;
    // Without an id, the stream begins now.
    let mut fresh = serving.requests(&user.token).await;
    let seventh = claim().await;
    assert_eq!(fresh.data("reward-request").await, seventh);
    assert_eq!(watcher.data("reward-request").await, seventh);
}

/// A message about a request that another process has written, with the id that this one would have had some time ago.
async fn write_late(app: &TestApp, request: &Value, ago: Duration) {
    let now = app.clock.now();
    let message = Message {
        id: app.clock.new_id_at(now.minus(ago)),
        kind: outbox::REWARD_GRANTED,
        user_id: Some(text(request, "userId").parse().expect("an id")),
        subject_id: None,
        payload: json!({"requestId": request["id"]}),
        http_request_id: None,
        created_at: now,
        once_key: None,
    };
    let mut tx = app.app.db.begin().await.expect("a transaction");
    outbox::write(&mut tx, message).await.expect("a message");
    tx.commit().await.expect("a commit");
}

#[apply(on_both_engines)]
async fn a_message_that_becomes_visible_after_a_later_one_is_told_once(app: TestApp) {
    let serving = Serving::start(&app).await;
    let event = app.event("first-come", json!({}), many()).await;
    let user = app.user(Role::User).await;
    let mut watcher = serving.requests(&user.token).await;
    let first = app.claim(&user.token, &event).send().await.expect(201);
    watcher.data("reward-request").await;
    // While the stream is open: the reader looks again.
    write_late(&app, &first, Duration::from_secs(2)).await;
    assert_eq!(watcher.data("reward-request").await["id"], first["id"]);
    // While it is not.
    let last = watcher.last.clone();
    drop(watcher);
    write_late(&app, &first, Duration::from_secs(30)).await;
    let mut watcher = Watcher::open(&serving.base, REQUESTS, &user.token, last.as_deref()).await;
    assert_eq!(watcher.data("reward-request").await["id"], first["id"]);
    let mut watcher = serving.resume(&user.token, watcher).await;
    watcher.is_quiet().await;
}

#[apply(on_both_engines)]
async fn a_client_that_was_away_too_long_gets_a_reset_and_the_newest_requests(app: TestApp) {
    let app = app.replica(&[
        ("outbox.retention_seconds", "3600"),
        ("auth.access_token_seconds", "864000"),
    ]);
    let serving = Serving::start(&app).await;
    let event = app.event("first-come", json!({}), many()).await;
    let user = app.user(Role::User).await;
    let watcher = serving.requests(&user.token).await;
    let last = watcher.last.clone();
    drop(watcher);
    let first = app.claim(&user.token, &event).send().await.expect(201);
    app.at("2026-03-01T12:00:01Z");
    let requests = [first, app.claim(&user.token, &event).send().await.expect(201)];
    app.at("2026-03-01T14:30:00Z");
    let mut watcher = Watcher::open(&serving.base, REQUESTS, &user.token, last.as_deref()).await;
    let reset = watcher.event().await.expect("an event");
    assert_eq!(
        (reset.event.as_deref(), reset.data, reset.id),
        (Some("reset"), Some(json!({})), None)
    );
    // A client that loses the connection here needs another reset.
    assert_eq!(watcher.last, last);
    assert_eq!(watcher.data("reward-request").await, requests[0]);
    assert_eq!(watcher.last, last);
    assert_eq!(watcher.data("reward-request").await, requests[1]);
    assert_ne!(watcher.last, last);
    let mut watcher = serving.resume(&user.token, watcher).await;
    let next = app.claim(&user.token, &event).send().await.expect(201);
    assert_eq!(watcher.data("reward-request").await, next);
}

#[apply(on_both_engines)]
async fn a_malformed_last_event_id_is_refused(app: TestApp) {
    let base = app.listen().await;
    let event = app.event("first-come", json!({}), json!({})).await;
    let user = app.user(Role::User).await;
    let progress = format!("/events/{}/progress/stream", text(&event, "id"));
    let id = Uuid::now_v7().to_string();
    for path in [REQUESTS, &progress] {
        for last in ["1", "AAAA", &id, "a b"] {
            let problem = refused(&base, path, &user.token, Some(last), 400, "invalid-parameter").await;
            assert!(text(&problem, "detail").contains("Last-Event-ID"), "{problem:#}");
        }
    }
}

#[apply(on_both_engines)]
async fn a_user_watches_itself_and_keys_and_staff_watch_users(app: TestApp) {
    let serving = Serving::start(&app).await;
    let event = app.event("first-come", json!({}), json!({})).await;
    let user = app.user(Role::User).await;
    let admin = app.token(Role::Admin).await;
    let upsert = app.put("/users/external/shop-7").bearer(&admin).json(&json!({}));
    let external = upsert.send().await;
    assert!(external.status.is_success(), "{:#}", external.json);
    let other = app.user(Role::User).await;
    let named = format!("{REQUESTS}?userId={}", user.id);
    let base = &serving.base;
    // Others do not.
    refused(base, &named, &other.token, None, 403, "forbidden").await;
    let by_name = format!("{REQUESTS}?externalUserId=shop-7");
    refused(base, &by_name, &other.token, None, 403, "forbidden").await;
    let weak = secret(&app, "weak", &["activities:write"]).await;
    refused(base, &named, &weak, None, 403, "forbidden").await;
    refused(base, REQUESTS, "nonsense", None, 401, "invalid-token").await;
    // A key names a user that exists.
    let key = secret(&app, "shop", &["claims:read", "claims:write"]).await;
    refused(base, REQUESTS, &key, None, 400, "invalid-parameter").await;
    let nobody = format!("{REQUESTS}?externalUserId=nobody");
    refused(base, &nobody, &key, None, 400, "invalid-parameter").await;
    let progress = format!("/events/{}/progress/stream?userId={}", text(&event, "id"), user.id);
    refused(base, &progress, &other.token, None, 403, "forbidden").await;

    let mut watchers = vec![
        Watcher::open(base, &named, &user.token, None).await,
        Watcher::open(base, &named, &key, None).await,
        Watcher::open(base, &named, &app.operator().await, None).await,
        Watcher::open(base, &named, &app.auditor().await, None).await,
    ];
    let request = app.claim(&user.token, &event).send().await.expect(201);
    for watcher in &mut watchers {
        assert_eq!(watcher.data("reward-request").await["id"], request["id"]);
    }
    let mut shop = Watcher::open(base, &by_name, &key, None).await;
    let claim = app.post("/reward-requests").bearer(&key);
    let claim = claim.json(&json!({"eventId": event["id"], "externalUserId": "shop-7"}));
    let request = claim.send().await.expect(201);
    assert_eq!(shop.data("reward-request").await["id"], request["id"]);
}
