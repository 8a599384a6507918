//! `/events` for operators

mod active;
mod fields;
mod rush;
mod secret;

use meed_host::auth::Role;
use rstest_reuse::apply;
use serde_json::{Value, json};

use crate::support::{TestApp, bundled, each, event_input, on_both_engines, text, with};

const UNKNOWN: &str = "/events/0199a3b0-5c1e-7a51-8f5e-0d6f2c1b9e77";

fn path_of(event: &Value) -> String {
    format!("/events/{}", text(event, "id"))
}

#[apply(on_both_engines)]
async fn an_event_is_created_and_read(app: TestApp) {
    let plugin = app.install(bundled("login-streak")).await;
    let rewards = [
        app.reward(json!({"type": "POINT"})).await,
        app.reward(json!({"type": "ITEM"})).await,
    ];
    // Not in the order of their creation.
    let body = json!({
        "title": "7-day login streak", "description": "Log in seven days in a row.",
        "startDate": "2026-03-01T09:00:00+09:00", "endDate": "2026-04-01T00:00:00Z", "isActive": true,
        "tags": ["spring", "새봄"], "rewardIds": [rewards[1]["id"], rewards[0]["id"]], "timeZone": "Asia/Seoul",
        "condition": {"plugin": "login-streak", "version": plugin.version, "params": {"days": 7}},
        "recurrence": {"period": "WEEKLY", "count": 2}, "maxQuantity": 3, "respondAsync": true,
        "budget": {"period": "DAILY", "grants": 1000, "amount": null}, "group": null,
    });
    let reply = app.create_event(&body).await;
    let (location, etag) = (reply.header("location").to_owned(), reply.header("etag").to_owned());
    let event = reply.expect(201);
    assert_eq!((location, etag.as_str()), (path_of(&event), "\"1\""));
    assert_eq!(
        event_input(&event),
        with(
            body,
            json!({"startDate": "2026-03-01T00:00:00.000Z", "endDate": "2026-04-01T00:00:00.000Z"})
        )
    );
    assert_eq!(event["condition"]["digest"], json!(plugin.digest));
    assert_eq!(text(&event, "seedCommitment").len(), 64);
    assert_eq!(event.get("seedSecret"), None);
    assert_eq!(
        (&event["revision"], text(&event, "createdAt")),
        (&json!(1), "2026-03-01T12:00:00.000Z")
    );
    assert!(event["createdBy"].is_string());
    assert_eq!(app.read(&path_of(&event)).await, event);
    let token = app.operator().await;
    assert_eq!(
        app.get(&path_of(&event)).bearer(&token).send().await.header("etag"),
        "\"1\""
    );
}

#[apply(on_both_engines)]
async fn missing_fields_have_defaults(app: TestApp) {
    let plugin = app.install(bundled("first-come")).await;
    let mut body = app.event_body(&plugin, json!({}), json!({})).await;
    body.as_object_mut().expect("an object").remove("timeZone");
    body["condition"].as_object_mut().expect("an object").remove("params");
    let event = app.create_event(&body).await.expect(201);
    let defaults = json!({
        "description": "", "isActive": true, "tags": [], "timeZone": "UTC",
        "recurrence": {"period": "ONCE", "count": 1}, "maxQuantity": 1, "respondAsync": false,
    });
    for (member, value) in defaults.as_object().expect("an object") {
        assert_eq!(&event[member], value, "{member}");
    }
    assert_eq!(event["condition"]["params"], json!({}));
    let daily = app
        .create_event(&with(body, json!({"recurrence": {"period": "DAILY"}})))
        .await
        .expect(201);
    assert_eq!(daily["recurrence"], json!({"period": "DAILY", "count": 1}));
}

#[apply(on_both_engines)]
async fn a_replacement_requires_the_current_revision(app: TestApp) {
    let event = app
        .event("login-streak", json!({"days": 7}), json!({"tags": ["spring"]}))
        .await;
    let (path, body) = (path_of(&event), event_input(&event));
    let token = app.operator().await;
    let put = async |etag: &str, body: &Value| {
        app.put(&path)
            .bearer(&token)
            .header("if-match", etag)
            .json(body)
            .send()
            .await
    };
    app.put(&path)
        .bearer(&token)
        .json(&body)
        .send()
        .await
        .expect_problem(428, "revision-required");
    put("\"0\"", &body).await.expect_problem(412, "event-changed");
    // An unknown ETag and an invalid one never match (RFC 9110).
    for etag in ["1", "W/\"2\"", "\"01\"", "\"one\""] {
        put(etag, &body).await.expect_problem(412, "event-changed");
    }

    let changes = json!({"title": "Three days", "tags": [], "condition": with(body["condition"].clone(), json!({"params": {"days": 3}}))});
    app.at("2026-03-01T12:01:00Z");
    let reply = put("\"1\"", &with(body.clone(), changes.clone())).await;
    assert_eq!(reply.header("etag"), "\"2\"");
    let changed = reply.expect(200);
    assert_eq!(event_input(&changed), with(body.clone(), changes));
    assert_eq!(changed["revision"], 2);
    for member in ["id", "seedCommitment", "createdBy", "createdAt"] {
        assert_eq!(changed[member], event[member], "{member}");
    }
    assert_eq!(text(&changed, "updatedAt"), "2026-03-01T12:01:00.000Z");
    assert_eq!(app.read(&path).await, changed);
    put("\"1\"", &body).await.expect_problem(412, "event-changed");
    put("*", &body).await.expect(200);
    // A proxy that compresses responses makes ETags weak.
    put("W/\"3\"", &body).await.expect(200);
    put("\"3\", \"4\"", &body)
        .await
        .expect_problem(400, "invalid-parameter");
    let unknown = app
        .put(UNKNOWN)
        .bearer(&token)
        .header("if-match", "\"1\"")
        .json(&body)
        .send()
        .await;
    unknown.expect_problem(404, "no-such-event");
}

#[apply(on_both_engines)]
async fn one_of_eight_concurrent_changes_succeeds(app: TestApp) {
    let event = app.event("first-come", json!({}), json!({})).await;
    let token = app.operator().await;
    let changes: Vec<_> = (0..8)
        .map(|number| {
            let body = with(event_input(&event), json!({"title": format!("Title {number}")}));
            let call = app
                .put(&path_of(&event))
                .bearer(&token)
                .header("if-match", "\"1\"")
                .json(&body);
            tokio::spawn(call.send())
        })
        .collect();
    let mut made = Vec::new();
    for change in changes {
        let reply = change.await.expect("an answer");
        if reply.status == 200 {
            made.push(reply.json);
        } else {
            reply.expect_problem(412, "event-changed");
        }
    }
    assert_eq!(made.len(), 1);
    assert_eq!(app.read(&path_of(&event)).await, made[0]);
}

#[apply(on_both_engines)]
async fn a_deleted_event_is_not_found_but_its_history_remains(app: TestApp) {
    let event = app.event("first-come", json!({}), json!({})).await;
    let (path, token) = (path_of(&event), app.operator().await);
    let user = app.user(Role::User).await;
    let claimed = app.claim(&user.token, &event).send().await.expect(201);

    let stale = app
        .delete(&path)
        .bearer(&token)
        .header("if-match", "\"2\"")
        .send()
        .await;
    stale.expect_problem(412, "event-changed");
    let reply = app
        .delete(&path)
        .bearer(&token)
        .header("if-match", "\"1\"")
        .send()
        .await;
    assert_eq!((reply.status.as_u16(), reply.bytes.len()), (204, 0));
    app.get(&path)
        .bearer(&token)
        .send()
        .await
        .expect_problem(404, "no-such-event");
    app.delete(&path)
        .bearer(&token)
        .send()
        .await
        .expect_problem(404, "no-such-event");
    app.change_event(&event, json!({}))
        .await
        .expect_problem(404, "no-such-event");
    assert_eq!(app.read("/events").await["items"], json!([]));

    let other = app.user(Role::User).await;
    app.claim(&other.token, &event)
        .send()
        .await
        .expect_problem(404, "no-such-event");
    let progress = app.get(&format!("{path}/progress")).bearer(&other.token).send().await;
    progress.expect_problem(404, "no-such-event");
    assert_eq!(
        app.get("/events/active").bearer(&other.token).send().await.expect(200)["items"],
        json!([])
    );

    let kept = app
        .read(&format!("/reward-requests?eventId={}", text(&event, "id")))
        .await;
    assert_eq!(each(&kept["items"], "id"), [text(&claimed, "id")]);
    let revisions = app.read(&format!("{path}/revisions")).await;
    assert_eq!(
        (&revisions["items"][0]["revision"], &revisions["items"][0]["event"]),
        (&json!(2), &Value::Null)
    );
    // Its reward can be deleted again.
    let reward = format!("/rewards/{}", event["rewardIds"][0].as_str().expect("an id"));
    assert_eq!(app.delete(&reward).bearer(&token).send().await.status, 204);
}

#[apply(on_both_engines)]
async fn without_if_match_any_revision_is_deleted(app: TestApp) {
    let event = app.event("first-come", json!({}), json!({})).await;
    app.change_event(&event, json!({"title": "Changed"})).await.expect(200);
    let token = app.operator().await;
    assert_eq!(app.delete(&path_of(&event)).bearer(&token).send().await.status, 204);
    app.delete(UNKNOWN)
        .bearer(&token)
        .send()
        .await
        .expect_problem(404, "no-such-event");
}

#[apply(on_both_engines)]
async fn revisions_are_kept_and_requests_name_theirs(app: TestApp) {
    let first = app.event("login-streak", json!({"days": 1}), json!({})).await;
    let (ada, bob) = (app.user(Role::User).await, app.user(Role::User).await);
    assert_eq!(
        app.claim(&ada.token, &first).send().await.expect(201)["eventRevision"],
        1
    );
    app.at("2026-03-01T12:02:00Z");
    let condition = with(first["condition"].clone(), json!({"params": {"days": 2}}));
    let condition = {
        let mut condition = condition;
        condition.as_object_mut().expect("an object").remove("digest");
        condition
    };
    let second = app
        .change_event(&first, json!({"title": "Two days", "condition": condition}))
        .await
        .expect(200);
    let rejected = app.claim(&bob.token, &second).send().await.expect(201);
    assert_eq!(
        (text(&rejected, "status"), &rejected["eventRevision"]),
        ("REJECTED", &json!(2))
    );
    let third = app.change_event(&second, json!({"isActive": false})).await.expect(200);

    let path = format!("{}/revisions", path_of(&first));
    let page = app.read(&format!("{path}?pageSize=2")).await;
    let rest = app
        .read(&format!("{path}?pageSize=2&pageToken={}", text(&page, "nextPageToken")))
        .await;
    let revisions = [
        page["items"].as_array().expect("a list").clone(),
        rest["items"].as_array().expect("a list").clone(),
    ]
    .concat();
    let said: Vec<_> = revisions.iter().map(|revision| &revision["event"]).collect();
    assert_eq!(said, [&third, &second, &first]);
    assert_eq!(rest.get("nextPageToken"), None);
    assert_eq!(text(&revisions[1], "changedAt"), "2026-03-01T12:02:00.000Z");
    assert_eq!(revisions[1]["changedBy"], first["createdBy"]);

    // Grants of the first revision remain.
    app.claim(&ada.token, &first).send().await.expect(409);
    let token = app.operator().await;
    app.get(&format!("{UNKNOWN}/revisions"))
        .bearer(&token)
        .send()
        .await
        .expect_problem(404, "no-such-event");
}

#[apply(on_both_engines)]
async fn pages_show_every_event_once_and_filters_narrow_them(app: TestApp) {
    let mut ids = Vec::new();
    for (number, (plugin, params, changes)) in [
        ("first-come", json!({}), json!({"tags": ["spring", "big"]})),
        ("login-streak", json!({"days": 7}), json!({"tags": ["springtime"]})),
        ("first-come", json!({}), json!({"isActive": false, "tags": ["spring"]})),
        ("first-come", json!({}), json!({"startDate": "2026-05-01T00:00:00Z"})),
        ("first-come", json!({}), json!({"endDate": "2026-03-01T12:00:00Z"})),
    ]
    .into_iter()
    .enumerate()
    {
        app.at(&format!("2026-03-01T12:00:0{number}Z"));
        ids.insert(0, text(&app.event(plugin, params, changes).await, "id").to_owned());
    }
    let mut seen = Vec::new();
    let mut path = "/events?pageSize=2".to_owned();
    loop {
        let page = app.read(&path).await;
        assert!(page["items"].as_array().is_some_and(|items| items.len() <= 2));
        seen.extend(each(&page["items"], "id").into_iter().map(str::to_owned));
        let Some(token) = page["nextPageToken"].as_str() else {
            break;
        };
        path = format!("/events?pageSize=2&pageToken={token}");
    }
    assert_eq!(seen, ids);

    // Newest first: 0 has ended, 1 has not started, 2 is inactive, 3 is the streak, 4 is the first.
    for (query, expected) in [
        ("isActive=false", vec![2]),
        ("isActive=true", vec![0, 1, 3, 4]),
        ("tag=spring", vec![2, 4]),
        ("tag=big", vec![4]),
        ("tag=%22", vec![]),
        ("tag=%25", vec![]),
        ("plugin=login-streak", vec![3]),
        ("plugin=nobody", vec![]),
        ("at=2026-03-01T11:59:59.999Z", vec![0, 2, 3, 4]),
        ("at=2026-03-01T12:00:00Z", vec![2, 3, 4]),
        ("at=2026-05-01T00:00:00Z", vec![1, 2, 3, 4]),
        ("at=2026-04-30T23:59:59.999Z&isActive=true&tag=spring", vec![4]),
    ] {
        let page = app.read(&format!("/events?{query}")).await;
        let expected: Vec<_> = expected.iter().map(|place: &usize| ids[*place].as_str()).collect();
        assert_eq!(each(&page["items"], "id"), expected, "{query}");
    }
    let token = app.operator().await;
    for query in [
        "isActive=perhaps",
        "at=now",
        "at=2026-03-01",
        "pageSize=-1",
        "pageToken=e30",
        "tag=%00",
    ] {
        let reply = app.get(&format!("/events?{query}")).bearer(&token).send().await;
        reply.expect_problem(400, "invalid-parameter");
    }
    app.get("/events/seven")
        .bearer(&token)
        .send()
        .await
        .expect_problem(400, "invalid-parameter");
    app.get(UNKNOWN)
        .bearer(&token)
        .send()
        .await
        .expect_problem(404, "no-such-event");
}
