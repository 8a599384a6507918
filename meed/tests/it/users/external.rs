//! Users by external id: `/users/external`, and external ids in place of ids.

use meed_host::auth::Role;
use rstest_reuse::apply;
use serde_json::{Value, json};

use crate::support::{Reply, TestApp, assert_fault, each, on_both_engines, text};

async fn upsert(app: &TestApp, token: &str, external: &str, body: Option<Value>) -> Reply {
    let call = app.put(&format!("/users/external/{external}")).bearer(token);
    match body {
        Some(body) => call.json(&body).send().await,
        None => call.send().await,
    }
}

async fn upsert_many(app: &TestApp, token: &str, body: Value) -> Reply {
    app.post("/users/external").bearer(token).json(&body).send().await
}

async fn get(app: &TestApp, token: &str, path: &str) -> Reply {
    app.get(path).bearer(token).send().await
}

const ATTRIBUTES: &str = "SELECT COUNT(*) FROM user_attributes";
const USERS: &str = "SELECT COUNT(*) FROM users WHERE external_id IS NOT NULL";
const NAMES: &str = "SELECT COUNT(*) FROM user_directory WHERE kind = 'EXTERNAL_ID'";

#[apply(on_both_engines)]
async fn an_upsert_creates_a_user_once_and_sets_its_attributes(app: TestApp) {
    let admin = app.token(Role::Admin).await;
    let created = upsert(&app, &admin, "customer-1", None).await.expect(201);
    let expected = json!({
        "id": created["id"], "email": null, "externalId": "customer-1", "role": "USER", "inviteCode": null,
        "invitedBy": null, "disabled": false, "createdAt": "2026-03-01T12:00:00.000Z", "attributes": {},
    });
    assert_eq!(created, expected);
    let same = upsert(&app, &admin, "customer-1", Some(json!({}))).await.expect(200);
    assert_eq!(same, expected);

    let level = json!({"attributes": {"level": 4, "region": "KR"}});
    let changed = upsert(&app, &admin, "customer-1", Some(level.clone()))
        .await
        .expect(200);
    assert_eq!(changed["attributes"], json!({"level": "4", "region": "KR"}));
    assert_eq!(changed["id"], created["id"]);
    // Equal attributes write no rows; without attributes they stay.
    upsert(&app, &admin, "customer-1", Some(level)).await.expect(200);
    upsert(&app, &admin, "customer-1", None).await.expect(200);
    assert_eq!(app.count(ATTRIBUTES).await, 2);
    let fewer = json!({"attributes": {"level": 5}});
    let changed = upsert(&app, &admin, "customer-1", Some(fewer)).await.expect(200);
    assert_eq!(changed["attributes"], json!({"level": "5"}));
    assert_eq!((app.count(USERS).await, app.count(NAMES).await), (1, 1));

    let found = get(&app, &admin, "/users/external/customer-1").await.expect(200);
    assert_eq!(found, changed);
    let listed = get(&app, &admin, "/users?externalId=customer-1").await.expect(200);
    assert_eq!(each(&listed["items"], "id"), [text(&created, "id")]);
    let problem = get(&app, &admin, "/users/external/customer-2").await;
    let problem = problem.expect_problem(404, "no-such-user");
    assert_eq!(
        problem["detail"],
        "There is no user with the external id \"customer-2\"."
    );
}

#[apply(on_both_engines)]
async fn an_external_id_is_compared_exactly(app: TestApp) {
    let admin = app.token(Role::Admin).await;
    let ids = [
        "a",
        "A",
        "%20a",
        "a%2Fb%3F",
        "%EA%B3%A0%EA%B0%9D",
        "external%3Aa",
        &"x".repeat(255),
    ];
    for id in ids {
        upsert(&app, &admin, id, None).await.expect(201);
    }
    assert_eq!(app.count(USERS).await, 7);
    let found = get(&app, &admin, "/users/external/a%2Fb%3F").await.expect(200);
    assert_eq!(found["externalId"], "a/b?");
    for id in ["%20", "a%0Ab", "a%E2%80%8Bb", &"x".repeat(256), "%FF"] {
        upsert(&app, &admin, id, None)
            .await
            .expect_problem(400, "invalid-parameter");
    }
    for body in [json!({"attributes": {"a b": 1}}), json!({"level": 1}), json!([])] {
        let reply = upsert(&app, &admin, "b", Some(body)).await;
        reply.expect_problem(422, "invalid-body");
    }
    get(&app, &admin, "/users/external/b").await.expect(404);
}

#[apply(on_both_engines)]
async fn only_principals_that_manage_users_upsert(app: TestApp) {
    for role in [Role::User, Role::Operator, Role::Auditor] {
        let token = app.token(role).await;
        upsert(&app, &token, "customer-1", None)
            .await
            .expect_problem(403, "forbidden");
        upsert_many(&app, &token, json!([{"externalId": "customer-1"}]))
            .await
            .expect_problem(403, "forbidden");
        get(&app, &token, "/users/external/customer-1")
            .await
            .expect_problem(403, "forbidden");
        // Known or not, the user does not exist for those who may not read it.
        get(&app, &token, "/users/external:customer-1")
            .await
            .expect_problem(404, "no-such-user");
    }
    assert_eq!(app.count(USERS).await, 0);
}

#[apply(on_both_engines)]
async fn concurrent_upserts_create_one_user_each(app: TestApp) {
    let admin = app.token(Role::Admin).await;
    let forward: Vec<Value> = (0..50)
        .map(|n| json!({"externalId": format!("c-{n}"), "attributes": {"n": n}}))
        .collect();
    let backward: Vec<Value> = forward.iter().rev().cloned().collect();
    let (forward, backward) = (json!(forward), json!(backward));
    let calls = (0..8).map(|call| {
        let body = if call % 2 == 0 {
            forward.clone()
        } else {
            backward.clone()
        };
        upsert_many(&app, &admin, body)
    });
    let replies = futures_util::future::join_all(calls).await;
    let created: u64 = replies
        .into_iter()
        .map(|reply| {
            assert!(reply.status.is_success(), "{:#}", reply.json);
            reply.json["created"].as_u64().expect("a number")
        })
        .sum();
    assert_eq!(created, 50);
    assert_eq!((app.count(USERS).await, app.count(NAMES).await), (50, 50));
    assert_eq!(app.count(ATTRIBUTES).await, 50);
}

#[apply(on_both_engines)]
async fn a_batch_is_applied_completely_or_not_at_all(app: TestApp) {
    let admin = app.token(Role::Admin).await;
    let body = json!([
        {"externalId": "a", "attributes": {"level": 1}},
        {"externalId": "b"},
        {"externalId": "c", "attributes": {}},
    ]);
    let first = upsert_many(&app, &admin, body).await.expect(201);
    assert_eq!(
        (&first["created"], &first["updated"], &first["unchanged"]),
        (&json!(3), &json!(0), &json!(0))
    );
    let body = json!([
        {"externalId": "c"},
        {"externalId": "d"},
        {"externalId": "a", "attributes": {"level": 2}},
        {"externalId": "b", "attributes": {}},
    ]);
    let second = upsert_many(&app, &admin, body.clone()).await.expect(201);
    assert_eq!(each(&second["items"], "externalId"), ["c", "d", "a", "b"]);
    assert_eq!(
        each(&second["items"], "outcome"),
        ["UNCHANGED", "CREATED", "UPDATED", "UNCHANGED"]
    );
    assert_eq!(second["items"][0]["id"], first["items"][2]["id"]);
    let again = upsert_many(&app, &admin, body).await.expect(200);
    assert_eq!(again["unchanged"], 4);

    let bad = json!([
        {"externalId": "new"},
        {"externalId": ""},
        {"externalId": "x\ny"},
        {"attributes": {}},
        {"externalId": "z", "attributes": {"level": [1]}},
        {"externalId": "z", "email": "z@example.com"},
    ]);
    let problem = upsert_many(&app, &admin, bad).await.expect_problem(422, "invalid-body");
    assert_eq!(
        each(&problem["errors"], "pointer"),
        [
            "/1/externalId",
            "/2/externalId",
            "/3",
            "/4/attributes/level",
            "/5/email"
        ]
    );
    assert_fault(
        upsert_many(
            &app,
            &admin,
            json!([{"externalId": "y"}, {"externalId": "x"}, {"externalId": "y"}]),
        )
        .await,
        "/2/externalId",
    );
    let many: Vec<Value> = (0..1001).map(|n| json!({"externalId": format!("m-{n}")})).collect();
    assert_fault(upsert_many(&app, &admin, json!(many)).await, "");
    assert_fault(upsert_many(&app, &admin, json!([])).await, "");
    assert_eq!(app.count(USERS).await, 4);
    upsert_many(&app, &admin, json!(many[..1000])).await.expect(201);
    assert_eq!(app.count(USERS).await, 1004);
}

#[apply(on_both_engines)]
async fn a_batch_may_be_lines(app: TestApp) {
    let admin = app.token(Role::Admin).await;
    let post = async |lines: &'static str| {
        let call = app.post("/users/external").bearer(&admin);
        call.bytes("application/x-ndjson", lines).send().await
    };
    let created = post("{\"externalId\": \"a\"}\n\n{\"externalId\": \"b\", \"attributes\": {\"level\": 1}}\n")
        .await
        .expect(201);
    assert_eq!(created["created"], 2);
    let problem = post("{\"externalId\": \"c\"}\n{\"externalId\": ").await;
    problem.expect_problem(400, "malformed-json");
    assert_fault(
        post("{\"externalId\": \"c\"}\n{\"externalId\": 7}").await,
        "/1/externalId",
    );
    assert_eq!(app.count(USERS).await, 2);
}

#[apply(on_both_engines)]
async fn every_call_leaves_one_audit_entry_without_personal_data(app: TestApp) {
    let admin = app.token(Role::Admin).await;
    upsert(&app, &admin, "customer-1", Some(json!({"attributes": {"level": 4}})))
        .await
        .expect(201);
    upsert_many(
        &app,
        &admin,
        json!([{"externalId": "customer-1"}, {"externalId": "customer-2"}]),
    )
    .await
    .expect(201);
    let log = get(&app, &admin, "/audit?pageSize=200").await.expect(200);
    let of = |action: &str| -> Vec<&Value> {
        let items = log["items"].as_array().expect("items");
        items.iter().filter(|entry| entry["action"] == action).collect()
    };
    let single = of("PUT /users/external/{externalId}");
    assert_eq!(single.len(), 1);
    assert_eq!(single[0]["changes"]["attributesChanged"]["new"], json!(["level"]));
    let batch = of("POST /users/external");
    assert_eq!(batch.len(), 1);
    assert_eq!(batch[0]["changes"]["created"]["new"], 1);
    assert!(!log.to_string().contains("customer-"), "{log:#}");
}

#[apply(on_both_engines)]
async fn a_path_names_a_user_by_its_external_id(app: TestApp) {
    let (admin, operator) = (app.token(Role::Admin).await, app.token(Role::Operator).await);
    let user = upsert(&app, &admin, "shop%2F7", None).await.expect(201);
    let path = "/users/external:shop%2F7";
    assert_eq!(get(&app, &admin, path).await.expect(200)["id"], user["id"]);
    let set = app.put(&format!("{path}/attributes")).bearer(&operator);
    let set = set.json(&json!({"level": 3})).send().await.expect(200);
    assert_eq!(set, json!({"id": user["id"], "attributes": {"level": "3"}}));
    let report = json!({"source": "shop", "id": "1", "externalUserId": "shop/7", "kind": "shop.purchase"});
    app.post("/activities")
        .bearer(&operator)
        .json(&report)
        .send()
        .await
        .expect(201);
    let history = get(&app, &operator, &format!("{path}/activities")).await.expect(200);
    assert_eq!(history["items"][0]["userId"], user["id"]);
    let disabled = app.patch(path).bearer(&admin).json(&json!({"disabled": true}));
    assert_eq!(disabled.send().await.expect(200)["disabled"], true);

    for (method, path) in [
        ("PATCH", "/users/external:nobody"),
        ("PUT", "/users/external:nobody/attributes"),
        ("GET", "/users/external:nobody/activities"),
        ("POST", "/users/external:nobody/password-reset"),
        ("DELETE", "/users/external:nobody/totp"),
    ] {
        let call = app.call(method, path).bearer(&admin).json(&json!({}));
        call.send().await.expect_problem(404, "no-such-user");
    }
    for path in ["/users/external:", "/users/external:a%0Ab", "/users/customer-1"] {
        get(&app, &admin, path).await.expect_problem(400, "invalid-parameter");
    }
}

#[apply(on_both_engines)]
async fn a_user_without_an_email_cannot_log_in(app: TestApp) {
    let admin = app.token(Role::Admin).await;
    upsert(&app, &admin, "ada@example.com", None).await.expect(201);
    for email in ["ada@example.com", "external:ada@example.com", ""] {
        let body = json!({"email": email, "password": "correct horse battery"});
        let reply = app.post("/auth/login").json(&body).send().await;
        assert_eq!(reply.status.as_u16(), 401, "{email}");
    }
    let reset = app.post("/users/external:ada@example.com/password-reset");
    reset.bearer(&admin).send().await.expect_problem(409, "no-email");
    // The external id takes no e-mail: it can be registered.
    let body = json!({"email": "ada@example.com", "password": "correct horse battery"});
    app.post("/auth/register").json(&body).send().await.expect(201);
    let listed = get(&app, &admin, "/users?email=ada@example.com").await.expect(200);
    assert_eq!(listed["items"].as_array().expect("items").len(), 1);
    assert_eq!(listed["items"][0]["externalId"], Value::Null);
}

#[apply(on_both_engines)]
async fn lists_are_filtered_by_external_id(app: TestApp) {
    let admin = app.token(Role::Admin).await;
    let user = upsert(&app, &admin, "customer-1", None).await.expect(201);
    let event = app.event("first-come", json!({}), json!({})).await;
    let claim = meed_host::claims::ExternalClaim {
        id: "claim-1".parse().expect("an id"),
        user: meed_host::directory::UserRef::External("customer-1".parse().expect("an external id")),
        event_id: text(&event, "id").parse().expect("an id"),
        at: None,
    };
    let (results, ended) = app.app.claims.external().accept_in_order(&[claim]).await;
    assert!(
        matches!(results[..], [Ok(())]) && ended.is_ok(),
        "{results:?} {ended:?}"
    );
    let auditor = app.auditor().await;
    for list in ["/reward-requests", "/grants"] {
        let path = |query: &str| format!("{list}?{query}");
        let both = path(&format!("externalUserId=customer-1&userId={}", text(&user, "id")));
        get(&app, &auditor, &both)
            .await
            .expect_problem(400, "invalid-parameter");
        let unknown = get(&app, &auditor, &path("externalUserId=customer-2"))
            .await
            .expect(200);
        assert_eq!(unknown["items"], json!([]));
        get(&app, &auditor, &path("externalUserId=a%0Ab"))
            .await
            .expect_problem(400, "invalid-parameter");
    }
    let found = get(&app, &auditor, "/reward-requests?externalUserId=customer-1")
        .await
        .expect(200);
    assert_eq!(each(&found["items"], "userId"), [text(&user, "id")]);
    assert_eq!(found["items"][0]["status"], "RECEIVED");
}

#[apply(on_both_engines)]
async fn a_simulation_takes_the_facts_of_an_external_user(app: TestApp) {
    let (admin, operator) = (app.token(Role::Admin).await, app.operator().await);
    upsert(&app, &admin, "customer-1", None).await.expect(201);
    let event = app.event("login-streak", json!({"days": 2}), json!({})).await;
    let path = format!(
        "/plugins/{}/versions/{}/simulate",
        text(&event["condition"], "plugin"),
        text(&event["condition"], "version")
    );
    let simulate = async |changes: Value| {
        let body = crate::support::with(json!({"params": {"days": 2}}), changes);
        app.post(&path).bearer(&operator).json(&body).send().await
    };
    simulate(json!({"externalUserId": "customer-1"})).await.expect(200);
    assert_fault(
        simulate(json!({"externalUserId": "customer-2"})).await,
        "/externalUserId",
    );
    let both = json!({"externalUserId": "customer-1", "userId": "0199a3b0-5c1e-7a51-8f5e-0d6f2c1b9e77"});
    assert_fault(simulate(both).await, "/externalUserId");
}
