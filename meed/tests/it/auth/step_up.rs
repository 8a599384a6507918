//! `POST /auth/step-up`, and the routes that need a recent proof of identity

use meed_host::auth::Role;
use rstest_reuse::apply;
use serde_json::{Value, json};

use super::totp::{enrol, wait};
use super::{refresh, text};
use crate::support::{PASSWORD, Reply, TestApp, assert_fault, on_both_engines};

const UNKNOWN: &str = "0199a3b0-5c1e-7a51-8f5e-0d6f2c1b9e77";

async fn step_up(app: &TestApp, token: &str, proof: Value) -> Reply {
    app.post("/auth/step-up").bearer(token).json(&proof).send().await
}

/// Every change of roles, keys and second factors.
async fn changes(app: &TestApp, token: &str) -> Vec<Reply> {
    let mut replies = Vec::new();
    for (method, path, body) in [
        ("PATCH", format!("/users/{UNKNOWN}"), json!({"role": "ADMIN"})),
        (
            "POST",
            "/auth/register".to_owned(),
            json!({"email": "eve@example.com", "password": "a quiet afternoon", "role": "ADMIN"}),
        ),
        ("POST", format!("/users/{UNKNOWN}/password-reset"), json!({})),
        ("DELETE", format!("/users/{UNKNOWN}/totp"), json!({})),
        ("DELETE", "/users/me/totp".to_owned(), json!({})),
        ("POST", "/users/me/totp".to_owned(), json!({})),
        ("POST", "/users/me/recovery-codes".to_owned(), json!({})),
        (
            "POST",
            "/plugin-keys".to_owned(),
            json!({"name": "A key", "publicKey": "none"}),
        ),
        (
            "POST",
            "/webhook-endpoints".to_owned(),
            json!({"url": "https://example.com/"}),
        ),
        ("POST", format!("/webhook-endpoints/{UNKNOWN}/secret"), json!({})),
        ("GET", format!("/rewards/{UNKNOWN}/codes/export"), json!({})),
    ] {
        replies.push(app.call(method, &path).bearer(token).json(&body).send().await);
    }
    replies
}

#[apply(on_both_engines)]
async fn changes_of_roles_and_keys_need_a_recent_proof(app: TestApp) {
    let admin = app.user(Role::Admin).await;
    app.at("2026-03-01T12:14:59.999Z");
    let pair = refresh(&app, &admin.refresh_token).await.expect(200);
    for reply in changes(&app, text(&pair, "accessToken")).await {
        assert_ne!(reply.json["code"], "step-up-required", "{:#}", reply.json);
    }
    app.at("2026-03-01T12:15:00Z");
    let token = text(&pair, "accessToken");
    for reply in changes(&app, token).await {
        reply.expect_problem(403, "step-up-required");
    }
    // Other changes and all reads do not.
    app.get("/users").bearer(token).send().await.expect(200);
    let password = json!({"oldPassword": PASSWORD, "newPassword": PASSWORD});
    app.put("/users/me/password")
        .bearer(token)
        .json(&password)
        .send()
        .await
        .expect(204);

    step_up(&app, token, json!({"password": "not the password"}))
        .await
        .expect_problem(401, "wrong-credentials");
    assert_fault(step_up(&app, token, json!({"code": "123456"})).await, "/password");
    let proved = step_up(&app, token, json!({"password": PASSWORD})).await.expect(200);
    assert_eq!(proved["until"], "2026-03-01T12:30:00.000Z");
    for reply in changes(&app, token).await {
        assert_ne!(reply.json["code"], "step-up-required", "{:#}", reply.json);
    }
    // Another session of the user is not proved.
    let entries = app.get("/audit?action=POST%20/auth/step-up").bearer(token).send().await;
    let entries = entries.expect(200);
    let outcomes: Vec<&Value> = entries["items"]
        .as_array()
        .expect("items")
        .iter()
        .map(|entry| &entry["outcome"])
        .collect();
    assert!(
        outcomes.contains(&&json!("DONE")) && outcomes.contains(&&json!("REFUSED")),
        "{entries:#}"
    );
}

#[apply(on_both_engines)]
async fn with_a_second_factor_the_password_is_not_enough(app: TestApp) {
    let admin = app.user(Role::Admin).await;
    let authenticator = enrol(&app, &admin.token).await;
    app.at("2026-03-01T12:20:00Z");
    let pair = refresh(&app, &admin.refresh_token).await.expect(200);
    let token = text(&pair, "accessToken");
    for reply in changes(&app, token).await {
        reply.expect_problem(403, "step-up-required");
    }
    step_up(&app, token, json!({"password": PASSWORD}))
        .await
        .expect_problem(401, "second-factor-required");
    let code = json!({"code": authenticator.code(&app)});
    step_up(&app, token, code.clone()).await.expect(200);
    step_up(&app, token, code).await.expect_problem(401, "wrong-code");
    step_up(&app, token, json!({"code": authenticator.recovery_codes[3]}))
        .await
        .expect(200);
    // Of a stolen session, guesses are limited.
    wait(&app);
    for _ in 0..3 {
        let wrong = step_up(&app, token, json!({"code": "00000x"})).await;
        wrong.expect_problem(401, "wrong-code");
    }
    let mut statuses = Vec::new();
    for number in 0..6 {
        let guess = json!({"code": format!("{number:06}")});
        statuses.push(step_up(&app, token, guess).await.status.as_u16());
    }
    assert_eq!(statuses.last(), Some(&429), "{statuses:?}");
}
