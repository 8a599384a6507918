//! Claims that the condition leaves to a person: HELD until their review

use meed_host::auth::Role;
use rstest_reuse::apply;
use serde_json::{Value, json};

use super::received::{Working, decided, receive};
use crate::support::{TestApp, TestUser, each, guest, on_both_engines, reviewing, text};

/// An event whose condition leaves every claim to a person.
pub(super) async fn reviewed_event(app: &TestApp, changes: Value) -> Value {
    let plugin = app.install(reviewing("reviewed").module()).await;
    app.event_on(&plugin, json!({}), changes).await
}

pub(super) async fn held(app: &TestApp, user: &TestUser, event: &Value) -> Value {
    let request = app.claim(&user.token, event).send().await.expect(201);
    assert_eq!(text(&request, "status"), "HELD", "{request:#}");
    request
}

pub(super) fn path(request: &Value) -> String {
    format!("/reward-requests/{}", text(request, "id"))
}

#[apply(on_both_engines)]
async fn a_claim_that_needs_a_review_is_held(app: TestApp) {
    let reward = app.reward(json!({"type": "ITEM", "stock": 1})).await;
    let changes = json!({"rewardIds": [reward["id"]], "budget": {"period": "DAILY", "grants": 1}});
    let event = reviewed_event(&app, changes).await;
    let user = app.user(Role::User).await;
    let reply = app.claim(&user.token, &event).send().await;
    let location = reply.header("location").to_owned();
    let request = reply.expect(201);
    assert_eq!(location, path(&request));
    assert_eq!(
        request,
        json!({
            "id": request["id"], "eventId": event["id"], "eventRevision": 1, "userId": user.id,
            "status": "HELD", "retryable": false,
            "reasons": [
                {"source": "HOST", "code": "needs-review", "message": "Your claim is held until a person has reviewed it."},
                {
                    "source": "CONDITION", "code": "large-amount", "message": "Amounts above 500 need a review.",
                    "args": {"limit": "500"},
                },
            ],
            "progress": [], "retryAt": "2026-03-15T12:00:00.000Z", "period": "once", "grants": [],
            "receivedAt": "2026-03-01T12:00:00.000Z", "decidedAt": null, "pluginDigest": event["condition"]["digest"],
        })
    );
    // Its user and operators see it like any other request.
    assert_eq!(
        app.get(&path(&request)).bearer(&user.token).send().await.expect(200),
        request
    );
    let mine = app.get("/reward-requests/mine?status=HELD").bearer(&user.token);
    assert_eq!(mine.send().await.expect(200)["items"], json!([request]));
    // Nothing is taken while it is held.
    let reward = app.read(&format!("/rewards/{}", text(&reward, "id"))).await;
    assert_eq!(reward["stockRemaining"], 1);
    let budget = app.read(&format!("/events/{}/budget", text(&event, "id"))).await;
    assert_eq!(
        budget["periods"],
        json!([{"period": "2026-03-01", "grants": 0, "amount": 0}])
    );
    assert_eq!(app.count("SELECT COUNT(*) FROM grants").await, 0);
    let told: Vec<(String, meed_host::db::Json<Value>)> = app
        .app
        .db
        .query("SELECT kind, payload FROM outbox WHERE user_id IS NOT NULL")
        .fetch_all(&app.app.db)
        .await
        .expect("the outbox");
    assert_eq!((told.len(), told[0].0.as_str()), (1, "claim.held"));
    assert_eq!(
        told[0].1.0,
        json!({
            "requestId": request["id"], "eventId": event["id"], "userId": user.id, "reasons": request["reasons"],
            "heldAt": "2026-03-01T12:00:00.000Z", "heldUntil": "2026-03-15T12:00:00.000Z",
        })
    );
}

#[apply(on_both_engines)]
async fn another_claim_on_the_event_meanwhile_is_refused(app: TestApp) {
    let event = reviewed_event(&app, json!({"recurrence": {"period": "DAILY", "count": 2}})).await;
    let other_event = reviewed_event(&app, json!({})).await;
    let (user, other) = (app.user(Role::User).await, app.user(Role::User).await);
    let request = held(&app, &user, &event).await;
    let replica = app.replica(&[]);
    for process in [&app, &replica] {
        let again = process.claim(&user.token, &event).send().await;
        assert_eq!(
            again.expect_problem(409, "claim-held")["rewardRequestId"],
            request["id"]
        );
        let again = receive(process, &user, &event).await;
        assert_eq!(
            again.expect_problem(409, "claim-held")["rewardRequestId"],
            request["id"]
        );
    }
    // Also in another period.
    app.at("2026-03-02T12:00:00Z");
    let token = app.log_in(&user).await;
    let again = app.claim(&token, &event).send().await;
    assert_eq!(
        again.expect_problem(409, "claim-held")["rewardRequestId"],
        request["id"]
    );
    assert_eq!(app.count("SELECT COUNT(*) FROM reward_requests").await, 1);
    let progress = app.get(&format!("/events/{}/progress", text(&event, "id")));
    let progress = progress.bearer(&token).send().await.expect(200);
    assert_eq!(
        (&progress["eligible"], &progress["heldRequestId"]),
        (&json!(false), &request["id"])
    );
    assert_eq!(
        each(&progress["reasons"], "code"),
        ["claim-held", "needs-review", "large-amount"]
    );
    // Other events and other users are not affected.
    let user = TestUser { token, ..user };
    held(&app, &user, &other_event).await;
    let other = TestUser {
        token: app.log_in(&other).await,
        ..other
    };
    held(&app, &other, &event).await;
}

#[apply(on_both_engines)]
async fn a_repeat_under_the_key_gets_the_stored_response(app: TestApp) {
    let event = reviewed_event(&app, json!({})).await;
    let user = app.user(Role::User).await;
    let claim = |key: &str| app.claim(&user.token, &event).header("idempotency-key", key).send();
    let first = claim("one").await;
    let again = claim("one").await;
    assert_eq!(again.header("idempotent-replayed"), "true");
    assert_eq!((again.status.as_u16(), &again.bytes), (201, &first.bytes));
    let problem = claim("two").await.expect_problem(409, "claim-held");
    assert_eq!(problem["rewardRequestId"], first.json["id"]);
    // The response stays the same after the review; the request does not.
    let operator = app.operator().await;
    let denial = app.post(&format!("{}/denial", path(&first.json))).bearer(&operator);
    denial.json(&json!({"reason": "No"})).send().await.expect(200);
    assert_eq!(claim("one").await.bytes, first.bytes);
    assert_eq!(app.read(&path(&first.json)).await["status"], "REJECTED");
}

#[apply(on_both_engines)]
async fn of_concurrent_claims_one_is_held(app: TestApp) {
    let replica = app.replica(&[]);
    let event = reviewed_event(&app, json!({"recurrence": {"period": "DAILY", "count": 100}})).await;
    let user = app.user(Role::User).await;
    let calls: Vec<_> = (0..16)
        .map(|number| tokio::spawn([&app, &replica][number % 2].claim(&user.token, &event).send()))
        .collect();
    let (mut held, mut refused) = (Vec::new(), Vec::new());
    for call in calls {
        let reply = call.await.expect("an answer");
        if reply.status == 201 {
            held.push(reply.json);
        } else {
            refused.push(reply.expect_problem(409, "claim-held"));
        }
    }
    assert_eq!((held.len(), refused.len()), (1, 15));
    for problem in refused {
        assert_eq!(problem["rewardRequestId"], held[0]["id"]);
    }
}

#[apply(on_both_engines)]
async fn a_pending_claim_becomes_held(app: TestApp) {
    let event = reviewed_event(&app, json!({})).await;
    let users = app.crowd(2).await;
    let first = receive(&app, &users[0], &event).await.expect(202);
    let second = receive(&app, &users[1], &event).await.expect(202);
    // Decided at once, before the pending claim of the same user.
    let overtook = held(&app, &users[1], &event).await;
    let _working = Working::start(&app);
    let first = decided(&app, &first).await;
    assert_eq!(
        (text(&first, "status"), each(&first["reasons"], "code")),
        ("HELD", vec!["needs-review", "large-amount"])
    );
    assert_eq!(first["retryAt"], "2026-03-15T12:00:00.000Z");
    let second = decided(&app, &second).await;
    assert_eq!(
        (text(&second, "status"), each(&second["reasons"], "code")),
        ("REJECTED", vec!["claim-held"])
    );
    assert_eq!(second["reasons"][0]["args"], json!({"requestId": overtook["id"]}));
    assert_eq!(app.count("SELECT COUNT(*) FROM pending_claims").await, 0);
}

#[apply(on_both_engines)]
async fn a_claim_that_could_not_be_granted_is_not_held(app: TestApp) {
    let (gold, silver) = (
        app.reward(json!({"type": "GOLD", "stock": 1, "value": 100})).await,
        app.reward(json!({"type": "SILVER", "value": 100})).await,
    );
    let granting = app.install(guest("granting").module()).await;
    let granting = app
        .event_on(&granting, json!({}), json!({"rewardIds": [gold["id"]]}))
        .await;
    let rewards = json!([gold["id"], silver["id"]]);
    let poor = json!({"rewardIds": rewards, "budget": {"period": "ONCE", "amount": 150}});
    let poor = reviewed_event(&app, poor).await;
    let event = reviewed_event(&app, json!({"rewardIds": rewards})).await;
    let (user, other) = (app.user(Role::User).await, app.user(Role::User).await);
    let spent = app.claim(&user.token, &poor).send().await.expect(201);
    assert_eq!(
        (text(&spent, "status"), each(&spent["reasons"], "code")),
        ("REJECTED", vec!["budget-spent", "large-amount"])
    );
    app.claim(&other.token, &granting).send().await.expect(201);
    let sold_out = app.claim(&user.token, &event).send().await.expect(201);
    assert_eq!(
        (text(&sold_out, "status"), each(&sold_out["reasons"], "code")),
        ("REJECTED", vec!["sold-out", "large-amount"])
    );
}

#[apply(on_both_engines)]
async fn held_claims_are_listed_by_status_and_event(app: TestApp) {
    let (one, two) = (
        reviewed_event(&app, json!({})).await,
        reviewed_event(&app, json!({})).await,
    );
    let users = app.crowd(3).await;
    let mut of_one = Vec::new();
    for (second, user) in users.iter().enumerate() {
        app.at(&format!("2026-03-01T12:00:0{second}Z"));
        of_one.insert(0, held(&app, user, &one).await);
    }
    app.at("2026-03-01T12:00:05Z");
    let of_two = held(&app, &users[0], &two).await;
    let list = async |query: String| app.read(&format!("/reward-requests?{query}")).await;
    let all = list("status=HELD".to_owned()).await;
    assert_eq!(all["items"].as_array().map(Vec::len), Some(4));
    assert_eq!(all["items"][0], of_two);
    let event = text(&one, "id");
    let page = list(format!("status=HELD&eventId={event}&pageSize=2")).await;
    assert_eq!(page["items"], json!(of_one[..2]));
    let token = text(&page, "nextPageToken");
    let rest = list(format!("status=HELD&eventId={event}&pageSize=2&pageToken={token}")).await;
    assert_eq!(
        (&rest["items"], &rest["nextPageToken"]),
        (&json!(of_one[2..]), &Value::Null)
    );
    for query in ["status=GRANTED".to_owned(), format!("status=REJECTED&eventId={event}")] {
        assert_eq!(list(query).await["items"], json!([]));
    }
    assert_eq!(list(format!("eventId={event}")).await["items"], json!(of_one));
    // Only staff sees the claims of others.
    let others = app.get("/reward-requests?status=HELD").bearer(&users[0].token);
    others.send().await.expect_problem(403, "forbidden");
}
