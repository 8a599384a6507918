//! No statement may read more the fuller the database is: on filled tables, the plan of each statement that a process runs
//! reads ranges of indexes, in their order.
//!
//! A process logs its statements while every list with every filter, a claim, its decision from the queue, a review, a
//! reversal, a delivery, a mail, a sweep and a change of a role run. So a new statement needs no entry here. SQLite chooses
//! indexes by simple rules, so its plans show whether an index fits. PostgreSQL chooses by its statistics, so what its plans
//! read is counted.

mod explain;
mod facts;
mod lists;
mod observed;
mod rows;

use std::collections::BTreeSet;
use std::time::Duration;

use meed_host::auth::Role;
use meed_host::db::Db;
use reqwest::Method;
use serde_json::{Value, json};

use super::statements;
use crate::faults::fleet::{Fleet, client};
use crate::support::{PASSWORD, Receiver, SmtpServer, TestApp, TestUser, event_input, reviewing, text, with};
use rows::Rows;

/// Statements whose plan may look like a scan or a sort, by a text that only they contain, and why.
const ALLOWED: &[(&str, &str)] = &[
    ("AS newest", "merges ranges that were cut to a page"),
    ("AS pair", "sorts the rows of one page"),
    (PENDING, "claims.max_pending limits the table"),
    (
        "FROM webhook_deliveries d JOIN outbox o",
        "the deliveries of a page, each with its message",
    ),
    ("AS due", "the events of a limited number of claims"),
    ("/ 900000", "the activities of one user in a window"),
    (
        "WITH RECURSIVE had (user_id, name)",
        "sorts the names of the attributes of the users of one call",
    ),
];

/// Statements that may read many rows on PostgreSQL.
const MAY_READ: &[(&str, &str)] = &[
    (PENDING, "claims.max_pending limits the table"),
    ("AS counted", "counts up to a constant"),
    (
        "DELETE FROM mails",
        "steps over the rows that the same sweep has deleted",
    ),
    (
        "FROM audit_log WHERE TRUE AND actor_id = $1 AND outcome",
        "PostgreSQL takes the two for independent, and reads the entries of the actor",
    ),
];

const PENDING: &str = "COUNT(*), (SELECT received_at FROM pending_claims";

fn is_in(list: &[(&str, &str)], sql: &str) -> bool {
    list.iter().any(|(text, _)| sql.contains(text))
}

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

    /// Two pages. Some combinations of filters are refused.
    async fn list(&self, path: &str, tokens: [&str; 3]) -> bool {
        for token in tokens {
            let get = |path: &str| {
                let call = self.http.get(format!("{}{path}", self.fleet.address(0)));
                call.bearer_auth(token).send()
            };
            let answer = get(path).await.expect("an answer");
            match answer.status().as_u16() {
                403 => {}
                // Two names of a user.
                400 if path.contains("userId") && path.contains("externalUserId") => return false,
                200 => {
                    let page: Value = answer.json().await.expect("a page");
                    if let Some(next) = page["nextPageToken"].as_str() {
                        let next = get(&format!("{path}&pageToken={next}")).await.expect("an answer");
                        assert_eq!(next.status(), 200, "{path}");
                    }
                    return true;
                }
                422 => return false,
                status => panic!("{path}: {status}"),
            }
        }
        panic!("{path}: no role may read it")
    }
}

/// A filled database and a process on it.
struct Filled {
    driver: Driver,
    admin: String,
    operator: String,
    user: TestUser,
    second: TestUser,
    event: Value,
    other: Value,
    reviewed: Value,
    endpoint: String,
    release: String,
    make_good: String,
    _receiver: Receiver,
    mails: SmtpServer,
}

impl Filled {
    async fn new(app: &TestApp, count: u64) -> Self {
        let (admin, operator) = (app.token(Role::Admin).await, app.token(Role::Operator).await);
        let ranges = json!({"startDate": "2026-01-01T00:00:00Z", "endDate": "2035-01-01T00:00:00Z"});
        let event = app.event("first-come", json!({}), ranges.clone()).await;
        let other = app.event("login-streak", json!({"days": 200}), ranges.clone()).await;
        // The candidate grants every user who logs in, so every claim is a divergence.
        crate::trials::streak(app, 1).shadow(app, &other).await;
        let plugin = app.install(reviewing("reviewed").module()).await;
        let reviewed = app.event_on(&plugin, json!({}), ranges).await;
        let (user, second) = (app.user(Role::User).await, app.user(Role::User).await);
        let receiver = Receiver::start().await;
        let local = app.replica(&[
            ("webhooks.private_networks", "127.0.0.0/8"),
            ("auth.access_token_seconds", "86400"),
        ]);
        let body = json!({"url": receiver.url, "acknowledges": true});
        let endpoint = local.post("/webhook-endpoints").bearer(&operator).json(&body);
        let endpoint = text(&endpoint.send().await.expect(201), "id").to_owned();
        let proposal = json!({
            "eventId": other["id"], "eventRevision": 2, "title": "Five days",
            "condition": {"plugin": "login-streak", "version": "1.0.0", "params": {"days": 5}},
        });
        let release = app.post("/releases").bearer(&operator).json(&proposal);
        let release = text(&release.send().await.expect(201), "id").to_owned();
        let path = format!("/events/{}/make-goods", text(&reviewed, "id"));
        let make_good = app.post(&path).bearer(&operator).json(&json!({"title": "A mistake"}));
        let make_good = text(&make_good.send().await.expect(202), "id").to_owned();
        let rows = Rows {
            is_postgres: matches!(app.app.db, Db::Postgres { .. }),
            count,
            now: app.clock.now().as_millis().try_into().expect("after 1970"),
            event: text(&event, "id"),
            reward: event["rewardIds"][0].as_str().expect("a reward"),
            release: &release,
            user: &user.id,
            endpoint: &endpoint,
        };
        run(app, rows.statements()).await;
        if matches!(app.app.db, Db::Postgres { .. }) {
            analyze(app).await;
            observed::tell_plans(app).await;
        }
        let [format, filter] = statements::LOGGED;
        let filter = (filter.0, format!("{},{}", filter.1, observed::TOLD));
        let mails = SmtpServer::start(&json!({}));
        let server = mails.address();
        let settings = [
            format,
            (filter.0, &filter.1),
            ("MEED__MAIL__SERVER", &server),
            ("MEED__MAIL__ENCRYPTION", "off"),
            ("MEED__MAIL__FROM", "meed@example.com"),
            ("MEED__MAIL__CONFIRM_REGISTRATIONS", "true"),
            ("MEED__WEBHOOKS__PRIVATE_NETWORKS", "127.0.0.1"),
            ("MEED__AUDIT__RETENTION_DAYS", "3650"),
            ("MEED__ACTIVITIES__CREATE_UNKNOWN_USERS", "true"),
            ("MEED__USERS__ERASURE_GRACE_DAYS", "0"),
        ];
        Self {
            driver: Driver {
                fleet: Fleet::start_on(app, &app.database_url(), 1, &settings).await,
                http: client(),
            },
            admin,
            operator,
            user,
            second,
            event,
            other,
            reviewed,
            endpoint,
            release,
            make_good,
            _receiver: receiver,
            mails,
        }
    }
}

async fn run(app: &TestApp, statements: Vec<String>) {
    for sql in statements {
        let mut tx = app.begin().await;
        if matches!(app.app.db, Db::Postgres { .. }) {
            let patience = tx.query("SET LOCAL statement_timeout = '60s'");
            patience.execute(&mut tx).await.expect("a setting");
        }
        let query = app.app.db.query_assembled(sql.clone());
        let ran = query.execute(&mut tx).await;
        ran.unwrap_or_else(|error| panic!("{sql}: {error}"));
        tx.commit().await.expect("commit");
    }
}

async fn analyze(app: &TestApp) {
    let mut tx = app.begin().await;
    if matches!(app.app.db, Db::Postgres { .. }) {
        // The server may be analysing the same tables.
        let patience = tx.query("SET LOCAL lock_timeout = '60s'");
        patience.execute(&mut tx).await.expect("a setting");
    }
    tx.query("ANALYZE").execute(&mut tx).await.expect("statistics");
    tx.commit().await.expect("commit");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_statement_scans_or_sorts_a_table_that_grows_on_sqlite() {
    let app = TestApp::on_sqlite().await.in_real_time();
    let filled = Filled::new(&app, 3_000).await;
    drive(&filled).await;
    let statements: BTreeSet<String> = statements::of(&filled.driver.fleet).into_iter().collect();
    assert!(statements.len() > 150, "{statements:#?}");
    let open = || statements.iter().filter(|sql| !is_in(ALLOWED, sql));
    // SQLite has no statistics at first.
    let mut faults = explain::faults(&app.app.db, open()).await;
    analyze(&app).await;
    faults.extend(explain::faults(&app.app.db, open()).await);
    assert!(
        faults.is_empty(),
        "{} statements:\n{}",
        faults.len(),
        faults.into_iter().collect::<Vec<_>>().join("\n\n")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_statement_reads_a_table_that_grows_on_postgres() {
    let app = TestApp::on_postgres().await.in_real_time();
    let filled = Filled::new(&app, 30_000).await;
    drive(&filled).await;
    let (faults, statements) = observed::faults(&filled.driver.fleet.log(0), |sql| is_in(MAY_READ, sql));
    assert!(statements > 150, "{statements} statements");
    let report = faults.iter().map(|(sql, fault)| format!("{sql}\n{fault}"));
    let report: Vec<String> = report.collect();
    assert!(
        report.is_empty(),
        "{} statements:\n{}",
        report.len(),
        report.join("\n\n")
    );
}

impl Filled {
    /// A value of each filter that is no enumeration, and of each part of a path.
    fn value(&self, name: &str) -> Option<String> {
        let condition = &self.event["condition"];
        Some(match name {
            "eventId" | "events" => text(&self.event, "id").to_owned(),
            "userId" | "users" | "actor" | "target" => self.user.id.clone(),
            "rewards" => self.event["rewardIds"][0].as_str().expect("a reward").to_owned(),
            "webhook-endpoints" => self.endpoint.clone(),
            "releases" => self.release.clone(),
            "make-goods" => self.make_good.clone(),
            "plugin" | "name" => text(condition, "plugin").to_owned(),
            "version" => text(condition, "version").to_owned(),
            "from" => "2026-03-01T00:00:00Z".to_owned(),
            "to" => "2034-01-01T00:00:00Z".to_owned(),
            "at" => "2026-05-01T00:00:00Z".to_owned(),
            "email" => self.user.email.clone(),
            "externalId" | "externalUserId" => "customer-7".to_owned(),
            "kind" => "auth.login".to_owned(),
            "type" => "ITEM".to_owned(),
            "tag" => "spring".to_owned(),
            "action" => "POST%20/events".to_owned(),
            _ => return None,
        })
    }
}

async fn drive(filled: &Filled) {
    let driver = &filled.driver;
    // They read while everything else runs.
    let _streams = watch(filled).await;
    let granted = claim(filled).await;
    let reversal = format!("/reward-requests/{}/reversal", text(&granted, "id"));
    let reason = json!({"reason": "A mistake"});
    driver
        .call(Method::POST, &reversal, &filled.operator, Some(reason))
        .await;
    review(filled).await;
    codes(filled).await;
    let progress = format!("/events/{}/progress", text(&filled.event, "id"));
    driver.get(&progress, &filled.user.token).await;
    let past = "asOf=2026-02-01T00:00:00Z&knownBy=2026-03-01T00:00:00Z";
    let whose = format!("{progress}?userId={}&{past}", filled.user.id);
    driver.get(&whose, &filled.admin).await;
    simulate_the_past(filled).await;
    let acknowledgement = format!("/grants/{}/acknowledgement", text(&granted["grants"][0], "id"));
    let state = json!({"state": "DELIVERED"});
    driver
        .call(Method::POST, &acknowledgement, &filled.operator, Some(state))
        .await;

    let document = driver.get("/openapi.json", &filled.admin).await;
    let lists = lists::all(&document, |name| filled.value(name));
    let mut listed = 0;
    for list in &lists {
        let url = list.url(2, |name| {
            filled.value(name).unwrap_or_else(|| panic!("a value of {name}"))
        });
        let tokens = [&filled.admin, &filled.operator, &filled.user.token].map(String::as_str);
        listed += usize::from(driver.list(&url, tokens).await);
    }
    assert!(listed > 120, "{listed} of {} lists", lists.len());
    change(filled).await;
    mail(filled).await;
    erase(filled).await;
    // The relay delivers, and the counts of the metrics are read.
    tokio::time::sleep(Duration::from_secs(3)).await;
}

/// Facts of each kind, as of an instant and known by another.
async fn simulate_the_past(filled: &Filled) {
    let path = format!(
        "/plugins/{}/versions/{}/simulate",
        text(&filled.other["condition"], "plugin"),
        text(&filled.other["condition"], "version")
    );
    let body = json!({
        "params": filled.other["condition"]["params"], "userId": filled.user.id, "eventId": filled.event["id"],
        "asOf": "2026-02-01T00:00:00Z", "knownBy": "2026-03-01T00:00:00Z",
    });
    filled
        .driver
        .call(Method::POST, &path, &filled.operator, Some(body))
        .await;
}

/// Streams of one user: from now on, after an event, and of the progress.
async fn watch(filled: &Filled) -> Vec<reqwest::Response> {
    let driver = &filled.driver;
    let progress = format!("/events/{}/progress/stream", text(&filled.event, "id"));
    let mut streams: Vec<reqwest::Response> = Vec::new();
    let mut last = String::new();
    for path in ["/reward-requests/stream", "/reward-requests/stream", &progress] {
        let open = driver.http.get(format!("{}{path}", driver.fleet.address(0)));
        let open = open.bearer_auth(&filled.user.token).header("last-event-id", &last);
        let mut stream = open.send().await.expect("an answer");
        assert_eq!(stream.status(), 200, "{path}");
        let first = stream.chunk().await.expect("a piece").expect("the beginning");
        let first = String::from_utf8_lossy(&first).into_owned();
        let id = first.lines().find_map(|line| line.strip_prefix("id: "));
        last = id.filter(|_| streams.is_empty()).unwrap_or_default().to_owned();
        streams.push(stream);
    }
    streams
}

/// A mail for a reset and one for a confirmation, each used.
async fn mail(filled: &Filled) {
    let (driver, token) = (&filled.driver, &filled.user.token);
    let post = async |path: &str, body: Value| driver.call(Method::POST, path, token, Some(body)).await;
    let email = "confirms@example.com";
    post("/auth/register", json!({"email": email, "password": PASSWORD})).await;
    let confirmation = json!({"token": filled.mails.next().token()});
    post("/auth/email-confirmation", confirmation).await;
    post("/auth/login", json!({"email": email, "password": PASSWORD})).await;
    post("/auth/password-reset-mail", json!({"email": email})).await;
    let reset = json!({"token": filled.mails.next().token(), "newPassword": "staple a new battery"});
    post("/auth/password-reset", reset).await;
}

/// The user with much data is exported and erased.
async fn erase(filled: &Filled) {
    let (driver, path) = (&filled.driver, format!("/users/{}", filled.user.id));
    driver.get(&format!("{path}/export"), &filled.admin).await;
    driver.call(Method::DELETE, &path, &filled.admin, None).await;
    driver.get(&format!("{path}/erasure"), &filled.admin).await;
    let cancel = driver.http.delete(format!("{}{path}/erasure", driver.fleet.address(0)));
    cancel.bearer_auth(&filled.admin).send().await.expect("an answer");
}

/// A claim, another that is decided later, and others that are not granted. Returns the first.
async fn claim(filled: &Filled) -> Value {
    let driver = &filled.driver;
    let (event, other) = (text(&filled.event, "id"), text(&filled.other, "id"));
    let claim = async |event: &str| {
        let body = json!({"eventId": event});
        let token = &filled.user.token;
        driver.call(Method::POST, "/reward-requests", token, Some(body)).await
    };
    let granted = claim(event).await;
    claim(other).await;
    claim(other).await;
    let queued = driver.http.post(format!("{}/reward-requests", driver.fleet.address(0)));
    let queued = queued
        .bearer_auth(&filled.second.token)
        .header("prefer", "respond-async")
        .header("idempotency-key", "k");
    let queued = queued.json(&json!({"eventId": event})).send().await.expect("an answer");
    assert_eq!(queued.status(), 202);
    let queued: Value = queued.json().await.expect("a request");
    let path = format!("/reward-requests/{}", text(&queued, "id"));
    for _ in 0..400 {
        if driver.get(&path, &filled.second.token).await["status"] != "RECEIVED" {
            break;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    granted
}

/// Codes are imported and given, and one returns.
async fn codes(filled: &Filled) {
    let (driver, operator) = (&filled.driver, &filled.operator);
    let reward = json!({"type": "COUPON", "codes": true, "codesReturn": true, "codesLowWater": 2});
    let reward = driver.call(Method::POST, "/rewards", operator, Some(reward)).await;
    let path = format!("/rewards/{}/codes", text(&reward, "id"));
    let import = driver.http.post(format!("{}{path}", driver.fleet.address(0)));
    let import = import.bearer_auth(operator).header("content-type", "text/plain");
    let imported = import.body("A-1\nA-2\nA-3").send().await.expect("an answer");
    assert_eq!(imported.status(), 200);
    let group = Some(json!({"maxPerUser": 3}));
    let answer = driver
        .http
        .put(format!("{}/event-groups/plans", driver.fleet.address(0)));
    let answer = answer
        .bearer_auth(operator)
        .json(&group)
        .send()
        .await
        .expect("an answer");
    assert_eq!(answer.status(), 201);
    driver.call(Method::PUT, "/event-groups/plans", operator, group).await;
    driver.get("/event-groups/plans", operator).await;
    let event = event_input(&filled.event);
    let event = with(event, json!({"rewardIds": [reward["id"]], "group": "plans"}));
    let event = driver.call(Method::POST, "/events", operator, Some(event)).await;
    let claim = json!({"eventId": event["id"]});
    let mut granted = Value::Null;
    for user in [&filled.user, &filled.second] {
        let claim = Some(claim.clone());
        granted = driver.call(Method::POST, "/reward-requests", &user.token, claim).await;
        assert_eq!(
            granted["grants"][0]["codes"].as_array().map(Vec::len),
            Some(1),
            "{granted:#}"
        );
    }
    let reversal = format!("/reward-requests/{}/reversal", text(&granted, "id"));
    let reason = Some(json!({"reason": "A mistake"}));
    driver.call(Method::POST, &reversal, operator, reason).await;
    driver.get(&format!("{path}/export"), operator).await;
}

/// One held claim is approved, another denied.
async fn review(filled: &Filled) {
    let driver = &filled.driver;
    for (user, decision) in [(&filled.user, "approval"), (&filled.second, "denial")] {
        let body = json!({"eventId": text(&filled.reviewed, "id")});
        let held = driver
            .call(Method::POST, "/reward-requests", &user.token, Some(body.clone()))
            .await;
        let queued = driver.http.post(format!("{}/reward-requests", driver.fleet.address(0)));
        let queued = queued.bearer_auth(&user.token).header("prefer", "respond-async");
        assert_eq!(queued.json(&body).send().await.expect("an answer").status(), 409);
        let path = format!("/reward-requests/{}/{decision}", text(&held, "id"));
        let reason = json!({"reason": "Looked at it"});
        driver.call(Method::POST, &path, &filled.operator, Some(reason)).await;
    }
}

/// Changes by staff and by the account's owner.
async fn change(filled: &Filled) {
    let driver = &filled.driver;
    let (user, second) = (filled.user.id.as_str(), filled.second.id.as_str());
    let redrive = format!("/webhook-endpoints/{}/redrive", filled.endpoint);
    driver.call(Method::POST, &redrive, &filled.operator, None).await;
    let attributes = Some(json!({"level": "7"}));
    let path = format!("/users/{user}/attributes");
    driver.call(Method::PUT, &path, &filled.operator, attributes).await;
    for _ in 0..2 {
        let external = Some(json!({"attributes": {"level": "7"}}));
        let path = "/users/external/customer-7";
        driver.call(Method::PUT, path, &filled.admin, external).await;
        driver.get(path, &filled.admin).await;
        let batch: Vec<Value> = (5..9)
            .map(|number| json!({"externalId": format!("customer-{number}"), "attributes": {"level": number}}))
            .collect();
        let path = "/users/external";
        driver.call(Method::POST, path, &filled.admin, Some(json!(batch))).await;
        // Known to the process, and not.
        let activities: Vec<Value> = (5..11)
            .map(|number| {
                json!({
                    "source": "shop", "id": format!("external-{number}"), "kind": "shop.purchase",
                    "externalUserId": format!("customer-{number}"),
                })
            })
            .collect();
        let path = "/activities";
        driver
            .call(Method::POST, path, &filled.operator, Some(json!(activities)))
            .await;
    }
    driver.get("/users/external:customer-7", &filled.admin).await;
    let role = Some(json!({"role": "OPERATOR"}));
    let path = format!("/users/{second}");
    driver.call(Method::PATCH, &path, &filled.admin, role).await;
    let credentials = json!({"email": filled.user.email, "password": filled.user.password});
    let session = driver
        .call(Method::POST, "/auth/login", &filled.admin, Some(credentials))
        .await;
    let refresh = Some(json!({"refreshToken": session["refreshToken"]}));
    driver.call(Method::POST, "/auth/refresh", &filled.admin, refresh).await;
}
