//! Changes of events, rewards, plugins and roles reach every replica within a second

use std::time::{Duration, Instant};

use meed_host::auth::Role;
use rstest_reuse::apply;
use serde_json::json;

use super::{me, progress, soon, two};
use crate::support::{TestApp, event_input, is_shared, on_both_engines, text, with};

/// Well below the two seconds for which a process trusts its copies without an invalidation.
const AT_ONCE: Duration = Duration::from_millis(1500);

/// Longer than any test, so that a process can learn of changes only by an invalidation.
const LONG: &[(&str, &str)] = &[("auth.session_cache_seconds", "3600")];

#[apply(on_both_engines)]
async fn another_process_sees_a_changed_event_at_once(app: TestApp) {
    let (_redis, here, there) = two(&app, &[]).await;
    let event = here.event("first-come", json!({}), json!({})).await;
    let user = app.token(Role::User).await;
    let operator = here.operator().await;
    let path = format!("/events/{}", text(&event, "id"));
    let paused = with(event_input(&event), json!({"isActive": false}));
    let read_at = Instant::now();
    assert_eq!(progress(&there, &user, &event).await.expect(200)["eligible"], true);
    here.put(&path)
        .bearer(&operator)
        .header("if-match", "\"1\"")
        .json(&paused)
        .send()
        .await
        .expect(200);
    while progress(&there, &user, &event).await.expect(200)["eligible"] == true {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(read_at.elapsed() < AT_ONCE, "{:?}", read_at.elapsed());

    let read_at = Instant::now();
    progress(&there, &user, &event).await.expect(200);
    here.delete(&path).bearer(&operator).send().await.expect(204);
    while progress(&there, &user, &event).await.status == 200 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(read_at.elapsed() < AT_ONCE, "{:?}", read_at.elapsed());
}

#[apply(on_both_engines)]
async fn another_process_sees_a_changed_reward_at_once(app: TestApp) {
    let (_redis, here, there) = two(&app, &[]).await;
    let reward = here.reward(json!({"type": "POINT", "value": 100})).await;
    let event = here
        .event("first-come", json!({}), json!({"rewardIds": [reward["id"]]}))
        .await;
    let users = app.crowd(40).await;
    let operator = here.operator().await;
    let read_at = Instant::now();
    let mut granted = users.iter().map(async |user| {
        let request = there.claim(&user.token, &event).send().await.expect(201);
        request["grants"][0]["reward"]["value"].as_i64().expect("a value")
    });
    assert_eq!(granted.next().expect("a user").await, 100);
    let path = format!("/rewards/{}", text(&reward, "id"));
    let change = here.put(&path).bearer(&operator).header("if-match", "\"1\"");
    change
        .json(&json!({"type": "POINT", "value": 90}))
        .send()
        .await
        .expect(200);
    while granted.next().expect("a user who has not claimed yet").await != 90 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(read_at.elapsed() < AT_ONCE, "{:?}", read_at.elapsed());
}

#[apply(on_both_engines)]
async fn another_process_sees_a_disabled_plugin_at_once(app: TestApp) {
    let (_redis, here, there) = two(&app, &[]).await;
    let event = here.event("first-come", json!({}), json!({})).await;
    let user = app.token(Role::User).await;
    let plugin = &event["condition"];
    let operator = here.operator().await;
    let path = format!(
        "/plugins/{}/versions/{}",
        text(plugin, "plugin"),
        text(plugin, "version")
    );
    let read_at = Instant::now();
    progress(&there, &user, &event).await.expect(200);
    here.patch(&path)
        .bearer(&operator)
        .json(&json!({"state": "DISABLED"}))
        .send()
        .await
        .expect(200);
    while progress(&there, &user, &event).await.status == 200 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(read_at.elapsed() < AT_ONCE, "{:?}", read_at.elapsed());
}

#[apply(on_both_engines)]
async fn another_process_sees_a_logout_and_a_changed_role_within_a_second(app: TestApp) {
    let (_redis, here, there) = two(&app, LONG).await;
    let (user, admin, operator) = (
        app.token(Role::User).await,
        app.token(Role::Admin).await,
        app.user(Role::Operator).await,
    );
    for token in [&user, &operator.token] {
        assert_eq!((me(&here, token).await, me(&there, token).await), (200, 200));
    }
    let over_within_a_second = async |token: &str| {
        let published = Instant::now();
        soon("the session is over", async || me(&there, token).await == 401).await;
        assert!(
            published.elapsed() < Duration::from_secs(1),
            "{:?}",
            published.elapsed()
        );
    };
    here.post("/auth/logout").bearer(&user).send().await.expect(204);
    over_within_a_second(&user).await;
    let path = format!("/users/{}", operator.id);
    here.patch(&path)
        .bearer(&admin)
        .json(&json!({"role": "USER"}))
        .send()
        .await
        .expect(200);
    over_within_a_second(&operator.token).await;
}

#[apply(on_both_engines)]
async fn changes_during_an_outage_are_seen_after_redis_returns(app: TestApp) {
    let (mut redis, here, there) = two(&app, LONG).await;
    let user = app.token(Role::User).await;
    assert_eq!((me(&here, &user).await, me(&there, &user).await), (200, 200));
    redis.kill();
    is_shared(&here, false).await;
    is_shared(&there, false).await;
    here.post("/auth/logout").bearer(&user).send().await.expect(204);
    assert_eq!(
        (me(&here, &user).await, me(&there, &user).await),
        (401, 200),
        "the other process cannot know yet"
    );
    redis.restart().await;
    soon("the session is over", async || me(&there, &user).await == 401).await;
    assert!(there.app.cache.is_shared());
}

#[apply(on_both_engines)]
async fn forged_messages_are_ignored(app: TestApp) {
    let (redis, here, there) = two(&app, LONG).await;
    let (user, other) = (app.user(Role::User).await, app.token(Role::User).await);
    assert_eq!(
        (me(&here, &user.token).await, me(&there, &user.token).await),
        (200, 200)
    );
    let mut tx = app.app.db.begin().await.expect("a transaction");
    let session: (uuid::Uuid,) = tx
        .query("SELECT id FROM sessions WHERE user_id = $1")
        .bind(user.id.parse::<uuid::Uuid>().expect("an id"))
        .fetch_one(&mut tx)
        .await
        .expect("a session");
    drop(tx);
    for message in [format!("session {}", session.0), "garbage".to_owned(), String::new()] {
        let heard: u64 = redis.ask("PUBLISH", &[b"meed:changes", message.as_bytes()]).await;
        assert_eq!(heard, 2, "both listen");
    }
    // A valid message follows: after its arrival the forged ones have arrived too.
    assert_eq!(me(&there, &other).await, 200);
    here.post("/auth/logout").bearer(&other).send().await.expect(204);
    soon("the session is over", async || me(&there, &other).await == 401).await;
    assert_eq!(me(&there, &user.token).await, 200);
}
