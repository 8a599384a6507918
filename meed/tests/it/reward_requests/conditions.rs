//! The bundled conditions on real data

use std::collections::HashSet;

use meed_host::auth::Role;
use rstest_reuse::apply;
use serde_json::{Value, json};

use crate::support::{PASSWORD, TestApp, TestUser, on_both_engines, text, with};

async fn claim(app: &TestApp, user: &TestUser, event: &Value) -> Value {
    app.claim(&user.token, event).send().await.expect(201)
}

#[track_caller]
fn assert_rejected(request: &Value, code: &str, progress: &Value) {
    assert_eq!(
        (text(request, "status"), text(&request["reasons"][0], "code")),
        ("REJECTED", code)
    );
    assert_eq!(&request["progress"], progress);
}

async fn purchase(app: &TestApp, id: &str, user: &TestUser, rest: Value) {
    let token = app.operator().await;
    let activity = json!({"source": "shop", "id": id, "userId": user.id, "kind": "shop.purchase"});
    let call = app.post("/activities").bearer(&token).json(&with(activity, rest));
    call.send().await.expect(201);
}

#[apply(on_both_engines)]
async fn a_user_with_the_required_level_and_region_is_granted(app: TestApp) {
    let event = app
        .event("user-attributes", json!({"minLevel": 10, "region": "KR"}), json!({}))
        .await;
    let user = app.user(Role::User).await;
    let set = async |attributes: Value| {
        let token = app.operator().await;
        let path = format!("/users/{}/attributes", user.id);
        app.put(&path).bearer(&token).json(&attributes).send().await.expect(200);
    };
    assert_rejected(&claim(&app, &user, &event).await, "level-missing", &json!([]));
    set(json!({"level": "9", "region": "JP"})).await;
    let rejected = claim(&app, &user, &event).await;
    assert_rejected(
        &rejected,
        "level-too-low",
        &json!([{"key": "level", "current": 9, "target": 10}]),
    );
    assert_eq!(text(&rejected["reasons"][1], "code"), "wrong-region");
    set(json!({"level": "10", "region": "KR"})).await;
    assert_eq!(claim(&app, &user, &event).await["status"], "GRANTED");
}

#[apply(on_both_engines)]
async fn accepted_invitations_are_counted(app: TestApp) {
    let event = app.event("invite-count", json!({"count": 2}), json!({})).await;
    let (inviter, stranger) = (app.user(Role::User).await, app.user(Role::User).await);
    for (number, target) in [(1, "REJECTED"), (2, "GRANTED")] {
        let body = json!({"email": format!("friend-{number}@example.com"), "password": PASSWORD, "inviteCode": inviter.invite_code});
        let invitee = app.post("/auth/register").json(&body).send().await.expect(201);
        // An invitation counts when the invitee has done something.
        let operator = app.operator().await;
        let visit = json!({"source": "shop", "id": number.to_string(), "userId": invitee["id"], "kind": "shop.visit"});
        let report = app.post("/activities").bearer(&operator).json(&visit);
        report.send().await.expect(201);
        let request = claim(&app, &inviter, &event).await;
        assert_eq!(text(&request, "status"), target);
        assert_eq!(
            request["progress"],
            json!([{"key": "invites", "current": number, "target": 2}])
        );
    }
    assert_rejected(
        &claim(&app, &stranger, &event).await,
        "too-few-invites",
        &json!([{"key": "invites", "current": 0, "target": 2}]),
    );
}

#[apply(on_both_engines)]
async fn activities_that_match_a_filter_are_counted(app: TestApp) {
    let params = json!({"kind": "shop.purchase", "count": 2, "where": {"category": "hats", "gift": "false"}});
    let event = app.event("activity-count", params, json!({})).await;
    let (user, other) = (app.user(Role::User).await, app.user(Role::User).await);
    purchase(
        &app,
        "1",
        &user,
        json!({"attributes": {"category": "hats", "gift": false}}),
    )
    .await;
    purchase(
        &app,
        "2",
        &user,
        json!({"attributes": {"category": "hats", "gift": true}}),
    )
    .await;
    purchase(
        &app,
        "3",
        &user,
        json!({"attributes": {"category": "shoes", "gift": false}}),
    )
    .await;
    purchase(
        &app,
        "4",
        &other,
        json!({"attributes": {"category": "hats", "gift": false}}),
    )
    .await;
    // Before the event began.
    purchase(
        &app,
        "5",
        &user,
        json!({"occurredAt": "2026-01-31T23:59:59.999Z", "attributes": {"category": "hats", "gift": false}}),
    )
    .await;
    let one_of_two = json!([{"key": "count", "current": 1, "target": 2}]);
    assert_rejected(&claim(&app, &user, &event).await, "too-few-activities", &one_of_two);
    purchase(
        &app,
        "6",
        &user,
        json!({"occurredAt": "2026-02-01T00:00:00Z", "attributes": {"category": "hats", "gift": false, "size": "L"}}),
    )
    .await;
    assert_eq!(claim(&app, &user, &event).await["status"], "GRANTED");
}

#[apply(on_both_engines)]
async fn amounts_of_the_last_days_are_summed(app: TestApp) {
    let params = json!({"kind": "shop.purchase", "sum": 5000, "lastDays": 2});
    let event = app
        .event("activity-count", params, json!({"timeZone": "Asia/Seoul"}))
        .await;
    let user = app.user(Role::User).await;
    // It is 1 March, 21:00 in Seoul: the last two days began at 15:00 UTC on 27 February.
    purchase(
        &app,
        "1",
        &user,
        json!({"amount": 4000, "occurredAt": "2026-02-27T14:59:59.999Z"}),
    )
    .await;
    purchase(
        &app,
        "2",
        &user,
        json!({"amount": 4999, "occurredAt": "2026-02-27T15:00:00Z"}),
    )
    .await;
    let nearly = json!([{"key": "amount", "current": 4999, "target": 5000}]);
    assert_rejected(&claim(&app, &user, &event).await, "amount-too-low", &nearly);
    purchase(&app, "3", &user, json!({"amount": 1})).await;
    assert_eq!(claim(&app, &user, &event).await["status"], "GRANTED");
}

/// A user who learns the seed from a rejection gains nothing by waiting for another stock.
#[apply(on_both_engines)]
async fn the_stock_does_not_move_a_draw(app: TestApp) {
    let gold = app.reward(json!({"type": "GOLD", "stock": 0})).await;
    let silver = app.reward(json!({"type": "SILVER", "stock": 100})).await;
    let (gold_id, silver_id) = (text(&gold, "id"), text(&silver, "id"));
    let weights = json!({"weights": {gold_id: 1, silver_id: 1}});
    let event = app
        .event("lucky-draw", weights, json!({"rewardIds": [gold_id, silver_id]}))
        .await;
    let (mut waiting, mut granted) = (Vec::new(), 0);
    for user in app.crowd(20).await {
        let request = claim(&app, &user, &event).await;
        if text(&request, "status") == "GRANTED" {
            assert_eq!(text(&request["grants"][0], "rewardId"), silver_id);
            granted += 1;
        } else {
            assert_rejected(&request, "sold-out", &json!([]));
            waiting.push(user);
        }
    }
    // The probability that all 20 users draw the same of two rewards is 1 in 2^19.
    assert!(granted > 0 && !waiting.is_empty(), "{granted}");
    for user in &waiting {
        // The same request again, because nothing changed.
        let again = app.claim(&user.token, &event).send().await.expect(200);
        assert_rejected(&again, "sold-out", &json!([]));
    }
    // Gold is back: the users who drew gold get it, and no user gets silver instead.
    let operator = app.operator().await;
    let path = format!("/rewards/{gold_id}");
    let call = app.put(&path).bearer(&operator).header("if-match", "\"1\"");
    call.json(&json!({"type": "GOLD", "stock": 100}))
        .send()
        .await
        .expect(200);
    for user in &waiting {
        let request = claim(&app, user, &event).await;
        assert_eq!(text(&request["grants"][0], "rewardId"), gold_id, "{request:#}");
    }
}

#[apply(on_both_engines)]
async fn a_repeated_claim_does_not_draw_again(app: TestApp) {
    let (gold, silver) = (
        app.reward(json!({"type": "GOLD", "stock": 0})).await,
        app.reward(json!({"type": "SILVER"})).await,
    );
    let params = json!({"weights": {text(&gold, "id"): 1}});
    let event = app
        .event("lucky-draw", params, json!({"rewardIds": [gold["id"], silver["id"]]}))
        .await;
    let user = app.user(Role::User).await;
    let mut seeds = HashSet::new();
    // The second rejection says the same, so it is the same request.
    for (status, code) in [("REJECTED", 201), ("REJECTED", 200), ("GRANTED", 201)] {
        if status == "GRANTED" {
            let token = app.operator().await;
            let path = format!("/rewards/{}", text(&gold, "id"));
            let call = app
                .put(&path)
                .bearer(&token)
                .header("if-match", "\"1\"")
                .json(&json!({"type": "GOLD", "stock": 1}));
            call.send().await.expect(200);
        }
        let request = app.claim(&user.token, &event).send().await.expect(code);
        assert_eq!(text(&request, "status"), status);
        let receipt = app
            .read(&format!("/reward-requests/{}/receipt", text(&request, "id")))
            .await;
        seeds.insert(text(&receipt["receipt"]["evaluation"], "seed").to_owned());
    }
    assert_eq!(seeds.len(), 1);
}
