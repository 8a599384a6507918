//! The world of the demo: what its accounts find, that it is created once, and only in an empty database.

use std::path::{Path, PathBuf};
use std::time::Duration;

use meed_host::clock::{Clock, Timestamp};
use reqwest::{Client, Method};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{Server, demo_with, meed, output, text as utf8};
use crate::guests::{Condition, Manifest};
use crate::support::{each, guest, postgres_url, text};

/// A demo that runs, and a client for it.
struct Running {
    server: Server,
    http: Client,
    api: String,
}

impl Running {
    async fn start(directory: &Path, database: Option<&str>) -> Self {
        let (directory, database) = (directory.to_owned(), database.map(str::to_owned));
        let start = move || {
            let settings: Vec<_> = database
                .iter()
                .map(|url| ("MEED__DATABASE__URL", url.as_str()))
                .collect();
            demo_with(&directory, &settings)
        };
        let server = tokio::task::spawn_blocking(start).await.expect("the demo starts");
        let api = printed(&server, "API");
        let http = Client::builder().no_proxy().build().expect("a client");
        Self { server, http, api }
    }

    async fn ask(&self, method: Method, token: &str, path: &str, body: Option<&Value>) -> (u16, Value) {
        let mut request = self
            .http
            .request(method, format!("{}{path}", self.api))
            .bearer_auth(token);
        if let Some(body) = body {
            request = request.json(body);
        }
        let response = request.send().await.expect("a response");
        (response.status().as_u16(), response.json().await.expect("JSON"))
    }

    /// Logs in with the password that the demo printed for this e-mail.
    async fn log_in(&self, email: &str) -> String {
        let body = json!({"email": email, "password": printed(&self.server, email)});
        let request = self.http.post(format!("{}/auth/login", self.api)).json(&body);
        let tokens: Value = request.send().await.expect("a response").json().await.expect("JSON");
        text(&tokens, "accessToken").to_owned()
    }

    async fn read(&self, token: &str, path: &str) -> Value {
        let (status, body) = self.ask(Method::GET, token, path, None).await;
        assert_eq!(status, 200, "{path}: {body:#}");
        body
    }

    /// All pages of a list.
    async fn list(&self, token: &str, path: &str) -> Vec<Value> {
        let separator = if path.contains('?') { '&' } else { '?' };
        let first = format!("{path}{separator}pageSize=100");
        let (mut items, mut next) = (Vec::new(), String::new());
        loop {
            let mut page = self.read(token, &format!("{first}{next}")).await;
            items.append(page["items"].as_array_mut().expect("a list"));
            match page["nextPageToken"].as_str() {
                Some(token) => next = format!("&pageToken={token}"),
                None => return items,
            }
        }
    }

    /// What must not change at the next start.
    async fn world(&self) -> Value {
        let admin = self.log_in("admin@meed.example").await;
        let mut world = json!({});
        for path in [
            "/users",
            "/events",
            "/rewards",
            "/reward-requests",
            "/releases",
            "/backtests",
            "/service-keys",
        ] {
            world[path] = self.list(&admin, path).await.into();
        }
        for endpoint in self.list(&admin, "/webhook-endpoints").await {
            let path = format!("/webhook-endpoints/{}/deliveries", text(&endpoint, "id"));
            world[&path] = self.list(&admin, &path).await.into();
        }
        let customer = self.read(&admin, "/users/external/customer-1009").await;
        let path = format!("/users/{}/activities", text(&customer, "id"));
        world["activities"] = self.list(&admin, &path).await.into();
        world
    }

    async fn stop(self) {
        let stopped = tokio::task::spawn_blocking(move || self.server.stop()).await;
        assert!(stopped.expect("it stops"), "it ends in order");
    }
}

/// The last word of the line that the demo printed about this.
fn printed(server: &Server, what: &str) -> String {
    let line = server
        .printed
        .lines()
        .find(|line| line.split_whitespace().any(|word| word == what));
    let line = line.unwrap_or_else(|| panic!("nothing about {what:?} in {}", server.printed));
    line.split_whitespace().last().expect("a word").to_owned()
}

#[track_caller]
fn instant(object: &Value, member: &str) -> Timestamp {
    text(object, member).parse().expect("an instant")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_accounts_of_the_demo_find_a_filled_world() {
    let directory = TempDir::new().expect("a directory");
    check_world(directory.path(), None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_accounts_of_the_demo_find_the_same_on_postgres() {
    let directory = TempDir::new().expect("a directory");
    check_world(directory.path(), Some(&postgres_url().await)).await;
}

async fn check_world(directory: &Path, database: Option<&str>) {
    let demo = Running::start(directory, database).await;
    let (_, addresses) = demo.server.printed.split_once("Meed is up.").expect("a greeting");
    let first = addresses.split_whitespace().next();
    assert_eq!(first, Some("console"), "the console comes first: {addresses}");
    let page = demo
        .http
        .get(printed(&demo.server, "console"))
        .send()
        .await
        .expect("a response");
    assert!(page.status().is_success());

    check_events(&demo).await;
    check_claims(&demo).await;
    check_incidents(&demo).await;

    let before = demo.world().await;
    demo.stop().await;
    let demo = Running::start(directory, database).await;
    assert_eq!(demo.world().await, before, "a second start adds nothing");

    check_release(&demo).await;
    demo.stop().await;
}

async fn check_events(demo: &Running) {
    let operator = demo.log_in("operator@meed.example").await;
    let now = Clock::System.now();
    let mut kinds: Vec<_> = demo
        .list(&operator, "/events")
        .await
        .iter()
        .map(|event| match event["isActive"].as_bool() {
            Some(false) => "draft",
            _ if instant(event, "startDate") > now => "scheduled",
            _ if instant(event, "endDate") <= now => "over",
            _ => "live",
        })
        .collect();
    kinds.sort_unstable();
    let (live, others): (Vec<_>, Vec<_>) = kinds.into_iter().partition(|kind| *kind == "live");
    assert_eq!((live.len(), others), (6, vec!["draft", "over", "scheduled"]));

    let admin = demo.log_in("admin@meed.example").await;
    assert_eq!(demo.list(&admin, "/users").await.len(), 45);
    let roles = demo.list(&admin, "/users?role=OPERATOR").await;
    assert_eq!(roles.len(), 2, "an operator and an approver");
}

async fn check_claims(demo: &Running) {
    let auditor = demo.log_in("auditor@meed.example").await;
    let claims = demo.list(&auditor, "/reward-requests").await;
    let granted = claims.iter().filter(|claim| claim["status"] == "GRANTED").count();
    assert!((40..claims.len()).contains(&granted), "{granted} of {}", claims.len());
    let codes: Vec<_> = claims
        .iter()
        .flat_map(|claim| each(&claim["reasons"], "code"))
        .collect();
    for code in [
        "streak-too-short",
        "too-few-activities",
        "event-not-started",
        "event-ended",
        "sold-out",
        "condition-failed",
        "plugin-quarantined",
    ] {
        assert!(codes.contains(&code), "{code} is not in {codes:?}");
    }
    // Both ends of the history.
    let days_ago = |days: u64| Clock::System.now().minus(Duration::from_hours(24 * days));
    for period in [format!("to={}", days_ago(25)), format!("from={}", days_ago(1))] {
        let some = demo.list(&auditor, &format!("/reward-requests?{period}")).await;
        assert!(!some.is_empty(), "{period}");
    }
    let granted = claims
        .iter()
        .find(|claim| claim["status"] == "GRANTED")
        .expect("a grant");
    let path = format!("/reward-requests/{}/receipt", text(granted, "id"));
    assert!(demo.read(&auditor, &path).await["receipt"].is_object());
    assert!(demo.list(&auditor, "/audit").await.len() > 20);
}

async fn check_incidents(demo: &Running) {
    let operator = demo.log_in("operator@meed.example").await;
    let plugin = demo.read(&operator, "/plugins/speed-run/versions/0.9.0").await;
    assert_eq!(plugin["state"], "QUARANTINED");
    let history = demo.read(&operator, "/plugins/speed-run/versions/0.9.0/history").await;
    let detail = "20 of 20 runs failed within 300 s, for at least 5 users; the last failure was trap";
    assert_eq!(text(&history["items"][0], "detail"), detail);

    let endpoints = demo.list(&operator, "/webhook-endpoints").await;
    assert_eq!(each(&json!(endpoints), "name"), ["shop"]);
    let path = format!("/webhook-endpoints/{}/deliveries?status=", text(&endpoints[0], "id"));
    let parked = demo.list(&operator, &format!("{path}PARKED")).await;
    assert_eq!(parked.len(), 1);
    assert_eq!(
        (&parked[0]["attempts"], &parked[0]["lastAttempt"]["status"]),
        (&json!(3), &json!(503))
    );
    assert_eq!(demo.list(&operator, &format!("{path}DELIVERED")).await.len(), 7);
}

/// The release waits with its evidence for another person than its author, who approves it.
async fn check_release(demo: &Running) {
    let operator = demo.log_in("operator@meed.example").await;
    let releases = demo.list(&operator, "/releases?state=REVIEW").await;
    assert_eq!(releases.len(), 1);
    let release = &releases[0];
    let backtest = format!("/backtests/{}", text(release, "backtestId"));
    let backtest_now = demo.read(&operator, &backtest).await;
    assert_eq!(backtest_now["state"], "DONE");
    let users = backtest_now["progress"]["users"].as_u64();
    assert!(users >= Some(40), "{users:?}");
    demo.read(&operator, &format!("{backtest}/report")).await;
    let path = format!("/releases/{}", text(release, "id"));
    let entries = demo.list(&operator, &format!("{path}/entries")).await;
    assert_eq!(each(&json!(entries), "action"), ["COMMENTED", "CREATED"]);

    let (approval, body) = (format!("{path}/approval"), json!({"hash": release["hash"]}));
    let (status, problem) = demo.ask(Method::POST, &operator, &approval, Some(&body)).await;
    assert_eq!((status, text(&problem, "code")), (403, "second-person-required"));
    let approver = demo.log_in("approver@meed.example").await;
    let (status, approved) = demo.ask(Method::POST, &approver, &approval, Some(&body)).await;
    assert_eq!((status, &approved["state"]), (200, &json!("APPROVED")));
}

#[test]
fn a_demo_needs_a_database_without_accounts() {
    let directory = TempDir::new().expect("a directory");
    let run = |arguments: &[&str]| output(meed(directory.path()).args(arguments));
    for arguments in [
        &["migrate"][..],
        &["keys", "generate"],
        &["user", "create", "root@example.com"],
    ] {
        assert!(run(arguments).status.success(), "{arguments:?}");
    }
    let plugins = std::env::var("MEED_TEST_PLUGINS").expect("cargo xtask test sets it");
    let refused = run(&["demo", "--listen", "127.0.0.1:0", "--plugins", &plugins]);
    let message = utf8(&refused.stderr);
    assert!(!refused.status.success());
    assert!(message.contains("names a database with accounts"), "{message}");
    // Its database and its keys are still good for production: only the missing account is new.
    let taken = run(&["user", "create", "operator@meed.example"]);
    assert!(taken.status.success(), "{}", utf8(&taken.stderr));
    assert!(!directory.path().join("data/keys/MADE-FOR-A-DEMO").exists());
}

#[test]
fn the_faulty_plugin_is_what_its_text_makes() {
    let faulty = Condition {
        manifest: Manifest {
            name: "speed-run".to_owned(),
            version: "0.9.0".to_owned(),
            title: "Speed run".to_owned(),
            description: "Reach the finish in time. This version has a fault: every decision ends in a trap."
                .to_owned(),
            ..guest("speed-run").manifest
        },
        evaluate: "(unreachable)",
        ..guest("speed-run")
    };
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/demo/faulty.wasm");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&file, faulty.module()).expect("the file is written");
    }
    assert!(
        std::fs::read(&file).expect("the file is there") == faulty.module(),
        "faulty.wasm is not the plugin of this test; UPDATE_DOCS=1 writes it again"
    );
}
