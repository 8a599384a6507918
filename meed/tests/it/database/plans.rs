//! No statement may read more the fuller the database is: on filled tables, the plan of each statement that a process runs
//! reads ranges of indexes, in their order.
//!
//! A process logs its statements while every list, a claim, its decision from the queue, a review, a reversal, a delivery, a sweep and
//! a change of a role run. So a new statement needs no entry here. SQLite chooses indexes by simple rules, so its plans show
//! whether an index fits; both engines have the same indexes.

mod explain;
mod fill;

use std::collections::BTreeSet;
use std::time::Duration;

use meed_host::auth::Role;
use reqwest::Method;
use serde_json::{Value, json};

use super::statements;
use crate::faults::fleet::{Fleet, client};
use crate::support::{Receiver, TestApp, reviewing, text};

/// Statements whose plan may look like a scan or a sort, by a text that only they contain, and why.
const ALLOWED: &[(&str, &str)] = &[
    ("AS newest", "merges ranges that were cut to a page"),
    ("AS pair", "sorts the rows of one page"),
    (
        "COUNT(*), (SELECT received_at FROM pending_claims",
        "claims.max_pending limits the table",
    ),
    (
        "FROM webhook_deliveries d JOIN outbox o",
        "the deliveries of a page, each with its message",
    ),
    ("/ 900000", "the activities of one user in a window"),
    ("WITH RECURSIVE had (name)", "sorts the names of one user's attributes"),
];

/// A client of a process whose statements are logged.
struct Driver {
    fleet: Fleet,
    http: reqwest::Client,
}

impl Driver {
    async fn call(&self, method: Method, path: &str, token: &str, body: Option<Value>) -> Value {
        let call = self.http.request(method, format!("{}{path}", self.fleet.address(0)));
        let call = call.bearer_auth(token).header("if-match", "*");
        let call = match &body {
            Some(body) => call.json(body),
            None => call,
        };
        let answer = call.send().await.expect("an answer");
        let status = answer.status();
        let body: Value = serde_json::from_str(&answer.text().await.expect("a body")).unwrap_or_default();
        assert!(status.is_success(), "{path}: {status} {body:#}");
        body
    }

    async fn get(&self, path: &str, token: &str) -> Value {
        self.call(Method::GET, path, token, None).await
    }

    /// Two pages.
    async fn list(&self, path: &str, token: &str) {
        let separator = if path.contains('?') { '&' } else { '?' };
        let path = format!("{path}{separator}pageSize=2");
        let page = self.get(&path, token).await;
        if let Some(next) = page["nextPageToken"].as_str() {
            self.get(&format!("{path}&pageToken={next}"), token).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_statement_scans_or_sorts_a_table_that_grows() {
    let app = TestApp::on_sqlite().await.in_real_time();
    let (admin, operator) = (app.token(Role::Admin).await, app.token(Role::Operator).await);
    let ranges = json!({"startDate": "2026-01-01T00:00:00Z", "endDate": "2035-01-01T00:00:00Z"});
    let event = app.event("first-come", json!({}), ranges.clone()).await;
    let other = app.event("login-streak", json!({"days": 200}), ranges.clone()).await;
    let plugin = app.install(reviewing("reviewed").module()).await;
    let reviewed = app.event_on(&plugin, json!({}), ranges).await;
    let (user, second) = (app.user(Role::User).await, app.user(Role::User).await);
    let receiver = Receiver::start().await;
    fill::fill(&app, text(&event, "id"), &user.id).await;
    let [format, filter] = statements::LOGGED;
    let settings = [format, filter, ("MEED__WEBHOOKS__PRIVATE_NETWORKS", "127.0.0.1")];
    let driver = Driver {
        fleet: Fleet::start_on(&app, &app.database_url(), 1, &settings).await,
        http: client(),
    };
    drive(
        &driver,
        &admin,
        &operator,
        [&user, &second],
        [&event, &other, &reviewed],
        &receiver.url,
    )
    .await;

    let statements: BTreeSet<String> = statements::of(&driver.fleet).into_iter().collect();
    assert!(statements.len() > 80, "{statements:#?}");
    let allowed = |sql: &String| ALLOWED.iter().any(|(text, _)| sql.contains(text));
    // SQLite has no statistics at first.
    let mut faults = explain::faults(&app.app.db, statements.iter().filter(|sql| !allowed(sql))).await;
    fill::analyze(&app).await;
    faults.extend(explain::faults(&app.app.db, statements.iter().filter(|sql| !allowed(sql))).await);
    assert!(
        faults.is_empty(),
        "{} statements:\n{}",
        faults.len(),
        faults.into_iter().collect::<Vec<_>>().join("\n\n")
    );
}

#[expect(clippy::too_many_lines, reason = "every request, in order")]
async fn drive(
    driver: &Driver,
    admin: &str,
    operator: &str,
    [user, second]: [&crate::support::TestUser; 2],
    [event, other, reviewed]: [&Value; 3],
    receiver: &str,
) {
    let [event, other, reviewed] = [event, other, reviewed].map(|event| text(event, "id"));
    let body = json!({"url": receiver, "acknowledges": true});
    let endpoint = driver
        .call(Method::POST, "/webhook-endpoints", operator, Some(body))
        .await;
    let claim = |token: String, event: String| async move {
        driver
            .call(
                Method::POST,
                "/reward-requests",
                &token,
                Some(json!({"eventId": event})),
            )
            .await
    };
    let granted = claim(user.token.clone(), event.to_owned()).await;
    claim(user.token.clone(), other.to_owned()).await;
    let queued = driver.http.post(format!("{}/reward-requests", driver.fleet.address(0)));
    let queued = queued
        .bearer_auth(&second.token)
        .header("prefer", "respond-async")
        .header("idempotency-key", "k");
    let queued = queued.json(&json!({"eventId": event})).send().await.expect("an answer");
    assert_eq!(queued.status(), 202);
    let queued: Value = queued.json().await.expect("a request");
    let path = format!("/reward-requests/{}", text(&queued, "id"));
    for _ in 0..400 {
        if driver.get(&path, &second.token).await["status"] != "RECEIVED" {
            break;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    let reversal = format!("/reward-requests/{}/reversal", text(&granted, "id"));
    driver
        .call(Method::POST, &reversal, operator, Some(json!({"reason": "A mistake"})))
        .await;
    driver.get(&format!("/events/{event}/progress"), &user.token).await;
    for (user, decision) in [(user, "approval"), (second, "denial")] {
        let held = claim(user.token.clone(), reviewed.to_owned()).await;
        let queued = driver.http.post(format!("{}/reward-requests", driver.fleet.address(0)));
        let queued = queued.bearer_auth(&user.token).header("prefer", "respond-async");
        let queued = queued
            .json(&json!({"eventId": reviewed}))
            .send()
            .await
            .expect("an answer");
        assert_eq!(queued.status(), 409);
        let path = format!("/reward-requests/{}/{decision}", text(&held, "id"));
        driver
            .call(Method::POST, &path, operator, Some(json!({"reason": "Looked at it"})))
            .await;
    }
    let grant = text(&granted["grants"][0], "id");
    let acknowledgement = format!("/grants/{grant}/acknowledgement");
    driver
        .call(
            Method::POST,
            &acknowledgement,
            operator,
            Some(json!({"state": "DELIVERED"})),
        )
        .await;

    let user_id = user.id.as_str();
    let span = "from=2026-03-01T00:00:00Z&to=2027-03-01T00:00:00Z";
    for filter in [
        String::new(),
        format!("eventId={event}"),
        format!("userId={user_id}"),
        format!("userId={user_id}&eventId={event}"),
        span.to_owned(),
        format!("eventId={event}&{span}"),
    ] {
        driver.list(&format!("/reward-requests?{filter}"), operator).await;
        driver.list(&format!("/grants?{filter}"), operator).await;
        for status in ["RECEIVED", "HELD", "GRANTED", "REJECTED", "FAILED", "REVERSED"] {
            driver
                .list(&format!("/reward-requests?{filter}&status={status}"), operator)
                .await;
        }
        for state in ["PENDING", "DELIVERED", "FAILED"] {
            driver
                .list(&format!("/grants?{filter}&fulfilment={state}"), operator)
                .await;
            driver
                .list(
                    &format!("/grants?{filter}&fulfilment={state}&requestStatus=REVERSED"),
                    operator,
                )
                .await;
        }
        driver
            .list(&format!("/grants?{filter}&requestStatus=REVERSED"), operator)
            .await;
    }
    driver
        .list(&format!("/reward-requests/mine?eventId={event}"), &user.token)
        .await;
    for path in [
        format!("/users/{user_id}/activities"),
        format!("/users/{user_id}/activities?kind=auth.login"),
        "/users".to_owned(),
        "/users?role=ADMIN".to_owned(),
        format!("/users?email={}", user.email),
        "/events".to_owned(),
        "/rewards".to_owned(),
    ] {
        driver.list(&path, admin).await;
    }
    let deliveries = format!("/webhook-endpoints/{}/deliveries", text(&endpoint, "id"));
    driver.list(&deliveries, operator).await;
    for status in ["WAITING", "PENDING", "DELIVERED", "PARKED"] {
        driver.list(&format!("{deliveries}?status={status}"), operator).await;
    }
    let redrive = format!("/webhook-endpoints/{}/redrive", text(&endpoint, "id"));
    driver.call(Method::POST, &redrive, operator, None).await;
    let attributes = json!({"level": "7"});
    driver
        .call(
            Method::PUT,
            &format!("/users/{user_id}/attributes"),
            operator,
            Some(attributes),
        )
        .await;
    let second_id = second.id.as_str();
    driver
        .call(
            Method::PATCH,
            &format!("/users/{second_id}"),
            admin,
            Some(json!({"role": "OPERATOR"})),
        )
        .await;
    let credentials = json!({"email": user.email, "password": user.password});
    let session = driver.call(Method::POST, "/auth/login", admin, Some(credentials)).await;
    let refresh = json!({"refreshToken": session["refreshToken"]});
    driver.call(Method::POST, "/auth/refresh", admin, Some(refresh)).await;
    // The relay delivers, and the counts of the metrics are read.
    tokio::time::sleep(Duration::from_secs(3)).await;
}
