//! Concurrent claims: never granted twice, never beyond the stock, never lost

use meed_host::auth::Role;
use rstest_reuse::apply;
use serde_json::{Value, json};

use crate::support::{Reply, TestApp, TestUser, each, on_both_engines, text};

const GRANTED: &str = "SELECT CAST(COALESCE(SUM(quantity), 0) AS BIGINT) FROM grants";

/// All users claim concurrently, each at one of the processes.
fn claims(processes: &[&TestApp], users: &[TestUser], event: &Value) -> Vec<tokio::task::JoinHandle<Reply>> {
    let calls = users.iter().zip(processes.iter().cycle());
    calls
        .map(|(user, process)| tokio::spawn(process.claim(&user.token, event).send()))
        .collect()
}

async fn statuses(claims: Vec<tokio::task::JoinHandle<Reply>>) -> Vec<Value> {
    let mut requests = Vec::new();
    for claim in claims {
        requests.push(claim.await.expect("an answer").expect(201));
    }
    requests
}

#[apply(on_both_engines)]
async fn one_of_64_concurrent_claims_of_a_user_is_granted(app: TestApp) {
    let replica = app.replica(&[]);
    let reward = app.reward(json!({"type": "ITEM", "stock": 1000})).await;
    let event = app
        .event("first-come", json!({}), json!({"rewardIds": [reward["id"]]}))
        .await;
    let user = app.user(Role::User).await;
    let mut granted = Vec::new();
    let mut refused = Vec::new();
    for claim in claims(&[&app, &replica], &vec![user.clone(); 64], &event) {
        let reply = claim.await.expect("an answer");
        if reply.status == 201 {
            granted.push(reply.json);
        } else {
            refused.push(reply.expect_problem(409, "already-granted"));
        }
    }
    assert_eq!((granted.len(), refused.len()), (1, 63));
    assert_eq!(text(&granted[0], "status"), "GRANTED");
    for problem in refused {
        assert_eq!(problem["rewardRequestId"], granted[0]["id"]);
        assert_eq!(problem["grantIds"], json!([granted[0]["grants"][0]["id"]]));
    }
    assert_eq!(app.count(GRANTED).await, 1);
    assert_eq!(
        app.read(&format!("/rewards/{}", text(&reward, "id"))).await["stockRemaining"],
        999
    );
}

#[apply(on_both_engines)]
async fn three_of_32_concurrent_claims_are_granted_per_day(app: TestApp) {
    let event = app
        .event(
            "first-come",
            json!({}),
            json!({"recurrence": {"period": "DAILY", "count": 3}}),
        )
        .await;
    let user = app.user(Role::User).await;
    let mut granted = 0;
    for claim in claims(&[&app], &vec![user; 32], &event) {
        let reply = claim.await.expect("an answer");
        if reply.status == 201 {
            assert_eq!(reply.json["status"], "GRANTED");
            granted += 1;
        } else {
            reply.expect_problem(409, "already-granted");
        }
    }
    assert_eq!((granted, app.count(GRANTED).await), (3, 3));
}

#[apply(on_both_engines)]
async fn a_process_with_a_slow_clock_sees_grants_of_a_faster_one(app: TestApp) {
    let event = app
        .event(
            "first-come",
            json!({}),
            json!({"recurrence": {"period": "DAILY", "count": 2}}),
        )
        .await;
    let user = app.user(Role::User).await;
    app.at("2026-03-01T12:00:05Z");
    assert_eq!(
        app.claim(&user.token, &event).send().await.expect(201)["status"],
        "GRANTED"
    );
    app.at("2026-03-01T12:00:00Z");
    assert_eq!(
        app.claim(&user.token, &event).send().await.expect(201)["status"],
        "GRANTED"
    );
    app.claim(&user.token, &event)
        .send()
        .await
        .expect_problem(409, "already-granted");
}

#[apply(on_both_engines)]
async fn a_stock_of_50_is_granted_to_50_of_200_users(app: TestApp) {
    let replica = app.replica(&[]);
    let reward = app.reward(json!({"type": "ITEM", "stock": 50})).await;
    let event = app
        .event("first-come", json!({}), json!({"rewardIds": [reward["id"]]}))
        .await;
    let users = app.crowd(200).await;
    let requests = statuses(claims(&[&app, &replica], &users, &event)).await;
    let (granted, rejected): (Vec<_>, Vec<_>) = requests.iter().partition(|request| request["status"] == "GRANTED");
    assert_eq!((granted.len(), rejected.len()), (50, 150));
    for request in rejected {
        assert_eq!(
            (text(request, "status"), text(&request["reasons"][0], "code")),
            ("REJECTED", "sold-out")
        );
    }
    assert_eq!(app.count(GRANTED).await, 50);
    assert_eq!(
        app.read(&format!("/rewards/{}", text(&reward, "id"))).await["stockRemaining"],
        0
    );
    assert_eq!(app.count("SELECT COUNT(*) FROM reward_requests").await, 200);
    assert_eq!(
        app.count("SELECT COUNT(*) FROM outbox WHERE kind = 'reward.granted'")
            .await,
        50
    );
}

#[apply(on_both_engines)]
async fn two_limited_rewards_are_granted_together_or_not_at_all(app: TestApp) {
    let mut ids = Vec::new();
    for stock in [12, 7] {
        ids.push(app.reward(json!({"type": "ITEM", "stock": stock})).await["id"].clone());
    }
    // In both orders, so that claims on the two events take the same stocks.
    let there = app
        .event("first-come", json!({}), json!({"rewardIds": [ids[0], ids[1]]}))
        .await;
    let back = app
        .event("first-come", json!({}), json!({"rewardIds": [ids[1], ids[0]]}))
        .await;
    let users = app.crowd(30).await;
    let mut running = claims(&[&app], &users, &there);
    running.extend(claims(&[&app], &users, &back));
    let requests = statuses(running).await;
    let granted = requests.iter().filter(|request| request["status"] == "GRANTED");
    assert!(
        granted
            .clone()
            .all(|request| each(&request["grants"], "rewardId").len() == 2)
    );
    assert_eq!((granted.count(), app.count(GRANTED).await), (7, 14));
}

#[apply(on_both_engines)]
async fn after_a_pause_was_acknowledged_no_grant_appears(app: TestApp) {
    let replica = app.replica(&[]);
    let event = app.event("first-come", json!({}), json!({})).await;
    let users = app.crowd(120).await;
    // The replica caches the event, so that the pause happens among the claims.
    app.claim(&users[0].token, &event).send().await.expect(201);
    replica.claim(&users[1].token, &event).send().await.expect(201);
    let operator = app.operator().await;
    let etag = format!("\"{}\"", event["revision"]);
    let paused = crate::support::with(crate::support::event_input(&event), json!({"isActive": false}));
    let pause = app
        .put(&format!("/events/{}", text(&event, "id")))
        .bearer(&operator)
        .header("if-match", &etag);
    let mut running = claims(&[&app, &replica], &users[2..40], &event);
    let pause = tokio::spawn(pause.json(&paused).send());
    running.extend(claims(&[&app, &replica], &users[40..], &event));
    pause.await.expect("an answer").expect(200);
    let granted = app.count(GRANTED).await;
    let late = app.token(Role::User).await;
    assert_eq!(
        replica.claim(&late, &event).send().await.expect(201)["reasons"][0]["code"],
        "event-inactive"
    );
    for request in statuses(running).await {
        let revision = if request["status"] == "GRANTED" { 1 } else { 2 };
        assert_eq!(request["eventRevision"], revision, "{request:#}");
    }
    assert_eq!(app.count(GRANTED).await, granted);
}

#[apply(on_both_engines)]
async fn stock_is_raised_while_claims_run(app: TestApp) {
    let reward = app.reward(json!({"type": "ITEM", "stock": 10})).await;
    let path = format!("/rewards/{}", text(&reward, "id"));
    let event = app
        .event("first-come", json!({}), json!({"rewardIds": [reward["id"]]}))
        .await;
    let users = app.crowd(100).await;
    let running = claims(&[&app], &users, &event);
    let operator = app.operator().await;
    for revision in 1..=8 {
        let call = app
            .put(&path)
            .bearer(&operator)
            .header("if-match", &format!("\"{revision}\""));
        call.json(&json!({"type": "ITEM", "stock": 10 + 5 * revision}))
            .send()
            .await
            .expect(200);
    }
    let requests = statuses(running).await;
    let granted = requests.iter().filter(|request| request["status"] == "GRANTED").count() as u64;
    let left = app.read(&path).await;
    assert_eq!(left["stock"], 50);
    assert_eq!(left["stockRemaining"].as_u64(), Some(50 - granted));
    assert_eq!(app.count(GRANTED).await.unsigned_abs(), granted);
}
