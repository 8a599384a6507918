//! `PUT /users/me/password`, `POST /users/{id}/password-reset` and `POST /auth/password-reset`

use meed_host::auth::Role;
use rstest_reuse::apply;
use serde_json::{Value, json};

use super::{login, me, refresh, text};
use crate::support::{PASSWORD, Reply, TestApp, assert_fault, on_both_engines};

const NEW: &str = "staple a new battery";

async fn change(app: &TestApp, token: &str, old: &str, new: &str) -> Reply {
    let body = json!({"oldPassword": old, "newPassword": new});
    app.put("/users/me/password").bearer(token).json(&body).send().await
}

async fn permit(app: &TestApp, id: &str, admin: &str) -> Reply {
    let path = format!("/users/{id}/password-reset");
    app.post(&path).bearer(admin).send().await
}

async fn reset(app: &TestApp, token: &str, new: &str) -> Reply {
    let body = json!({"token": token, "newPassword": new});
    app.post("/auth/password-reset").json(&body).send().await
}

#[apply(on_both_engines)]
async fn a_changed_password_ends_the_other_sessions(app: TestApp) {
    let user = app.user(Role::User).await;
    let other = app.login(&user.email, PASSWORD).await;
    change(&app, &user.token, PASSWORD, NEW).await.expect(204);
    me(&app, &user.token).await.expect(200);
    me(&app, text(&other, "accessToken"))
        .await
        .expect_problem(401, "invalid-token");
    refresh(&app, text(&other, "refreshToken"))
        .await
        .expect_problem(401, "invalid-refresh-token");
    login(&app, &user.email, PASSWORD)
        .await
        .expect_problem(401, "wrong-credentials");
    login(&app, &user.email, NEW).await.expect(200);
}

#[apply(on_both_engines)]
async fn a_change_needs_the_old_password_and_a_good_new_one(app: TestApp) {
    let user = app.user(Role::User).await;
    assert_fault(change(&app, &user.token, "not the password", NEW).await, "/oldPassword");
    for new in ["short", "password1", "qwertyuiop", user.email.as_str()] {
        let reply = change(&app, &user.token, PASSWORD, new).await;
        reply.expect_problem(422, "invalid-body");
    }
    login(&app, &user.email, PASSWORD).await.expect(200);
    // A stolen access token does not allow guessing the password.
    let limited = app.replica(&[("limits.account.burst", "2"), ("limits.account.per_minute", "1")]);
    for _ in 0..2 {
        assert_fault(
            change(&limited, &user.token, "a guess or two", NEW).await,
            "/oldPassword",
        );
    }
    change(&limited, &user.token, PASSWORD, NEW)
        .await
        .expect_problem(429, "rate-limited");
}

#[apply(on_both_engines)]
async fn registration_refuses_common_passwords_and_the_own_email(app: TestApp) {
    for password in ["password", "12345678", "Iloveyou", "grace@example.com"] {
        let body = json!({"email": "grace@example.com", "password": password});
        let reply = app.post("/auth/register").json(&body).send().await;
        reply.expect_problem(422, "invalid-body");
    }
    let body = json!({"email": "grace@example.com", "password": "caf\u{e9} au lait"});
    app.post("/auth/register").json(&body).send().await.expect(201);
    // The same letters, as another keyboard sends them.
    login(&app, "grace@example.com", "cafe\u{301} au lait")
        .await
        .expect(200);
}

#[apply(on_both_engines)]
async fn an_admin_permits_one_new_password(app: TestApp) {
    let (user, admin) = (app.user(Role::User).await, app.token(Role::Admin).await);
    let first = permit(&app, &user.id, &admin).await.expect(201);
    let second = permit(&app, &user.id, &admin).await.expect(201);
    assert_eq!(second["expiresAt"], "2026-03-01T13:00:00.000Z");
    // Only the newest token is valid.
    reset(&app, text(&first, "token"), NEW)
        .await
        .expect_problem(401, "invalid-reset-token");
    let weak = reset(&app, text(&second, "token"), "password1").await;
    weak.expect_problem(422, "invalid-body");
    reset(&app, text(&second, "token"), NEW).await.expect(204);
    reset(&app, text(&second, "token"), "another password")
        .await
        .expect_problem(401, "invalid-reset-token");
    login(&app, &user.email, PASSWORD)
        .await
        .expect_problem(401, "wrong-credentials");
    login(&app, &user.email, NEW).await.expect(200);
    me(&app, &user.token).await.expect_problem(401, "invalid-token");
    for token in ["", "x", &user.refresh_token, &"A".repeat(64)] {
        reset(&app, token, NEW).await.expect_problem(401, "invalid-reset-token");
    }
    permit(&app, "0199a3b0-5c1e-7a51-8f5e-0d6f2c1b9e77", &admin)
        .await
        .expect_problem(404, "no-such-user");
}

#[apply(on_both_engines)]
async fn a_reset_token_expires_and_is_stored_as_a_hash(app: TestApp) {
    let (user, admin) = (app.user(Role::User).await, app.token(Role::Admin).await);
    let permitted = permit(&app, &user.id, &admin).await.expect(201);
    let stored: Vec<(Vec<u8>,)> = app
        .app
        .db
        .query("SELECT hash FROM password_resets")
        .fetch_all(&app.app.db)
        .await
        .expect("the rows");
    assert_eq!((stored.len(), stored[0].0.len()), (1, 32));
    app.at("2026-03-01T13:00:00Z");
    reset(&app, text(&permitted, "token"), NEW)
        .await
        .expect_problem(401, "invalid-reset-token");
    login(&app, &user.email, PASSWORD).await.expect(200);
}

#[apply(on_both_engines)]
async fn of_concurrent_uses_of_a_token_one_sets_the_password(app: TestApp) {
    let (user, admin) = (app.user(Role::User).await, app.token(Role::Admin).await);
    let permitted = permit(&app, &user.id, &admin).await.expect(201);
    let tries: Vec<_> = (0..4)
        .map(|number| {
            let body = json!({"token": permitted["token"], "newPassword": format!("{NEW} {number}")});
            tokio::spawn(app.post("/auth/password-reset").json(&body).send())
        })
        .collect();
    let mut set = 0;
    for reply in tries {
        set += usize::from(reply.await.expect("an answer").status == 204);
    }
    assert_eq!(set, 1);
}

#[apply(on_both_engines)]
async fn a_setting_hides_which_emails_have_accounts(app: TestApp) {
    let user = app.user(Role::User).await;
    let hiding = app.replica(&[("auth.hide_registered_emails", "true")]);
    let register = async |email: &str| {
        let body = json!({"email": email, "password": NEW});
        hiding.post("/auth/register").json(&body).send().await
    };
    for email in [user.email.as_str(), "grace@example.com"] {
        let reply = register(email).await;
        assert_eq!(
            (reply.status.as_u16(), reply.json, reply.bytes.len()),
            (202, Value::Null, 0)
        );
    }
    login(&app, "grace@example.com", NEW).await.expect(200);
    login(&app, &user.email, PASSWORD).await.expect(200);
}
