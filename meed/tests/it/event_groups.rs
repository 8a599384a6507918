//! `/event-groups`

use meed_host::auth::Role;
use rstest_reuse::apply;
use serde_json::{Value, json};

use crate::support::{Reply, TestApp, assert_fault, each, on_both_engines, text, with};

async fn put(app: &TestApp, name: &str, etag: Option<&str>, body: Value) -> Reply {
    let token = app.operator().await;
    let call = app.put(&format!("/event-groups/{name}")).bearer(&token).json(&body);
    match etag {
        Some(etag) => call.header("if-match", etag).send().await,
        None => call.send().await,
    }
}

/// A group of which a user may have `max` grants.
pub async fn group(app: &TestApp, name: &str, max: u32) -> Value {
    put(app, name, None, json!({"maxPerUser": max})).await.expect(201)
}

#[apply(on_both_engines)]
async fn a_group_is_created_changed_listed_and_deleted(app: TestApp) {
    let created = put(&app, "welcome", None, json!({"maxPerUser": 1})).await;
    assert_eq!(
        (created.header("location"), created.header("etag")),
        ("/event-groups/welcome", "\"1\"")
    );
    let created = created.expect(201);
    let operator = app.read("/users/me").await;
    assert_eq!(
        created,
        json!({
            "name": "welcome", "maxPerUser": 1, "revision": 1, "appliedRevision": null, "createdBy": operator["id"],
            "createdAt": "2026-03-01T12:00:00.000Z", "updatedAt": "2026-03-01T12:00:00.000Z",
        })
    );
    assert_eq!(app.read("/event-groups/welcome").await, created);

    put(&app, "welcome", None, json!({"maxPerUser": 2}))
        .await
        .expect_problem(428, "revision-required");
    put(&app, "welcome", Some("\"2\""), json!({"maxPerUser": 2}))
        .await
        .expect_problem(412, "event-group-changed");
    put(&app, "unknown", Some("\"1\""), json!({"maxPerUser": 2}))
        .await
        .expect_problem(404, "no-such-event-group");
    app.at("2026-03-01T13:00:00Z");
    let changed = put(&app, "welcome", Some("\"1\""), json!({"maxPerUser": 2})).await;
    assert_eq!(changed.header("etag"), "\"2\"");
    let expected = json!({"maxPerUser": 2, "revision": 2, "updatedAt": "2026-03-01T13:00:00.000Z"});
    assert_eq!(changed.expect(200), with(created, expected));

    for name in ["birthday", "xmas-2026"] {
        group(&app, name, 1).await;
    }
    let first = app.read("/event-groups?pageSize=2").await;
    assert_eq!(each(&first["items"], "name"), ["birthday", "welcome"]);
    let rest = format!("/event-groups?pageSize=2&pageToken={}", text(&first, "nextPageToken"));
    assert_eq!(each(&app.read(&rest).await["items"], "name"), ["xmas-2026"]);

    app.at("2026-03-01T14:00:00Z");
    let token = app.operator().await;
    let delete = async |path: &str| app.delete(path).bearer(&token).send().await;
    let call = app
        .delete("/event-groups/welcome")
        .bearer(&token)
        .header("if-match", "\"1\"");
    call.send().await.expect_problem(412, "event-group-changed");
    delete("/event-groups/welcome").await.expect(204);
    delete("/event-groups/welcome")
        .await
        .expect_problem(404, "no-such-event-group");
    app.get("/event-groups/welcome")
        .bearer(&token)
        .send()
        .await
        .expect_problem(404, "no-such-event-group");
    let auditor = app.auditor().await;
    let log = app
        .get("/audit?target=welcome")
        .bearer(&auditor)
        .send()
        .await
        .expect(200);
    let done: Vec<&Value> = log["items"]
        .as_array()
        .expect("entries")
        .iter()
        .filter(|entry| entry["outcome"] == "DONE")
        .collect();
    assert_eq!(done.len(), 3);
    assert_eq!(done[1]["changes"]["maxPerUser"], json!({"old": 1, "new": 2}));
}

#[apply(on_both_engines)]
async fn names_and_limits_are_checked(app: TestApp) {
    for body in [
        json!({"maxPerUser": 0}),
        json!({"maxPerUser": 1001}),
        json!({"maxPerUser": "1"}),
    ] {
        assert_fault(put(&app, "welcome", None, body).await, "/maxPerUser");
    }
    put(&app, "welcome", None, json!({}))
        .await
        .expect_problem(422, "invalid-body");
    let long = "x".repeat(65);
    for name in ["Welcome", "-welcome", "wel_come", "wel%20come", &long] {
        put(&app, name, None, json!({"maxPerUser": 1}))
            .await
            .expect_problem(400, "invalid-parameter");
    }
    let user = app.token(Role::User).await;
    app.get("/event-groups")
        .bearer(&user)
        .send()
        .await
        .expect_problem(403, "forbidden");
}

#[apply(on_both_engines)]
async fn a_group_with_an_event_cannot_be_deleted(app: TestApp) {
    let plugin = app.install(crate::support::bundled("first-come")).await;
    let body = app.event_body(&plugin, json!({}), json!({"group": "welcome"})).await;
    assert_fault(app.create_event(&body).await, "/group");
    group(&app, "welcome", 1).await;
    let event = app.create_event(&body).await.expect(201);
    assert_eq!(event["group"], "welcome");
    assert_fault(app.change_event(&event, json!({"group": "unknown"})).await, "/group");
    assert_fault(
        app.change_event(&event, json!({"group": "Welcome Gifts"})).await,
        "/group",
    );
    let token = app.operator().await;
    let delete = async || app.delete("/event-groups/welcome").bearer(&token).send().await;
    delete().await.expect_problem(409, "event-group-in-use");
    let left = app.change_event(&event, json!({"group": null})).await.expect(200);
    assert_eq!(left["group"], Value::Null);
    delete().await.expect(204);

    group(&app, "welcome", 1).await;
    let entered = app.change_event(&left, json!({"group": "welcome"})).await.expect(200);
    delete().await.expect_problem(409, "event-group-in-use");
    // The event's revisions still name it.
    app.delete(&format!("/events/{}", text(&entered, "id")))
        .bearer(&token)
        .send()
        .await
        .expect(204);
    delete().await.expect(204);
}
