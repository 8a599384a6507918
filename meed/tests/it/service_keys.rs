//! `/service-keys`

mod claims;
mod limits;
mod scopes;

use meed_host::auth::Role;
use rstest_reuse::apply;
use serde_json::{Value, json};

use crate::support::{Reply, TestApp, assert_fault, each, on_both_engines, text, with};

/// Creates a service key with these scopes, and returns the response.
pub async fn create(app: &TestApp, name: &str, scopes: &[&str], changes: Value) -> Value {
    let admin = app.token(Role::Admin).await;
    let body = with(json!({"name": name, "scopes": scopes}), changes);
    app.post("/service-keys")
        .bearer(&admin)
        .json(&body)
        .send()
        .await
        .expect(201)
}

/// The same, and returns the key itself.
pub async fn secret(app: &TestApp, name: &str, scopes: &[&str]) -> String {
    text(&create(app, name, scopes, json!({})).await, "secret").to_owned()
}

async fn report(app: &TestApp, key: &str, source: &str, user_id: &str) -> Reply {
    let body = json!({"source": source, "id": "order-1", "userId": user_id, "kind": "shop.purchase"});
    app.post("/activities").bearer(key).json(&body).send().await
}

async fn is_accepted(app: &TestApp, key: &str) -> bool {
    let reply = app.get("/rewards").bearer(key).send().await;
    if reply.status == 200 {
        return true;
    }
    reply.expect_problem(401, "invalid-token");
    false
}

#[apply(on_both_engines)]
async fn only_the_creation_shows_the_secret(app: TestApp) {
    let admin = app.user(Role::Admin).await;
    let body = json!({
        "name": "shop", "scopes": ["rewards:read"], "sources": ["shop"], "addresses": ["203.0.113.0/24"],
        "expiresAt": "2027-01-01T00:00:00Z", "rateLimit": {"burst": 5, "perMinute": 60},
    });
    let reply = app.post("/service-keys").bearer(&admin.token).json(&body).send().await;
    let (location, etag) = (reply.header("location").to_owned(), reply.header("etag").to_owned());
    let created = reply.expect(201);
    let secret = text(&created, "secret").to_owned();
    assert!(secret.starts_with("meed_sk_") && secret.len() == 88, "{secret}");
    assert_eq!(
        (location.as_str(), etag.as_str()),
        (format!("/service-keys/{}", text(&created, "id")).as_str(), "\"1\"")
    );

    let read = app.get(&location).bearer(&admin.token).send().await.expect(200);
    assert_eq!(
        read,
        json!({
            "id": created["id"], "name": "shop", "scopes": ["rewards:read"], "sources": ["shop"],
            "addresses": ["203.0.113.0/24"], "expiresAt": "2027-01-01T00:00:00.000Z",
            "rateLimit": {"burst": 5, "perMinute": 60}, "revision": 1, "appliedRevision": null, "createdBy": admin.id,
            "createdAt": "2026-03-01T12:00:00.000Z", "updatedAt": "2026-03-01T12:00:00.000Z",
            "previousSecretUntil": null, "lastUsedAt": null, "lastUsedAddress": null, "revokedAt": null,
        })
    );
    let auditor = app.auditor().await;
    let list = app.get("/service-keys").bearer(&auditor).send().await.expect(200);
    assert_eq!(list["items"], json!([read]));
    let entries = app
        .get("/audit?action=POST%20/service-keys")
        .bearer(&auditor)
        .send()
        .await;
    assert!(!String::from_utf8_lossy(&entries.bytes).contains(&secret[8..]));
    let entry = &entries.expect(200)["items"][0];
    assert_eq!(
        (&entry["action"], &entry["targetId"]),
        (&json!("POST /service-keys"), &created["id"])
    );
}

#[apply(on_both_engines)]
async fn a_use_is_noted_to_the_minute(app: TestApp) {
    let created = create(&app, "shop", &["rewards:read"], json!({})).await;
    let path = format!("/service-keys/{}", text(&created, "id"));
    let last_use = async || {
        let auditor = app.auditor().await;
        app.get(&path).bearer(&auditor).send().await.expect(200)["lastUsedAt"].clone()
    };
    assert!(is_accepted(&app, text(&created, "secret")).await);
    assert_eq!(last_use().await, json!("2026-03-01T12:00:00.000Z"));
    app.at("2026-03-01T12:00:30Z");
    assert!(is_accepted(&app, text(&created, "secret")).await);
    assert_eq!(last_use().await, json!("2026-03-01T12:00:00.000Z"));
    app.at("2026-03-01T12:01:10Z");
    assert!(is_accepted(&app, text(&created, "secret")).await);
    assert_eq!(last_use().await, json!("2026-03-01T12:01:10.000Z"));
}

#[apply(on_both_engines)]
async fn a_change_is_valid_at_once_and_needs_the_current_revision(app: TestApp) {
    let created = create(&app, "shop", &["rewards:read"], json!({})).await;
    let (path, key) = (
        format!("/service-keys/{}", text(&created, "id")),
        text(&created, "secret"),
    );
    let admin = app.token(Role::Admin).await;
    let put = async |etag: &str, body: Value| {
        app.put(&path)
            .bearer(&admin)
            .header("if-match", etag)
            .json(&body)
            .send()
            .await
    };
    assert!(is_accepted(&app, key).await);
    let body = json!({"name": "shop", "scopes": ["events:read"]});
    assert_eq!(put("\"1\"", body.clone()).await.expect(200)["revision"], 2);
    app.get("/rewards")
        .bearer(key)
        .send()
        .await
        .expect_problem(403, "forbidden");
    app.get("/events").bearer(key).send().await.expect(200);
    put("\"1\"", body.clone())
        .await
        .expect_problem(412, "service-key-changed");
    app.put(&path)
        .bearer(&admin)
        .json(&body)
        .send()
        .await
        .expect_problem(428, "revision-required");

    create(&app, "game", &["rewards:read"], json!({})).await;
    put("\"2\"", json!({"name": "game", "scopes": ["events:read"]}))
        .await
        .expect_problem(409, "service-key-name-taken");
    let taken = app.post("/service-keys").bearer(&admin).json(&body).send().await;
    taken.expect_problem(409, "service-key-name-taken");
}

#[apply(on_both_engines)]
async fn a_rotated_key_keeps_its_previous_secret_for_a_while(app: TestApp) {
    let created = create(&app, "shop", &["rewards:read"], json!({})).await;
    let (path, first) = (
        format!("/service-keys/{}/rotation", text(&created, "id")),
        text(&created, "secret"),
    );
    let admin = app.token(Role::Admin).await;
    let rotate = async |body: Value| app.post(&path).bearer(&admin).json(&body).send().await.expect(200);
    let rotated = rotate(json!({"overlapSeconds": 60})).await;
    let second = text(&rotated, "secret");
    assert_ne!(first, second);
    assert_eq!(rotated["previousSecretUntil"], "2026-03-01T12:01:00.000Z");
    assert!(is_accepted(&app, first).await && is_accepted(&app, second).await);
    app.at("2026-03-01T12:01:00Z");
    assert!(!is_accepted(&app, first).await && is_accepted(&app, second).await);
    // A leaked secret must not stay valid.
    let rotated = rotate(json!({"overlapSeconds": 0})).await;
    assert!(!is_accepted(&app, second).await && is_accepted(&app, text(&rotated, "secret")).await);
    assert_fault(
        app.post(&path)
            .bearer(&admin)
            .json(&json!({"overlapSeconds": 2_592_001}))
            .send()
            .await,
        "/overlapSeconds",
    );
}

#[apply(on_both_engines)]
async fn an_expired_or_revoked_key_is_refused(app: TestApp) {
    let admin = app.token(Role::Admin).await;
    let short = create(
        &app,
        "short",
        &["rewards:read"],
        json!({"expiresAt": "2026-03-01T12:00:10Z"}),
    )
    .await;
    assert!(is_accepted(&app, text(&short, "secret")).await);
    app.at("2026-03-01T12:00:10Z");
    assert!(!is_accepted(&app, text(&short, "secret")).await);

    let created = create(&app, "shop", &["rewards:read"], json!({})).await;
    let (path, key) = (
        format!("/service-keys/{}", text(&created, "id")),
        text(&created, "secret"),
    );
    assert!(is_accepted(&app, key).await);
    for _ in 0..2 {
        app.delete(&path).bearer(&admin).send().await.expect(204);
    }
    assert!(!is_accepted(&app, key).await);
    let body = json!({"name": "shop", "scopes": ["rewards:read"]});
    let change = app
        .put(&path)
        .bearer(&admin)
        .header("if-match", "*")
        .json(&body)
        .send()
        .await;
    change.expect_problem(409, "service-key-revoked");
    // Its name is free again.
    app.post("/service-keys")
        .bearer(&admin)
        .json(&body)
        .send()
        .await
        .expect(201);
    let list = app.get("/service-keys").bearer(&admin).send().await.expect(200);
    assert_eq!(each(&list["items"], "name"), ["shop", "shop", "short"]);
}

#[apply(on_both_engines)]
async fn invalid_keys_are_refused_with_the_field(app: TestApp) {
    let admin = app.token(Role::Admin).await;
    for (changes, pointer) in [
        (json!({"name": ""}), "/name"),
        (json!({"scopes": []}), "/scopes"),
        (json!({"scopes": ["everything"]}), "/scopes"),
        (json!({"scopes": ["service-keys:write"]}), "/scopes"),
        (json!({"addresses": ["nowhere"]}), "/addresses"),
        (json!({"sources": []}), "/sources"),
        (json!({"rateLimit": {"burst": 0, "perMinute": 1}}), "/rateLimit/burst"),
    ] {
        let body = with(json!({"name": "shop", "scopes": ["rewards:read"]}), changes);
        assert_fault(
            app.post("/service-keys").bearer(&admin).json(&body).send().await,
            pointer,
        );
    }
}

#[apply(on_both_engines)]
async fn a_malformed_or_foreign_key_is_not_valid(app: TestApp) {
    let key = secret(&app, "shop", &["rewards:read"]).await;
    assert!(is_accepted(&app, &key).await);
    let mut typo = key.clone();
    typo.replace_range(20..21, if &key[20..21] == "0" { "1" } else { "0" });
    for wrong in [typo.as_str(), "meed_sk_", &key[..87], &key.to_uppercase()] {
        assert!(!is_accepted(&app, wrong).await, "{wrong}");
    }
    // The same id with another secret.
    let other = secret(&app, "game", &["rewards:read"]).await;
    assert_ne!(other[8..40], key[8..40]);
    assert_eq!(app.count("SELECT COUNT(*) FROM service_keys").await, 2);
}

#[apply(on_both_engines)]
async fn a_key_bound_to_sources_reports_under_no_other(app: TestApp) {
    let user = app.user(Role::User).await;
    let created = create(
        &app,
        "shop",
        &["activities:write"],
        json!({"sources": ["shop", "forum"]}),
    )
    .await;
    let key = text(&created, "secret");
    report(&app, key, "shop", &user.id).await.expect(201);
    let problem = report(&app, key, "game", &user.id)
        .await
        .expect_problem(403, "source-not-allowed");
    assert_eq!(problem["errors"][0]["pointer"], "/source");
    let recorded = app
        .get(&format!("/users/{}/activities?kind=shop.purchase", user.id))
        .bearer(&app.operator().await)
        .send()
        .await;
    let recorded = recorded.expect(200);
    assert_eq!(recorded["items"][0]["source"], "shop");
    assert_eq!(recorded["items"][0]["reportedBy"], created["id"]);

    // A source belongs to the key that used it first, and an ADMIN can give it to another key.
    let other = create(&app, "second shop", &["activities:write"], json!({})).await;
    let body = json!({"source": "shop", "id": "order-2", "userId": user.id, "kind": "shop.purchase"});
    let again = async || {
        app.post("/activities")
            .bearer(text(&other, "secret"))
            .json(&body)
            .send()
            .await
    };
    again().await.expect_problem(409, "source-taken");
    let admin = app.token(Role::Admin).await;
    let give = app
        .put("/activity-sources/shop/owner")
        .bearer(&admin)
        .json(&json!({"ownerId": other["id"]}));
    give.send().await.expect(200);
    again().await.expect(201);
}

#[apply(on_both_engines)]
async fn the_audit_log_names_the_key(app: TestApp) {
    let created = create(&app, "pipeline", &["rewards:write"], json!({})).await;
    let body = json!({"type": "COUPON", "itemId": "hat"});
    app.post("/rewards")
        .bearer(text(&created, "secret"))
        .json(&body)
        .send()
        .await
        .expect(201);
    let path = format!("/audit?actor={}", text(&created, "id"));
    let entries = app.get(&path).bearer(&app.auditor().await).send().await.expect(200);
    let entry = &entries["items"][0];
    assert_eq!(
        (
            &entry["action"],
            &entry["actorKind"],
            &entry["actorName"],
            &entry["actorRole"]
        ),
        (
            &json!("POST /rewards"),
            &json!("SERVICE_KEY"),
            &json!("pipeline"),
            &Value::Null
        )
    );
}

#[apply(on_both_engines)]
async fn a_key_ends_in_the_future(app: TestApp) {
    let admin = app.token(Role::Admin).await;
    let body = |end: &str| json!({"name": "late", "scopes": ["rewards:read"], "expiresAt": end});
    for past in ["2026-03-01T12:00:00Z", "2020-01-01T00:00:00Z"] {
        let call = app.post("/service-keys").bearer(&admin).json(&body(past));
        assert_fault(call.send().await, "/expiresAt");
    }
    let call = app.post("/service-keys").bearer(&admin);
    let created = call.json(&body("2026-03-01T12:00:05Z")).send().await.expect(201);
    let path = format!("/service-keys/{}", text(&created, "id"));
    let replace = async |end: &str| {
        let call = app.put(&path).bearer(&admin).header("if-match", "*");
        call.json(&body(end)).send().await
    };
    assert_fault(replace("2026-03-01T11:59:59Z").await, "/expiresAt");
    app.at("2026-03-01T12:00:06Z");
    // Another change of a key that has ended.
    replace("2026-03-01T12:00:05Z").await.expect(200);
}
