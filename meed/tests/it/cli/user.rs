//! `meed user reset-password` and `meed user remove-totp`

use meed_host::auth::Role;
use rstest_reuse::apply;
use serde_json::{Value, json};

use super::{meed, output, text as utf8};
use crate::auth::totp::{enrol, wait};
use crate::support::{PASSWORD, TestApp, TestUser, on_both_engines};

/// Runs `meed user VERB EMAIL`, and returns its output or its error.
fn user(app: &TestApp, verb: &str, email: &str) -> Result<String, String> {
    let mut command = meed(app.directory());
    command
        .args(["user", verb, email])
        .env("MEED__DATABASE__URL", app.database_url());
    let output = output(&mut command);
    if output.status.success() {
        Ok(utf8(&output.stdout))
    } else {
        Err(utf8(&output.stderr))
    }
}

/// The newest entry of the audit log about a user.
async fn entry(app: &TestApp, about: &TestUser) -> Value {
    let auditor = app.auditor().await;
    let path = format!("/audit?target={}", about.id);
    let found = app.get(&path).bearer(&auditor).send().await.expect(200);
    found["items"][0].clone()
}

#[apply(on_both_engines)]
async fn a_printed_token_sets_a_new_password_once(app: TestApp) {
    let app = app.in_real_time();
    let ada = app.user(Role::Operator).await;
    let printed = user(&app, "reset-password", &ada.email.to_uppercase()).expect("a token");
    let token = printed
        .lines()
        .find_map(|line| line.strip_prefix("Token: "))
        .expect("a token");
    let permitted = entry(&app, &ada).await;
    assert_eq!(
        (&permitted["action"], &permitted["actorKind"]),
        (&json!("meed user reset-password"), &json!("SYSTEM"))
    );
    let body = json!({"token": token, "newPassword": "staple a new battery"});
    app.post("/auth/password-reset").json(&body).send().await.expect(204);
    app.login(&ada.email, "staple a new battery").await;
    let again = app.post("/auth/password-reset").json(&body).send().await;
    again.expect_problem(401, "invalid-reset-token");
    let old = app
        .post("/auth/login")
        .json(&json!({"email": ada.email, "password": PASSWORD}));
    old.send().await.expect_problem(401, "wrong-credentials");

    let unknown = user(&app, "reset-password", "nobody@example.com").expect_err("no account");
    assert!(unknown.contains("nobody@example.com"), "{unknown}");
    let malformed = user(&app, "reset-password", "nobody").expect_err("no e-mail");
    assert!(malformed.contains("is not an e-mail address"), "{malformed}");
}

#[apply(on_both_engines)]
async fn the_command_line_removes_a_lost_second_factor(app: TestApp) {
    let ada = app.user(Role::Admin).await;
    enrol(&app, &ada.token).await;
    wait(&app);
    let login = || {
        app.post("/auth/login")
            .json(&json!({"email": ada.email, "password": PASSWORD}))
            .send()
    };
    login().await.expect_problem(401, "second-factor-required");
    user(&app, "remove-totp", &ada.email).expect("it is removed");
    login().await.expect(200);
    let missing = user(&app, "remove-totp", &ada.email).expect_err("there is none");
    assert!(missing.contains("has no second factor"), "{missing}");
}
