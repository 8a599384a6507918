//! `POST /auth/refresh`

use meed_host::auth::Role;
use rstest_reuse::apply;
use serde_json::json;

use super::{LIVE_REFRESH_TOKENS, count, me, refresh, text};
use crate::support::{TestApp, on_both_engines};

#[apply(on_both_engines)]
async fn a_refresh_returns_new_tokens_and_invalidates_the_old_one(app: TestApp) {
    let user = app.user(Role::User).await;
    app.at("2026-03-01T12:05:00Z");
    let second = refresh(&app, &user.refresh_token).await.expect(200);
    assert_ne!(text(&second, "refreshToken"), user.refresh_token);
    me(&app, text(&second, "accessToken")).await.expect(200);
    let third = refresh(&app, text(&second, "refreshToken")).await.expect(200);

    refresh(&app, text(&second, "refreshToken"))
        .await
        .expect_problem(401, "refresh-token-reused");
    // All tokens of the session are invalid: the newest refresh token and every access token.
    refresh(&app, text(&third, "refreshToken"))
        .await
        .expect_problem(401, "invalid-refresh-token");
    for token in [&user.token, text(&second, "accessToken"), text(&third, "accessToken")] {
        me(&app, token).await.expect_problem(401, "invalid-token");
    }
    assert_eq!(count(&app, LIVE_REFRESH_TOKENS).await, 0);
    let reused = "SELECT COUNT(*) FROM sessions WHERE ended_reason = 'REFRESH_REUSED'";
    assert_eq!(count(&app, reused).await, 1);
}

#[apply(on_both_engines)]
async fn a_reused_token_ends_its_own_session_only(app: TestApp) {
    let user = app.user(Role::User).await;
    let other = app.login(&user.email, user.password).await;
    refresh(&app, &user.refresh_token).await.expect(200);
    refresh(&app, &user.refresh_token)
        .await
        .expect_problem(401, "refresh-token-reused");
    me(&app, text(&other, "accessToken")).await.expect(200);
    refresh(&app, text(&other, "refreshToken")).await.expect(200);
}

#[apply(on_both_engines)]
async fn at_most_one_of_64_concurrent_refreshes_leaves_a_valid_token(app: TestApp) {
    let replica = app.replica(&[]);
    for round in 0..3 {
        let user = app.user(Role::User).await;
        let tries: Vec<_> = (0..64)
            .map(|number| {
                let process = if number % 2 == 0 { &app } else { &replica };
                let body = json!({"refreshToken": user.refresh_token});
                tokio::spawn(process.post("/auth/refresh").json(&body).send())
            })
            .collect();
        let mut pairs = Vec::new();
        for reply in tries {
            let reply = reply.await.expect("an answer");
            if reply.status == 200 {
                pairs.push(reply.json);
            } else {
                reply.expect_problem(401, "refresh-token-reused");
            }
        }
        assert_eq!(pairs.len(), 1, "round {round}");
        assert!(count(&app, LIVE_REFRESH_TOKENS).await <= 1, "round {round}");
        refresh(&app, text(&pairs[0], "refreshToken"))
            .await
            .expect_problem(401, "invalid-refresh-token");
    }
}

#[apply(on_both_engines)]
async fn an_unknown_refresh_token_is_refused(app: TestApp) {
    let user = app.user(Role::User).await;
    let other_case = user.refresh_token.to_lowercase();
    for token in [
        "",
        "x",
        "' OR 1=1 --",
        &user.token,
        &other_case,
        &user.refresh_token[1..],
    ] {
        refresh(&app, token).await.expect_problem(401, "invalid-refresh-token");
    }
    for body in [
        json!({}),
        json!({"refreshToken": null}),
        json!({"refreshToken": "x".repeat(1025)}),
    ] {
        app.post("/auth/refresh")
            .json(&body)
            .send()
            .await
            .expect_problem(422, "invalid-body");
    }
    refresh(&app, &user.refresh_token).await.expect(200);
}

#[apply(on_both_engines)]
async fn a_refresh_token_is_stored_only_as_its_hash(app: TestApp) {
    use aws_lc_rs::digest::{SHA256, digest};
    let user = app.user(Role::User).await;
    let (hash,): (Vec<u8>,) = app
        .app
        .db
        .query("SELECT hash FROM refresh_tokens")
        .fetch_one(&app.app.db)
        .await
        .expect("one token");
    assert_eq!(hash, digest(&SHA256, user.refresh_token.as_bytes()).as_ref());
}

#[apply(on_both_engines)]
async fn an_unused_refresh_token_expires(app: TestApp) {
    let (used, idle) = (app.user(Role::User).await, app.user(Role::User).await);
    app.at("2026-03-31T11:59:59Z");
    let used = refresh(&app, &used.refresh_token).await.expect(200);
    app.at("2026-03-31T12:00:00Z");
    refresh(&app, &idle.refresh_token)
        .await
        .expect_problem(401, "invalid-refresh-token");
    app.at("2026-04-30T11:59:58Z");
    refresh(&app, text(&used, "refreshToken")).await.expect(200);
}

#[apply(on_both_engines)]
async fn a_session_ends_ninety_days_after_login_despite_refreshes(app: TestApp) {
    let user = app.user(Role::User).await;
    let mut token = user.refresh_token;
    for day in [
        "2026-03-25T12:00:00Z",
        "2026-04-20T12:00:00Z",
        "2026-05-15T12:00:00Z",
        "2026-05-30T11:55:00Z",
    ] {
        app.at(day);
        let pair = refresh(&app, &token).await.expect(200);
        text(&pair, "refreshToken").clone_into(&mut token);
        // Access tokens end with the session too.
        let left = if day.starts_with("2026-05-30") { 300 } else { 600 };
        assert_eq!(pair["expiresIn"], left, "{day}");
    }
    app.at("2026-05-30T12:00:00Z");
    refresh(&app, &token).await.expect_problem(401, "invalid-refresh-token");
}

#[apply(on_both_engines)]
async fn a_repeated_refresh_within_the_grace_period_returns_the_same_successor(app: TestApp) {
    let app = app.replica(&[("auth.refresh_grace_seconds", "10")]);
    let replica = app.replica(&[("auth.refresh_grace_seconds", "10")]);
    let user = app.user(Role::User).await;
    let first = refresh(&app, &user.refresh_token).await.expect(200);
    app.at("2026-03-01T12:00:09Z");
    let again = refresh(&replica, &user.refresh_token).await.expect(200);
    assert_eq!(again["refreshToken"], first["refreshToken"]);
    me(&app, text(&again, "accessToken")).await.expect(200);
    assert_eq!(count(&app, LIVE_REFRESH_TOKENS).await, 1);

    // Once the successor was used, another use of its predecessor is a theft.
    refresh(&app, text(&first, "refreshToken")).await.expect(200);
    refresh(&app, &user.refresh_token)
        .await
        .expect_problem(401, "refresh-token-reused");
    me(&app, text(&again, "accessToken"))
        .await
        .expect_problem(401, "invalid-token");
}

#[apply(on_both_engines)]
async fn a_repeated_refresh_after_the_grace_period_ends_the_session(app: TestApp) {
    let app = app.replica(&[("auth.refresh_grace_seconds", "10")]);
    let user = app.user(Role::User).await;
    refresh(&app, &user.refresh_token).await.expect(200);
    app.at("2026-03-01T12:00:11Z");
    refresh(&app, &user.refresh_token)
        .await
        .expect_problem(401, "refresh-token-reused");
}
