//! Budgets: what an event may grant to all users per period

use meed_host::auth::Role;
use meed_host::claims::{Replay, replay};
use rstest_reuse::apply;
use serde_json::{Value, json};

use crate::support::{TestApp, TestUser, bundled, on_both_engines, text};

const USED: &str = "SELECT CAST(COALESCE(SUM(amount), 0) AS BIGINT) FROM event_budgets";

/// An event on `first-come` with rewards of these values and this budget.
async fn event(app: &TestApp, values: &[i64], budget: Value, changes: Value) -> Value {
    let mut ids = Vec::new();
    for value in values {
        ids.push(app.reward(json!({"type": "POINT", "value": value})).await["id"].clone());
    }
    let changes = crate::support::with(json!({"rewardIds": ids, "budget": budget}), changes);
    app.event("first-come", json!({}), changes).await
}

async fn claim(app: &TestApp, user: &TestUser, event: &Value) -> Value {
    let token = app.log_in(user).await;
    app.claim(&token, event).send().await.expect(201)
}

async fn assert_granted(app: &TestApp, user: &TestUser, event: &Value) -> Value {
    let request = claim(app, user, event).await;
    assert_eq!(text(&request, "status"), "GRANTED", "{request:#}");
    request
}

async fn assert_spent(app: &TestApp, user: &TestUser, event: &Value, retry_at: Option<&str>) -> Value {
    let request = claim(app, user, event).await;
    assert_eq!(text(&request, "status"), "REJECTED", "{request:#}");
    let reason = &request["reasons"][0];
    assert_eq!((text(reason, "source"), text(reason, "code")), ("HOST", "budget-spent"));
    assert_eq!(request["retryAt"].as_str(), retry_at);
    request
}

/// What an operator sees as used, newest period first.
async fn used(app: &TestApp, event: &Value) -> Value {
    app.read(&format!("/events/{}/budget", text(event, "id"))).await["periods"].clone()
}

fn period(period: &str, grants: i64, amount: i64) -> Value {
    json!({"period": period, "grants": grants, "amount": amount})
}

async fn reverse(app: &TestApp, request: &Value) {
    let operator = app.operator().await;
    let call = app.post(&format!("/reward-requests/{}/reversal", text(request, "id")));
    let call = call.bearer(&operator).json(&json!({"reason": "A mistake"}));
    call.send().await.expect(201);
}

async fn change_budget(app: &TestApp, event: &Value, budget: Value) -> Value {
    app.change_event(event, json!({"budget": budget})).await.expect(200)
}

/// All users claim concurrently, at both processes. Returns the granted requests and the others.
async fn race(app: &TestApp, users: &[TestUser], event: &Value) -> (Vec<Value>, Vec<Value>) {
    let replica = app.replica(&[]);
    let processes = [app, &replica];
    let calls: Vec<_> = users
        .iter()
        .zip(processes.iter().cycle())
        .map(|(user, process)| tokio::spawn(process.claim(&user.token, event).send()))
        .collect();
    let mut requests = Vec::new();
    for call in calls {
        requests.push(call.await.expect("an answer").expect(201));
    }
    requests
        .into_iter()
        .partition(|request| text(request, "status") == "GRANTED")
}

#[apply(on_both_engines)]
async fn a_budget_limits_the_total_number_of_granted_claims(app: TestApp) {
    let event = event(&app, &[100, 10], json!({"period": "ONCE", "grants": 2}), json!({})).await;
    assert_eq!(event["budget"], json!({"period": "ONCE", "grants": 2, "amount": null}));
    assert_eq!(used(&app, &event).await, json!([period("once", 0, 0)]));
    let users = app.crowd(3).await;
    for (count, user) in (1..).zip(&users[..2]) {
        // A claim counts once, however many rewards it is granted.
        assert_granted(&app, user, &event).await;
        assert_eq!(used(&app, &event).await, json!([period("once", count, 0)]));
    }
    let spent = assert_spent(&app, &users[2], &event, None).await;
    assert_eq!(spent["retryable"], true);
    let token = app.log_in(&users[2]).await;
    let path = format!("/events/{}/progress", text(&event, "id"));
    let progress = app.get(&path).bearer(&token).send().await.expect(200);
    assert_eq!(
        (&progress["eligible"], text(&progress["reasons"][0], "code")),
        (&json!(false), "budget-spent")
    );
    // A user who was granted gets that answer, regardless of the budget.
    let token = app.log_in(&users[0]).await;
    app.claim(&token, &event)
        .send()
        .await
        .expect_problem(409, "already-granted");
}

#[apply(on_both_engines)]
async fn a_new_period_begins_at_midnight_in_the_events_zone(app: TestApp) {
    let changes = json!({"timeZone": "Asia/Seoul", "endDate": "2026-03-03T00:00:00Z"});
    let event = event(
        &app,
        &[100],
        json!({"period": "DAILY", "grants": 1, "amount": 150}),
        changes,
    )
    .await;
    let users = app.crowd(4).await;
    app.at("2026-03-01T14:59:59.999Z");
    assert_granted(&app, &users[0], &event).await;
    assert_spent(&app, &users[1], &event, Some("2026-03-01T15:00:00.000Z")).await;
    let budget = app.read(&format!("/events/{}/budget", text(&event, "id"))).await;
    assert_eq!(
        budget,
        json!({
            "eventId": event["id"], "budget": {"period": "DAILY", "grants": 1, "amount": 150},
            "renewsAt": "2026-03-01T15:00:00.000Z", "periods": [period("2026-03-01", 1, 100)],
        })
    );
    app.at("2026-03-01T15:00:00Z");
    assert_eq!(
        used(&app, &event).await,
        json!([period("2026-03-02", 0, 0), period("2026-03-01", 1, 100)])
    );
    assert_granted(&app, &users[1], &event).await;
    // The last period ends with the event.
    app.at("2026-03-02T15:00:00Z");
    assert_granted(&app, &users[2], &event).await;
    assert_spent(&app, &users[3], &event, None).await;
    assert_eq!(
        used(&app, &event).await,
        json!([
            period("2026-03-03", 1, 100),
            period("2026-03-02", 1, 100),
            period("2026-03-01", 1, 100),
        ])
    );
    // The event is over: nothing is used in a period after its end.
    app.at("2026-03-09T15:00:00Z");
    let budget = app.read(&format!("/events/{}/budget", text(&event, "id"))).await;
    assert_eq!(
        (budget["periods"].as_array().map(Vec::len), &budget["renewsAt"]),
        (Some(3), &Value::Null)
    );
}

#[apply(on_both_engines)]
async fn a_budget_limits_the_total_value_of_grants(app: TestApp) {
    let event = event(&app, &[100, 0], json!({"period": "ONCE", "amount": 250}), json!({})).await;
    let users = app.crowd(4).await;
    assert_granted(&app, &users[0], &event).await;
    assert_granted(&app, &users[1], &event).await;
    // The reward without a value would fit, so the condition was evaluated; but it grants both.
    let request = assert_spent(&app, &users[2], &event, None).await;
    assert_eq!(used(&app, &event).await, json!([period("once", 2, 200)]));
    // The receipt shows what was left, and a replay gives the same decision.
    let receipt = app
        .read(&format!("/reward-requests/{}/receipt", text(&request, "id")))
        .await;
    assert_eq!(
        (
            &receipt["receipt"]["awards"],
            &receipt["receipt"]["evaluation"]["budgetAmount"]
        ),
        (&json!([]), &json!(50))
    );
    let signed = meed_host::claims::Proof::parse(receipt.to_string().as_bytes()).expect("a receipt");
    let replayed = replay(&app.app.sandbox, &signed, Some(bundled("first-come")), None)
        .await
        .expect("a verdict");
    assert!(matches!(replayed, Replay::Match { .. }), "{replayed:?}");
}

#[apply(on_both_engines)]
async fn a_receipt_shows_no_more_budget_than_the_claim_could_use(app: TestApp) {
    let changes = json!({"maxQuantity": 3});
    let event = event(&app, &[100, 7], json!({"period": "ONCE", "amount": 1_000_000}), changes).await;
    let request = assert_granted(&app, &app.user(Role::User).await, &event).await;
    let receipt = app
        .read(&format!("/reward-requests/{}/receipt", text(&request, "id")))
        .await;
    assert_eq!(receipt["receipt"]["evaluation"]["budgetAmount"], 321);
    // Without a limited amount the receipt shows none.
    let other = app
        .event(
            "first-come",
            json!({}),
            json!({"budget": {"period": "DAILY", "grants": 5}}),
        )
        .await;
    let request = assert_granted(&app, &app.user(Role::User).await, &other).await;
    let receipt = app
        .read(&format!("/reward-requests/{}/receipt", text(&request, "id")))
        .await;
    assert_eq!(receipt["receipt"]["evaluation"].get("budgetAmount"), None);
}

#[apply(on_both_engines)]
async fn if_no_reward_fits_the_budget_the_condition_is_not_evaluated(app: TestApp) {
    let event = event(&app, &[100, 60], json!({"period": "ONCE", "amount": 170}), json!({})).await;
    let users = app.crowd(2).await;
    assert_granted(&app, &users[0], &event).await;
    let request = assert_spent(&app, &users[1], &event, None).await;
    let receipt = app
        .read(&format!("/reward-requests/{}/receipt", text(&request, "id")))
        .await;
    assert_eq!(receipt["receipt"]["evaluation"], Value::Null);
}

#[apply(on_both_engines)]
async fn a_value_beyond_the_largest_safe_integer_is_never_granted(app: TestApp) {
    const MOST: i64 = 9_007_199_254_740_991;
    let user = app.user(Role::User).await;
    let event = event(
        &app,
        &[MOST, MOST],
        json!({"period": "ONCE", "amount": MOST}),
        json!({"maxQuantity": 1000}),
    )
    .await;
    assert_spent(&app, &user, &event, None).await;
    assert_eq!(app.count(USED).await, 0);
}

#[apply(on_both_engines)]
async fn a_budget_of_25_is_granted_to_25_of_60_users(app: TestApp) {
    let reward = app.reward(json!({"type": "ITEM", "value": 3, "stock": 1000})).await;
    let changes = json!({"rewardIds": [reward["id"]], "budget": {"period": "MONTHLY", "grants": 25, "amount": 100}});
    let event = app.event("first-come", json!({}), changes).await;
    let (granted, refused) = race(&app, &app.crowd(60).await, &event).await;
    assert_eq!((granted.len(), refused.len()), (25, 35));
    for request in refused {
        assert_eq!(text(&request["reasons"][0], "code"), "budget-spent");
        assert_eq!(text(&request, "retryAt"), "2026-04-01T00:00:00.000Z");
    }
    assert_eq!(used(&app, &event).await, json!([period("2026-03", 25, 75)]));
    assert_eq!(
        app.read(&format!("/rewards/{}", text(&reward, "id"))).await["stockRemaining"],
        975
    );
}

#[apply(on_both_engines)]
async fn a_claim_without_stock_uses_no_budget(app: TestApp) {
    let reward = app.reward(json!({"type": "ITEM", "value": 1, "stock": 10})).await;
    let changes = json!({"rewardIds": [reward["id"]], "budget": {"period": "ONCE", "grants": 25, "amount": 25}});
    let event = app.event("first-come", json!({}), changes).await;
    let (granted, refused) = race(&app, &app.crowd(40).await, &event).await;
    assert_eq!((granted.len(), refused.len()), (10, 30));
    assert!(
        refused
            .iter()
            .all(|request| text(&request["reasons"][0], "code") == "sold-out")
    );
    assert_eq!(used(&app, &event).await, json!([period("once", 10, 10)]));
}

#[apply(on_both_engines)]
async fn draws_of_different_values_exhaust_an_amount(app: TestApp) {
    let mut rewards = Vec::new();
    for value in [70, 30] {
        rewards.push(app.reward(json!({"type": "POINT", "value": value})).await["id"].clone());
    }
    let weights = json!({"weights": {rewards[0].as_str().expect("an id"): 1, rewards[1].as_str().expect("an id"): 1}});
    let changes = json!({"rewardIds": rewards, "budget": {"period": "ONCE", "amount": 1000}});
    let event = app.event("lucky-draw", weights, changes).await;
    let (granted, refused) = race(&app, &app.crowd(64).await, &event).await;
    let worth: i64 = granted
        .iter()
        .map(|request| request["grants"][0]["reward"]["value"].as_i64().expect("a value"))
        .sum();
    // 64 draws are worth far more than 1000, and each rejected user drew more than was left.
    assert!((931..=1000).contains(&worth), "{worth}");
    assert!(
        refused
            .iter()
            .all(|request| text(&request["reasons"][0], "code") == "budget-spent")
    );
    assert_eq!(
        used(&app, &event).await,
        json!([period("once", i64::try_from(granted.len()).expect("a number"), worth)])
    );
}

#[apply(on_both_engines)]
async fn a_reversal_returns_budget_to_the_period_of_the_grant(app: TestApp) {
    let reward = app.reward(json!({"type": "POINT", "value": 100})).await;
    let changes = json!({"rewardIds": [reward["id"]], "budget": {"period": "DAILY", "grants": 2, "amount": 200}});
    let event = app.event("first-come", json!({}), changes).await;
    let users = app.crowd(5).await;
    let first = assert_granted(&app, &users[0], &event).await;
    let second = assert_granted(&app, &users[1], &event).await;
    assert_spent(&app, &users[2], &event, Some("2026-03-02T00:00:00.000Z")).await;
    reverse(&app, &first).await;
    assert_granted(&app, &users[2], &event).await;
    assert_spent(&app, &users[3], &event, Some("2026-03-02T00:00:00.000Z")).await;

    // The next day, after the reward's value has changed.
    app.at("2026-03-02T12:00:00Z");
    let operator = app.operator().await;
    let call = app
        .put(&format!("/rewards/{}", text(&reward, "id")))
        .bearer(&operator)
        .header("if-match", "\"1\"");
    call.json(&json!({"type": "POINT", "value": 90}))
        .send()
        .await
        .expect(200);
    assert_granted(&app, &users[3], &event).await;
    reverse(&app, &second).await;
    assert_eq!(
        used(&app, &event).await,
        json!([period("2026-03-02", 1, 90), period("2026-03-01", 1, 100)])
    );
}

#[apply(on_both_engines)]
async fn lowering_a_budget_reverses_no_grants(app: TestApp) {
    let mut event = event(
        &app,
        &[100],
        json!({"period": "ONCE", "grants": 5, "amount": 500}),
        json!({}),
    )
    .await;
    let users = app.crowd(7).await;
    let first = assert_granted(&app, &users[0], &event).await;
    assert_granted(&app, &users[1], &event).await;
    for lower in [
        json!({"period": "ONCE", "grants": 1}),
        json!({"period": "ONCE", "amount": 1}),
    ] {
        event = change_budget(&app, &event, lower).await;
        assert_spent(&app, &users[2], &event, None).await;
    }
    event = change_budget(&app, &event, json!({"period": "ONCE", "grants": 3})).await;
    assert_granted(&app, &users[2], &event).await;
    assert_spent(&app, &users[3], &event, None).await;
    // The amount was not limited at that grant, so it was not counted.
    assert_eq!(used(&app, &event).await, json!([period("once", 3, 200)]));
    reverse(&app, &first).await;
    assert_eq!(used(&app, &event).await, json!([period("once", 2, 100)]));
    // Without a budget nothing is counted or limited.
    event = change_budget(&app, &event, Value::Null).await;
    for user in &users[3..6] {
        reverse(&app, &assert_granted(&app, user, &event).await).await;
    }
    let budget = app.read(&format!("/events/{}/budget", text(&event, "id"))).await;
    assert_eq!(
        (&budget["budget"], &budget["periods"]),
        (&Value::Null, &json!([period("once", 2, 100)]))
    );
    // Another period has its own count.
    event = change_budget(&app, &event, json!({"period": "WEEKLY", "grants": 1})).await;
    assert_granted(&app, &users[6], &event).await;
    assert_spent(&app, &users[5], &event, Some("2026-03-02T00:00:00.000Z")).await;
}

#[apply(on_both_engines)]
async fn concurrent_reversals_and_claims_on_a_spent_budget(app: TestApp) {
    let event = event(
        &app,
        &[10],
        json!({"period": "ONCE", "grants": 6, "amount": 60}),
        json!({}),
    )
    .await;
    let users = app.crowd(40).await;
    let mut held = Vec::new();
    for user in &users[..6] {
        held.push(assert_granted(&app, user, &event).await);
    }
    let claims = race(&app, &users[6..], &event);
    let reversals = async {
        for request in &held {
            reverse(&app, request).await;
        }
    };
    let ((granted, refused), ()) = tokio::join!(claims, reversals);
    assert!(
        refused
            .iter()
            .all(|request| text(&request["reasons"][0], "code") == "budget-spent")
    );
    let given = i64::try_from(granted.len()).expect("a number");
    assert!(given <= 6);
    assert_eq!(used(&app, &event).await, json!([period("once", given, 10 * given)]));
}
