//! `GET /events/popular`

use meed_host::auth::Role;
use rstest_reuse::apply;
use serde_json::{Value, json};

use super::{soon, two};
use crate::support::{TestApp, each, is_shared, on_both_engines, text};

async fn popular(app: &TestApp, query: &str) -> Value {
    let token = app.token(Role::User).await;
    app.get(&format!("/events/popular{query}"))
        .bearer(&token)
        .send()
        .await
        .expect(200)
}

/// The titles and counts in the response.
fn ranking(popular: &Value) -> Vec<(String, u64)> {
    let items = popular["items"].as_array().expect("a list");
    items
        .iter()
        .map(|item| {
            (
                text(item, "title").to_owned(),
                item["claims"].as_u64().expect("a count"),
            )
        })
        .collect()
}

async fn events(app: &TestApp, titles: &[&str]) -> Vec<Value> {
    let mut events = Vec::new();
    for title in titles {
        events.push(app.event("first-come", json!({}), json!({"title": title})).await);
    }
    events
}

async fn claim(app: &TestApp, event: &Value) {
    let token = app.token(Role::User).await;
    app.claim(&token, event).send().await.expect(201);
}

#[apply(on_both_engines)]
async fn the_events_that_most_users_claimed_come_first(app: TestApp) {
    let events = events(&app, &["one", "two", "none"]).await;
    claim(&app, &events[0]).await;
    claim(&app, &events[1]).await;
    // Several claims of a user in one hour count once.
    let eager = app.token(Role::User).await;
    app.claim(&eager, &events[1]).send().await.expect(201);
    for _ in 0..3 {
        app.claim(&eager, &events[1])
            .send()
            .await
            .expect_problem(409, "already-granted");
    }
    let popular = popular(&app, "").await;
    assert_eq!(ranking(&popular), [("two".to_owned(), 2), ("one".to_owned(), 1)]);
    let active = app.get("/events/active").bearer(&eager).send().await.expect(200);
    let mut first = popular["items"][0].clone();
    first.as_object_mut().expect("an object").remove("claims");
    assert!(
        active["items"].as_array().expect("a list").contains(&first),
        "{first:#}"
    );
}

#[apply(on_both_engines)]
async fn roles_and_limits_of_the_list(app: TestApp) {
    let events = events(&app, &["one", "two"]).await;
    for event in &events {
        claim(&app, event).await;
    }
    assert_eq!(ranking(&popular(&app, "?limit=1").await).len(), 1);
    let (user, operator) = (app.token(Role::User).await, app.operator().await);
    app.get("/events/popular").bearer(&user).send().await.expect(200);
    app.get("/events/popular")
        .bearer(&operator)
        .send()
        .await
        .expect_problem(403, "forbidden");
    app.get("/events/popular")
        .send()
        .await
        .expect_problem(401, "unauthenticated");
    for limit in ["0", "51", "many"] {
        let path = format!("/events/popular?limit={limit}");
        app.get(&path)
            .bearer(&user)
            .send()
            .await
            .expect_problem(400, "invalid-parameter");
    }
}

#[apply(on_both_engines)]
async fn ended_events_and_old_claims_do_not_count(app: TestApp) {
    let events = events(&app, &["stays", "stops", "goes"]).await;
    for event in &events {
        claim(&app, event).await;
    }
    app.change_event(&events[1], json!({"isActive": false}))
        .await
        .expect(200);
    let operator = app.operator().await;
    let path = format!("/events/{}", text(&events[2], "id"));
    app.delete(&path).bearer(&operator).send().await.expect(204);
    assert_eq!(each(&popular(&app, "").await["items"], "title"), ["stays"]);
    app.at("2026-03-02T12:00:00Z");
    soon("a day has passed", async || {
        ranking(&popular(&app, "").await).is_empty()
    })
    .await;
}

#[apply(on_both_engines)]
async fn replicas_count_together(app: TestApp) {
    let (_redis, here, there) = two(&app, &[]).await;
    let events = events(&here, &["one", "two"]).await;
    claim(&here, &events[0]).await;
    let eager = app.token(Role::User).await;
    here.claim(&eager, &events[0]).send().await.expect(201);
    there
        .claim(&eager, &events[0])
        .send()
        .await
        .expect_problem(409, "already-granted");
    for process in [&there, &here, &there] {
        claim(process, &events[1]).await;
    }
    let together = [("two".to_owned(), 3), ("one".to_owned(), 2)];
    for process in [&here, &there] {
        soon("all are counted", async || {
            ranking(&popular(process, "").await) == together
        })
        .await;
    }
}

#[apply(on_both_engines)]
async fn without_redis_a_process_returns_its_own_counts(app: TestApp) {
    let (mut redis, here, there) = two(&app, &[]).await;
    let events = events(&here, &["one", "two"]).await;
    claim(&here, &events[0]).await;
    claim(&there, &events[1]).await;
    redis.kill();
    is_shared(&here, false).await;
    is_shared(&there, false).await;
    claim(&here, &events[0]).await;
    assert_eq!(ranking(&popular(&here, "").await), [("one".to_owned(), 2)]);
    assert_eq!(ranking(&popular(&there, "").await), [("two".to_owned(), 1)]);
    // The counts restart from zero, which is acceptable for a ranking.
    redis.restart().await;
    is_shared(&here, true).await;
    claim(&here, &events[1]).await;
    soon("it counts again", async || {
        ranking(&popular(&here, "").await) == [("two".to_owned(), 1)]
    })
    .await;
}

#[apply(on_both_engines)]
async fn forged_rankings_name_no_unknown_event(app: TestApp) {
    let (redis, here, _there) = two(&app, &[]).await;
    let events = events(&here, &["one"]).await;
    claim(&here, &events[0]).await;
    soon("it is counted", async || {
        redis.names("meed:{popular}:").await.len() == 2
    })
    .await;
    let names = redis.names("meed:{popular}:").await;
    for (score, member) in [
        ("inf", "garbage"),
        ("1e300", "0199a3b0-5c1e-7a51-8f5e-0d6f2c1b9e77"),
        ("-5", ""),
    ] {
        let _: u64 = redis
            .ask("ZADD", &[names[0].as_bytes(), score.as_bytes(), member.as_bytes()])
            .await;
    }
    assert_eq!(ranking(&popular(&here, "").await), [("one".to_owned(), 1)]);
    let _: u64 = redis.ask("DEL", &[names[0].as_bytes()]).await;
    () = redis.ask("SET", &[names[0].as_bytes(), b"no ranking"]).await;
    // An unreadable ranking counts as missing.
    assert_eq!(ranking(&popular(&here, "").await), [("one".to_owned(), 1)]);
}
