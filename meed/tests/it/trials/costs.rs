//! What a trial costs a claim, and what a crash costs the counts

use meed_host::auth::Role;
use reqwest::StatusCode;
use rstest_reuse::apply;
use serde_json::{Value, json};

use super::{Tried, streak};
use crate::database::statements;
use crate::faults::fleet::{Fleet, client};
use crate::support::{TestApp, TestUser, on_both_engines, text};

fn ranges() -> Value {
    json!({"startDate": "2026-01-01T00:00:00Z", "endDate": "2035-01-01T00:00:00Z"})
}

async fn claim(fleet: &Fleet, user: &TestUser, event: &Value) -> Value {
    let call = client().post(format!("{}/reward-requests", fleet.address(0)));
    let call = call.bearer_auth(&user.token).json(&json!({"eventId": event["id"]}));
    let answer = call.send().await.expect("an answer");
    assert!(answer.status().is_success(), "{}", answer.status());
    answer.json().await.expect("a request")
}

/// The statements of one claim by a new user, without those of background tasks.
async fn of_a_claim(app: &TestApp, fleet: &Fleet, event: &Value, warm_up: &TestUser) -> Vec<String> {
    claim(fleet, warm_up, event).await;
    let user = app.user(Role::User).await;
    let path = format!("{}/events/{}/progress", fleet.address(0), text(event, "id"));
    let progress = client()
        .get(path)
        .bearer_auth(&user.token)
        .send()
        .await
        .expect("an answer");
    assert_eq!(progress.status(), StatusCode::OK);
    let before = statements::of(fleet).len();
    claim(fleet, &user, event).await;
    let of_claims = ["AS part", "reward_requests", "grants", "events", "idempotency_keys"];
    let all = statements::of(fleet);
    let own = all[before..]
        .iter()
        .filter(|sql| of_claims.iter().any(|text| sql.contains(text)));
    own.cloned().collect()
}

#[apply(on_both_engines)]
async fn a_shadow_adds_no_statement_to_a_claim(app: TestApp) {
    let app = app.in_real_time();
    let event = app.event("login-streak", json!({"days": 7}), ranges()).await;
    let shadowed = app.event("login-streak", json!({"days": 7}), ranges()).await;
    // It asks for something else, too.
    app.install(crate::support::bundled("user-attributes")).await;
    let tried = Tried::new(&app, "user-attributes", json!({"minLevel": 1}));
    tried.shadow(&app, &shadowed).await;
    let warm_up = app.user(Role::User).await;
    let fleet = Fleet::start_on(&app, &app.database_url(), 1, &statements::LOGGED).await;
    let without = of_a_claim(&app, &fleet, &event, &warm_up).await;
    let with = of_a_claim(&app, &fleet, &shadowed, &warm_up).await;
    let reads = |all: &[String]| all.iter().filter(|sql| sql.contains("AS part")).count();
    assert_eq!((reads(&without), reads(&with)), (1, 1), "{with:#?}");
    assert_eq!(without.len(), with.len(), "{without:#?} {with:#?}");
}

#[apply(on_both_engines)]
async fn a_killed_process_loses_counts_and_no_decision(app: TestApp) {
    let app = app.in_real_time();
    let event = app.event("login-streak", json!({"days": 7}), ranges()).await;
    let tried = streak(&app, 1);
    tried.canary(&app, &event, 1000).await;
    let mut users = Vec::new();
    for _ in 0..8 {
        users.push(app.user(Role::User).await);
    }
    let fleet = Fleet::start_on(&app, &app.database_url(), 1, &[]).await;
    for user in &users[..4] {
        assert_eq!(text(&claim(&fleet, user, &event).await, "status"), "GRANTED");
    }
    fleet.kill(0);
    fleet.revive(0).await;
    for user in &users[4..] {
        assert_eq!(text(&claim(&fleet, user, &event).await, "status"), "GRANTED");
    }
    // An orderly stop writes what was counted.
    fleet.stop(0).await;
    assert_eq!(app.count("SELECT COUNT(*) FROM grants").await, 8);
    let decisions = tried.counts(&app, "CANDIDATE").await["decisions"]
        .as_u64()
        .expect("a count");
    assert!((4..=8).contains(&decisions), "{decisions}");
}
