//! `/users/me/totp`, `/users/me/recovery-codes`, `/users/{id}/totp`, and logins with a second factor

use std::time::Duration;

use meed_host::auth::Role;
use rstest_reuse::apply;
use serde_json::{Value, json};
use totp_rs::{Builder, Secret, Totp};

use super::{me, refresh, text};
use crate::support::{PASSWORD, Reply, TestApp, TestUser, assert_fault, on_both_engines};

/// An authenticator, and the recovery codes of its account.
pub struct Authenticator {
    totp: Totp,
    pub recovery_codes: Vec<String>,
}

impl Authenticator {
    fn new(secret: &str) -> Self {
        let secret = Secret::try_from_base32(secret).expect("base 32");
        Self {
            totp: Builder::new()
                .with_secret(secret)
                .build()
                .expect("a secret of 160 bits"),
            recovery_codes: Vec::new(),
        }
    }

    /// What it shows now.
    pub fn code(&self, app: &TestApp) -> String {
        let seconds = app.clock.now().as_millis() / 1000;
        self.totp.generate(u64::try_from(seconds).expect("a time")).to_string()
    }

    /// A code that is not right now, nor half a minute before or later.
    fn wrong_code(&self, app: &TestApp) -> String {
        let now = u64::try_from(app.clock.now().as_millis() / 1000).expect("a time");
        let right: Vec<String> = [now - 30, now, now + 30]
            .into_iter()
            .map(|at| self.totp.generate(at).to_string())
            .collect();
        let wrong = (0..4).map(|number| format!("00000{number}"));
        wrong.into_iter().find(|code| !right.contains(code)).expect("a code")
    }
}

/// The next code is another one.
pub fn wait(app: &TestApp) {
    app.clock.set(app.clock.now().plus(Duration::from_secs(30)));
}

async fn start(app: &TestApp, token: &str) -> Reply {
    app.post("/users/me/totp").bearer(token).send().await
}

async fn confirm(app: &TestApp, token: &str, code: &str) -> Reply {
    let call = app.post("/users/me/totp/confirmation").bearer(token);
    call.json(&json!({"code": code})).send().await
}

/// Sets up a second factor. The next code to use is the one after [`wait`].
pub async fn enrol(app: &TestApp, token: &str) -> Authenticator {
    let started = start(app, token).await.expect(201);
    let mut authenticator = Authenticator::new(text(&started, "secret"));
    let confirmed = confirm(app, token, &authenticator.code(app)).await.expect(200);
    let codes = confirmed["recoveryCodes"].as_array().expect("codes");
    authenticator.recovery_codes = codes
        .iter()
        .map(|code| code.as_str().expect("a code").to_owned())
        .collect();
    authenticator
}

async fn login(app: &TestApp, user: &TestUser, code: Option<&str>) -> Reply {
    let body = json!({"email": user.email, "password": PASSWORD, "code": code});
    app.post("/auth/login").json(&body).send().await
}

/// Entries of one millisecond have no order.
fn later(app: &TestApp) {
    app.clock.set(app.clock.now().plus(Duration::from_millis(1)));
}

/// The newest entry of the audit log with this action.
async fn entry(app: &TestApp, action: &str) -> Value {
    entries(app, action).await.swap_remove(0)
}

/// The entries of the audit log with this action, the newest first.
async fn entries(app: &TestApp, action: &str) -> Vec<Value> {
    let auditor = app.auditor().await;
    let path = format!(
        "/audit?action={}",
        action.replace(' ', "%20").replace('{', "%7B").replace('}', "%7D")
    );
    let found = app.get(&path).bearer(&auditor).send().await.expect(200);
    found["items"].as_array().expect("entries").clone()
}

#[apply(on_both_engines)]
async fn a_second_factor_counts_once_a_code_confirmed_it(app: TestApp) {
    let operator = app.user(Role::Operator).await;
    let other = app.login(&operator.email, PASSWORD).await;
    let started = start(&app, &operator.token).await.expect(201);
    let uri = text(&started, "otpauthUri");
    assert!(
        uri.starts_with("otpauth://totp/") && uri.contains(text(&started, "secret")),
        "{uri}"
    );
    // A secret that was never confirmed does not lock its owner out, and is replaced.
    login(&app, &operator, None).await.expect(200);
    let started_again = start(&app, &operator.token).await.expect(201);
    assert_ne!(started["secret"], started_again["secret"]);
    let replaced = Authenticator::new(text(&started, "secret"));
    let mut authenticator = Authenticator::new(text(&started_again, "secret"));
    for code in [replaced.code(&app), authenticator.wrong_code(&app), "1".to_owned()] {
        assert_fault(confirm(&app, &operator.token, &code).await, "/code");
    }
    let confirmed = confirm(&app, &operator.token, &authenticator.code(&app))
        .await
        .expect(200);
    authenticator.recovery_codes = serde_json::from_value(confirmed["recoveryCodes"].clone()).expect("codes");
    assert_eq!(authenticator.recovery_codes.len(), 10);

    me(&app, &operator.token).await.expect(200);
    me(&app, text(&other, "accessToken"))
        .await
        .expect_problem(401, "invalid-token");
    let state = app
        .get("/users/me/totp")
        .bearer(&operator.token)
        .send()
        .await
        .expect(200);
    assert_eq!(
        state,
        json!({"active": true, "confirmedAt": "2026-03-01T12:00:00.000Z", "recoveryCodesLeft": 10})
    );
    start(&app, &operator.token)
        .await
        .expect_problem(409, "second-factor-active");
    later(&app);
    confirm(&app, &operator.token, &authenticator.code(&app))
        .await
        .expect_problem(409, "second-factor-active");
    let confirmation = entry(&app, "POST /users/me/totp/confirmation").await;
    assert_eq!(confirmation["reason"], "second-factor-active");
}

#[apply(on_both_engines)]
async fn a_login_needs_a_code_that_was_not_used_before(app: TestApp) {
    let admin = app.user(Role::Admin).await;
    let authenticator = enrol(&app, &admin.token).await;
    login(&app, &admin, None)
        .await
        .expect_problem(401, "second-factor-required");
    // The code of the confirmation is used.
    login(&app, &admin, Some(&authenticator.code(&app)))
        .await
        .expect_problem(401, "wrong-code");
    wait(&app);
    let code = authenticator.code(&app);
    // The password is checked first.
    let wrong = json!({"email": admin.email, "password": "not the password", "code": code});
    let reply = app.post("/auth/login").json(&wrong).send().await;
    reply.expect_problem(401, "wrong-credentials");
    let spaced = format!("{} {}", &code[..3], &code[3..]);
    login(&app, &admin, Some(&spaced)).await.expect(200);
    later(&app);
    login(&app, &admin, Some(&code)).await.expect_problem(401, "wrong-code");
    // The two refusals of this minute share an entry.
    let logged = entries(&app, "POST /auth/login").await;
    let refused = logged.iter().find(|entry| entry["reason"] == "wrong-code");
    let refused = refused.unwrap_or_else(|| panic!("no entry of the refusal: {logged:#?}"));
    assert_eq!(
        (&refused["outcome"], &refused["targetId"]),
        (&json!("REFUSED"), &json!(admin.id))
    );
}

#[apply(on_both_engines)]
async fn of_concurrent_logins_with_one_code_one_succeeds(app: TestApp) {
    let admin = app.user(Role::Admin).await;
    let authenticator = enrol(&app, &admin.token).await;
    wait(&app);
    for code in [authenticator.code(&app), authenticator.recovery_codes[0].clone()] {
        let body = json!({"email": admin.email, "password": PASSWORD, "code": code});
        let tries: Vec<_> = (0..4)
            .map(|_| tokio::spawn(app.post("/auth/login").json(&body).send()))
            .collect();
        let mut succeeded = 0;
        for reply in tries {
            succeeded += usize::from(reply.await.expect("an answer").status == 200);
        }
        assert_eq!(succeeded, 1);
    }
}

#[apply(on_both_engines)]
async fn each_recovery_code_is_valid_once(app: TestApp) {
    let admin = app.user(Role::Admin).await;
    let authenticator = enrol(&app, &admin.token).await;
    let [first, second, ..] = &authenticator.recovery_codes[..] else {
        panic!("ten codes");
    };
    let typed = first.to_uppercase().replace('-', " ");
    let pair = login(&app, &admin, Some(&typed)).await.expect(200);
    login(&app, &admin, Some(first)).await.expect_problem(401, "wrong-code");
    let token = text(&pair, "accessToken");
    let state = app.get("/users/me/totp").bearer(token).send().await.expect(200);
    assert_eq!(state["recoveryCodesLeft"], 9);
    let stored: Vec<(Vec<u8>,)> = app
        .app
        .db
        .query("SELECT hash FROM recovery_codes")
        .fetch_all(&app.app.db)
        .await
        .expect("the rows");
    assert!(stored.len() == 9 && stored.iter().all(|(hash,)| hash.len() == 32));

    let renewed = app
        .post("/users/me/recovery-codes")
        .bearer(token)
        .send()
        .await
        .expect(201);
    login(&app, &admin, Some(second))
        .await
        .expect_problem(401, "wrong-code");
    let renewed = renewed["recoveryCodes"][9].as_str().expect("a code");
    login(&app, &admin, Some(renewed)).await.expect(200);
    let user = app.token(Role::User).await;
    let none = app.post("/users/me/recovery-codes").bearer(&user).send().await;
    none.expect_problem(404, "no-second-factor");
}

#[apply(on_both_engines)]
async fn guessing_codes_is_limited_and_does_not_lock_the_owner_out(app: TestApp) {
    let admin = app.user(Role::Admin).await;
    let authenticator = enrol(&app, &admin.token).await;
    wait(&app);
    let wrong = authenticator.wrong_code(&app);
    for _ in 0..5 {
        login(&app, &admin, Some(&wrong))
            .await
            .expect_problem(401, "wrong-code");
    }
    let right = authenticator.code(&app);
    let limited = login(&app, &admin, Some(&right)).await;
    assert!(!limited.header("retry-after").is_empty());
    limited.expect_problem(429, "rate-limited");
    // The owner still gets in, and proofs within a session have a limit of their own.
    login(&app, &admin, Some(&authenticator.recovery_codes[0]))
        .await
        .expect(200);
    let proof = app.post("/auth/step-up").bearer(&admin.token);
    proof.json(&json!({"code": right})).send().await.expect(200);
    app.clock.set(app.clock.now().plus(Duration::from_mins(1)));
    login(&app, &admin, Some(&authenticator.code(&app))).await.expect(200);
}

#[apply(on_both_engines)]
async fn the_owner_and_an_admin_can_remove_it(app: TestApp) {
    let (operator, admin) = (app.user(Role::Operator).await, app.user(Role::Admin).await);
    let remove = |path: String, token: &str| app.delete(&path).bearer(token).send();
    let own = || "/users/me/totp".to_owned();
    remove(own(), &operator.token)
        .await
        .expect_problem(404, "no-second-factor");
    let authenticator = enrol(&app, &operator.token).await;
    wait(&app);
    let other = login(&app, &operator, Some(&authenticator.code(&app)))
        .await
        .expect(200);
    remove(own(), &operator.token).await.expect(204);
    me(&app, text(&other, "accessToken"))
        .await
        .expect_problem(401, "invalid-token");
    login(&app, &operator, None).await.expect(200);

    enrol(&app, &operator.token).await;
    let of_operator = format!("/users/{}/totp", operator.id);
    remove(of_operator.clone(), &operator.token)
        .await
        .expect_problem(403, "forbidden");
    later(&app);
    remove(of_operator.clone(), &admin.token).await.expect(204);
    let removed = entry(&app, "DELETE /users/{id}/totp").await;
    assert_eq!(
        removed["changes"]["secondFactor"],
        json!({"old": "ACTIVE", "new": null})
    );
    me(&app, &operator.token).await.expect_problem(401, "invalid-token");
    login(&app, &operator, None).await.expect(200);
    remove(of_operator, &admin.token)
        .await
        .expect_problem(404, "no-second-factor");
    assert_eq!(app.count("SELECT COUNT(*) FROM recovery_codes").await, 0);
}

#[apply(on_both_engines)]
async fn a_setting_makes_staff_use_one(app: TestApp) {
    let app = app.replica(&[("auth.require_totp", "true")]);
    let (admin, user) = (app.user(Role::Admin).await, app.user(Role::User).await);
    let call = |method: &str, path: &str, token: &str| app.call(method, path).bearer(token).json(&json!({})).send();
    for (method, path) in [
        ("GET", "/users"),
        ("GET", "/events"),
        ("POST", "/events"),
        ("GET", "/audit"),
    ] {
        call(method, path, &admin.token)
            .await
            .expect_problem(403, "totp-required");
    }
    // Rights that are not a guard do not exist either.
    let of_user = format!("/users/{}", user.id);
    call("GET", &of_user, &admin.token)
        .await
        .expect_problem(404, "no-such-user");
    me(&app, &admin.token).await.expect(200);
    call("GET", "/events/active", &user.token).await.expect(200);

    let authenticator = enrol(&app, &admin.token).await;
    call("GET", "/users", &admin.token).await.expect(200);
    let refreshed = refresh(&app, &admin.refresh_token).await.expect(200);
    call("GET", "/users", text(&refreshed, "accessToken")).await.expect(200);
    wait(&app);
    let pair = login(&app, &admin, Some(&authenticator.code(&app))).await.expect(200);
    let token = text(&pair, "accessToken");
    call("GET", &of_user, token).await.expect(200);
    app.delete("/users/me/totp").bearer(token).send().await.expect(204);
    call("GET", "/users", token).await.expect_problem(403, "totp-required");
}
