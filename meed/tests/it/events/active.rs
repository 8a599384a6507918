//! `GET /events/active`: the events that users see

use meed_host::auth::Role;
use rstest_reuse::apply;
use serde_json::{Value, json};

use crate::support::{TestApp, each, on_both_engines, text};

async fn active(app: &TestApp, token: &str) -> Value {
    app.get("/events/active").bearer(token).send().await.expect(200)
}

#[apply(on_both_engines)]
async fn users_see_only_what_they_can_claim(app: TestApp) {
    let reward = app
        .reward(json!({"type": "COUPON", "itemId": "sku", "description": "10 %", "stock": 1}))
        .await;
    let changes = json!({"title": "Streak", "tags": ["spring"], "timeZone": "Asia/Seoul", "rewardIds": [reward["id"]]});
    let event = app.event("login-streak", json!({"days": 1}), changes).await;
    let user = app.user(Role::User).await;
    let seen = active(&app, &user.token).await["items"][0].clone();
    assert_eq!(
        seen,
        json!({
            "id": event["id"], "title": "Streak", "description": "", "tags": ["spring"], "timeZone": "Asia/Seoul",
            "startDate": "2026-02-01T00:00:00.000Z", "endDate": "2026-06-01T00:00:00.000Z",
            "recurrence": {"period": "ONCE", "count": 1}, "seedCommitment": event["seedCommitment"],
            "rewards": [{
                "id": reward["id"], "type": "COUPON", "itemId": "sku", "value": null, "duration": null,
                "description": "10 %", "soldOut": false,
            }],
        })
    );
    app.claim(&user.token, &event).send().await.expect(201);
    assert_eq!(
        active(&app, &user.token).await["items"][0]["rewards"][0]["soldOut"],
        true
    );
}

#[apply(on_both_engines)]
async fn only_running_events_are_listed(app: TestApp) {
    for (title, changes) in [
        ("runs", json!({})),
        ("paused", json!({"isActive": false})),
        ("begins now", json!({"startDate": "2026-03-01T12:00:00Z"})),
        ("begins later", json!({"startDate": "2026-03-01T12:00:00.001Z"})),
        ("ends now", json!({"endDate": "2026-03-01T12:00:00Z"})),
        ("ends later", json!({"endDate": "2026-03-01T12:00:00.001Z"})),
    ] {
        app.event(
            "first-come",
            json!({}),
            crate::support::with(changes, json!({"title": title})),
        )
        .await;
    }
    let user = app.user(Role::User).await;
    let page = active(&app, &user.token).await;
    let mut titles = each(&page["items"], "title");
    titles.sort_unstable();
    assert_eq!(titles, ["begins now", "ends later", "runs"]);
    app.at("2026-03-01T12:00:00.001Z");
    let page = active(&app, &user.token).await;
    let mut titles = each(&page["items"], "title");
    titles.sort_unstable();
    assert_eq!(titles, ["begins later", "begins now", "runs"]);

    let mut seen = Vec::new();
    let mut path = "/events/active?pageSize=1".to_owned();
    loop {
        let page = app.get(&path).bearer(&user.token).send().await.expect(200);
        seen.extend(each(&page["items"], "title").into_iter().map(str::to_owned));
        let Some(token) = page["nextPageToken"].as_str() else {
            break;
        };
        path = format!("/events/active?pageSize=1&pageToken={token}");
    }
    assert_eq!(seen, each(&page_in_full(&app, &user.token).await, "title"));
}

#[apply(on_both_engines)]
async fn rewards_are_shown_in_the_events_order(app: TestApp) {
    let mut ids = Vec::new();
    for kind in ["A", "B", "C"] {
        ids.push(app.reward(json!({"type": kind})).await["id"].clone());
    }
    let event = app
        .event("first-come", json!({}), json!({"rewardIds": [ids[2], ids[0], ids[1]]}))
        .await;
    let user = app.user(Role::User).await;
    assert_eq!(
        each(&active(&app, &user.token).await["items"][0]["rewards"], "type"),
        ["C", "A", "B"]
    );
    app.change_event(&event, json!({"rewardIds": [ids[1], ids[2]]}))
        .await
        .expect(200);
    assert_eq!(
        each(&active(&app, &user.token).await["items"][0]["rewards"], "type"),
        ["B", "C"]
    );
    assert_eq!(text(&event, "title"), "An event");
}

async fn page_in_full(app: &TestApp, token: &str) -> Value {
    active(app, token).await["items"].clone()
}
