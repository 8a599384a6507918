//! Separation of duties: who makes the rules does not claim, and what an operator made belongs to this operator.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use meed_host::auth::Role;
use rstest_reuse::apply;
use serde_json::{Value, json};

use crate::support::{Reply, TestApp, assert_fault, guest, on_both_engines, text, with};

async fn report(app: &TestApp, token: &str, source: &str, id: &str, user: &str) -> Reply {
    let body = json!({"source": source, "id": id, "userId": user, "kind": "shop.purchase"});
    app.post("/activities").bearer(token).json(&body).send().await
}

async fn upload(app: &TestApp, token: &str, module: Vec<u8>) -> Reply {
    app.post("/plugins")
        .bearer(token)
        .bytes("application/wasm", module)
        .send()
        .await
}

#[apply(on_both_engines)]
async fn staff_cannot_claim(app: TestApp) {
    let event = app.event("first-come", json!({}), json!({})).await;
    for role in [Role::Operator, Role::Auditor, Role::Admin] {
        let token = app.token(role).await;
        app.claim(&token, &event).send().await.expect_problem(403, "forbidden");
    }
    let user = app.token(Role::User).await;
    app.claim(&user, &event).send().await.expect(201);
}

#[apply(on_both_engines)]
async fn an_activity_names_its_reporter_to_staff(app: TestApp) {
    let (user, operator) = (app.user(Role::User).await, app.user(Role::Operator).await);
    report(&app, &operator.token, "shop", "order-1", &user.id)
        .await
        .expect(201);
    let path = format!("/users/{}/activities", user.id);
    let seen_by = async |token: &str| {
        let page = app.get(&path).bearer(token).send().await.expect(200);
        let items = page["items"].as_array().expect("items");
        let find = |kind: &str| {
            items
                .iter()
                .find(|item| item["kind"] == kind)
                .cloned()
                .expect("an item")
        };
        (find("shop.purchase"), find("auth.login"))
    };
    let (reported, own) = seen_by(&operator.token).await;
    assert_eq!(reported["reportedBy"], operator.id);
    assert!(own.get("reportedBy").is_none(), "{own}");
    let (reported, _) = seen_by(&user.token).await;
    assert!(reported.get("reportedBy").is_none(), "{reported}");
}

#[apply(on_both_engines)]
async fn a_source_belongs_to_its_first_reporter_until_an_admin_gives_it_away(app: TestApp) {
    let (ada, bob) = (app.user(Role::Operator).await, app.user(Role::Operator).await);
    let (admin, user) = (app.token(Role::Admin).await, app.user(Role::User).await);
    report(&app, &ada.token, "shop", "order-1", &user.id).await.expect(201);
    for token in [&bob.token, &admin] {
        let taken = report(&app, token, "shop", "order-2", &user.id).await;
        let problem = taken.expect_problem(409, "source-taken");
        assert_eq!(problem["errors"][0]["pointer"], "/source");
    }
    report(&app, &bob.token, "game", "match-1", &user.id).await.expect(201);
    assert_eq!(
        app.count("SELECT COUNT(*) FROM activities WHERE source = 'shop'").await,
        1
    );

    let give = async |token: &str, source: &str, owner: &str| {
        let path = format!("/activity-sources/{source}/owner");
        app.put(&path)
            .bearer(token)
            .json(&json!({"ownerId": owner}))
            .send()
            .await
    };
    give(&bob.token, "shop", &bob.id).await.expect_problem(403, "forbidden");
    let given = give(&admin, "shop", &bob.id).await.expect(200);
    assert_eq!((&given["source"], &given["ownerId"]), (&json!("shop"), &json!(bob.id)));
    report(&app, &bob.token, "shop", "order-2", &user.id).await.expect(201);
    report(&app, &ada.token, "shop", "order-3", &user.id)
        .await
        .expect_problem(409, "source-taken");
    // Before its first use.
    give(&admin, "forum", &ada.id).await.expect(200);
    report(&app, &bob.token, "forum", "post-1", &user.id)
        .await
        .expect_problem(409, "source-taken");
    assert_fault(
        give(&admin, "shop", "0199a3b0-5c1e-7a51-8f5e-0d6f2c1b9e77").await,
        "/ownerId",
    );
    give(&admin, "meed", &bob.id)
        .await
        .expect_problem(400, "invalid-parameter");
}

#[apply(on_both_engines)]
async fn a_plugin_name_belongs_to_its_first_publisher(app: TestApp) {
    let (ada, bob) = (app.user(Role::Operator).await, app.user(Role::Operator).await);
    let admin = app.token(Role::Admin).await;
    let version = |number: &str| {
        let mut guest = guest("audited");
        number.clone_into(&mut guest.manifest.version);
        guest.module()
    };
    upload(&app, &ada.token, version("1.0.0")).await.expect(201);
    upload(&app, &bob.token, version("99.0.0"))
        .await
        .expect_problem(409, "plugin-name-taken");
    upload(&app, &ada.token, version("1.0.1")).await.expect(201);
    let path = "/plugins/audited/owner";
    let give = async |token: &str, path: &str, owner: &str| {
        app.put(path)
            .bearer(token)
            .json(&json!({"ownerId": owner}))
            .send()
            .await
    };
    give(&bob.token, path, &bob.id).await.expect_problem(403, "forbidden");
    give(&admin, "/plugins/nothing/owner", &bob.id)
        .await
        .expect_problem(404, "no-such-plugin");
    assert_fault(
        give(&admin, path, "0199a3b0-5c1e-7a51-8f5e-0d6f2c1b9e77").await,
        "/ownerId",
    );
    assert_eq!(give(&admin, path, &bob.id).await.expect(200)["ownerId"], bob.id);
    upload(&app, &bob.token, version("2.0.0")).await.expect(201);
    upload(&app, &ada.token, version("2.0.1"))
        .await
        .expect_problem(409, "plugin-name-taken");

    // The server's own names.
    let mut bundled = guest("bundled");
    app.install(bundled.module()).await;
    "99.0.0".clone_into(&mut bundled.manifest.version);
    upload(&app, &ada.token, bundled.module())
        .await
        .expect_problem(409, "plugin-name-taken");
}

#[apply(on_both_engines)]
async fn an_endpoint_may_be_changed_by_its_creator_or_an_admin(app: TestApp) {
    let (ada, bob) = (app.user(Role::Operator).await, app.user(Role::Operator).await);
    let admin = app.token(Role::Admin).await;
    let body = json!({"url": "https://shop.example.com/meed"});
    let created = app
        .post("/webhook-endpoints")
        .bearer(&ada.token)
        .json(&body)
        .send()
        .await
        .expect(201);
    let path = format!("/webhook-endpoints/{}", text(&created, "id"));
    let other = json!({"url": "https://evil.example.com/"});
    let message = "0199a3b0-5c1e-7a51-8f5e-0d6f2c1b9e77";
    let calls = [
        ("PUT", path.clone(), other),
        ("PATCH", path.clone(), json!({"state": "PAUSED"})),
        ("POST", format!("{path}/secret"), Value::Null),
        ("POST", format!("{path}/ping"), Value::Null),
        ("POST", format!("{path}/redrive"), Value::Null),
        ("POST", format!("{path}/deliveries/{message}/redrive"), Value::Null),
        ("DELETE", path.clone(), Value::Null),
    ];
    for (method, path, body) in calls {
        let call = app.call(method, &path).bearer(&bob.token).header("if-match", "\"1\"");
        let problem = call.json(&body).send().await.expect_problem(403, "forbidden");
        assert!(text(&problem, "detail").contains(&ada.id), "{method} {path}: {problem}");
    }
    let seen = app.get(&path).bearer(&bob.token).send().await.expect(200);
    assert_eq!((&seen["url"], &seen["state"]), (&body["url"], &json!("ACTIVE")));
    assert!(seen.get("secret").is_none(), "{seen}");
    app.patch(&path)
        .bearer(&admin)
        .json(&json!({"state": "PAUSED"}))
        .send()
        .await
        .expect(200);
    app.delete(&path).bearer(&ada.token).send().await.expect(204);
}

#[apply(on_both_engines)]
async fn setting_attributes_shows_no_account_data(app: TestApp) {
    let (user, operator) = (app.user(Role::User).await, app.operator().await);
    let path = format!("/users/{}/attributes", user.id);
    let answer = app
        .put(&path)
        .bearer(&operator)
        .json(&json!({"level": 3}))
        .send()
        .await
        .expect(200);
    assert_eq!(answer, json!({"id": user.id, "attributes": {"level": "3"}}));
}

#[apply(on_both_engines)]
async fn titles_and_names_without_visible_or_with_reordering_characters_are_refused(app: TestApp) {
    let plugin = app.install(guest("audited").module()).await;
    let event = app.event_body(&plugin, json!({}), json!({})).await;
    let (operator, admin) = (app.operator().await, app.token(Role::Admin).await);
    let hidden = ["\u{200b}", "   ", "Sum\u{200b}mer", "50 \u{202e}% off", "\u{3164}"];
    for title in hidden {
        assert_fault(
            app.create_event(&with(event.clone(), json!({"title": title}))).await,
            "/title",
        );
        let key = json!({"name": title, "publicKey": "RW"});
        assert_fault(app.post("/plugin-keys").bearer(&admin).json(&key).send().await, "/name");
        let reward = json!({"type": "POINT", "description": title});
        assert_fault(
            app.post("/rewards").bearer(&operator).json(&reward).send().await,
            "/description",
        );
        let mut deceptive = guest("deceptive");
        title.clone_into(&mut deceptive.manifest.title);
        upload(&app, &operator, deceptive.module())
            .await
            .expect_problem(422, "plugin-refused");
    }
    for title in ["7일 연속 로그인", "👩\u{200d}👧 family day", "می\u{200c}خواهم"] {
        app.create_event(&with(event.clone(), json!({"title": title})))
            .await
            .expect(201);
    }
}

#[apply(on_both_engines)]
async fn a_revoked_key_cannot_return_under_another_id(app: TestApp) {
    let admin = app.token(Role::Admin).await;
    let trust = async |key: &str| {
        let body = json!({"name": "Ada", "publicKey": key});
        app.post("/plugin-keys").bearer(&admin).json(&body).send().await
    };
    let line = "RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3";
    let key = trust(line).await.expect(201);
    let path = format!("/plugin-keys/{}", text(&key, "keyId"));
    app.delete(&path).bearer(&admin).send().await.expect(204);
    // The id is only a label: eight bytes before the key.
    let mut bytes = STANDARD.decode(line).expect("Base64");
    bytes[2] ^= 1;
    trust(&STANDARD.encode(bytes))
        .await
        .expect_problem(409, "plugin-key-taken");
}
