//! Repeats of granted claims are answered without the database, and no claim is refused wrongly

use meed_host::auth::Role;
use rstest_reuse::apply;
use serde_json::{Value, json};

use super::{soon, two};
use crate::support::{Reply, TestApp, TestUser, on_both_engines, text};

/// Closes the database for all processes of the test, which share their connections.
async fn lose_the_database(app: &TestApp) {
    app.app.db.close().await;
}

/// Makes a process cache the user's session and the event.
async fn warm(process: &TestApp, user: &TestUser, event: &Value) {
    super::progress(process, &user.token, event).await.expect(200);
}

async fn claim(process: &TestApp, user: &TestUser, event: &Value) -> Reply {
    process.claim(&user.token, event).send().await
}

#[apply(on_both_engines)]
async fn a_repeat_needs_no_database(app: TestApp) {
    let event = app.event("first-come", json!({}), json!({})).await;
    let user = app.user(Role::User).await;
    let granted = claim(&app, &user, &event).await.expect(201);
    let repeat = claim(&app, &user, &event).await.expect_problem(409, "already-granted");
    lose_the_database(&app).await;
    let mut again = claim(&app, &user, &event).await.expect_problem(409, "already-granted");
    assert_eq!(again["rewardRequestId"], granted["id"]);
    assert_eq!(again["grantIds"], json!([granted["grants"][0]["id"]]));
    again["requestId"] = repeat["requestId"].clone();
    assert_eq!(again, repeat);
    // Without Redis a process trusts the entry as long as the cached event.
    app.at("2026-03-01T12:00:02Z");
    assert_ne!(claim(&app, &user, &event).await.status, 409);
}

#[apply(on_both_engines)]
async fn a_repeat_at_another_process_needs_no_database(app: TestApp) {
    let (_redis, here, there) = two(&app, &[("auth.session_cache_seconds", "3600")]).await;
    let changes = json!({"recurrence": {"period": "DAILY", "count": 1}});
    let event = here.event("first-come", json!({}), changes).await;
    let user = app.user(Role::User).await;
    let granted = claim(&here, &user, &event).await.expect(201);
    app.at("2026-03-01T12:00:30Z");
    warm(&there, &user, &event).await;
    lose_the_database(&app).await;
    let repeat = claim(&there, &user, &event)
        .await
        .expect_problem(409, "already-granted");
    assert_eq!(repeat["rewardRequestId"], granted["id"]);
    assert_eq!(repeat["nextAt"], "2026-03-02T00:00:00.000Z");
    app.at("2026-03-01T12:01:00Z");
    assert_ne!(claim(&there, &user, &event).await.status, 409, "a minute is all");
}

#[apply(on_both_engines)]
async fn a_claim_with_an_idempotency_key_is_still_replayed(app: TestApp) {
    let event = app.event("first-come", json!({}), json!({})).await;
    let user = app.user(Role::User).await;
    let first = app
        .claim(&user.token, &event)
        .header("idempotency-key", "one")
        .send()
        .await
        .expect(201);
    claim(&app, &user, &event).await.expect_problem(409, "already-granted");
    let again = app
        .claim(&user.token, &event)
        .header("idempotency-key", "one")
        .send()
        .await
        .expect(201);
    assert_eq!(again, first);
    let other = app
        .claim(&user.token, &event)
        .header("idempotency-key", "two")
        .send()
        .await;
    other.expect_problem(409, "already-granted");
}

#[apply(on_both_engines)]
async fn the_last_grant_of_a_period_is_cached_and_the_next_period_is_new(app: TestApp) {
    let changes = json!({"recurrence": {"period": "DAILY", "count": 2}});
    let event = app.event("first-come", json!({}), changes).await;
    let user = app.user(Role::User).await;
    for day in ["2026-03-01T23:59:59Z", "2026-03-02T00:00:00Z"] {
        app.at(day);
        let user = TestUser {
            token: app.log_in(&user).await,
            ..user.clone()
        };
        claim(&app, &user, &event).await.expect(201);
        claim(&app, &user, &event).await.expect(201);
        claim(&app, &user, &event).await.expect_problem(409, "already-granted");
    }
}

#[apply(on_both_engines)]
async fn a_higher_recurrence_count_invalidates_cached_repeats(app: TestApp) {
    let (_redis, here, there) = two(&app, &[]).await;
    let event = here.event("first-come", json!({}), json!({})).await;
    let user = app.user(Role::User).await;
    claim(&here, &user, &event).await.expect(201);
    claim(&there, &user, &event)
        .await
        .expect_problem(409, "already-granted");
    let changes = json!({"recurrence": {"period": "ONCE", "count": 2}});
    here.change_event(&event, changes).await.expect(200);
    soon("the event is read again", async || {
        claim(&there, &user, &event).await.status == 201
    })
    .await;
    claim(&here, &user, &event).await.expect_problem(409, "already-granted");
}

#[apply(on_both_engines)]
async fn after_a_reversal_every_process_reads_the_database(app: TestApp) {
    let (redis, here, there) = two(&app, &[("auth.session_cache_seconds", "3600")]).await;
    let event = here.event("first-come", json!({}), json!({})).await;
    let user = app.user(Role::User).await;
    let granted = claim(&here, &user, &event).await.expect(201);
    claim(&there, &user, &event)
        .await
        .expect_problem(409, "already-granted");
    let operator = app.operator().await;
    let reversal = here
        .post(&format!("/reward-requests/{}/reversal", text(&granted, "id")))
        .bearer(&operator);
    reversal.json(&json!({"reason": "returned"})).send().await.expect(201);
    let names = redis.names("meed:granted:").await;
    let [name] = names.as_slice() else { panic!("{names:?}") };
    // Like a process that read the grant before the reversal.
    let late: Option<String> = redis.ask("SET", &[name.as_bytes(), b"late", b"NX"]).await;
    assert_eq!(late, None);
    soon("the other process has heard", async || {
        claim(&there, &user, &event).await.status == 201
    })
    .await;
    claim(&here, &user, &event).await.expect_problem(409, "already-granted");
}

#[apply(on_both_engines)]
async fn forged_entries_refuse_no_claim(app: TestApp) {
    let (redis, here, there) = two(&app, &[]).await;
    let event = here.event("first-come", json!({}), json!({})).await;
    let (first, second, third) = (
        app.user(Role::User).await,
        app.user(Role::User).await,
        app.user(Role::User).await,
    );
    claim(&here, &first, &event).await.expect(201);
    let names = redis.names("meed:granted:").await;
    let [name] = names.as_slice() else { panic!("{names:?}") };
    let value: Vec<u8> = redis.ask("GET", &[name.as_bytes()]).await;
    for (user, value) in [(&second, value.as_slice()), (&third, b"garbage")] {
        let planted = name.replace(&first.id, &user.id);
        assert_ne!(&planted, name);
        () = redis.ask("SET", &[planted.as_bytes(), value]).await;
        claim(&there, user, &event).await.expect(201);
        claim(&here, user, &event).await.expect_problem(409, "already-granted");
    }
}
