//! Access tokens, the sessions behind them, and the keys that sign them

use std::time::{Duration, Instant as Stopwatch};

use meed_host::auth::Role;
use rstest_reuse::apply;
use serde_json::json;

use super::{count, login, me, refresh, set_disabled, text};
use crate::support::{TestApp, on_both_engines};

#[apply(on_both_engines)]
async fn logging_out_ends_the_session_and_its_access_token(app: TestApp) {
    let user = app.user(Role::User).await;
    let other = app.login(&user.email, user.password).await;
    me(&app, &user.token).await.expect(200);
    let reply = app.post("/auth/logout").bearer(&user.token).send().await;
    assert_eq!((reply.status.as_u16(), reply.bytes.len()), (204, 0));
    me(&app, &user.token).await.expect_problem(401, "invalid-token");
    app.post("/auth/logout")
        .bearer(&user.token)
        .send()
        .await
        .expect_problem(401, "invalid-token");
    refresh(&app, &user.refresh_token)
        .await
        .expect_problem(401, "invalid-refresh-token");
    me(&app, text(&other, "accessToken")).await.expect(200);
    app.post("/auth/logout")
        .send()
        .await
        .expect_problem(401, "unauthenticated");
}

#[apply(on_both_engines)]
async fn another_process_accepts_a_logged_out_session_only_until_its_cache_expires(app: TestApp) {
    let replica = app.replica(&[("auth.session_cache_seconds", "1")]);
    let user = app.user(Role::User).await;
    me(&replica, &user.token).await.expect(200);
    app.post("/auth/logout").bearer(&user.token).send().await.expect(204);
    let started = Stopwatch::now();
    while me(&replica, &user.token).await.status == 200 {
        assert!(
            started.elapsed() < Duration::from_secs(3),
            "the replica still trusts its cache"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    me(&replica, &user.token).await.expect_problem(401, "invalid-token");
}

#[apply(on_both_engines)]
async fn a_cached_session_needs_no_database(app: TestApp) {
    let (known, unknown) = (app.user(Role::User).await, app.user(Role::User).await);
    me(&app, &known.token).await.expect(200);
    app.app.db.close().await;
    // The 403 comes from the role in the token; the session was not read.
    app.get("/users")
        .bearer(&known.token)
        .send()
        .await
        .expect_problem(403, "forbidden");
    app.get("/users")
        .bearer(&unknown.token)
        .send()
        .await
        .expect_problem(503, "unavailable");
}

#[apply(on_both_engines)]
async fn a_role_change_ends_every_session_immediately(app: TestApp) {
    let (admin, operator) = (app.user(Role::Admin).await, app.user(Role::Operator).await);
    app.get("/rewards").bearer(&operator.token).send().await.expect(200);
    let path = format!("/users/{}", operator.id);
    app.patch(&path)
        .bearer(&admin.token)
        .json(&json!({"role": "USER"}))
        .send()
        .await
        .expect(200);
    app.get("/rewards")
        .bearer(&operator.token)
        .send()
        .await
        .expect_problem(401, "invalid-token");
    refresh(&app, &operator.refresh_token)
        .await
        .expect_problem(401, "invalid-refresh-token");
    let pair = app.login(&operator.email, operator.password).await;
    app.get("/rewards")
        .bearer(text(&pair, "accessToken"))
        .send()
        .await
        .expect_problem(403, "forbidden");
    let changed = "SELECT COUNT(*) FROM sessions WHERE ended_reason = 'ROLE_CHANGED'";
    assert_eq!(count(&app, changed).await, 1);
}

#[apply(on_both_engines)]
async fn a_token_with_an_outdated_role_is_refused(app: TestApp) {
    // Even if the session is valid, as if it had been opened while the role changed.
    let operator = app.user(Role::Operator).await;
    let mut tx = app.app.db.begin().await.expect("a transaction");
    tx.query("UPDATE users SET role = 'USER'")
        .execute(&mut tx)
        .await
        .expect("the role changes");
    tx.commit().await.expect("a commit");
    app.get("/rewards")
        .bearer(&operator.token)
        .send()
        .await
        .expect_problem(401, "invalid-token");
    let pair = refresh(&app, &operator.refresh_token).await.expect(200);
    assert_eq!(me(&app, text(&pair, "accessToken")).await.expect(200)["role"], "USER");
}

#[apply(on_both_engines)]
async fn disabling_an_account_ends_its_sessions_permanently(app: TestApp) {
    let (admin, user) = (app.user(Role::Admin).await, app.user(Role::User).await);
    me(&app, &user.token).await.expect(200);
    let disabled = set_disabled(&app, &admin.token, &user, true).await;
    assert_eq!(disabled["disabled"], true);
    me(&app, &user.token).await.expect_problem(401, "invalid-token");
    refresh(&app, &user.refresh_token)
        .await
        .expect_problem(401, "invalid-refresh-token");
    login(&app, &user.email, user.password)
        .await
        .expect_problem(401, "wrong-credentials");

    set_disabled(&app, &admin.token, &user, false).await;
    me(&app, &user.token).await.expect_problem(401, "invalid-token");
    refresh(&app, &user.refresh_token)
        .await
        .expect_problem(401, "invalid-refresh-token");
    app.login(&user.email, user.password).await;
}

#[apply(on_both_engines)]
async fn an_access_token_is_valid_for_exactly_ten_minutes(app: TestApp) {
    let user = app.user(Role::User).await;
    app.at("2026-03-01T12:09:59.999Z");
    me(&app, &user.token).await.expect(200);
    app.at("2026-03-01T12:10:00Z");
    me(&app, &user.token).await.expect_problem(401, "invalid-token");
    // Clocks of replicas may differ by five seconds.
    app.at("2026-03-01T11:59:54.999Z");
    me(&app, &user.token).await.expect_problem(401, "invalid-token");
}

#[apply(on_both_engines)]
async fn tokens_stay_valid_after_a_key_rotation(app: TestApp) {
    let user = app.user(Role::User).await;
    app.at("2026-03-01T12:01:00Z");
    meed::keys::generate(&app.keys_directory(), &app.clock, false).expect("new keys");
    let restarted = app.replica(&[]);
    me(&restarted, &user.token).await.expect(200);
    let pair = restarted.login(&user.email, user.password).await;
    me(&restarted, text(&pair, "accessToken")).await.expect(200);
    // A process that was not restarted does not know the new key yet.
    me(&app, text(&pair, "accessToken"))
        .await
        .expect_problem(401, "invalid-token");
    assert_eq!(
        restarted.get("/.well-known/jwks.json").send().await.expect(200)["keys"]
            .as_array()
            .map(Vec::len),
        Some(2)
    );
}

#[apply(on_both_engines)]
async fn the_public_keys_are_published(app: TestApp) {
    let mut ids = Vec::new();
    for path in ["/.well-known/jwks.json", "/.well-known/receipt-keys.json"] {
        let reply = app.get(path).send().await;
        assert_eq!(reply.header("cache-control"), "public, max-age=300");
        let set = reply.expect(200);
        let key = &set["keys"][0];
        assert_eq!(
            (text(key, "kty"), text(key, "crv"), text(key, "alg"), text(key, "use")),
            ("OKP", "Ed25519", "EdDSA", "sig")
        );
        assert_eq!(text(key, "x").len(), 43);
        assert_eq!(
            key.as_object().map(serde_json::Map::len),
            Some(6),
            "no private member: {key:#}"
        );
        ids.push(text(key, "kid").to_owned());
    }
    assert_ne!(ids[0], ids[1]);
    let user = app.user(Role::User).await;
    let header = jsonwebtoken::decode_header(&user.token).expect("a header");
    assert_eq!(
        (header.typ.as_deref(), header.kid.as_ref()),
        (Some("at+jwt"), Some(&ids[0]))
    );
}

#[apply(on_both_engines)]
async fn users_list_and_end_their_sessions(app: TestApp) {
    let user = app.user(Role::User).await;
    let stranger = app.user(Role::User).await;
    app.at("2026-03-01T12:00:01Z");
    let second = app.login(&user.email, user.password).await;
    app.at("2026-03-01T12:00:02Z");
    let third = app.login(&user.email, user.password).await;
    let list = async |token: &str| {
        let page = app.get("/users/me/sessions").bearer(token).send().await.expect(200);
        page["items"].as_array().expect("items").clone()
    };
    let sessions = list(text(&third, "accessToken")).await;
    let shown: Vec<_> = sessions
        .iter()
        .map(|session| (text(session, "createdAt"), &session["current"]))
        .collect();
    let expected = [
        ("2026-03-01T12:00:02.000Z", &json!(true)),
        ("2026-03-01T12:00:01.000Z", &json!(false)),
        ("2026-03-01T12:00:00.000Z", &json!(false)),
    ];
    assert_eq!(shown, expected);

    let path = format!("/users/me/sessions/{}", text(&sessions[1], "id"));
    let end = async |token: &str, path: &str| app.call("DELETE", path).bearer(token).send().await;
    end(&stranger.token, &path).await.expect_problem(404, "no-such-session");
    end(text(&third, "accessToken"), &path).await.expect(204);
    end(text(&third, "accessToken"), &path)
        .await
        .expect_problem(404, "no-such-session");
    me(&app, text(&second, "accessToken"))
        .await
        .expect_problem(401, "invalid-token");
    assert_eq!(list(&user.token).await.len(), 2);

    end(&user.token, "/users/me/sessions").await.expect(204);
    for token in [&user.token, text(&third, "accessToken")] {
        me(&app, token).await.expect_problem(401, "invalid-token");
    }
    assert_eq!(list(&stranger.token).await.len(), 1);
}

#[apply(on_both_engines)]
async fn sessions_of_staff_are_shorter(app: TestApp) {
    let expires = async |role: Role| {
        let token = app.token(role).await;
        let page = app.get("/users/me/sessions").bearer(&token).send().await.expect(200);
        text(&page["items"][0], "expiresAt").to_owned()
    };
    assert_eq!(expires(Role::User).await, "2026-05-30T12:00:00.000Z");
    for role in [Role::Operator, Role::Auditor, Role::Admin] {
        assert_eq!(expires(role).await, "2026-03-02T00:00:00.000Z", "{role}");
    }
}
