//! `POST /auth/login`

use meed_host::auth::Role;
use rstest_reuse::apply;
use serde_json::json;

use super::{login, register, set_disabled, text, without_request_id};
use crate::support::{PASSWORD, TestApp, on_both_engines};

#[apply(on_both_engines)]
async fn a_login_is_recorded_as_an_activity_at_its_time(app: TestApp) {
    let ada = register(&app, json!({"email": "ada@example.com", "password": PASSWORD}))
        .await
        .expect(201);
    let instant = app.at("2026-03-02T07:00:00Z");
    app.login("ada@example.com", PASSWORD).await;
    app.login("ada@example.com", PASSWORD).await;
    login(&app, "ada@example.com", "wrong password")
        .await
        .expect_problem(401, "wrong-credentials");
    let logins: Vec<(uuid::Uuid, i64)> = app
        .app
        .db
        .query("SELECT user_id, occurred_at FROM activities WHERE kind = 'auth.login'")
        .fetch_all(&app.app.db)
        .await
        .expect("the logins");
    let expected = (text(&ada, "id").parse().expect("an id"), instant.as_millis());
    assert_eq!(logins, [expected, expected]);
}

#[apply(on_both_engines)]
async fn every_failed_login_has_the_same_response(app: TestApp) {
    let (admin, user, disabled) = (
        app.token(Role::Admin).await,
        app.user(Role::User).await,
        app.user(Role::User).await,
    );
    set_disabled(&app, &admin, &disabled, true).await;

    let mut answers = Vec::new();
    for (email, password) in [
        (user.email.as_str(), "wrong password"),
        (user.email.as_str(), ""),
        (user.email.as_str(), "correct horse battery "),
        ("nobody@example.com", PASSWORD),
        ("not an e-mail", PASSWORD),
        ("' OR 1=1 --", PASSWORD),
        ("", PASSWORD),
        (disabled.email.as_str(), PASSWORD),
        (disabled.email.as_str(), "wrong password"),
    ] {
        let reply = login(&app, email, password).await;
        let headers: Vec<_> = reply
            .headers
            .iter()
            .filter(|(name, _)| *name != "x-request-id")
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        let length = reply.bytes.len();
        answers.push((
            headers,
            length,
            without_request_id(reply.expect_problem(401, "wrong-credentials")),
        ));
    }
    assert!(answers.windows(2).all(|pair| pair[0] == pair[1]), "{answers:#?}");
}

#[apply(on_both_engines)]
async fn a_login_to_an_unknown_account_also_hashes_the_password(app: TestApp) {
    // With hashing disabled every login fails, so a login to an unknown account hashes a password too.
    let no_hashing = app.replica_with(|config, _| config.auth.password_concurrency = 0);
    let user = app.user(Role::User).await;
    for email in [user.email.as_str(), "nobody@example.com", "not an e-mail", ""] {
        login(&no_hashing, email, "wrong password")
            .await
            .expect_problem(503, "password-queue-full");
    }
}

#[apply(on_both_engines)]
async fn a_login_beyond_the_hashing_queue_gets_retry_after(app: TestApp) {
    let app = app.replica(&[("auth.password_concurrency", "1")]);
    let tries: Vec<_> = (0..48)
        .map(|_| {
            let body = json!({"email": "nobody@example.com", "password": PASSWORD});
            tokio::spawn(app.post("/auth/login").json(&body).send())
        })
        .collect();
    let mut refused = 0;
    for reply in tries {
        let reply = reply.await.expect("an answer");
        if reply.status == 503 {
            assert_eq!(reply.header("retry-after"), "1");
            reply.expect_problem(503, "password-queue-full");
            refused += 1;
        } else {
            reply.expect_problem(401, "wrong-credentials");
        }
    }
    assert!(
        (1..=31).contains(&refused),
        "{refused} of 48 were refused, and 17 of unknown devices may run or wait"
    );
    login(&app, "nobody@example.com", PASSWORD)
        .await
        .expect_problem(401, "wrong-credentials");
}
