//! Event groups: a user has at most so many grants of all events of a group

use meed_host::auth::Role;
use meed_host::claims::{Proof, Replay, replay};
use rstest_reuse::apply;
use serde_json::{Value, json};

use super::held::{held, path, reviewed_event};
use super::received::{Working, decided, receive};
use crate::event_groups::group;
use crate::support::{TestApp, TestUser, on_both_engines, text};

const SLOTS: &str = "SELECT COUNT(*) FROM reward_requests WHERE group_name = 'welcome' AND status = 'GRANTED'";

/// `count` events of the group `welcome`.
async fn events(app: &TestApp, count: usize) -> Vec<Value> {
    let mut events = Vec::new();
    for _ in 0..count {
        events.push(app.event("first-come", json!({}), json!({"group": "welcome"})).await);
    }
    events
}

async fn claim(app: &TestApp, user: &TestUser, event: &Value) -> Value {
    let reply = app.claim(&user.token, event).send().await;
    // 200: rejected as before.
    assert!(matches!(reply.status.as_u16(), 200 | 201), "{:#}", reply.json);
    reply.json
}

fn outcome(request: &Value) -> &str {
    match text(request, "status") {
        "REJECTED" => text(&request["reasons"][0], "code"),
        status => status,
    }
}

async fn reverse(app: &TestApp, request: &Value) {
    let operator = app.operator().await;
    let call = app.post(&format!("{}/reversal", path(request))).bearer(&operator);
    call.json(&json!({"reason": "A mistake"})).send().await.expect(201);
}

#[apply(on_both_engines)]
async fn one_welcome_gift_of_three(app: TestApp) {
    group(&app, "welcome", 1).await;
    let events = events(&app, 3).await;
    let (ada, bob) = (app.user(Role::User).await, app.user(Role::User).await);
    let granted = claim(&app, &ada, &events[0]).await;
    assert_eq!(outcome(&granted), "GRANTED");
    let refused = claim(&app, &ada, &events[1]).await;
    assert_eq!(
        refused["reasons"],
        json!([{
            "source": "HOST", "code": "group-limit-reached",
            "message": "You have the maximum number of grants of this group of events: 1.",
            "args": {"group": "welcome", "limit": "1"},
        }])
    );
    assert_eq!(
        (&refused["retryable"], &refused["retryAt"]),
        (&json!(true), &Value::Null)
    );
    // The same again is the same request, and the progress agrees.
    let again = app.claim(&ada.token, &events[1]).send().await.expect(200);
    assert_eq!(again["id"], refused["id"]);
    let progress = format!("/events/{}/progress", text(&events[2], "id"));
    let progress = app.get(&progress).bearer(&ada.token).send().await.expect(200);
    assert_eq!(
        (&progress["eligible"], &progress["reasons"]),
        (&json!(false), &refused["reasons"])
    );
    // The condition did not run; the receipt says what the host decided.
    let signed = app.read(&format!("{}/receipt", path(&refused))).await;
    assert_eq!(signed["receipt"]["evaluation"], Value::Null);
    assert_eq!(signed["receipt"]["reasons"], refused["reasons"]);
    let proof = Proof::parse(signed.to_string().as_bytes()).expect("a receipt");
    let replayed = replay(&app.app.sandbox, &proof, None, None).await.expect("a verdict");
    assert_eq!(replayed, Replay::NothingToRun);

    assert_eq!(outcome(&claim(&app, &bob, &events[1]).await), "GRANTED");
    app.claim(&ada.token, &events[0])
        .send()
        .await
        .expect_problem(409, "already-granted");
    // A reversal releases it.
    reverse(&app, &granted).await;
    assert_eq!(outcome(&claim(&app, &ada, &events[2]).await), "GRANTED");
    assert_eq!(outcome(&claim(&app, &ada, &events[0]).await), "group-limit-reached");
}

#[apply(on_both_engines)]
async fn of_concurrent_claims_exactly_the_maximum_is_granted(app: TestApp) {
    let replica = app.replica(&[]);
    group(&app, "welcome", 2).await;
    let events = events(&app, 5).await;
    let users = app.crowd(12).await;
    let mut claims = Vec::new();
    for user in &users {
        for (number, event) in events.iter().enumerate() {
            let process = if number % 2 == 0 { &app } else { &replica };
            claims.push((user.id.clone(), tokio::spawn(process.claim(&user.token, event).send())));
        }
    }
    let mut granted = std::collections::BTreeMap::<String, usize>::new();
    for (user, claim) in claims {
        let request = claim.await.expect("an answer").expect(201);
        match outcome(&request) {
            "GRANTED" => *granted.entry(user).or_default() += 1,
            other => assert_eq!(other, "group-limit-reached"),
        }
    }
    assert_eq!(granted.len(), users.len());
    assert!(granted.values().all(|count| *count == 2), "{granted:?}");
    assert_eq!(app.count(SLOTS).await, 24);
}

#[apply(on_both_engines)]
async fn pending_claims_count_for_the_group(app: TestApp) {
    group(&app, "welcome", 1).await;
    let events = events(&app, 3).await;
    let user = app.user(Role::User).await;
    let mut pending = Vec::new();
    for event in &events {
        pending.push(receive(&app, &user, event).await.expect(202));
    }
    let working = Working::start(&app);
    let mut outcomes = Vec::new();
    for request in &pending {
        outcomes.push(outcome(&decided(&app, request).await).to_owned());
    }
    outcomes.sort_unstable();
    assert_eq!(outcomes, ["GRANTED", "group-limit-reached", "group-limit-reached"]);
    working.stop().await;
}

#[apply(on_both_engines)]
async fn a_held_claim_keeps_its_place_in_the_group(app: TestApp) {
    group(&app, "welcome", 1).await;
    let reviewed = reviewed_event(&app, json!({"group": "welcome"})).await;
    let event = &events(&app, 1).await[0];
    let operator = app.operator().await;
    let review = async |request: &Value, decision: &str| {
        let call = app.post(&format!("{}/{decision}", path(request))).bearer(&operator);
        call.json(&json!({"reason": "Looked at it"})).send().await.expect(200)
    };
    let users = app.crowd(2).await;
    let request = held(&app, &users[0], &reviewed).await;
    assert_eq!(outcome(&claim(&app, &users[0], event).await), "group-limit-reached");
    assert_eq!(outcome(&review(&request, "approval").await), "GRANTED");
    assert_eq!(
        outcome(&app.claim(&users[0].token, event).send().await.json),
        "group-limit-reached"
    );
    assert_eq!(app.count(SLOTS).await, 1);

    let request = held(&app, &users[1], &reviewed).await;
    review(&request, "denial").await;
    assert_eq!(outcome(&claim(&app, &users[1], event).await), "GRANTED");
}

#[apply(on_both_engines)]
async fn a_change_of_the_limit_applies_to_the_next_claim(app: TestApp) {
    group(&app, "welcome", 2).await;
    let events = events(&app, 4).await;
    let user = app.user(Role::User).await;
    let mut requests = Vec::new();
    for event in &events[..2] {
        requests.push(claim(&app, &user, event).await);
    }
    let operator = app.operator().await;
    let limit = async |max: u32| {
        let call = app
            .put("/event-groups/welcome")
            .bearer(&operator)
            .header("if-match", "*");
        call.json(&json!({"maxPerUser": max})).send().await.expect(200)
    };
    limit(1).await;
    assert_eq!(outcome(&claim(&app, &user, &events[2]).await), "group-limit-reached");
    // One of two was taken back, and one is allowed.
    reverse(&app, &requests[0]).await;
    assert_eq!(outcome(&claim(&app, &user, &events[2]).await), "group-limit-reached");
    limit(2).await;
    assert_eq!(outcome(&claim(&app, &user, &events[2]).await), "GRANTED");
    assert_eq!(outcome(&claim(&app, &user, &events[3]).await), "group-limit-reached");
}

#[apply(on_both_engines)]
async fn grants_count_from_when_the_event_is_in_the_group(app: TestApp) {
    group(&app, "welcome", 1).await;
    let before = app.event("first-come", json!({}), json!({})).await;
    let event = &events(&app, 1).await[0];
    let (ada, bob) = (app.user(Role::User).await, app.user(Role::User).await);
    assert_eq!(outcome(&claim(&app, &ada, &before).await), "GRANTED");
    app.change_event(&before, json!({"group": "welcome"})).await.expect(200);
    assert_eq!(outcome(&claim(&app, &ada, event).await), "GRANTED");
    assert_eq!(outcome(&claim(&app, &bob, &before).await), "GRANTED");
    assert_eq!(outcome(&claim(&app, &bob, event).await), "group-limit-reached");
}
