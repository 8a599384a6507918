//! A filled database and the server on it.

use std::collections::HashMap;
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use meed_host::app::App;
use meed_host::auth::Role;
use meed_host::clock::Clock;
use meed_host::db::{Db, Engine};
use meed_host::plugins::Uploaded;
use meed_host::users::User;
use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;
use uuid::Uuid;

use crate::fleet::{self, Fleet};
use crate::lists::{self, List};
use crate::receiver::Receiver;
use crate::rows::Rows;

const YEAR: Duration = Duration::from_hours(24 * 365);

/// How long a server may take to start its tasks.
const PATIENCE: Duration = Duration::from_mins(1);

/// Tasks that go over old rows when a server starts.
const SWEEPS: [&str; 4] = ["stored-response-sweep", "outbox-sweep", "audit-sweep", "retention"];

pub(crate) struct Site {
    size: u64,
    now: u64,
    fleet: Fleet,
    admin_address: String,
    pub app: App,
    client: reqwest::Client,
    pub admin: String,
    pub operator: String,
    /// A filled user, who reads lists.
    reader: String,
    /// By path, which of the tokens may read the list.
    readers: Mutex<HashMap<String, usize>>,
    pub fixtures: Fixtures,
    /// The last filled user who acted.
    user: u64,
    _directory: TempDir,
}

/// What the rows and the operations refer to.
#[derive(Clone)]
pub(crate) struct Fixtures {
    pub event: String,
    pub rejecting: String,
    release: String,
    reward: String,
    pub staff: String,
    email: String,
    endpoint: String,
}

impl Site {
    pub(crate) async fn build(engine: &str, size: u64, receiver: &Receiver) -> anyhow::Result<Self> {
        let directory = tempfile::tempdir()?;
        let database = match engine {
            "postgres" => create_database(&format!("fill_{size}"))?,
            "sqlite" => format!("sqlite:{}", directory.path().join("meed.db").display()),
            other => bail!("ENGINES names {other}; it may name postgres and sqlite"),
        };
        let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let admin_address = format!("127.0.0.1:{port}");
        let settings = [
            ("webhooks.private_networks", "127.0.0.0/8".to_owned()),
            ("audit.retention_days", "3650".to_owned()),
            ("http.admin_listen", admin_address.clone()),
        ];
        let fleet = Fleet::start_with(&database, 1, &settings)?;
        let app = fleet.app().await?;
        let create = |name, role| meed::user::create(&app.users, name, "a long password".into(), role);
        let admin = create("admin@example.com", Role::Admin).await?;
        let operator = create("operator@example.com", Role::Operator).await?;
        let token = app.logins.open_session(operator.id, None).await?.access_token;
        let fixtures = Fixtures::create(&fleet, &app, &token, &operator, receiver).await?;
        // Nothing else may write meanwhile, and the next server starts with a filled database.
        drop(fleet);
        let now = u64::try_from(Clock::System.now().as_millis())?;
        fill(&app.db, &database, &fixtures.rows(engine, size, now)).await?;
        drop(app);
        let fleet = Fleet::start_with(&database, 1, &settings)?;
        let app = fleet.app().await?;
        let reader = fixtures.rows(engine, size, now).id_of(2).parse()?;
        let site = Self {
            size,
            now,
            admin: app.logins.open_session(admin.id, None).await?.access_token,
            operator: app.logins.open_session(operator.id, None).await?.access_token,
            reader: app.logins.open_session(reader, None).await?.access_token,
            readers: Mutex::default(),
            fleet,
            admin_address,
            app,
            client: reqwest::Client::builder().no_proxy().build()?,
            fixtures,
            user: 2,
            _directory: directory,
        };
        site.wait_for_sweeps().await?;
        Ok(site)
    }

    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// The number of messages that a sweep looks at.
    pub(crate) fn old_messages(&self) -> u64 {
        self.size * 23 / 30
    }

    /// The id and a token of a filled user who has no grant and did nothing yet.
    pub(crate) async fn next_user(&mut self) -> anyhow::Result<(String, String)> {
        self.user += 1;
        // Others have a grant or a failed request, or are staff.
        while self.user % 5 < 2 || self.user % 1000 == 7 {
            self.user += 1;
        }
        ensure!(
            self.user < self.size,
            "{} users are too few for so many rounds",
            self.size
        );
        let rows = self.fixtures.rows("", self.size, self.now);
        let id: Uuid = rows.id_of(self.user).parse()?;
        let token = self.app.logins.open_session(id, None).await?.access_token;
        Ok((id.to_string(), token))
    }

    /// The status and the body of the answer.
    pub(crate) async fn call(
        &self,
        method: Method,
        path: &str,
        token: &str,
        body: Option<&Value>,
    ) -> anyhow::Result<(u16, Value)> {
        let call = self
            .client
            .request(method, format!("http://{}{path}", self.fleet.first()[0]));
        let call = call.bearer_auth(token).header("if-match", "*");
        let call = match body {
            Some(body) => call.json(body),
            None => call,
        };
        let reply = call.send().await?;
        let status = reply.status().as_u16();
        let text = reply.text().await?;
        Ok((status, serde_json::from_str(&text).unwrap_or_default()))
    }

    /// The body of a successful answer.
    pub(crate) async fn expect(
        &self,
        method: Method,
        path: &str,
        token: &str,
        body: Option<&Value>,
    ) -> anyhow::Result<Value> {
        let (status, body) = self.call(method, path, token, body).await?;
        ensure!((200..300).contains(&status), "{path}: {status} {body:#}");
        Ok(body)
    }

    /// The answer to a claim that is to be decided later.
    pub(crate) async fn pending_claim(&self, token: &str, event: &str) -> anyhow::Result<Value> {
        let call = self
            .client
            .post(format!("http://{}/reward-requests", self.fleet.first()[0]));
        let call = call.bearer_auth(token).header("prefer", "respond-async");
        let reply = call.json(&json!({"eventId": event})).send().await?;
        let status = reply.status();
        let body: Value = reply.json().await?;
        ensure!(status.as_u16() == 202, "{status} {body:#}");
        Ok(body)
    }

    /// The lists that the server accepts, each with the query that is measured.
    pub(crate) async fn lists(&self) -> anyhow::Result<Vec<List>> {
        let document = self.expect(Method::GET, "/openapi.json", &self.admin, None).await?;
        let mut accepted = Vec::new();
        for list in lists::all(&document, |name| self.fixtures.value(name)) {
            let (status, body) = self.list(&list).await?;
            match status {
                200 => accepted.push(list),
                // Some combinations of filters are refused.
                422 => {}
                status => bail!("{}: {status} {body:#}", list.path),
            }
        }
        Ok(accepted)
    }

    /// Two pages, for the first of the accounts that may read the list.
    pub(crate) async fn list(&self, list: &List) -> anyhow::Result<(u16, Value)> {
        let value = |name: &str| self.fixtures.value(name).unwrap_or_else(|| name.to_owned());
        let path = list.url(50, value);
        let tokens = [&self.operator, &self.admin, &self.reader];
        let known = self
            .readers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&list.path)
            .copied();
        for (number, token) in tokens.into_iter().enumerate().skip(known.unwrap_or(0)) {
            let (status, page) = self.call(Method::GET, &path, token, None).await?;
            if status == 403 {
                continue;
            }
            self.readers
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .insert(list.path.clone(), number);
            let Some(next) = page["nextPageToken"].as_str() else {
                return Ok((status, page));
            };
            let next = format!("{path}&pageToken={next}");
            return self.call(Method::GET, &next, token, None).await;
        }
        bail!("{path}: no role may read it")
    }

    /// How long the latest run of each background task took.
    pub(crate) async fn tasks(&self) -> anyhow::Result<Vec<(String, Duration)>> {
        let status = self.client.get(format!("http://{}/tasks", self.admin_address));
        let status: Value = status.send().await?.json().await?;
        let tasks = status["tasks"].as_array().context("tasks")?.iter();
        Ok(tasks
            .filter_map(|task| {
                let took = Duration::from_secs_f64(task["lastDurationSeconds"].as_f64()?);
                Some((task["name"].as_str()?.to_owned(), took))
            })
            .collect())
    }

    async fn wait_for_sweeps(&self) -> anyhow::Result<()> {
        let started = Instant::now();
        loop {
            // The listener starts a moment after the other one.
            let ended = match self.tasks().await {
                Ok(ended) => ended,
                Err(error) if started.elapsed() > PATIENCE => return Err(error),
                Err(_) => Vec::new(),
            };
            let has_ended = |name: &&str| ended.iter().any(|(task, _)| task == name);
            if SWEEPS.iter().all(has_ended) {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
}

impl Fixtures {
    async fn create(
        fleet: &Fleet,
        app: &App,
        token: &str,
        operator: &User,
        receiver: &Receiver,
    ) -> anyhow::Result<Self> {
        let (first_come, streak) = (install(app, "first-come").await?, install(app, "login-streak").await?);
        let client = reqwest::Client::builder().no_proxy().build()?;
        let api = format!("http://{}", fleet.first()[0]);
        let post = async |path: &str, body: Value| {
            let reply = client
                .post(format!("{api}{path}"))
                .bearer_auth(token)
                .json(&body)
                .send()
                .await?;
            let status = reply.status();
            let body: Value = reply.json().await?;
            ensure!(status.is_success(), "{path}: {status} {body:#}");
            Ok(body["id"].as_str().context("an id")?.to_owned())
        };
        let reward = post(
            "/rewards",
            json!({"type": "POINT", "value": 10, "stock": 1_000_000_000}),
        )
        .await?;
        let now = Clock::System.now();
        let event = |plugin: &str, params: Value| {
            json!({
                "title": "An event", "startDate": now.minus(YEAR), "endDate": now.plus(YEAR), "timeZone": "UTC",
                "condition": {"plugin": plugin, "version": "1.0.0", "params": params}, "rewardIds": [reward],
            })
        };
        let rejecting = post("/events", event(&streak, json!({"days": 200}))).await?;
        let release = json!({
            "eventId": rejecting, "eventRevision": 1, "title": "Fewer days",
            "condition": {"plugin": streak, "version": "1.0.0", "params": {"days": 100}},
        });
        Ok(Self {
            release: post("/releases", release).await?,
            event: post("/events", event(&first_come, json!({}))).await?,
            rejecting,
            endpoint: post("/webhook-endpoints", json!({"url": receiver.url()})).await?,
            staff: operator.id.to_string(),
            email: operator.email.clone().unwrap_or_default(),
            reward,
        })
    }

    fn rows(&self, engine: &str, count: u64, now: u64) -> Rows<'_> {
        Rows {
            is_postgres: engine == "postgres",
            count,
            now,
            event: &self.event,
            reward: &self.reward,
            release: &self.release,
            user: &self.staff,
            endpoint: &self.endpoint,
        }
    }

    /// A value of each filter that is no enumeration, and of each part of a path.
    fn value(&self, name: &str) -> Option<String> {
        let day = |days: u32| Clock::System.now().minus(Duration::from_hours(24) * days).to_string();
        Some(match name {
            "eventId" | "events" => self.event.clone(),
            "userId" | "users" | "actor" => self.staff.clone(),
            "rewards" => self.reward.clone(),
            "webhook-endpoints" => self.endpoint.clone(),
            "releases" => self.release.clone(),
            "plugin" | "name" => "first-come".to_owned(),
            "version" => "1.0.0".to_owned(),
            "from" => day(20),
            "to" => day(10),
            "at" => day(15),
            "email" => self.email.clone(),
            "externalId" | "externalUserId" => "customer-7".to_owned(),
            "kind" => "auth.login".to_owned(),
            "type" => "POINT".to_owned(),
            "tag" => "spring".to_owned(),
            "action" => "POST%20/auth/login".to_owned(),
            "target" => "t7".to_owned(),
            _ => return None,
        })
    }
}

async fn install(app: &App, name: &str) -> anyhow::Result<String> {
    let path = fleet::variable("MEED_TEST_PLUGINS")?.join(format!("{name}.wasm"));
    let module = std::fs::read(&path).with_context(|| path.display().to_string())?;
    let (Uploaded::New(version) | Uploaded::Existing(version)) = app.plugins.upload(module, None).await?;
    Ok(version.name)
}

async fn fill(db: &Db, url: &str, rows: &Rows<'_>) -> anyhow::Result<()> {
    for sql in rows.statements() {
        let mut tx = db.begin().await?;
        if db.engine() == Engine::Postgres {
            tx.query("SET LOCAL statement_timeout = 0").execute(&mut tx).await?;
        }
        let filled = db.query_assembled(sql.clone()).execute(&mut tx).await;
        filled.with_context(|| sql)?;
        tx.commit().await?;
    }
    if db.engine() == Engine::Postgres {
        return program("vacuumdb", &["--quiet", "--analyze", "--dbname", url]);
    }
    Ok(db.update_statistics().await?)
}

/// Creates an empty database on the server of this run. Returns its URL.
fn create_database(name: &str) -> anyhow::Result<String> {
    let server = fleet::variable("MEED_BENCH_POSTGRES")?.display().to_string();
    program("createdb", &["--maintenance-db", &format!("{server}/postgres"), name])?;
    Ok(format!("{server}/{name}"))
}

/// Runs a program of PostgreSQL.
fn program(name: &str, arguments: &[&str]) -> anyhow::Result<()> {
    let path = fleet::variable("MEED_BENCH_POSTGRES_PROGRAMS")?.join(name);
    let output = Command::new(path).args(arguments).output()?;
    ensure!(
        output.status.success(),
        "{name}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}
