//! Claims of users by a service key.

use meed_host::auth::Role;
use rstest_reuse::apply;
use serde_json::{Value, json};

use super::{create, secret};
use crate::reward_requests::received::{Working, decided};
use crate::support::{TestApp, assert_fault, on_both_engines, text};

const SCOPES: &[&str] = &["claims:write", "claims:read"];

#[apply(on_both_engines)]
async fn a_key_claims_for_a_user_and_the_receipt_names_it(app: TestApp) {
    let created = create(&app, "shop", SCOPES, json!({})).await;
    let key = text(&created, "secret");
    let user = app.user(Role::User).await;
    let event = app.event("first-come", json!({}), json!({})).await;
    let progress = format!("/events/{}/progress?userId={}", text(&event, "id"), user.id);
    assert_eq!(app.get(&progress).bearer(key).send().await.expect(200)["granted"], 0);
    let body = json!({"eventId": event["id"], "userId": user.id});
    let claim = async || app.post("/reward-requests").bearer(key).json(&body).send().await;
    let request = claim().await.expect(201);
    assert_eq!(
        (&request["status"], &request["userId"]),
        (&json!("GRANTED"), &json!(user.id))
    );
    claim().await.expect_problem(409, "already-granted");

    let path = format!("/reward-requests/{}", text(&request, "id"));
    let of_user = app.get(&path).bearer(&user.token).send().await.expect(200);
    assert_eq!(app.get(&path).bearer(key).send().await.expect(200), of_user);
    let receipt = app.get(&format!("{path}/receipt")).bearer(key).send().await.expect(200);
    let by = json!({"serviceKeyId": created["id"], "name": "shop"});
    assert_eq!(receipt["receipt"]["claimedBy"], by);
    assert_eq!(app.get(&progress).bearer(key).send().await.expect(200)["granted"], 1);
    // The receipt names it, so the audit log does not repeat every claim.
    assert_eq!(
        app.count("SELECT COUNT(*) FROM audit_log WHERE actor_kind = 'SERVICE_KEY' AND outcome = 'DONE'")
            .await,
        0
    );
}

#[apply(on_both_engines)]
async fn the_receipt_of_a_pending_claim_names_the_key_too(app: TestApp) {
    let created = create(&app, "shop", SCOPES, json!({})).await;
    let key = text(&created, "secret");
    let user = app.user(Role::User).await;
    let event = app.event("first-come", json!({}), json!({})).await;
    let body = json!({"eventId": event["id"], "userId": user.id});
    let claim = app
        .post("/reward-requests")
        .bearer(key)
        .header("prefer", "respond-async")
        .json(&body);
    let pending = claim.send().await.expect(202);
    let working = Working::start(&app);
    decided(&app, &pending).await;
    working.stop().await;
    let path = format!("/reward-requests/{}/receipt", text(&pending, "id"));
    let receipt = app.get(&path).bearer(key).send().await.expect(200);
    assert_eq!(receipt["receipt"]["claimedBy"]["name"], "shop");
}

#[apply(on_both_engines)]
async fn a_key_names_a_user_who_may_claim(app: TestApp) {
    let key = secret(&app, "shop", SCOPES).await;
    let event = app.event("first-come", json!({}), json!({})).await;
    let claim = async |token: &str, user_id: Value| {
        let body = json!({"eventId": event["id"], "userId": user_id});
        app.post("/reward-requests").bearer(token).json(&body).send().await
    };
    assert_fault(claim(&key, Value::Null).await, "/userId");
    assert_fault(
        claim(&key, json!("0199a3b0-5c1e-7a51-8f5e-0d6f2c1b9e77")).await,
        "/userId",
    );
    let operator = app.user(Role::Operator).await;
    claim(&key, json!(operator.id)).await.expect_problem(403, "forbidden");
    // By the external id.
    let accounts = secret(&app, "accounts", &["users:write"]).await;
    app.put("/users/external/c-7")
        .bearer(&accounts)
        .json(&json!({}))
        .send()
        .await
        .expect(201);
    let body = json!({"eventId": event["id"], "externalUserId": "c-7"});
    let named = app.post("/reward-requests").bearer(&key).json(&body).send().await;
    assert_eq!(named.expect(201)["status"], "GRANTED");
    let path = format!("/events/{}/progress?externalUserId=c-7", text(&event, "id"));
    assert_eq!(app.get(&path).bearer(&key).send().await.expect(200)["granted"], 1);
    let body = json!({"eventId": event["id"], "externalUserId": "c-8"});
    assert_fault(
        app.post("/reward-requests").bearer(&key).json(&body).send().await,
        "/externalUserId",
    );
    // A user claims for no other user, and may name themselves.
    let (ada, bob) = (app.user(Role::User).await, app.user(Role::User).await);
    claim(&ada.token, json!(bob.id)).await.expect_problem(403, "forbidden");
    claim(&ada.token, json!(ada.id)).await.expect(201);
    assert_eq!(app.count("SELECT COUNT(*) FROM reward_requests").await, 2);
}

#[apply(on_both_engines)]
async fn a_grant_that_the_user_claimed_counts_for_the_key_too(app: TestApp) {
    let key = secret(&app, "shop", SCOPES).await;
    let user = app.user(Role::User).await;
    let event = app.event("first-come", json!({}), json!({})).await;
    app.claim(&user.token, &event).send().await.expect(201);
    let body = json!({"eventId": event["id"], "userId": user.id});
    let again = app.post("/reward-requests").bearer(&key).json(&body).send().await;
    again.expect_problem(409, "already-granted");
}
