//! The life of replicas: concurrent migrations, old releases on newer schemas, wrong clocks, and orderly shutdown.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use meed_host::db::{DEDICATED_CONNECTIONS, Db, Schema};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::{Server, meed, output, text};
use crate::support::postgres_url;

fn sqlite_url(directory: &Path) -> String {
    format!("sqlite:{}", directory.join("meed.db").display())
}

/// `meed` on this database.
fn meed_on(directory: &Path, url: &str) -> Command {
    let mut command = meed(directory);
    command.env("MEED__DATABASE__URL", url);
    command
}

#[track_caller]
fn run(command: &mut Command) -> String {
    let output = output(command);
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stdout)
}

#[track_caller]
fn refused(command: &mut Command) -> String {
    let output = output(command);
    assert!(!output.status.success(), "{}", text(&output.stdout));
    text(&output.stderr)
}

async fn open(url: &str) -> Db {
    Db::connect(url, 2).await.expect("open the database")
}

/// A server in a separate process, and the addresses of its API and its metrics.
pub struct Replica {
    server: Server,
    address: String,
    metrics: String,
    /// Its log until it served.
    told: String,
}

impl Replica {
    pub fn start(command: &mut Command) -> Self {
        let mut child = command
            .args(["serve", "--listen", "127.0.0.1:0"])
            .env("MEED__HTTP__ADMIN_LISTEN", "127.0.0.1:0")
            .stderr(Stdio::piped())
            .spawn()
            .expect("the server starts");
        let mut log = BufReader::new(child.stderr.take().expect("a pipe"))
            .lines()
            .map_while(Result::ok);
        let mut told = String::new();
        let mut address = |message: &str| {
            for line in &mut log {
                told = format!("{told}{line}\n");
                let line: Value = serde_json::from_str(&line).unwrap_or_default();
                if line["message"] == message {
                    return line["address"].as_str().expect("an address").to_owned();
                }
            }
            panic!("{message:?} was not logged, but: {told}")
        };
        let (metrics, address) = (address("admin listener started"), address("server started"));
        std::thread::spawn(move || for _ in log {});
        let server = Server {
            child,
            printed: String::new(),
        };
        Self {
            server,
            address,
            metrics,
            told,
        }
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.server.child), signal).expect("the server lives");
    }

    pub async fn end(mut self) -> ExitStatus {
        for _ in 0..600 {
            if let Some(status) = self.server.child.try_wait().expect("a child") {
                return status;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("it does not end");
    }

    pub async fn ask(&self, path: &str) -> String {
        self.begin(path).await.finish("").await
    }

    /// Sends a request without the end of its body.
    async fn begin(&self, request: &str) -> Asked {
        ask(&self.address, request).await
    }

    /// The response of `/tasks`.
    pub async fn tasks(&self) -> Vec<Value> {
        let answer = ask(&self.metrics, "/tasks").await.finish("").await;
        let (_, body) = answer.split_once("\r\n\r\n").expect("a body");
        let body: Value = serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {answer}"));
        body["tasks"].as_array().expect("a list").clone()
    }

    /// Waits until every task has run once; returns their names.
    pub async fn all_tasks_are_healthy(&self) -> Vec<String> {
        let started = Instant::now();
        loop {
            let tasks = self.tasks().await;
            let names = tasks
                .iter()
                .map(|task| task["name"].as_str().expect("a name").to_owned());
            // A task that waits for input has not run yet.
            let is_well =
                |task: &Value| task["health"] == "OK" || (task["periodSeconds"] == 0.0 && task["health"] == "STARTING");
            if tasks.iter().all(is_well) {
                return names.collect();
            }
            assert!(started.elapsed() < Duration::from_secs(30), "{tasks:#?}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    pub async fn metric(&self, name: &str) -> Option<f64> {
        let metrics = ask(&self.metrics, "/metrics").await.finish("").await;
        let line = metrics.lines().find(|line| line.starts_with(name))?;
        line.rsplit(' ').next()?.parse().ok()
    }
}

struct Asked(TcpStream);

async fn ask(address: &str, path: &str) -> Asked {
    let mut stream = TcpStream::connect(address).await.expect("it listens");
    let (method, length) = if path == "/auth/login" {
        ("POST", LOGIN.len())
    } else {
        ("GET", 0)
    };
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: meed\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.expect("the head is sent");
    Asked(stream)
}

const LOGIN: &str = r#"{"email": "nobody@example.com", "password": "not the right one"}"#;

impl Asked {
    /// Sends the rest, and reads the response until the server closes the connection or sends no more.
    async fn finish(mut self, rest: &str) -> String {
        self.0.write_all(rest.as_bytes()).await.expect("the rest is sent");
        let mut answer = Vec::new();
        let mut piece = [0; 4096];
        while !text(&answer).contains("\r\n\r\n") {
            let length = self.0.read(&mut piece).await.expect("an answer");
            if length == 0 {
                break;
            }
            answer.extend(&piece[..length]);
        }
        // The rest of a longer answer.
        while let Ok(Ok(length @ 1..)) = tokio::time::timeout(Duration::from_millis(200), self.0.read(&mut piece)).await
        {
            answer.extend(&piece[..length]);
        }
        text(&answer)
    }
}

/// Creates the tables and the keys.
fn prepare(directory: &Path, url: &str) {
    run(meed_on(directory, url).arg("migrate"));
    run(meed_on(directory, url).args(["keys", "generate"]));
}

async fn migrate_at_once(directory: &Path, url: &str) {
    let children: Vec<_> = (0..4)
        .map(|_| {
            let mut command = meed_on(directory, url);
            command.arg("migrate").stdout(Stdio::piped()).stderr(Stdio::piped());
            command.spawn().expect("the command starts")
        })
        .collect();
    for child in children {
        let output = child.wait_with_output().expect("the command ends");
        assert!(output.status.success(), "{}", text(&output.stderr));
        assert_eq!(text(&output.stdout), "The database is up to date.\n");
    }
    let db = open(url).await;
    assert_eq!(db.schema().await.expect("the tables"), Schema::Current);
    db.close().await;
}

#[tokio::test]
async fn four_processes_can_migrate_one_sqlite_database_concurrently() {
    for _ in 0..3 {
        let directory = TempDir::new().expect("a directory");
        migrate_at_once(directory.path(), &sqlite_url(directory.path())).await;
    }
}

#[tokio::test]
async fn four_processes_can_migrate_one_postgres_database_concurrently() {
    let directory = TempDir::new().expect("a directory");
    for _ in 0..2 {
        migrate_at_once(directory.path(), &postgres_url().await).await;
    }
}

/// The record of a migration of a later release.
async fn add_migration(url: &str, version: i64, name: &str) {
    const SQL: &str = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
        VALUES ($1, $2, TRUE, $3, 0)";
    let db = open(url).await;
    let mut tx = db.begin().await.expect("a transaction");
    let insert = tx.query(SQL).bind(version).bind(name.to_owned()).bind(vec![0_u8]);
    insert.execute(&mut tx).await.expect("a migration");
    tx.commit().await.expect("a commit");
    db.close().await;
}

async fn meet_a_later_release(directory: &Path, url: &str) {
    prepare(directory, url);
    add_migration(url, 9_998, "9998_more").await;
    assert_eq!(
        run(meed_on(directory, url).arg("migrate")),
        "The database is up to date; a later release migrated it further.\n"
    );
    let replica = Replica::start(&mut meed_on(directory, url));
    assert!(replica.ask("/readyz").await.starts_with("HTTP/1.1 200 "));

    add_migration(url, 9_999, "9999_drop_what_was_needs_9998").await;
    for arguments in [&["migrate"][..], &["serve"], &["user", "create", "ada@example.com"]] {
        let error = refused(meed_on(directory, url).args(arguments));
        assert!(error.contains("removed what this one needs"), "{error}");
    }
    // The readiness is cached for one second.
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    let answer = replica.ask("/readyz").await;
    assert!(
        answer.starts_with("HTTP/1.1 503 ") && answer.contains("removed"),
        "{answer}"
    );
}

#[tokio::test]
async fn an_old_release_accepts_added_but_not_removed_parts_on_sqlite() {
    let directory = TempDir::new().expect("a directory");
    meet_a_later_release(directory.path(), &sqlite_url(directory.path())).await;
}

#[tokio::test]
async fn an_old_release_accepts_added_but_not_removed_parts_on_postgres() {
    let directory = TempDir::new().expect("a directory");
    meet_a_later_release(directory.path(), &postgres_url().await).await;
}

/// The migrations from before the first release, whose numbers other files now have.
const OLD_NUMBERING: [&str; 12] = [
    "0001_users",
    "0002_activities",
    "0003_plugins",
    "0004_events",
    "0005_reward_requests",
    "0006_plugin_lifecycle",
    "0007_reversals_and_budgets",
    "0008_outbox",
    "0009_webhooks",
    "0010_outbox_topics",
    "0011_fulfilments",
    "0012_received_claims",
];

async fn meet_the_old_numbering(directory: &Path, url: &str) {
    prepare(directory, url);
    let db = open(url).await;
    let mut tx = db.begin().await.expect("a transaction");
    let forget = tx.query("DELETE FROM _sqlx_migrations");
    forget.execute(&mut tx).await.expect("no migrations");
    tx.commit().await.expect("a commit");
    db.close().await;
    for (version, name) in (1..).zip(OLD_NUMBERING) {
        add_migration(url, version, name).await;
    }
    let other = sqlite_url(&directory.join("other"));
    for arguments in [
        &["migrate"][..],
        &["serve"],
        &["serve", "--migrate"],
        &["user", "create", "ada@example.com"],
        &["db", "copy", "--from", url, "--to", &other],
    ] {
        let error = refused(meed_on(directory, url).args(arguments));
        assert!(
            error.contains("made by an unreleased version of Meed"),
            "{arguments:?}: {error}"
        );
    }
}

#[tokio::test]
async fn an_sqlite_database_of_the_old_numbering_is_refused() {
    let directory = TempDir::new().expect("a directory");
    meet_the_old_numbering(directory.path(), &sqlite_url(directory.path())).await;
}

#[tokio::test]
async fn a_postgres_database_of_the_old_numbering_is_refused() {
    let directory = TempDir::new().expect("a directory");
    meet_the_old_numbering(directory.path(), &postgres_url().await).await;
}

/// Sets the database's clock wrong, for queries that call the clock function without its schema.
async fn set_clock_ahead(url: &str, seconds: i32) {
    let admin = sqlx::PgPool::connect(url).await.expect("connect to PostgreSQL");
    let name = url.rsplit('/').next().expect("a name");
    for sql in [
        "CREATE SCHEMA IF NOT EXISTS wrong".to_owned(),
        format!(
            "CREATE OR REPLACE FUNCTION wrong.clock_timestamp() RETURNS TIMESTAMPTZ LANGUAGE SQL AS \
             'SELECT pg_catalog.clock_timestamp() + INTERVAL ''{seconds} seconds'''"
        ),
        format!("ALTER DATABASE {name} SET search_path = public, wrong, pg_catalog"),
    ] {
        sqlx::raw_sql(sqlx::AssertSqlSafe(sql))
            .execute(&admin)
            .await
            .expect("the clock is set");
    }
    admin.close().await;
}

#[tokio::test]
async fn a_replica_with_a_wrong_clock_is_not_ready_until_it_is_corrected() {
    let directory = TempDir::new().expect("a directory");
    let url = postgres_url().await;
    prepare(directory.path(), &url);
    set_clock_ahead(&url, 5).await;
    let replica = Replica::start(&mut meed_on(directory.path(), &url));
    let answer = replica.ask("/readyz").await;
    assert!(
        answer.starts_with("HTTP/1.1 503 ") && answer.contains("ms behind the database's"),
        "{answer}"
    );
    let skew = replica.metric("meed_clock_skew_seconds").await.expect("the gauge");
    assert!((-6.0..-4.0).contains(&skew), "{skew}");

    set_clock_ahead(&url, 0).await;
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    let answer = replica.ask("/readyz").await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert_eq!(replica.metric("meed_requests_in_flight").await, Some(0.0));
}

#[tokio::test]
async fn a_stopping_replica_drains_and_finishes_running_requests() {
    let directory = TempDir::new().expect("a directory");
    let url = sqlite_url(directory.path());
    prepare(directory.path(), &url);
    let mut command = meed_on(directory.path(), &url);
    let replica = Replica::start(command.env("MEED__HTTP__DRAIN_SECONDS", "3"));
    assert!(replica.ask("/readyz").await.starts_with("HTTP/1.1 200 "));
    let running = replica.begin("/auth/login").await;
    let told = Instant::now();
    replica.signal(Signal::TERM);

    let not_ready = async { while !replica.ask("/readyz").await.starts_with("HTTP/1.1 503 ") {} };
    tokio::time::timeout(Duration::from_secs(2), not_ready)
        .await
        .expect("not ready at once");
    // It still serves clients that have not noticed, and closes their connections after the response.
    let answer = replica.ask("/.well-known/jwks.json").await;
    assert!(
        answer.starts_with("HTTP/1.1 200 ") && answer.contains("\r\nconnection: close\r\n"),
        "{answer}"
    );
    // After the drain it accepts no connections.
    while TcpStream::connect(&replica.address).await.is_ok() {
        assert!(told.elapsed() < Duration::from_secs(15), "it still accepts");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(told.elapsed() >= Duration::from_secs(3), "{:?}", told.elapsed());
    // Earlier requests are answered.
    let answer = running.finish(LOGIN).await;
    assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
    assert_eq!(replica.end().await.code(), Some(0));
}

#[tokio::test]
async fn a_second_signal_ends_a_replica_immediately() {
    let directory = TempDir::new().expect("a directory");
    let url = sqlite_url(directory.path());
    prepare(directory.path(), &url);
    let mut command = meed_on(directory.path(), &url);
    let replica = Replica::start(command.env("MEED__HTTP__DRAIN_SECONDS", "600"));
    let _running = replica.begin("/auth/login").await;
    replica.signal(Signal::TERM);
    while !replica.ask("/readyz").await.starts_with("HTTP/1.1 503 ") {}
    replica.signal(Signal::TERM);
    assert_eq!(replica.end().await.code(), Some(0));
}

#[tokio::test]
async fn a_process_warns_if_its_pool_exceeds_the_servers_connections() {
    const WARNING: &str = "this process may open more connections than the database allows to all processes";
    let directory = TempDir::new().expect("a directory");
    let url = postgres_url().await;
    prepare(directory.path(), &url);
    let db = open(&url).await;
    let allowed = db.connections_allowed().await.expect("a number").expect("PostgreSQL");
    db.close().await;
    let allowed = u32::try_from(allowed).expect("a number") - DEDICATED_CONNECTIONS;
    for (pool, is_warned) in [(allowed, false), (allowed + 1, true)] {
        let mut command = meed_on(directory.path(), &url);
        let replica = Replica::start(command.env("MEED__DATABASE__MAX_CONNECTIONS", pool.to_string()));
        assert_eq!(replica.told.contains(WARNING), is_warned, "{pool}: {}", replica.told);
    }
}

#[tokio::test]
async fn every_background_task_is_listed_with_its_health() {
    let directory = TempDir::new().expect("a directory");
    let url = sqlite_url(directory.path());
    prepare(directory.path(), &url);
    let replica = Replica::start(&mut meed_on(directory.path(), &url));
    let mut names = replica.all_tasks_are_healthy().await;
    names.sort_unstable();
    assert_eq!(
        names,
        [
            "activity-compaction",
            "audit-sweep",
            "audit-writer",
            "backtest-sweep",
            "backtest-worker",
            "claim-worker",
            "database-statistics",
            "fact-builder",
            "fact-sample",
            "health-check",
            "invalidation-listener",
            "make-good-worker",
            "metrics-upkeep",
            "outbox-sweep",
            "pending-claim-count",
            "plugin-usage-writer",
            "release-count",
            "releases",
            "retention",
            "review-expiry",
            "reward-code-count",
            "stored-response-sweep",
            "stream-activities",
            "stream-passes",
            "stream-reader",
            "transparency-log",
            "trial-sweep",
            "trial-writer",
            "user-erasure",
            "webhook-delivery-count",
            "webhook-relay",
        ]
    );
    for task in replica.tasks().await {
        assert!(
            task["description"].as_str().is_some_and(|text| !text.is_empty()) && task["lastStart"].is_string(),
            "{task:#}"
        );
    }
    let sweep = replica
        .tasks()
        .await
        .into_iter()
        .find(|task| task["name"] == "outbox-sweep");
    let sweep = sweep.expect("the sweep");
    assert_eq!(
        (&sweep["state"], &sweep["iterations"], &sweep["stage"]),
        (&"IDLE".into(), &1.into(), &"UPKEEP".into())
    );
    assert!(sweep["nextDue"].is_string(), "{sweep:#}");
    for name in ["claim-worker", "webhook-relay"] {
        let healthy = replica.metric(&format!("meed_task_healthy{{task=\"{name}\"}}")).await;
        assert_eq!(healthy, Some(1.0), "{name}");
    }
}

#[tokio::test]
async fn a_process_without_a_relay_has_no_relay_tasks() {
    let directory = TempDir::new().expect("a directory");
    let url = sqlite_url(directory.path());
    prepare(directory.path(), &url);
    let mut command = meed_on(directory.path(), &url);
    let replica = Replica::start(command.env("MEED__OUTBOX__RELAY", "false"));
    let names = replica.all_tasks_are_healthy().await;
    assert!(names.iter().any(|name| name == "claim-worker"), "{names:?}");
    assert!(
        !names
            .iter()
            .any(|name| name.contains("webhook") || name.contains("outbox")),
        "{names:?}"
    );
}
