//! What a cookie allows, and from where

use std::time::Duration;

use meed_host::auth::Role;
use rstest_reuse::apply;
use serde_json::{Value, json};

use super::{HOST, ORIGIN, cookies, log_in, session};
use crate::support::{Reply, TestApp, TestUser, on_both_engines};

const SESSION: &str = "__Host-meed-session=";

/// A change by the console: a user ends the others of their sessions, or creates a reward.
async fn create_reward(app: &TestApp, cookie: &str, further: &[(&str, &str)]) -> Reply {
    let mut call = app.post("/rewards").header("host", HOST).header("cookie", cookie);
    for (name, value) in further {
        call = call.header(name, value);
    }
    call.json(&json!({"type": "POINT", "value": 1})).send().await
}

async fn role_of(app: &TestApp, cookie: &str) -> Value {
    let call = app
        .get("/console/session")
        .header("host", HOST)
        .header("cookie", cookie);
    call.send().await.expect(200)["user"]["role"].clone()
}

async fn log_out(app: &TestApp, cookie: &str) -> Reply {
    let call = app
        .post("/console/session/logout")
        .header("host", HOST)
        .header("origin", ORIGIN);
    call.header("cookie", cookie).send().await
}

#[apply(on_both_engines)]
async fn a_login_gives_a_cookie_that_no_script_reads_and_no_token(app: TestApp) {
    let operator = app.user(Role::Operator).await;
    let reply = log_in(&app, &operator).await;
    let lines: Vec<_> = reply
        .headers
        .get_all("set-cookie")
        .iter()
        .map(|line| line.to_str().expect("text"))
        .collect();
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(lines[0].starts_with(SESSION) && lines[0].ends_with("; Path=/; Secure; HttpOnly; SameSite=Strict"));
    assert!(lines[1].starts_with("__Host-meed-device=") && lines[1].ends_with("; Secure; HttpOnly; SameSite=Strict"));
    let cookie = cookies(&reply);
    let body = reply.expect(200);
    assert_eq!(
        (&body["user"]["role"], &body["user"]["id"]),
        (&json!("OPERATOR"), &json!(operator.id))
    );
    let scopes = body["user"]["scopes"].as_array().expect("scopes");
    assert!(scopes.contains(&json!("events:write")) && !scopes.contains(&json!("users:write")));
    assert!(!body.to_string().contains("oken"), "{body}");
    // The cookie is a session of the user like any other.
    let sessions = app
        .get("/users/me/sessions")
        .header("cookie", &cookie)
        .send()
        .await
        .expect(200);
    let items = sessions["items"].as_array().expect("sessions");
    assert_eq!(items.iter().filter(|item| item["current"] == true).count(), 1);
    create_reward(&app, &cookie, &[("origin", ORIGIN)]).await.expect(201);
}

#[apply(on_both_engines)]
async fn a_change_that_another_site_sends_is_refused(app: TestApp) {
    let cookie = session(&app, &app.user(Role::Operator).await).await;
    let foreign: [&[(&str, &str)]; 6] = [
        &[],
        &[("origin", "null")],
        &[("origin", "https://evil.example")],
        &[("origin", "https://meed.example:8443")],
        &[("origin", "http://meed.example")],
        &[("origin", ORIGIN), ("sec-fetch-site", "same-site")],
    ];
    for headers in foreign {
        create_reward(&app, &cookie, headers)
            .await
            .expect_problem(403, "foreign-origin");
    }
    let rewards = app.get("/rewards").header("cookie", &cookie).send().await.expect(200);
    assert_eq!(rewards["items"], json!([]));
    // Nor does another site read with it, log it out or log it in.
    let read = app
        .get("/rewards")
        .header("cookie", &cookie)
        .header("sec-fetch-site", "cross-site");
    read.send().await.expect_problem(401, "unauthenticated");
    let logout = app
        .post("/console/session/logout")
        .header("host", HOST)
        .header("cookie", &cookie);
    logout
        .header("origin", "https://evil.example")
        .send()
        .await
        .expect_problem(403, "foreign-origin");
    assert_eq!(role_of(&app, &cookie).await, "OPERATOR");
    let operator = app.user(Role::Operator).await;
    let body = json!({"email": operator.email, "password": operator.password});
    let login = app
        .post("/console/session/login")
        .header("host", HOST)
        .header("origin", "https://evil.example");
    let login = login.json(&body).send().await;
    assert!(!login.headers.contains_key("set-cookie"));
    login.expect_problem(403, "foreign-origin");
}

#[apply(on_both_engines)]
async fn a_stolen_cookie_is_worthless_after_the_logout(app: TestApp) {
    let operator = app.user(Role::Operator).await;
    let cookie = session(&app, &operator).await;
    let stolen = cookie.clone();
    let reply = log_out(&app, &cookie).await;
    assert_eq!(
        reply.header("set-cookie"),
        format!("{SESSION}; Path=/; Max-Age=0; Secure; HttpOnly; SameSite=Strict")
    );
    reply.expect(204);
    let origin = [("origin", ORIGIN)];
    create_reward(&app, &stolen, &origin)
        .await
        .expect_problem(401, "invalid-token");
    assert_eq!(role_of(&app, &stolen).await, Value::Null);
    // A second logout is no error: the other tab was first.
    log_out(&app, &stolen).await.expect(204);
    // Everything that ends sessions ends those of cookies.
    let cookie = session(&app, &operator).await;
    let admin = app.token(Role::Admin).await;
    let change = app.patch(&format!("/users/{}", operator.id)).bearer(&admin);
    change.json(&json!({"role": "AUDITOR"})).send().await.expect(200);
    create_reward(&app, &cookie, &origin)
        .await
        .expect_problem(401, "invalid-token");
}

#[apply(on_both_engines)]
async fn a_changed_cookie_is_no_cookie(app: TestApp) {
    let auditor = app.user(Role::Auditor).await;
    let cookie = session(&app, &auditor).await;
    let session = cookie.split(';').next().expect("a pair");
    let forged = [
        session.replace("AUDITOR", "ADMIN"),
        format!("{session}A"),
        SESSION.to_owned(),
        format!("{SESSION}{}", "a".repeat(4000)),
    ];
    for cookie in &forged {
        let reply = app.get("/rewards").header("cookie", cookie).send().await;
        reply.expect_problem(401, "invalid-token");
    }
    // Two of the same name are none.
    let twice = format!("{session}; {session}");
    app.get("/rewards")
        .header("cookie", &twice)
        .send()
        .await
        .expect_problem(401, "unauthenticated");
}

#[apply(on_both_engines)]
async fn an_authorization_header_decides_alone(app: TestApp) {
    let cookie = session(&app, &app.user(Role::Admin).await).await;
    let auditor = app.user(Role::Auditor).await;
    let both = |path: &str, token: &str| app.get(path).header("cookie", &cookie).bearer(token);
    let me = both("/users/me", &auditor.token).send().await.expect(200);
    assert_eq!(me["id"], auditor.id);
    // The cookie saves no bad token, and a program with a token needs no origin.
    both("/users/me", "nonsense")
        .send()
        .await
        .expect_problem(401, "invalid-token");
    let reward = app.post("/rewards").header("cookie", &cookie).bearer(&auditor.token);
    reward
        .json(&json!({"type": "POINT"}))
        .send()
        .await
        .expect_problem(403, "forbidden");
}

#[apply(on_both_engines)]
async fn an_unused_session_ends_and_a_used_one_gets_a_new_cookie(app: TestApp) {
    let app = app.replica(&[
        ("auth.refresh_idle_seconds", "1800"),
        ("auth.access_token_seconds", "600"),
        ("auth.staff_session_seconds", "5000"),
    ]);
    let operator = app.user(Role::Operator).await;
    let first = session(&app, &operator).await;
    let wait = |seconds| app.clock.set(app.clock.now().plus(Duration::from_secs(seconds)));
    let read = async |cookie: &str| app.get("/rewards").header("cookie", cookie).send().await;
    wait(599);
    assert_eq!(cookies(&read(&first).await), "");
    wait(1);
    let reply = read(&first).await;
    let second = cookies(&reply);
    assert!(second.starts_with(SESSION) && !first.contains(&second), "{second}");
    reply.expect(200);
    wait(1799);
    read(&first).await.expect_problem(401, "invalid-token");
    let reply = read(&second).await;
    let third = cookies(&reply);
    reply.expect(200);
    wait(1700);
    let reply = read(&third).await;
    let fourth = cookies(&reply);
    reply.expect(200);
    // Not beyond the end of the session.
    wait(1000);
    read(&fourth).await.expect_problem(401, "invalid-token");
}

async fn refused(app: &TestApp, user: &TestUser) -> Reply {
    let reply = log_in(app, user).await;
    assert_eq!(cookies(&reply), "");
    reply
}

#[apply(on_both_engines)]
async fn the_console_is_for_staff(app: TestApp) {
    let user = app.user(Role::User).await;
    refused(&app, &user).await.expect_problem(403, "forbidden");
    // It leaves no session behind, besides the one of the test.
    let sessions = app
        .get("/users/me/sessions")
        .bearer(&user.token)
        .send()
        .await
        .expect(200);
    assert_eq!(sessions["items"].as_array().map(Vec::len), Some(1));
    let wrong = TestUser {
        password: "wrong horse battery",
        ..user
    };
    refused(&app, &wrong).await.expect_problem(401, "wrong-credentials");
}

#[apply(on_both_engines)]
async fn staff_without_the_second_factor_that_they_need_can_only_set_it_up(app: TestApp) {
    let app = app.replica(&[("auth.require_totp", "true")]);
    let admin = app.user(Role::Admin).await;
    let reply = log_in(&app, &admin).await;
    let cookie = cookies(&reply);
    let body = reply.expect(200);
    assert_eq!(
        (&body["user"]["scopes"], &body["user"]["needsSecondFactor"]),
        (&json!([]), &json!(true))
    );
    app.get("/rewards")
        .header("cookie", &cookie)
        .send()
        .await
        .expect_problem(403, "totp-required");
    let enrol = app.post("/users/me/totp").header("host", HOST).header("origin", ORIGIN);
    enrol.header("cookie", &cookie).send().await.expect(201);
}
