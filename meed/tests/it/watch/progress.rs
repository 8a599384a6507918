//! What a stream of progress tells

use std::time::Duration;

use meed_host::activities::ActivityNews;
use meed_host::auth::Role;
use rstest_reuse::apply;
use serde_json::{Value, json};

use super::{Serving, Watcher, refused};
use crate::service_keys::secret;
use crate::support::{Background, TestApp, TestUser, bundled, on_both_engines, text};

fn path(event: &Value) -> String {
    format!("/events/{}/progress/stream", text(event, "id"))
}

/// An event for five purchases.
async fn five_purchases(app: &TestApp) -> Value {
    let plugin = app.install(bundled("activity-count")).await;
    app.event_on(&plugin, json!({"kind": "shop.purchase", "count": 5}), json!({}))
        .await
}

async fn buys(app: &TestApp, user: &TestUser, id: &str) {
    let operator = app.operator().await;
    let activity = json!({"source": "shop", "id": id, "userId": user.id, "kind": "shop.purchase"});
    let call = app.post("/activities").bearer(&operator).json(&activity);
    assert!(call.send().await.status.is_success());
}

async fn now(app: &TestApp, user: &TestUser, event: &Value) -> Value {
    let path = format!("/events/{}/progress", text(event, "id"));
    app.get(&path).bearer(&user.token).send().await.expect(200)
}

#[apply(on_both_engines)]
async fn progress_is_told_once_per_real_change(app: TestApp) {
    let serving = Serving::start(&app).await;
    let event = five_purchases(&app).await;
    let (user, other) = (app.user(Role::User).await, app.user(Role::User).await);
    let mut watcher = Watcher::open(&serving.base, &path(&event), &user.token, None).await;
    assert_eq!(watcher.data("progress").await, now(&app, &user, &event).await);
    buys(&app, &user, "order-1").await;
    let told = watcher.data("progress").await;
    assert_eq!(told, now(&app, &user, &event).await);
    assert_eq!(told["progress"][0]["current"], 1, "{told:#}");
    // Nothing changes: a repeated report, the purchase of another user, an activity that does not count.
    buys(&app, &user, "order-1").await;
    buys(&app, &other, "order-2").await;
    let operator = app.operator().await;
    let visit = json!({"source": "shop", "id": "visit-1", "userId": user.id, "kind": "shop.visit"});
    app.post("/activities").bearer(&operator).json(&visit).send().await;
    watcher.is_quiet().await;
    // Several at once are told together.
    for number in 3..6 {
        buys(&app, &user, &format!("order-{number}")).await;
    }
    let mut told = watcher.data("progress").await;
    if told["progress"][0]["current"] != 4 {
        told = watcher.data("progress").await;
    }
    assert_eq!(told["progress"][0]["current"], 4, "{told:#}");
    // A client that has it gets nothing; one that has not gets it.
    let last = watcher.last.clone();
    drop(watcher);
    let mut watcher = Watcher::open(&serving.base, &path(&event), &user.token, last.as_deref()).await;
    watcher.is_quiet().await;
    buys(&app, &user, "order-6").await;
    let told = watcher.data("progress").await;
    assert_eq!(
        (&told["progress"][0]["current"], &told["eligible"]),
        (&json!(5), &json!(true))
    );
    let mut watcher = Watcher::open(&serving.base, &path(&event), &user.token, last.as_deref()).await;
    assert_eq!(watcher.data("progress").await, told);
    // A claim is a change, too.
    app.claim(&user.token, &event).send().await.expect(201);
    let told = watcher.data("progress").await;
    assert_eq!((&told["granted"], &told["eligible"]), (&json!(1), &json!(false)));
}

#[apply(on_both_engines)]
async fn a_change_of_the_event_changes_the_progress(app: TestApp) {
    let serving = Serving::start(&app).await;
    let event = app.event("first-come", json!({}), json!({})).await;
    let user = app.user(Role::User).await;
    let mut watcher = Watcher::open(&serving.base, &path(&event), &user.token, None).await;
    assert_eq!(watcher.data("progress").await["eligible"], true);
    app.change_event(&event, json!({"isActive": false})).await.expect(200);
    let told = watcher.data("progress").await;
    assert_eq!(
        (&told["eligible"], &told["reasons"][0]["code"]),
        (&json!(false), &json!("event-inactive"))
    );
    // A deleted event ends the stream, and there is no other.
    let operator = app.operator().await;
    let path_of_event = format!("/events/{}", text(&event, "id"));
    app.delete(&path_of_event).bearer(&operator).send().await.expect(204);
    watcher.ends().await;
    refused(&serving.base, &path(&event), &user.token, None, 404, "no-such-event").await;
}

#[apply(on_both_engines)]
async fn an_activity_of_another_process_is_noticed(app: TestApp) {
    let serving = Serving::start(&app).await;
    let event = five_purchases(&app).await;
    let user = app.user(Role::User).await;
    let activities = app.app.activities.clone();
    let period = Duration::from_millis(200);
    let _news = Background::with_period(&app.clock, period, move || ActivityNews::new(activities.clone()));
    let elsewhere = app.replica(&[]);
    let key = secret(&app, "game", &["claims:read"]).await;
    let named = format!("{}?userId={}", path(&event), user.id);
    let mut watcher = Watcher::open(&serving.base, &named, &key, None).await;
    assert_eq!(watcher.data("progress").await["progress"][0]["current"], 0);
    watcher.is_quiet().await;
    buys(&elsewhere, &user, "order-1").await;
    assert_eq!(watcher.data("progress").await["progress"][0]["current"], 1);
}
