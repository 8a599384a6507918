//! Outbox messages are written in the transaction of the change that they report.

use meed_host::auth::Role;
use meed_host::db::Json;
use rstest_reuse::apply;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::{TestApp, guest, on_both_engines, text};

/// Kind, user, subject and payload of a message.
type Message<Payload> = (String, Option<Uuid>, Option<Uuid>, Payload);

/// All messages, in the order of their creation.
async fn messages(app: &TestApp) -> Vec<Message<Value>> {
    const SQL: &str = "SELECT kind, user_id, subject_id, payload FROM outbox ORDER BY created_at, id";
    let rows: Vec<Message<Json<Value>>> = app.app.db.query(SQL).fetch_all(&app.app.db).await.expect("the outbox");
    rows.into_iter()
        .map(|(kind, user, subject, payload)| (kind, user, subject, payload.0))
        .collect()
}

/// Advances the clock by a second per step, so that the order of messages is known.
fn step(app: &TestApp, second: u32) {
    app.at(&format!("2026-03-01T12:00:{second:02}Z"));
}

#[apply(on_both_engines)]
async fn every_change_of_an_event_writes_one_message_in_order(app: TestApp) {
    let event = app.event("first-come", json!({}), json!({})).await;
    step(&app, 1);
    let changed = app.change_event(&event, json!({"title": "Other"})).await.expect(200);
    // A refused change writes no message.
    app.change_event(&event, json!({"title": "Late"}))
        .await
        .expect_problem(412, "event-changed");
    step(&app, 2);
    let path = format!("/events/{}", text(&event, "id"));
    app.delete(&path).bearer(&app.operator().await).send().await.expect(204);
    let messages: Vec<_> = messages(&app)
        .await
        .into_iter()
        .filter(|row| row.0.starts_with("event."))
        .collect();
    let kinds: Vec<_> = messages.iter().map(|row| row.0.as_str()).collect();
    assert_eq!(kinds, ["event.created", "event.changed", "event.deleted"]);
    for ((_, user, subject, payload), (revision, said)) in
        messages.iter().zip([(1, &event), (2, &changed), (3, &Value::Null)])
    {
        assert_eq!(
            (user, subject.map(|id| id.to_string()).as_deref()),
            (&None, event["id"].as_str())
        );
        assert_eq!(
            (&payload["revision"], &payload["eventId"]),
            (&json!(revision), &event["id"])
        );
        assert_eq!(&payload["event"], said);
    }
}

#[apply(on_both_engines)]
async fn every_change_of_a_plugin_version_writes_a_message(app: TestApp) {
    let version = app.install(guest("told").module()).await;
    let path = format!("/plugins/{}/versions/{}", version.name, version.version);
    let operator = app.user(Role::Operator).await;
    for (second, state) in [(1, "DISABLED"), (2, "ACTIVE")] {
        step(&app, second);
        let change = app.patch(&path).bearer(&operator.token).json(&json!({"state": state}));
        change.send().await.expect(200);
    }
    step(&app, 3);
    app.delete(&path).bearer(&operator.token).send().await.expect(204);
    let messages: Vec<_> = messages(&app)
        .await
        .into_iter()
        .filter(|row| row.3["plugin"] == "told")
        .collect();
    let kinds: Vec<_> = messages.iter().map(|row| row.0.as_str()).collect();
    assert_eq!(
        kinds,
        ["plugin.uploaded", "plugin.disabled", "plugin.enabled", "plugin.deleted"]
    );
    for (_, user, subject, payload) in &messages {
        assert!(user.is_none() && subject.is_some() && *subject == messages[0].2);
        assert_eq!(payload["digest"], version.digest.to_string());
    }
    assert_eq!(messages[3].3["by"], operator.id.as_str());
}

#[apply(on_both_engines)]
async fn only_rejections_for_stock_or_budget_write_a_message(app: TestApp) {
    let reward = app.reward(json!({"type": "ITEM", "stock": 1})).await;
    let scarce = app
        .event("first-come", json!({}), json!({"rewardIds": [reward["id"]]}))
        .await;
    let budgeted = json!({"budget": {"period": "ONCE", "grants": 1}});
    let budgeted = app.event("first-come", json!({}), budgeted).await;
    let streak = app.event("login-streak", json!({"days": 9}), json!({})).await;
    let (first, second) = (app.user(Role::User).await, app.user(Role::User).await);
    for event in [&scarce, &budgeted] {
        assert_eq!(
            app.claim(&first.token, event).send().await.expect(201)["status"],
            "GRANTED"
        );
    }
    let mut rejected = Vec::new();
    for (number, event) in [&scarce, &budgeted, &streak].into_iter().enumerate() {
        step(&app, u32::try_from(number).expect("small") + 1);
        let request = app.claim(&second.token, event).send().await.expect(201);
        assert_eq!(request["status"], "REJECTED");
        rejected.push(request);
    }
    let messages: Vec<_> = messages(&app)
        .await
        .into_iter()
        .filter(|row| row.0 == "reward.limit-reached")
        .collect();
    assert_eq!(messages.len(), 2, "{messages:?}");
    for ((_, user, _, payload), (request, code)) in
        messages.iter().zip(rejected.iter().zip(["sold-out", "budget-spent"]))
    {
        assert_eq!(user.map(|id| id.to_string()), Some(second.id.clone()));
        assert_eq!(payload["requestId"], request["id"]);
        assert_eq!(
            (&payload["eventId"], &payload["code"]),
            (&request["eventId"], &json!(code))
        );
    }
}

/// What happens to one user or event is sent in the order in which it happened, although the clocks of the processes differ.
#[apply(on_both_engines)]
async fn the_order_of_messages_survives_clocks_that_differ(app: TestApp) {
    let operator = app.operator().await;
    app.at("2026-03-01T12:00:03Z");
    let event = app.event("first-come", json!({}), json!({})).await;
    let user = app.user(Role::User).await;
    let claim = async || {
        let token = app.log_in(&user).await;
        app.claim(&token, &event).send().await.expect(201)
    };
    let path = format!("/reward-requests/{}/reversal", text(&claim().await, "id"));
    // Each step is done by a process whose clock is further behind.
    app.at("2026-03-01T12:00:02Z");
    let call = app.post(&path).bearer(&operator).json(&json!({"reason": "Returned"}));
    call.send().await.expect(201);
    app.at("2026-03-01T12:00:01Z");
    assert_eq!(claim().await["status"], "GRANTED");
    let event = app.change_event(&event, json!({"title": "Other"})).await.expect(200);
    app.at("2026-03-01T12:00:00Z");
    let path = format!("/events/{}", text(&event, "id"));
    assert_eq!(app.delete(&path).bearer(&operator).send().await.status, 204);

    let sent = messages(&app).await;
    let kinds = |prefix: &str| -> Vec<&str> {
        let kinds = sent.iter().map(|row| row.0.as_str());
        kinds.filter(|kind| kind.starts_with(prefix)).collect()
    };
    assert_eq!(
        kinds("reward."),
        ["reward.granted", "reward.reversed", "reward.granted"]
    );
    assert_eq!(kinds("event."), ["event.created", "event.changed", "event.deleted"]);
}
