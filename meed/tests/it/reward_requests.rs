//! `/reward-requests`: claims from the request to the grant

mod budgets;
mod concurrency;
mod conditions;
mod explained;
mod failures;
mod gates;
mod groups;
mod held;
mod idempotency;
mod lists;
mod put_aside;
pub mod received;
mod recurrence;
mod refusals;
mod retention;
mod reversal;
mod reviews;
mod sets;
mod sold_out;

use std::collections::BTreeSet;

use meed_host::auth::Role;
use rstest_reuse::apply;
use serde_json::{Value, json};

use crate::support::{TestApp, each, on_both_engines, text};

#[apply(on_both_engines)]
async fn a_rejected_user_acts_and_is_granted_once(app: TestApp) {
    let event = app.event("login-streak", json!({"days": 7}), json!({})).await;
    let user = app.user(Role::User).await;
    for day in 2..=5 {
        app.at(&format!("2026-03-0{day}T12:00:00Z"));
        app.log_in(&user).await;
    }
    let token = app.log_in(&user).await;
    let reply = app.claim(&token, &event).send().await;
    let location = reply.header("location").to_owned();
    let rejected = reply.expect(201);
    assert_eq!(location, format!("/reward-requests/{}", text(&rejected, "id")));
    assert_eq!(
        rejected,
        json!({
            "id": rejected["id"], "eventId": event["id"], "eventRevision": 1, "userId": user.id,
            "status": "REJECTED", "retryable": true,
            "reasons": [{
                "source": "CONDITION", "code": "streak-too-short", "message": "Log in on 2 more days in a row.",
                "args": {"missing": "2"},
            }],
            "progress": [{"key": "days", "current": 5, "target": 7}],
            "retryAt": "2026-03-07T00:00:00.000Z", "period": "once", "grants": [],
            "receivedAt": "2026-03-05T12:00:00.000Z", "decidedAt": "2026-03-05T12:00:00.000Z",
            "pluginDigest": event["condition"]["digest"],
        })
    );

    for day in 6..=7 {
        app.at(&format!("2026-03-0{day}T12:00:00Z"));
        app.log_in(&user).await;
    }
    let token = app.log_in(&user).await;
    let granted = app.claim(&token, &event).send().await.expect(201);
    assert_eq!(
        (text(&granted, "status"), &granted["retryable"]),
        ("GRANTED", &json!(false))
    );
    assert_eq!(granted["progress"], json!([{"key": "days", "current": 7, "target": 7}]));
    assert_eq!((&granted["reasons"], &granted["retryAt"]), (&json!([]), &Value::Null));
    let grant = &granted["grants"][0];
    assert_eq!(
        (&grant["rewardId"], &grant["quantity"]),
        (&event["rewardIds"][0], &json!(1))
    );

    let problem = app
        .claim(&token, &event)
        .send()
        .await
        .expect_problem(409, "already-granted");
    assert_eq!(problem["rewardRequestId"], granted["id"]);
    assert_eq!(problem["grantIds"], json!([grant["id"]]));
    assert_eq!(problem.get("nextAt"), None);

    let path = format!("/reward-requests/{}", text(&granted, "id"));
    assert_eq!(app.get(&path).bearer(&token).send().await.expect(200), granted);
    let mine = app.get("/reward-requests/mine").bearer(&token).send().await.expect(200);
    assert_eq!(mine["items"], json!([granted, rejected]));
    // The message for receivers is written in the same transaction.
    let outbox: Vec<(String, meed_host::db::Json<Value>)> = app
        .app
        .db
        .query("SELECT kind, payload FROM outbox WHERE user_id IS NOT NULL")
        .fetch_all(&app.app.db)
        .await
        .expect("the outbox");
    assert_eq!((outbox.len(), outbox[0].0.as_str()), (1, "reward.granted"));
    assert_eq!(outbox[0].1.0["requestId"], granted["id"]);
    assert_eq!(outbox[0].1.0["grants"], granted["grants"]);
}

#[apply(on_both_engines)]
async fn a_claim_under_events_is_the_same(app: TestApp) {
    let event = app.event("first-come", json!({}), json!({})).await;
    let user = app.user(Role::User).await;
    let body = json!({"eventId": event["id"]});
    let reply = app
        .post("/events/requests")
        .bearer(&user.token)
        .json(&body)
        .send()
        .await;
    assert!(reply.header("location").starts_with("/reward-requests/"));
    let granted = reply.expect(201);
    assert_eq!(text(&granted, "status"), "GRANTED");
    let again = app
        .claim(&user.token, &event)
        .send()
        .await
        .expect_problem(409, "already-granted");
    assert_eq!(again["rewardRequestId"], granted["id"]);
    let again = app
        .post("/events/requests")
        .bearer(&user.token)
        .json(&body)
        .send()
        .await;
    assert_eq!(
        again.expect_problem(409, "already-granted")["rewardRequestId"],
        granted["id"]
    );
}

#[apply(on_both_engines)]
async fn every_reward_of_the_event_is_granted(app: TestApp) {
    let (gold, silver) = (
        app.reward(json!({"type": "GOLD"})).await,
        app.reward(json!({"type": "SILVER"})).await,
    );
    let event = app
        .event(
            "first-come",
            json!({}),
            json!({"rewardIds": [gold["id"], silver["id"]]}),
        )
        .await;
    let user = app.user(Role::User).await;
    let granted = app.claim(&user.token, &event).send().await.expect(201);
    let rewards = BTreeSet::from_iter(each(&granted["grants"], "rewardId"));
    assert_eq!(rewards, BTreeSet::from([text(&gold, "id"), text(&silver, "id")]));
}

#[apply(on_both_engines)]
async fn an_invalid_claim_writes_no_row(app: TestApp) {
    let user = app.user(Role::User).await;
    let claim = async |body: Value| {
        app.post("/reward-requests")
            .bearer(&user.token)
            .json(&body)
            .send()
            .await
    };
    let nobody = json!({"eventId": "0199a3b0-5c1e-7a51-8f5e-0d6f2c1b9e77"});
    claim(nobody).await.expect_problem(404, "no-such-event");
    for body in [
        json!({}),
        json!({"eventId": 7}),
        json!({"eventId": "x"}),
        json!(null),
        json!({"eventId": user.id, "userId": "x"}),
        json!({"eventId": user.id, "colour": "red"}),
    ] {
        claim(body).await.expect_problem(422, "invalid-body");
    }
    assert_eq!(app.count("SELECT COUNT(*) FROM reward_requests").await, 0);
}

#[apply(on_both_engines)]
async fn a_body_that_is_an_array_is_refused(app: TestApp) {
    let event = app.event("first-come", json!({}), json!({})).await;
    let token = app.token(Role::User).await;
    let claim = async |body: Value| app.post("/reward-requests").bearer(&token).json(&body).send().await;
    let problem = claim(json!([event["id"]])).await.expect_problem(422, "invalid-body");
    assert_eq!(problem["errors"][0]["pointer"], "");
    let cut = app
        .post("/reward-requests")
        .bearer(&token)
        .bytes("application/json", "[1")
        .send()
        .await;
    cut.expect_problem(400, "malformed-json");
    assert_eq!(app.count("SELECT COUNT(*) FROM reward_requests").await, 0);
}

#[apply(on_both_engines)]
async fn progress_reports_the_current_state_and_stores_nothing(app: TestApp) {
    let event = app
        .event(
            "login-streak",
            json!({"days": 2}),
            json!({"recurrence": {"period": "WEEKLY", "count": 1}}),
        )
        .await;
    let path = format!("/events/{}/progress", text(&event, "id"));
    let user = app.user(Role::User).await;
    let progress = app.get(&path).bearer(&user.token).send().await.expect(200);
    assert_eq!(
        progress,
        json!({
            "eventId": event["id"], "eligible": false,
            "reasons": [{
                "source": "CONDITION", "code": "streak-too-short", "message": "Log in on 1 more day in a row.",
                "args": {"missing": "1"},
            }],
            "progress": [{"key": "days", "current": 1, "target": 2}],
            "retryAt": "2026-03-02T00:00:00.000Z", "period": "2026-W09", "granted": 0, "limit": 1,
        })
    );
    app.at("2026-03-02T12:00:00Z");
    let token = app.log_in(&user).await;
    let progress = app.get(&path).bearer(&token).send().await.expect(200);
    assert_eq!(
        (&progress["eligible"], &progress["reasons"], text(&progress, "period")),
        (&json!(true), &json!([]), "2026-W10")
    );
    assert_eq!(app.count("SELECT COUNT(*) FROM reward_requests").await, 0);

    app.claim(&token, &event).send().await.expect(201);
    let progress = app.get(&path).bearer(&token).send().await.expect(200);
    assert_eq!(
        (&progress["eligible"], &progress["granted"]),
        (&json!(false), &json!(1))
    );
    assert_eq!(
        (
            text(&progress["reasons"][0], "code"),
            text(&progress["reasons"][0], "source")
        ),
        ("already-granted", "HOST")
    );
    assert_eq!(text(&progress, "retryAt"), "2026-03-09T00:00:00.000Z");
    assert_eq!(app.count("SELECT COUNT(*) FROM reward_requests").await, 1);
}
