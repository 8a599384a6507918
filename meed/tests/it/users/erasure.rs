//! Export and erasure: `/users/{id}/export`, `DELETE /users/{id}`, `/users/{id}/erasure`

use meed_host::auth::Role;
use meed_host::claims::{Replay, SignedReversal, replay};
use rstest_reuse::apply;
use serde_json::{Value, json};

use crate::receipts::proof;
use crate::support::{PASSWORD, Reply, TestApp, TestUser, each, on_both_engines, reviewing, text};

async fn delete(app: &TestApp, token: &str, path: &str) -> Reply {
    app.call("DELETE", path).bearer(token).send().await
}

async fn get(app: &TestApp, token: &str, path: &str) -> Reply {
    app.get(path).bearer(token).send().await
}

/// The lines of an export.
async fn exported(app: &TestApp, token: &str, id: &str) -> Vec<Value> {
    let reply = get(app, token, &format!("/users/{id}/export")).await;
    assert_eq!(
        (reply.status.as_u16(), reply.header("content-type")),
        (200, "application/x-ndjson")
    );
    let text = String::from_utf8(reply.bytes).expect("text");
    text.lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect()
}

fn of_type<'a>(lines: &'a [Value], kind: &str) -> Vec<&'a Value> {
    lines
        .iter()
        .filter(|line| line["type"] == kind)
        .map(|line| &line["data"])
        .collect()
}

/// A user with something of everything: attributes, activities, sessions, a granted, a reversed and a held request, a pending
/// claim, a stored response, an acknowledged grant, a second name.
async fn rich_user(app: &TestApp) -> (TestUser, Value, Value) {
    let (operator, user) = (app.operator().await, app.user(Role::User).await);
    let set = app.put(&format!("/users/{}/attributes", user.id)).bearer(&operator);
    set.json(&json!({"secret-level": "attribute-of-ada"}))
        .send()
        .await
        .expect(200);
    let activities: Vec<Value> = (0..3)
        .map(|number| json!({"source": "shop", "id": format!("order-of-ada-{number}"), "userId": user.id, "kind": "k"}))
        .collect();
    app.post("/activities")
        .bearer(&operator)
        .json(&json!(activities))
        .send()
        .await
        .expect(201);
    let claim = async |event: &Value, key: &str| {
        let call = app
            .post("/reward-requests")
            .bearer(&user.token)
            .header("idempotency-key", key);
        call.json(&json!({"eventId": event["id"]})).send().await.expect(201)
    };
    let (first, second) = (
        app.event("first-come", json!({}), json!({})).await,
        app.event("first-come", json!({}), json!({})).await,
    );
    let granted = claim(&first, "key-1").await;
    let path = format!("/grants/{}/acknowledgement", text(&granted["grants"][0], "id"));
    let sent = json!({"state": "DELIVERED", "reference": "parcel-of-ada"});
    app.post(&path).bearer(&operator).json(&sent).send().await.expect(200);
    let reversed = claim(&second, "key-2").await;
    let path = format!("/reward-requests/{}/reversal", text(&reversed, "id"));
    let reason = json!({"reason": "reason-of-ada"});
    app.post(&path).bearer(&operator).json(&reason).send().await.expect(201);
    let plugin = app.install(reviewing("reviewed").module()).await;
    let reviewed = app.event_on(&plugin, json!({}), json!({})).await;
    assert_eq!(claim(&reviewed, "key-3").await["status"], "HELD");
    let third = app.event("first-come", json!({}), json!({})).await;
    let pending = app
        .post("/reward-requests")
        .bearer(&user.token)
        .header("prefer", "respond-async");
    pending.json(&json!({"eventId": third["id"]})).send().await.expect(202);
    (user, granted, reversed)
}

#[apply(on_both_engines)]
async fn an_export_shows_everything_about_a_user(app: TestApp) {
    let (user, granted, reversed) = rich_user(&app).await;
    let lines = exported(&app, &user.token, &user.id).await;
    let account = of_type(&lines, "account");
    assert_eq!((account.len(), &account[0]["email"]), (1, &json!(user.email)));
    let attributes = of_type(&lines, "attribute");
    assert_eq!(
        (attributes.len(), &attributes[0]["value"]),
        (1, &json!("attribute-of-ada"))
    );
    // Those of the shop, the registration and the login.
    assert_eq!(of_type(&lines, "activity").len(), 5);
    assert_eq!(of_type(&lines, "session").len(), 1);
    let requests = of_type(&lines, "rewardRequest");
    assert_eq!(requests.len(), 4);
    for request in [&granted, &reversed] {
        let found = requests.iter().find(|found| found["request"]["id"] == request["id"]);
        let found = found.expect("the request");
        assert_eq!(found["request"]["grants"].as_array().expect("grants").len(), 1);
        assert_eq!(found["receipt"]["receipt"]["requestId"], request["id"]);
    }
    let admin = app.token(Role::Admin).await;
    assert_eq!(exported(&app, &admin, &user.id).await.len(), lines.len());
    for role in [Role::User, Role::Operator, Role::Auditor] {
        let token = app.token(role).await;
        let reply = get(&app, &token, &format!("/users/{}/export", user.id)).await;
        reply.expect_problem(404, "no-such-user");
    }
}

#[apply(on_both_engines)]
async fn an_export_of_many_rows_is_complete(app: TestApp) {
    let (operator, user) = (app.operator().await, app.user(Role::User).await);
    for batch in 0..2 {
        let activities: Vec<Value> = (0..800)
            .map(|number| json!({"source": "shop", "id": format!("{batch}-{number}"), "userId": user.id, "kind": "k"}))
            .collect();
        app.post("/activities")
            .bearer(&operator)
            .json(&json!(activities))
            .send()
            .await
            .expect(201);
    }
    let lines = exported(&app, &user.token, &user.id).await;
    let mut ids: Vec<&str> = of_type(&lines, "activity")
        .iter()
        .map(|activity| text(activity, "id"))
        .collect();
    let count = ids.len();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!((count, ids.len()), (1602, 1602));
}

#[apply(on_both_engines)]
async fn an_erasure_disables_at_once_and_can_be_cancelled(app: TestApp) {
    let (admin, user) = (app.token(Role::Admin).await, app.user(Role::User).await);
    let (path, erasure) = (format!("/users/{}", user.id), format!("/users/{}/erasure", user.id));
    get(&app, &admin, &erasure).await.expect_problem(404, "no-erasure");
    delete(&app, &admin, &erasure).await.expect_problem(404, "no-erasure");
    let asked = delete(&app, &user.token, &path).await.expect(202);
    let expected = json!({
        "userId": user.id, "requestedAt": "2026-03-01T12:00:00.000Z", "dueAt": "2026-03-08T12:00:00.000Z",
        "completedAt": null,
    });
    assert_eq!(asked, expected);
    get(&app, &user.token, "/users/me")
        .await
        .expect_problem(401, "invalid-token");
    let credentials = json!({"email": user.email, "password": PASSWORD});
    let login = app.post("/auth/login").json(&credentials).send().await;
    login.expect_problem(401, "wrong-credentials");
    // Again, by an ADMIN: the same.
    app.at("2026-03-01T12:05:00Z");
    assert_eq!(delete(&app, &admin, &path).await.expect(202), expected);
    assert_eq!(get(&app, &admin, &erasure).await.expect(200), expected);
    let enable = app.patch(&path).bearer(&admin).json(&json!({"disabled": false}));
    enable.send().await.expect_problem(409, "erasure-pending");

    delete(&app, &admin, &erasure).await.expect(204);
    assert_eq!(app.app.erasures.run().await.expect("a run"), 0);
    app.login(&user.email, PASSWORD).await;
    // One that was disabled stays so.
    let disable = app.patch(&path).bearer(&admin).json(&json!({"disabled": true}));
    disable.send().await.expect(200);
    delete(&app, &admin, &path).await.expect(202);
    delete(&app, &admin, &erasure).await.expect(204);
    assert_eq!(get(&app, &admin, &path).await.expect(200)["disabled"], true);
}

#[apply(on_both_engines)]
async fn an_erasure_needs_a_proof_and_spares_the_last_admin(app: TestApp) {
    let app = app.replica(&[("auth.access_token_seconds", "86400")]);
    let (admin, user) = (app.user(Role::Admin).await, app.user(Role::User).await);
    let path = format!("/users/{}", user.id);
    for role in [Role::User, Role::Operator, Role::Auditor] {
        let token = app.token(role).await;
        delete(&app, &token, &path).await.expect_problem(404, "no-such-user");
        let reply = delete(&app, &token, &format!("{path}/erasure")).await;
        reply.expect_problem(403, "forbidden");
        get(&app, &token, &format!("{path}/erasure"))
            .await
            .expect_problem(404, "no-such-user");
    }
    let last = format!("/users/{}", admin.id);
    delete(&app, &admin.token, &last)
        .await
        .expect_problem(409, "last-admin");
    let unknown = "/users/0199a3b0-5c1e-7a51-8f5e-0d6f2c1b9e77";
    delete(&app, &admin.token, unknown)
        .await
        .expect_problem(404, "no-such-user");
    app.at("2026-03-01T12:20:00Z");
    for token in [&admin.token, &user.token] {
        delete(&app, token, &path).await.expect_problem(403, "step-up-required");
    }
    assert_eq!(app.count("SELECT COUNT(*) FROM user_erasures").await, 0);
}

/// Runs the task as a server does, until the erasure is complete.
async fn erase(app: &TestApp) {
    app.at("2026-03-08T12:00:00Z");
    assert_eq!(app.app.erasures.run().await.expect("a run"), 0);
    app.app.claims.expire_held().await.expect("the held claim is rejected");
    app.at("2026-03-08T12:00:30Z");
    assert_eq!(
        app.app.erasures.run().await.expect("a run"),
        0,
        "transactions may still run"
    );
    app.at("2026-03-08T12:01:30Z");
    assert_eq!(app.app.erasures.run().await.expect("a run"), 1);
    assert_eq!(app.app.erasures.run().await.expect("a run"), 0);
}

#[apply(on_both_engines)]
async fn an_erasure_leaves_nothing_personal_and_receipts_still_verify(app: TestApp) {
    let (user, granted, reversed) = rich_user(&app).await;
    let admin = app.token(Role::Admin).await;
    let auditor = app.auditor().await;
    let receipt = |request: &Value| format!("/reward-requests/{}/receipt", text(request, "id"));
    let before = get(&app, &auditor, &receipt(&granted)).await.expect(200);
    delete(&app, &admin, &format!("/users/{}", user.id)).await.expect(202);
    app.at("2026-03-08T11:59:59Z");
    assert_eq!(app.app.erasures.run().await.expect("a run"), 0);
    assert_eq!(app.count("SELECT COUNT(*) FROM users WHERE email IS NULL").await, 0);
    erase(&app).await;

    let admin = app.token(Role::Admin).await;
    let path = format!("/users/{}", user.id);
    let account = get(&app, &admin, &path).await.expect(200);
    assert_eq!(
        account,
        json!({
            "id": user.id, "email": null, "externalId": null, "role": "USER", "inviteCode": null, "invitedBy": null,
            "disabled": true, "createdAt": "2026-03-01T12:00:00.000Z", "attributes": {},
        })
    );
    let state = get(&app, &admin, &format!("{path}/erasure")).await.expect(200);
    assert_eq!(state["completedAt"], "2026-03-08T12:01:30.000Z");
    delete(&app, &admin, &format!("{path}/erasure"))
        .await
        .expect_problem(409, "erasure-begun");
    let set = app
        .put(&format!("{path}/attributes"))
        .bearer(&app.operator().await)
        .json(&json!({"a": 1}));
    set.send().await.expect_problem(404, "no-such-user");
    let activity = json!({"source": "shop", "id": "late", "userId": user.id, "kind": "k"});
    let late = app.post("/activities").bearer(&app.operator().await).json(&activity);
    late.send().await.expect_problem(422, "invalid-body");

    // The books: requests and grants without content, and receipts that verify as erased.
    let lines = exported(&app, &admin, &user.id).await;
    assert_eq!(
        each(&json!(lines), "type"),
        ["account", "rewardRequest", "rewardRequest", "rewardRequest"]
    );
    let left = json!(lines).to_string();
    for personal in ["of-ada", user.email.as_str(), user.invite_code.as_str()] {
        assert!(!left.contains(personal), "{personal}: {left}");
    }
    let requests = of_type(&lines, "rewardRequest");
    let statuses = json!(requests.iter().map(|line| &line["request"]).collect::<Vec<_>>());
    assert_eq!(each(&statuses, "status"), ["REJECTED", "REVERSED", "GRANTED"]);
    let auditor = app.auditor().await;
    let erased = get(&app, &auditor, &receipt(&granted)).await.expect(200);
    assert_eq!(
        (&erased["receipt"], &erased["digest"]),
        (&Value::Null, &before["digest"])
    );
    let replayed = replay(&app.app.sandbox, &proof(&erased), None, None).await;
    assert_eq!(replayed.expect("a verdict"), Replay::Erased);
    let path = format!("/reward-requests/{}/reversal/receipt", text(&reversed, "id"));
    let reversal = get(&app, &auditor, &path).await.expect(200);
    let reversal: SignedReversal = serde_json::from_value(reversal).expect("a reversal");
    reversal.verify(None).expect("a true reversal");
    for table in [
        "SELECT COUNT(*) FROM user_attributes",
        "SELECT COUNT(*) FROM activity_directory WHERE source = 'shop'",
        "SELECT COUNT(*) FROM activities WHERE source = 'shop'",
        "SELECT COUNT(*) FROM idempotency_keys",
        "SELECT COUNT(*) FROM pending_claims",
        "SELECT COUNT(*) FROM fulfilments WHERE reference IS NOT NULL",
        "SELECT COUNT(*) FROM reward_requests WHERE status = 'HELD'",
        "SELECT COUNT(*) FROM reward_requests WHERE receipt IS NOT NULL",
        "SELECT COUNT(*) FROM reversals WHERE reason <> ''",
    ] {
        assert_eq!(app.count(table).await, 0, "{table}");
    }
    // The e-mail is free again.
    let body = json!({"email": user.email, "password": PASSWORD});
    app.post("/auth/register").json(&body).send().await.expect(201);
    let log = app
        .get(&format!("/audit?target={}", user.id))
        .bearer(&auditor)
        .send()
        .await
        .expect(200);
    let actions = each(&log["items"], "action");
    assert!(
        actions.contains(&"user-erasure") && actions.contains(&"DELETE /users/{id}"),
        "{actions:?}"
    );
}

#[apply(on_both_engines)]
async fn an_erased_external_id_can_be_used_again(app: TestApp) {
    let (admin, operator) = (app.token(Role::Admin).await, app.operator().await);
    let put = async || app.put("/users/external/customer-1").bearer(&admin).send().await;
    let first = put().await.expect(201);
    let report = async |id: &str, token: &str| {
        let body = json!({"source": "shop", "id": id, "externalUserId": "customer-1", "kind": "k"});
        app.post("/activities").bearer(token).json(&body).send().await
    };
    report("1", &operator).await.expect(201);
    // Another process remembers the user.
    let other = app.replica(&[]);
    get(&other, &admin, "/users/external:customer-1").await.expect(200);
    delete(&app, &admin, "/users/external:customer-1").await.expect(202);
    erase(&app).await;
    let (admin, operator) = (app.token(Role::Admin).await, app.operator().await);
    get(&app, &admin, "/users/external/customer-1")
        .await
        .expect_problem(404, "no-such-user");
    report("2", &operator).await.expect_problem(422, "invalid-body");
    let second = app
        .put("/users/external/customer-1")
        .bearer(&admin)
        .send()
        .await
        .expect(201);
    assert_ne!(second["id"], first["id"]);
    let body = json!({"source": "shop", "id": "1", "externalUserId": "customer-1", "kind": "k"});
    let reported = other.post("/activities").bearer(&operator).json(&body).send().await;
    reported.expect(201);
    let history = get(&app, &operator, "/users/external:customer-1/activities")
        .await
        .expect(200);
    assert_eq!(each(&history["items"], "userId"), [text(&second, "id")]);
}
