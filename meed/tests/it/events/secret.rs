//! The secret of an event's draws: its hash is public from the start, the secret after the end.

use aws_lc_rs::digest::{SHA256, digest};
use meed_host::auth::Role;
use rstest_reuse::apply;
use serde_json::json;

use super::path_of;
use crate::support::{TestApp, on_both_engines, text, with};

#[apply(on_both_engines)]
async fn the_secret_is_hidden_until_the_end_and_matches_the_commitment(app: TestApp) {
    let event = app
        .event("first-come", json!({}), json!({"endDate": "2026-03-02T00:00:00Z"}))
        .await;
    let path = path_of(&event);
    app.at("2026-03-01T23:59:59.999Z");
    assert_eq!(app.read(&path).await.get("seedSecret"), None);
    assert_eq!(app.read("/events").await["items"][0].get("seedSecret"), None);
    // After one minute no process accepts claims, even with a clock difference.
    app.at("2026-03-02T00:00:59.999Z");
    assert_eq!(app.read(&path).await.get("seedSecret"), None);
    app.at("2026-03-02T00:01:00Z");
    let over = app.read(&path).await;
    let secret = hex::decode(text(&over, "seedSecret")).expect("hexadecimal");
    assert_eq!(secret.len(), 32);
    assert_eq!(hex::encode(digest(&SHA256, &secret)), text(&event, "seedCommitment"));
    assert_eq!(over["seedCommitment"], event["seedCommitment"]);
    // Every role may verify the draws.
    for role in [Role::User, Role::Auditor] {
        let token = app.token(role).await;
        let seed = app.get(&format!("{path}/seed")).bearer(&token).send().await.expect(200);
        assert_eq!(
            (&seed["seedCommitment"], &seed["seedSecret"]),
            (&over["seedCommitment"], &over["seedSecret"])
        );
    }
}

#[apply(on_both_engines)]
async fn no_two_events_share_a_secret(app: TestApp) {
    let first = app.event("first-come", json!({}), json!({})).await;
    let second = app.event("first-come", json!({}), json!({})).await;
    assert_ne!(first["seedCommitment"], second["seedCommitment"]);
}

#[apply(on_both_engines)]
async fn the_dates_of_an_ended_event_cannot_change(app: TestApp) {
    let event = app
        .event("first-come", json!({}), json!({"endDate": "2026-03-02T00:00:00Z"}))
        .await;
    // While the event runs, the end may move, even into the past, which ends the event.
    let event = app
        .change_event(&event, json!({"endDate": "2026-03-05T00:00:00Z"}))
        .await
        .expect(200);
    app.at("2026-03-05T00:00:00Z");
    for changes in [
        json!({"endDate": "2026-03-05T00:00:00.001Z"}),
        json!({"endDate": "2026-03-04T00:00:00Z"}),
        json!({"startDate": "2026-02-02T00:00:00Z"}),
    ] {
        app.change_event(&event, changes)
            .await
            .expect_problem(409, "event-over");
    }
    let renamed = app.change_event(&event, json!({"title": "It was"})).await.expect(200);
    assert_eq!(text(&renamed, "title"), "It was");
    let user = app.user(Role::User).await;
    let late = app.claim(&user.token, &event).send().await.expect(201);
    assert_eq!(late["reasons"][0]["code"], "event-ended");
}

#[apply(on_both_engines)]
async fn start_zone_and_recurrence_cannot_change_after_the_start(app: TestApp) {
    let recurrence = json!({"recurrence": {"period": "DAILY", "count": 1}, "startDate": "2026-03-02T00:00:00Z"});
    let event = app.event("first-come", json!({}), recurrence).await;
    let event = app
        .change_event(&event, json!({"timeZone": "asia/seoul"}))
        .await
        .expect(200);
    assert_eq!(
        text(&event, "timeZone"),
        "Asia/Seoul",
        "it is kept in its canonical spelling"
    );
    app.at("2026-03-02T00:00:00Z");
    for changes in [
        json!({"startDate": "2026-03-03T00:00:00Z"}),
        json!({"timeZone": "UTC"}),
        json!({"recurrence": {"period": "ONCE", "count": 1}}),
    ] {
        app.change_event(&event, changes)
            .await
            .expect_problem(409, "event-started");
    }
    let changes = json!({"recurrence": {"period": "DAILY", "count": 3}, "endDate": "2026-05-01T00:00:00Z"});
    app.change_event(&event, changes).await.expect(200);
}

#[apply(on_both_engines)]
async fn moving_the_end_into_the_past_ends_the_event(app: TestApp) {
    let event = app.event("first-come", json!({}), json!({})).await;
    let ended = app
        .change_event(&event, json!({"endDate": "2026-03-01T11:00:00Z"}))
        .await
        .expect(200);
    assert!(ended["seedSecret"].is_string(), "{ended:#}");
    app.change_event(&ended, json!({"endDate": "2026-06-01T00:00:00Z"}))
        .await
        .expect_problem(409, "event-over");
    let revisions = app.read(&format!("{}/revisions", path_of(&event))).await;
    assert_eq!(revisions["items"][1]["event"].get("seedSecret"), None);
    assert_eq!(revisions["items"][1]["event"], with(event, json!({})));
}

#[apply(on_both_engines)]
async fn the_draws_of_a_deleted_event_stay_verifiable(app: TestApp) {
    let event = app
        .event("first-come", json!({}), json!({"endDate": "2026-03-02T00:00:00Z"}))
        .await;
    let (user, operator) = (app.user(Role::User).await, app.operator().await);
    let path = path_of(&event);
    assert_eq!(app.delete(&path).bearer(&operator).send().await.status, 204);
    let seed = async || {
        let token = app.log_in(&user).await;
        app.get(&format!("{path}/seed")).bearer(&token).send().await.expect(200)
    };
    let running = seed().await;
    assert_eq!(running["seedCommitment"], event["seedCommitment"]);
    assert_eq!(running.get("seedSecret"), None);
    app.at("2026-03-02T00:01:00Z");
    let secret = hex::decode(text(&seed().await, "seedSecret")).expect("hexadecimal");
    assert_eq!(hex::encode(digest(&SHA256, &secret)), text(&event, "seedCommitment"));
}
