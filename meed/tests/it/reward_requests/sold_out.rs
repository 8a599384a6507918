//! A user who was rejected with `sold-out` and later granted never gets `sold-out` again

use std::time::Duration;

use meed_host::auth::Role;
use rstest_reuse::apply;
use serde_json::{Value, json};

use crate::support::{TestApp, TestUser, on_both_engines, text};

/// Longer than an entry of the sold-out cache is valid.
const LOOK_AGAIN: Duration = Duration::from_millis(1_100);

async fn change_reward(process: &TestApp, reward: &Value, body: Value) {
    let operator = process.operator().await;
    let call = process
        .put(&format!("/rewards/{}", text(reward, "id")))
        .bearer(&operator);
    call.header("if-match", "*").json(&body).send().await.expect(200);
}

async fn reverse(process: &TestApp, request: &Value) {
    let operator = process.operator().await;
    let call = process.post(&format!("/reward-requests/{}/reversal", text(request, "id")));
    let call = call.bearer(&operator).json(&json!({"reason": "Given back"}));
    call.send().await.expect(201);
}

async fn granted(process: &TestApp, user: &TestUser, event: &Value) -> Value {
    let request = process.claim(&user.token, event).send().await.expect(201);
    assert_eq!(text(&request, "status"), "GRANTED");
    request
}

/// A user who was rejected before gets the same answer from the cache.
async fn turned_away_again(process: &TestApp, user: &TestUser, event: &Value) {
    let reply = process.claim(&user.token, event).send().await;
    assert_eq!(reply.expect(200)["reasons"][0]["code"], "sold-out");
}

/// The same, after the process has read the stock again; until then each claim is decided.
async fn turned_away_again_soon(process: &TestApp, user: &TestUser, event: &Value) {
    let again = async {
        while process.claim(&user.token, event).send().await.status != 200 {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), again)
        .await
        .expect("an answer from the cache");
    turned_away_again(process, user, event).await;
}

async fn turned_away(process: &TestApp, user: &TestUser, event: &Value) {
    let request = process.claim(&user.token, event).send().await.expect(201);
    assert_eq!(text(&request["reasons"][0], "code"), "sold-out");
    turned_away_again_soon(process, user, event).await;
}

async fn already_granted(process: &TestApp, user: &TestUser, event: &Value, request: &Value) {
    let repeat = process.claim(&user.token, event).send().await;
    assert_eq!(
        repeat.expect_problem(409, "already-granted")["rewardRequestId"],
        request["id"]
    );
}

#[apply(on_both_engines)]
async fn a_grant_by_the_same_process_is_visible_immediately(app: TestApp) {
    let reward = app.reward(json!({"type": "ITEM", "stock": 1})).await;
    let event = app
        .event("first-come", json!({}), json!({"rewardIds": [reward["id"]]}))
        .await;
    let users = app.crowd(2).await;
    let first = granted(&app, &users[0], &event).await;
    turned_away(&app, &users[1], &event).await;
    // First by a reversal, then by a larger stock.
    reverse(&app, &first).await;
    let second = granted(&app, &users[1], &event).await;
    already_granted(&app, &users[1], &event, &second).await;
    turned_away(&app, &users[0], &event).await;
    change_reward(&app, &reward, json!({"type": "ITEM", "stock": 2})).await;
    let first = granted(&app, &users[0], &event).await;
    already_granted(&app, &users[0], &event, &first).await;
    already_granted(&app, &users[1], &event, &second).await;
}

#[apply(on_both_engines)]
async fn a_grant_by_the_same_process_is_visible_although_another_raised_the_stock(app: TestApp) {
    let replica = app.replica(&[]);
    let reward = app.reward(json!({"type": "ITEM", "stock": 0})).await;
    let event = app
        .event("first-come", json!({}), json!({"rewardIds": [reward["id"]]}))
        .await;
    let user = app.user(Role::User).await;
    turned_away(&app, &user, &event).await;
    change_reward(&replica, &reward, json!({"type": "ITEM", "stock": 1})).await;
    // A claim under a key is always decided; the process has not read the stock again since.
    let call = app.claim(&user.token, &event).header("idempotency-key", "a");
    let request = call.send().await.expect(201);
    assert_eq!(text(&request, "status"), "GRANTED");
    already_granted(&app, &user, &event, &request).await;
}

#[apply(on_both_engines)]
async fn a_grant_by_another_process_is_visible_within_a_second_although_the_stock_is_gone_again(app: TestApp) {
    let replica = app.replica(&[]);
    let reward = app.reward(json!({"type": "ITEM", "stock": 1})).await;
    let event = app
        .event("first-come", json!({}), json!({"rewardIds": [reward["id"]]}))
        .await;
    let users = app.crowd(4).await;
    let mut holder = granted(&app, &users[0], &event).await;
    for user in &users[1..] {
        turned_away(&app, user, &event).await;
    }
    // This process reads the stock twice and finds none left. In between, stock is returned, raised or unlimited for a
    // while.
    reverse(&replica, &holder).await;
    holder = granted(&replica, &users[1], &event).await;
    tokio::time::sleep(LOOK_AGAIN).await;
    already_granted(&app, &users[1], &event, &holder).await;

    turned_away_again_soon(&app, &users[2], &event).await;
    change_reward(&replica, &reward, json!({"type": "ITEM", "stock": 2})).await;
    let raised = granted(&replica, &users[2], &event).await;
    tokio::time::sleep(LOOK_AGAIN).await;
    already_granted(&app, &users[2], &event, &raised).await;

    turned_away_again_soon(&app, &users[3], &event).await;
    change_reward(&replica, &reward, json!({"type": "ITEM"})).await;
    let unlimited = granted(&replica, &users[3], &event).await;
    change_reward(&replica, &reward, json!({"type": "ITEM", "stock": 0})).await;
    tokio::time::sleep(LOOK_AGAIN).await;
    already_granted(&app, &users[3], &event, &unlimited).await;
}
