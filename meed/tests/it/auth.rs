//! `/auth` and the check of access tokens

mod forged;
mod issuers;
mod login;
mod mails;
mod oidc;
mod passwords;
mod refresh;
mod register;
mod retention;
mod sessions;
mod step_up;
pub mod totp;

use serde_json::{Value, json};

use crate::support::{Reply, TestApp, TestUser};

async fn count(app: &TestApp, sql: &'static str) -> i64 {
    let (count,): (i64,) = app.app.db.query(sql).fetch_one(&app.app.db).await.expect(sql);
    count
}

const LIVE_REFRESH_TOKENS: &str = "SELECT COUNT(*) FROM refresh_tokens r JOIN sessions s ON s.user_id = r.user_id AND s.id = r.session_id \
    WHERE r.consumed_at IS NULL AND s.ended_at IS NULL";

/// Kind, user and attributes of every activity, in the order they were recorded.
async fn activities(app: &TestApp) -> Vec<(String, String, Value)> {
    let rows: Vec<(String, uuid::Uuid, meed_host::db::Json<Value>)> = app
        .app
        .db
        .query("SELECT kind, user_id, attributes FROM activities ORDER BY kind, source_id")
        .fetch_all(&app.app.db)
        .await
        .expect("the activities");
    rows.into_iter()
        .map(|(kind, user, attributes)| (kind, user.to_string(), attributes.0))
        .collect()
}

async fn register(app: &TestApp, body: Value) -> Reply {
    app.post("/auth/register").json(&body).send().await
}

async fn login(app: &TestApp, email: &str, password: &str) -> Reply {
    let body = json!({"email": email, "password": password});
    app.post("/auth/login").json(&body).send().await
}

async fn refresh(app: &TestApp, refresh_token: &str) -> Reply {
    let body = json!({"refreshToken": refresh_token});
    app.post("/auth/refresh").json(&body).send().await
}

async fn me(app: &TestApp, token: &str) -> Reply {
    app.get("/users/me").bearer(token).send().await
}

async fn set_disabled(app: &TestApp, admin: &str, user: &TestUser, disabled: bool) -> Value {
    let call = app.patch(&format!("/users/{}", user.id)).bearer(admin);
    call.json(&json!({"disabled": disabled})).send().await.expect(200)
}

/// The body without what differs from request to request.
fn without_request_id(mut body: Value) -> Value {
    body.as_object_mut().expect("an object").remove("requestId");
    body
}

fn text<'a>(body: &'a Value, member: &str) -> &'a str {
    body[member].as_str().unwrap_or_else(|| panic!("{member} in {body:#}"))
}
