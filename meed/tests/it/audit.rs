//! `/audit`: who did what, from where, to what, with which outcome.

use std::time::Duration;

use meed_host::auth::Role;
use rstest_reuse::apply;
use serde_json::{Value, json};

use crate::openapi::operations;
use crate::roles::filled;
use crate::support::{PASSWORD, TestApp, guest, on_both_engines, text};

impl TestApp {
    /// The entries that match, newest first, as the auditor reads them.
    async fn audit(&self, query: &str) -> Vec<Value> {
        let token = self.auditor().await;
        let page = self.get(&format!("/audit?pageSize=200&{query}")).bearer(&token).send();
        let page = page.await.expect(200);
        page["items"].as_array().expect("items").clone()
    }

    /// Entries of one millisecond have no order.
    fn later(&self) {
        self.clock.set(self.clock.now().plus(Duration::from_millis(1)));
    }

    /// The newest entry with this action.
    async fn last(&self, action: &str) -> Value {
        let query = format!(
            "action={}",
            action.replace(' ', "%20").replace('{', "%7B").replace('}', "%7D")
        );
        let found = self.audit(&query).await;
        found.first().unwrap_or_else(|| panic!("no entry of {action}")).clone()
    }
}

fn members(entry: &Value, names: &[&str]) -> Value {
    names.iter().map(|name| entry[*name].clone()).collect()
}

#[apply(on_both_engines)]
async fn every_change_by_staff_leaves_an_entry(app: TestApp) {
    let document = app.get("/openapi.json").send().await.expect(200);
    let admin = app.user(Role::Admin).await;
    let mut checked = 0;
    for (method, path, _) in operations(&document) {
        if method == "get" {
            continue;
        }
        // A new session each time, because logout ends one.
        let token = app.log_in(&admin).await;
        let method = method.to_uppercase();
        let reply = app
            .call(&method, &filled(path))
            .bearer(&token)
            .json(&json!({}))
            .send()
            .await;
        let entry = app.last(&format!("{method} {path}")).await;
        let what = format!("{method} {path}: {} {entry:#}", reply.status);
        let outcome = if reply.status.is_success() { "DONE" } else { "REFUSED" };
        assert_eq!(
            members(&entry, &["actorKind", "actorId", "actorRole", "outcome", "reason"]),
            json!(["USER", admin.id, "ADMIN", outcome, reply.json["code"]]),
            "{what}"
        );
        assert_eq!(text(&entry, "requestId"), reply.header("x-request-id"), "{what}");
        checked += 1;
    }
    assert!(checked >= 28, "only {checked}");
}

#[apply(on_both_engines)]
async fn a_changed_event_is_told_field_by_field(app: TestApp) {
    let plugin = app.install(guest("audited").module()).await;
    let event = app
        .event_on(&plugin, json!({}), json!({"budget": {"period": "DAILY", "grants": 10}}))
        .await;
    let created = app.last("POST /events").await;
    assert_eq!(
        members(&created, &["targetKind", "targetId", "outcome"]),
        json!(["event", event["id"], "DONE"])
    );
    assert_eq!(created["changes"]["title"], json!({"old": null, "new": "An event"}));

    app.later();
    let budget = json!({"period": "DAILY", "grants": 99});
    app.change_event(&event, json!({"budget": budget})).await.expect(200);
    let changed = app.last("PUT /events/{id}").await;
    let (old, new) = (
        &changed["changes"]["budget"]["old"],
        &changed["changes"]["budget"]["new"],
    );
    assert_eq!((&old["grants"], &new["grants"]), (&json!(10), &json!(99)));
    assert!(changed["changes"].get("title").is_none(), "{changed:#}");

    app.later();
    let stale = app.change_event(&event, json!({"title": "Stale"})).await;
    stale.expect_problem(412, "event-changed");
    let refused = app.last("PUT /events/{id}").await;
    assert_eq!(
        members(&refused, &["outcome", "reason", "changes"]),
        json!(["REFUSED", "event-changed", {}])
    );
    let query = format!("target={}", text(&event, "id"));
    let of_event = app.audit(&query).await;
    assert_eq!(of_event.len(), 2, "{of_event:#?}");
}

#[apply(on_both_engines)]
async fn staff_changes_of_every_kind_are_told(app: TestApp) {
    let admin = app.user(Role::Admin).await;
    let user = app.user(Role::User).await;
    let call = |method: &str, path: &str, body: Value| app.call(method, path).bearer(&admin.token).json(&body).send();

    let path = format!("/users/{}/attributes", user.id);
    call("PUT", &path, json!({"level": 3})).await.expect(200);
    app.later();
    call("PUT", &path, json!({"level": 4, "vip": true})).await.expect(200);
    let changes = app.last("PUT /users/{id}/attributes").await["changes"].clone();
    let expected = json!({
        "attributesChanged": {"old": null, "new": ["level", "vip"]},
    });
    assert_eq!(changes, expected);

    let reward = call("POST", "/rewards", json!({"type": "POINT", "value": 5}))
        .await
        .expect(201);
    let path = format!("/rewards/{}", text(&reward, "id"));
    let more = json!({"type": "POINT", "value": 7});
    let reply = app
        .put(&path)
        .bearer(&admin.token)
        .header("if-match", "\"1\"")
        .json(&more)
        .send();
    reply.await.expect(200);
    let changed = app.last("PUT /rewards/{id}").await;
    assert_eq!(changed["changes"]["value"], json!({"old": 5, "new": 7}));

    let path = format!("/users/{}", user.id);
    call("PATCH", &path, json!({"role": "OPERATOR"})).await.expect(200);
    let changed = app.last("PATCH /users/{id}").await;
    assert_eq!(changed["changes"], json!({"role": {"old": "USER", "new": "OPERATOR"}}));
    assert_eq!(changed["targetId"], user.id);

    app.upload(guest("audited").module()).await.expect(201);
    let uploaded = app.last("POST /plugins").await;
    assert_eq!(uploaded["changes"]["plugin"]["new"], "audited@1.2.3");
    app.set_plugin("audited", "1.2.3", "DISABLED").await;
    let disabled = app.last("PATCH /plugins/{name}/versions/{version}").await;
    assert_eq!(disabled["changes"]["action"]["new"], "DISABLED");
}

#[apply(on_both_engines)]
async fn logins_and_forged_tokens_are_told_with_their_account(app: TestApp) {
    let user = app.user(Role::User).await;
    let login = json!({"email": user.email, "password": "not the password"});
    app.post("/auth/login")
        .json(&login)
        .send()
        .await
        .expect_problem(401, "wrong-credentials");
    let bad = app.last("POST /auth/login").await;
    assert_eq!(
        members(&bad, &["actorKind", "targetKind", "targetId", "outcome", "reason"]),
        json!(["ANONYMOUS", "user", user.id, "REFUSED", "wrong-credentials"])
    );
    app.later();
    let tokens = app.login(&user.email, PASSWORD).await;
    let good = app.last("POST /auth/login").await;
    assert_eq!(members(&good, &["targetId", "outcome"]), json!([user.id, "DONE"]));

    let refresh = json!({"refreshToken": tokens["refreshToken"]});
    app.post("/auth/refresh").json(&refresh).send().await.expect(200);
    app.later();
    app.post("/auth/refresh")
        .json(&refresh)
        .send()
        .await
        .expect_problem(401, "refresh-token-reused");
    let reused = app.last("POST /auth/refresh").await;
    assert_eq!(
        members(&reused, &["targetId", "outcome", "reason"]),
        json!([user.id, "REFUSED", "refresh-token-reused"])
    );

    app.get("/users")
        .bearer(&user.token)
        .send()
        .await
        .expect_problem(403, "forbidden");
    let forbidden = app.last("GET /users").await;
    assert_eq!(
        members(&forbidden, &["actorId", "actorRole", "outcome", "reason"]),
        json!([user.id, "USER", "REFUSED", "forbidden"])
    );
    app.get("/users/me")
        .bearer("e30.e30.e30")
        .send()
        .await
        .expect_problem(401, "invalid-token");
    assert_eq!(app.last("GET /users/me").await["reason"], "invalid-token");
    app.post("/auth/logout").bearer(&user.token).send().await.expect(204);
    assert_eq!(app.last("POST /auth/logout").await["targetId"], user.id);
    // A token that was valid until its session ended is not forged.
    app.get("/events/active")
        .bearer(&user.token)
        .send()
        .await
        .expect_problem(401, "invalid-token");
    assert!(app.audit("action=GET%20%2Fevents%2Factive").await.is_empty());
}

#[apply(on_both_engines)]
async fn a_flood_of_refusals_is_one_entry_per_minute(app: TestApp) {
    let user = app.user(Role::User).await;
    let flood = || async {
        for _ in 0..20 {
            app.get("/users")
                .bearer(&user.token)
                .send()
                .await
                .expect_problem(403, "forbidden");
        }
        app.app.audit.write_repetitions().await.expect("a commit");
    };
    flood().await;
    flood().await;
    let entries = app.audit("action=GET%20%2Fusers").await;
    assert_eq!(entries.len(), 1, "{entries:#?}");
    assert_eq!(entries[0]["occurrences"], 40);
    app.clock.set("2026-03-01T12:01:00Z".parse().expect("an instant"));
    flood().await;
    let entries = app.audit("action=GET%20%2Fusers").await;
    let occurrences: Vec<&Value> = entries.iter().map(|entry| &entry["occurrences"]).collect();
    assert_eq!(occurrences, [&json!(20), &json!(40)]);
}

#[apply(on_both_engines)]
async fn no_secret_is_in_the_log(app: TestApp) {
    let admin = app.user(Role::Admin).await;
    let endpoint = json!({"url": "https://shop.example.com/meed"});
    let created = app
        .post("/webhook-endpoints")
        .bearer(&admin.token)
        .json(&endpoint)
        .send()
        .await
        .expect(201);
    let path = format!("/webhook-endpoints/{}/secret", text(&created, "id"));
    let rotated = app.post(&path).bearer(&admin.token).send().await.expect(200);
    let account = json!({"email": "grace@example.com", "password": PASSWORD, "role": "OPERATOR"});
    app.post("/auth/register")
        .bearer(&admin.token)
        .json(&account)
        .send()
        .await
        .expect(201);
    let tokens = app.login("grace@example.com", PASSWORD).await;
    let log = Value::from(app.audit("").await).to_string();
    assert!(
        log.contains("POST /webhook-endpoints/{id}/secret") && log.contains("POST /auth/register"),
        "{log}"
    );
    let secrets = [
        text(&created, "secret"),
        text(&rotated, "secret"),
        text(&tokens, "accessToken"),
        text(&tokens, "refreshToken"),
        PASSWORD,
        "grace@example.com",
    ];
    for secret in secrets {
        assert!(!log.contains(secret), "{secret} in {log}");
    }
}

#[apply(on_both_engines)]
async fn auditors_filter_page_and_export_the_log(app: TestApp) {
    let operator = app.user(Role::Operator).await;
    for hour in 1..=3 {
        app.clock
            .set(format!("2026-03-01T1{hour}:30:00Z").parse().expect("an instant"));
        let token = app.log_in(&operator).await;
        let reward = json!({"type": "POINT", "value": hour});
        app.post("/rewards")
            .bearer(&token)
            .json(&reward)
            .send()
            .await
            .expect(201);
    }
    let values = |entries: &[Value]| -> Vec<i64> {
        let of = |entry: &Value| entry["changes"]["value"]["new"].as_i64().expect("a value");
        entries.iter().map(of).collect()
    };
    let rewards = format!("action=POST%20%2Frewards&actor={}", operator.id);
    assert_eq!(values(&app.audit(&rewards).await), [3, 2, 1]);
    let window = format!("{rewards}&from=2026-03-01T12:30:00Z&to=2026-03-01T13:30:00Z");
    assert_eq!(values(&app.audit(&window).await), [2]);
    assert!(app.audit(&format!("{rewards}&outcome=REFUSED")).await.is_empty());

    let (admin, auditor) = (app.token(Role::Admin).await, app.auditor().await);
    let first = app
        .get(&format!("/audit?pageSize=2&{rewards}"))
        .bearer(&admin)
        .send()
        .await
        .expect(200);
    assert_eq!(values(first["items"].as_array().expect("items")), [3, 2]);
    let next = format!(
        "/audit?pageSize=2&pageToken={}&{rewards}",
        text(&first, "nextPageToken")
    );
    let second = app.get(&next).bearer(&auditor).send().await.expect(200);
    assert_eq!(values(second["items"].as_array().expect("items")), [1]);
    assert!(second.get("nextPageToken").is_none());

    let export = app
        .get(&format!("/audit?{rewards}"))
        .bearer(&auditor)
        .header("accept", "application/x-ndjson");
    let export = export.send().await;
    assert_eq!(export.header("content-type"), "application/x-ndjson");
    let body = String::from_utf8(export.bytes).expect("text");
    let lines: Vec<Value> = body
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    assert_eq!(values(&lines), [3, 2, 1]);

    for role in [Role::User, Role::Operator] {
        let token = app.token(role).await;
        app.get("/audit")
            .bearer(&token)
            .send()
            .await
            .expect_problem(403, "forbidden");
    }
}

#[apply(on_both_engines)]
async fn entries_are_kept_unless_a_retention_is_set(app: TestApp) {
    app.user(Role::User).await;
    app.clock.set("2027-03-01T12:00:00Z".parse().expect("an instant"));
    let before = app.count("SELECT COUNT(*) FROM audit_log").await;
    assert_eq!(app.app.audit.sweep().await.expect("a sweep"), 0);
    let limited = app.replica(&[("audit.retention_days", "30")]);
    app.user(Role::User).await;
    let deleted = limited.app.audit.sweep().await.expect("a sweep");
    assert_eq!(i64::try_from(deleted).expect("few"), before);
    assert_eq!(app.count("SELECT COUNT(*) FROM audit_log").await, 2);
}
