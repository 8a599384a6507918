//! `/console/`: its pages and the sessions in cookies

mod browser;
mod cookies;
mod pages;

use crate::support::{Reply, TestApp, TestUser};
use serde_json::json;

const HOST: &str = "meed.example";
const ORIGIN: &str = "https://meed.example";

/// The login of the console, as its page sends it.
async fn log_in(app: &TestApp, user: &TestUser) -> Reply {
    let body = json!({"email": user.email, "password": user.password});
    app.post("/console/session/login")
        .header("host", HOST)
        .header("origin", ORIGIN)
        .header("sec-fetch-site", "same-origin")
        .json(&body)
        .send()
        .await
}

/// The cookies that a response sets, as a browser sends them.
fn cookies(reply: &Reply) -> String {
    let lines = reply.headers.get_all("set-cookie").iter();
    let pairs = lines.filter_map(|line| line.to_str().ok()?.split(';').next());
    pairs.collect::<Vec<_>>().join("; ")
}

/// The cookies of a new session of this user.
async fn session(app: &TestApp, user: &TestUser) -> String {
    let reply = log_in(app, user).await;
    assert_eq!(reply.status, 200, "{:#}", reply.json);
    cookies(&reply)
}
