//! The RPC face: the services of `proto/meed/v1`, over Connect, gRPC and gRPC-Web

mod clients;
mod errors;
mod streams;
mod watches;

use meed_host::auth::Role;
use rstest_reuse::apply;
use serde_json::{Value, json};

use crate::overload;
use crate::service_keys;
use crate::support::{Call, Reply, TestApp, each, on_both_engines, text, with};

/// A call as Connect sends it by plain `POST`.
pub fn call(app: &TestApp, method: &str, message: &Value) -> Call {
    app.post(&format!("/meed.v1.{method}")).json(message)
}

async fn answer(app: &TestApp, token: &str, method: &str, message: Value) -> Value {
    call(app, method, &message).bearer(token).send().await.expect(200)
}

/// Requires that a message says what the document of REST says. A message leaves out what is null, empty, 0 or false, and its
/// 64-bit integers are texts.
#[track_caller]
fn assert_same(message: &Value, document: &Value) {
    match document {
        Value::Object(members) => {
            for (name, value) in members {
                let is_left_out = match value {
                    Value::Null | Value::Bool(false) => true,
                    Value::Number(number) => number.as_i64() == Some(0),
                    Value::String(text) => text.is_empty(),
                    Value::Array(items) => items.is_empty(),
                    Value::Object(_) | Value::Bool(true) => false,
                };
                match message.get(name) {
                    Some(found) => assert_same(found, value),
                    None => assert!(is_left_out, "{name} is not in {message:#}"),
                }
            }
        }
        Value::Array(items) => {
            let found = message.as_array().expect("a list");
            assert_eq!(found.len(), items.len(), "{message:#}");
            for (found, item) in found.iter().zip(items) {
                assert_same(found, item);
            }
        }
        Value::Number(number) if message.is_string() => assert_eq!(message, &json!(number.to_string())),
        Value::String(text) => {
            // Protobuf writes no fraction if it is zero.
            let instant = text.strip_suffix(".000Z").map(|seconds| format!("{seconds}Z"));
            assert_eq!(message, instant.as_ref().unwrap_or(text));
        }
        other => assert_eq!(message, other),
    }
}

#[apply(on_both_engines)]
async fn a_claim_is_that_of_rest(app: TestApp) {
    let event = app
        .event(
            "first-come",
            json!({}),
            json!({"budget": {"period": "DAILY", "grants": 5}}),
        )
        .await;
    let user = app.user(Role::User).await;
    let claimed = answer(
        &app,
        &user.token,
        "ClaimService/Claim",
        json!({"eventId": event["id"], "idempotencyKey": "one"}),
    )
    .await;
    assert_eq!(claimed["answer"], "DECIDED");
    let request = &claimed["rewardRequest"];
    assert_eq!(
        (text(request, "status"), text(request, "userId")),
        ("GRANTED", user.id.as_str())
    );
    let path = format!("/reward-requests/{}", text(request, "id"));
    let of_rest = app.get(&path).bearer(&user.token).send().await.expect(200);
    assert_same(request, &of_rest);

    // Under the same key, whatever the protocol.
    let again = json!({"eventId": event["id"], "idempotencyKey": "one"});
    let again = answer(&app, &user.token, "ClaimService/Claim", again).await;
    assert_eq!(
        (&again["answer"], &again["rewardRequest"]),
        (&json!("REPLAYED"), request)
    );
    let by_rest = app
        .claim(&user.token, &event)
        .header("idempotency-key", "one")
        .send()
        .await;
    assert_eq!(by_rest.header("idempotent-replayed"), "true");
    assert_same(request, &by_rest.expect(201));

    let found = answer(
        &app,
        &user.token,
        "ClaimService/GetRewardRequest",
        json!({"id": request["id"]}),
    )
    .await;
    assert_same(&found["rewardRequest"], &of_rest);
    let proof = json!({"rewardRequestId": request["id"]});
    let proof = answer(&app, &user.token, "ReceiptService/GetReceipt", proof).await;
    let receipt = app.get(&format!("{path}/receipt")).bearer(&user.token).send().await;
    assert_eq!(text(&proof, "json").as_bytes(), receipt.bytes);
    let keys = call(&app, "ReceiptService/GetReceiptKeys", &json!({}))
        .send()
        .await
        .expect(200);
    let keys_of_rest = app.get("/.well-known/receipt-keys.json").send().await;
    assert_eq!(text(&keys, "jwksJson").as_bytes(), keys_of_rest.bytes);
}

#[apply(on_both_engines)]
async fn a_rejection_and_its_repeat_say_what_rest_says(app: TestApp) {
    let event = app.event("login-streak", json!({"days": 7}), json!({})).await;
    let user = app.user(Role::User).await;
    let claim = json!({"eventId": event["id"]});
    let first = answer(&app, &user.token, "ClaimService/Claim", claim.clone()).await;
    assert_eq!(
        (&first["answer"], text(&first["rewardRequest"], "status")),
        (&json!("DECIDED"), "REJECTED")
    );
    let again = answer(&app, &user.token, "ClaimService/Claim", claim).await;
    assert_eq!(again["answer"], "REPEATED");
    let of_rest = app.claim(&user.token, &event).send().await.expect(200);
    assert_same(&again["rewardRequest"], &of_rest);
    assert_eq!(of_rest["id"], first["rewardRequest"]["id"]);
    assert_eq!(of_rest["reasons"][0]["args"], json!({"missing": "6"}));

    let progress = json!({"eventId": event["id"]});
    let progress = answer(&app, &user.token, "ProgressService/GetProgress", progress).await;
    let path = format!("/events/{}/progress", text(&event, "id"));
    let of_rest = app.get(&path).bearer(&user.token).send().await.expect(200);
    assert_same(&progress["progress"], &of_rest);
    // Of the past, for an auditor.
    let auditor = app.auditor().await;
    let past = json!({"eventId": event["id"], "userId": user.id, "asOf": "2026-02-28T00:00:00Z"});
    let past = answer(&app, &auditor, "ProgressService/GetProgress", past).await;
    let path = format!("{path}?userId={}&asOf=2026-02-28T00:00:00Z", user.id);
    let of_rest = app.get(&path).bearer(&auditor).send().await.expect(200);
    assert_eq!(of_rest["asOf"], "2026-02-28T00:00:00.000Z");
    assert_same(&past["progress"], &of_rest);
}

#[apply(on_both_engines)]
async fn a_queued_claim_is_pending(app: TestApp) {
    let event = app.event("first-come", json!({}), json!({"respondAsync": true})).await;
    let user = app.user(Role::User).await;
    let queued = answer(&app, &user.token, "ClaimService/Claim", json!({"eventId": event["id"]})).await;
    assert_eq!(
        (&queued["answer"], text(&queued["rewardRequest"], "status")),
        (&json!("QUEUED"), "RECEIVED")
    );
    let id = json!({"id": queued["rewardRequest"]["id"]});
    let found = answer(&app, &user.token, "ClaimService/GetRewardRequest", id.clone()).await;
    assert_same(&found["rewardRequest"], &queued["rewardRequest"]);
    let path = format!("/reward-requests/{}", text(&id, "id"));
    let of_rest = app.get(&path).bearer(&user.token).send().await.expect(200);
    assert_same(&found["rewardRequest"], &of_rest);
}

/// The claim goes on without its caller, who finds its answer under the key.
#[apply(on_both_engines)]
async fn a_deadline_ends_the_call_and_not_the_claim(app: TestApp) {
    let event = app.event("first-come", json!({}), json!({})).await;
    let user = app.token(Role::User).await;
    let claim = json!({"eventId": event["id"], "idempotencyKey": "one"});
    let held = overload::hold_commits(&app, &event).await;
    let reply = call(&app, "ClaimService/Claim", &claim).bearer(&user);
    let reply = reply.header("connect-timeout-ms", "300").send().await;
    assert_eq!(
        (reply.status.as_u16(), text(&reply.json, "code")),
        (504, "deadline_exceeded")
    );
    drop(held);
    let late = answer(&app, &user, "ClaimService/Claim", claim).await;
    assert_eq!(late["rewardRequest"]["status"], "GRANTED");
    assert_eq!(app.count("SELECT COUNT(*) FROM grants").await, 1);
}

#[apply(on_both_engines)]
async fn lists_have_pages(app: TestApp) {
    for number in 0..3 {
        let changes = json!({"title": format!("Event {number}"), "tags": ["spring"]});
        app.event("first-come", json!({}), changes).await;
    }
    let operator = app.operator().await;
    let user = app.token(Role::User).await;
    for (method, path, token) in [
        ("EventService/ListEvents", "/events", &operator),
        ("ProgressService/ListActiveEvents", "/events/active", &user),
    ] {
        let first = answer(&app, token, method, json!({"pageSize": 2})).await;
        let of_rest = app
            .get(&format!("{path}?pageSize=2"))
            .bearer(token)
            .send()
            .await
            .expect(200);
        assert_same(&first, &of_rest);
        let next = json!({"pageSize": 2, "pageToken": first["nextPageToken"]});
        let next = answer(&app, token, method, next).await;
        assert_eq!(
            (each(&next["items"], "title").len(), next.get("nextPageToken")),
            (1, None)
        );
        let reply = call(&app, method, &json!({"pageSize": 201})).bearer(token).send().await;
        errors::assert_error(reply, 400, "invalid_argument", "invalid-parameter");
    }
    let filtered = answer(&app, &operator, "EventService/ListEvents", json!({"tag": "winter"})).await;
    assert_eq!(filtered, json!({}));
    let id = text(&app.read("/events").await["items"][0], "id").to_owned();
    let found = answer(&app, &operator, "EventService/GetEvent", json!({"id": id})).await;
    assert_same(&found["event"], &app.read(&format!("/events/{id}")).await);
}

#[apply(on_both_engines)]
async fn reads_answer_to_get(app: TestApp) {
    let event = app.event("first-come", json!({}), json!({})).await;
    let operator = app.operator().await;
    let message = format!("%7B%22id%22%3A%22{}%22%7D", text(&event, "id"));
    let query = format!("?encoding=json&connect=v1&message={message}");
    let path = format!("/meed.v1.EventService/GetEvent{query}");
    let found = app.get(&path).bearer(&operator).send().await.expect(200);
    assert_eq!(found["event"]["id"], event["id"]);
    // A claim changes something.
    let path = format!("/meed.v1.ClaimService/Claim{query}");
    let reply: Reply = app.get(&path).bearer(&operator).send().await;
    assert_eq!(reply.status, 405);
}

#[apply(on_both_engines)]
async fn a_service_key_acts_for_users_within_its_scopes(app: TestApp) {
    let event = app.event("first-come", json!({}), json!({})).await;
    let user = app.user(Role::User).await;
    let shop = service_keys::secret(&app, "shop", &["claims:write", "claims:read"]).await;
    let claim = json!({"eventId": event["id"], "userId": user.id});
    let claimed = answer(&app, &shop, "ClaimService/Claim", claim.clone()).await;
    assert_eq!(claimed["rewardRequest"]["userId"], json!(user.id));
    let reader = service_keys::secret(&app, "reader", &["claims:read"]).await;
    let reply = call(&app, "ClaimService/Claim", &claim).bearer(&reader).send().await;
    errors::assert_error(reply, 403, "permission_denied", "forbidden");
    let unknown = with(json!({"eventId": event["id"]}), json!({"externalUserId": "nobody"}));
    let reply = call(&app, "ClaimService/Claim", &unknown).bearer(&shop).send().await;
    let error = errors::assert_error(reply, 400, "invalid_argument", "invalid-body");
    assert_eq!(error.fields(), ["external_user_id"]);
}
