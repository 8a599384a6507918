//! Decisions of the host before it evaluates the condition

use meed_host::auth::Role;
use rstest_reuse::apply;
use serde_json::{Value, json};

use crate::support::{TestApp, on_both_engines, text};

/// Asserts that a claim at this instant leaves a REJECTED row for this reason of the host.
async fn assert_rejected(app: &TestApp, at: &str, event: &Value, code: &str) -> Value {
    app.at(at);
    let token = app.token(Role::User).await;
    let rejected = app.claim(&token, event).send().await.expect(201);
    assert_eq!(
        (text(&rejected, "status"), &rejected["retryable"]),
        ("REJECTED", &json!(true))
    );
    assert_eq!(
        (
            text(&rejected["reasons"][0], "source"),
            text(&rejected["reasons"][0], "code")
        ),
        ("HOST", code)
    );
    assert_eq!((&rejected["grants"], &rejected["progress"]), (&json!([]), &json!([])));
    let path = format!("/reward-requests/{}", text(&rejected, "id"));
    assert_eq!(app.get(&path).bearer(&token).send().await.expect(200), rejected);
    // The progress reports the same.
    let path = format!("/events/{}/progress", text(event, "id"));
    let progress = app.get(&path).bearer(&token).send().await.expect(200);
    assert_eq!(
        (&progress["eligible"], &progress["reasons"]),
        (&json!(false), &rejected["reasons"])
    );
    rejected
}

async fn assert_granted(app: &TestApp, at: &str, event: &Value) {
    app.at(at);
    let token = app.token(Role::User).await;
    assert_eq!(
        app.claim(&token, event).send().await.expect(201)["status"],
        "GRANTED",
        "{at}"
    );
}

#[apply(on_both_engines)]
async fn an_event_runs_from_its_start_until_just_before_its_end(app: TestApp) {
    let dates = json!({"startDate": "2026-03-02T00:00:00Z", "endDate": "2026-03-03T00:00:00Z"});
    let event = app.event("first-come", json!({}), dates).await;
    let early = assert_rejected(&app, "2026-03-01T23:59:59.999Z", &event, "event-not-started").await;
    assert_eq!(text(&early, "retryAt"), "2026-03-02T00:00:00.000Z");
    assert_eq!(
        early["reasons"][0]["args"],
        json!({"startsAt": "2026-03-02T00:00:00.000Z"})
    );
    assert_granted(&app, "2026-03-02T00:00:00Z", &event).await;
    assert_granted(&app, "2026-03-02T23:59:59.999Z", &event).await;
    let late = assert_rejected(&app, "2026-03-03T00:00:00Z", &event, "event-ended").await;
    assert_eq!(late["retryAt"], Value::Null);
    assert_eq!(
        late["reasons"][0]["args"],
        json!({"endedAt": "2026-03-03T00:00:00.000Z"})
    );
}

#[apply(on_both_engines)]
async fn a_paused_event_grants_nothing_until_it_resumes(app: TestApp) {
    let event = app.event("first-come", json!({}), json!({})).await;
    let paused = app.change_event(&event, json!({"isActive": false})).await.expect(200);
    let rejected = assert_rejected(&app, "2026-03-01T12:01:00Z", &event, "event-inactive").await;
    assert_eq!(rejected["eventRevision"], 2);
    app.change_event(&paused, json!({"isActive": true})).await.expect(200);
    assert_granted(&app, "2026-03-01T12:02:00Z", &event).await;
}

#[apply(on_both_engines)]
async fn another_process_sees_the_pause_immediately(app: TestApp) {
    let replica = app.replica(&[]);
    let event = app.event("first-come", json!({}), json!({})).await;
    assert_granted(&replica, "2026-03-01T12:00:00Z", &event).await;
    app.change_event(&event, json!({"isActive": false})).await.expect(200);
    // The replica has cached the event as it was.
    let token = app.token(Role::User).await;
    let rejected = replica.claim(&token, &event).send().await.expect(201);
    assert_eq!(text(&rejected["reasons"][0], "code"), "event-inactive");
}

#[apply(on_both_engines)]
async fn a_sold_out_reward_is_refused_until_stock_is_added(app: TestApp) {
    let reward = app.reward(json!({"type": "ITEM", "stock": 1})).await;
    let event = app
        .event("first-come", json!({}), json!({"rewardIds": [reward["id"]]}))
        .await;
    assert_granted(&app, "2026-03-01T12:00:00Z", &event).await;
    assert_rejected(&app, "2026-03-01T12:01:00Z", &event, "sold-out").await;
    let token = app.operator().await;
    let path = format!("/rewards/{}", text(&reward, "id"));
    let call = app
        .put(&path)
        .bearer(&token)
        .header("if-match", "\"1\"")
        .json(&json!({"type": "ITEM", "stock": 2}));
    call.send().await.expect(200);
    assert_granted(&app, "2026-03-01T12:02:00Z", &event).await;
    assert_rejected(&app, "2026-03-01T12:03:00Z", &event, "sold-out").await;
}

#[apply(on_both_engines)]
async fn a_repeated_claim_on_a_sold_out_event_gets_the_stored_rejection_until_stock_is_added(app: TestApp) {
    let replica = app.replica(&[]);
    let reward = app.reward(json!({"type": "ITEM", "stock": 0})).await;
    let event = app
        .event("first-come", json!({}), json!({"rewardIds": [reward["id"]]}))
        .await;
    let token = app.token(Role::User).await;
    let first = app.claim(&token, &event).send().await.expect(201);
    let again = app.claim(&token, &event).send().await;
    assert_eq!(
        again.header("location"),
        format!("/reward-requests/{}", text(&first, "id"))
    );
    assert_eq!(again.expect(200), first);
    // Claims at other processes and under a key are decided, and say the same. Other users have requests of their own.
    let other = app.token(Role::User).await;
    assert_ne!(
        replica.claim(&other, &event).send().await.expect(201)["id"],
        first["id"]
    );
    assert_eq!(replica.claim(&token, &event).send().await.expect(200), first);
    let keyed = app
        .claim(&token, &event)
        .header("idempotency-key", "a")
        .send()
        .await
        .expect(201);
    assert_eq!(keyed, first);
    assert_eq!(app.count("SELECT COUNT(*) FROM reward_requests").await, 2);

    let operator = app.operator().await;
    let path = format!("/rewards/{}", text(&reward, "id"));
    let call = app
        .put(&path)
        .bearer(&operator)
        .header("if-match", "\"1\"")
        .json(&json!({"type": "ITEM", "stock": 2}));
    call.send().await.expect(200);
    assert_eq!(app.claim(&token, &event).send().await.expect(201)["status"], "GRANTED");
    // Another process can use what it read for up to one second.
    tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
    assert_eq!(
        replica.claim(&other, &event).send().await.expect(201)["status"],
        "GRANTED"
    );
}

#[apply(on_both_engines)]
async fn a_repeated_claim_after_a_sold_out_event_has_ended_gets_event_ended(app: TestApp) {
    let reward = app.reward(json!({"type": "ITEM", "stock": 0})).await;
    let event = app
        .event("first-come", json!({}), json!({"rewardIds": [reward["id"]]}))
        .await;
    let user = app.user(Role::User).await;
    app.claim(&user.token, &event).send().await.expect(201);
    app.at("2026-06-01T00:00:00Z");
    let token = app.log_in(&user).await;
    let late = app.claim(&token, &event).send().await.expect(201);
    assert_eq!(text(&late["reasons"][0], "code"), "event-ended");
}

#[apply(on_both_engines)]
async fn all_rewards_of_an_event_are_granted_or_none(app: TestApp) {
    let (scarce, plenty) = (
        app.reward(json!({"type": "ITEM", "stock": 1})).await,
        app.reward(json!({"type": "POINT", "stock": 9})).await,
    );
    let event = app
        .event(
            "first-come",
            json!({}),
            json!({"rewardIds": [plenty["id"], scarce["id"]]}),
        )
        .await;
    assert_granted(&app, "2026-03-01T12:00:00Z", &event).await;
    let token = app.token(Role::User).await;
    let rejected = app.claim(&token, &event).send().await.expect(201);
    assert_eq!(
        (text(&rejected, "status"), text(&rejected["reasons"][0], "code")),
        ("REJECTED", "sold-out")
    );
    assert_eq!(
        app.read(&format!("/rewards/{}", text(&plenty, "id"))).await["stockRemaining"],
        8
    );
}

#[apply(on_both_engines)]
async fn a_reward_shared_by_two_events_has_one_stock(app: TestApp) {
    let reward = app.reward(json!({"type": "ITEM", "stock": 1})).await;
    let first = app
        .event("first-come", json!({}), json!({"rewardIds": [reward["id"]]}))
        .await;
    let second = app
        .event("first-come", json!({}), json!({"rewardIds": [reward["id"]]}))
        .await;
    assert_granted(&app, "2026-03-01T12:00:00Z", &first).await;
    assert_rejected(&app, "2026-03-01T12:00:00Z", &second, "sold-out").await;
}
