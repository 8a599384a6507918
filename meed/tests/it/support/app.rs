//! The application as `serve` wires it, with a fixed clock.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use meed_host::app::App;
use meed_host::auth::Role;
use meed_host::clock::{Clock, Timestamp};
use meed_host::config::Config;
use meed_host::db::Db;
use meed_host::http::connections::Limits;
use meed_host::http::server;
use meed_host::sandbox::Settings;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::OnceCell;

use super::client::Call;
use super::database;

/// The time at which every test begins: a Sunday at noon UTC.
pub const START: &str = "2026-03-01T12:00:00Z";

pub const PASSWORD: &str = "correct horse battery";

pub struct TestApp {
    pub app: Box<App>,
    pub clock: Clock,
    config: Box<Config>,
    router: axum::Router,
    directory: Arc<TempDir>,
    listening: tokio::task::AbortHandle,
    /// The number of accounts created by all processes on the database.
    users: Arc<AtomicU32>,
    pub(super) operator: OnceCell<TestUser>,
    pub(super) auditor: OnceCell<TestUser>,
}

impl Drop for TestApp {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

/// A logged-in account.
#[derive(Clone, Debug)]
pub struct TestUser {
    pub id: String,
    pub email: String,
    pub password: &'static str,
    pub token: String,
    pub refresh_token: String,
    pub invite_code: String,
}

impl TestApp {
    pub async fn on_sqlite() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let db = database::sqlite(&directory).await;
        Self::first(db, directory)
    }

    /// On SQLite, with all files in a folder below this one.
    pub async fn on_sqlite_below(folder: &Path) -> Self {
        let directory = tempfile::tempdir_in(folder).expect("a temporary directory");
        let db = database::sqlite(&directory).await;
        Self::first(db, directory)
    }

    pub async fn on_postgres() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        Self::first(database::postgres().await, directory)
    }

    /// On this server instead of the shared one.
    pub async fn on_postgres_at(server: &str) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        Self::first(database::postgres_on(server).await, directory)
    }

    fn first(db: Db, directory: TempDir) -> Self {
        let clock = Clock::fixed(START.parse().expect("an instant"));
        meed::keys::generate(&directory.path().join("keys"), &clock, false).expect("the keys are made");
        Self::start(db, clock, (Arc::new(directory), Arc::default()), &[], |_, _| ())
    }

    /// The same database and keys with the system clock, for separate processes. Its tokens are valid for a day.
    pub fn in_real_time(&self) -> Self {
        let (db, settings) = (self.app.db.clone(), [("auth.access_token_seconds", "86400")]);
        Self::start(
            db,
            Clock::System,
            (self.directory.clone(), self.users.clone()),
            &settings,
            |_, _| (),
        )
    }

    /// Another process on the same database and keys, with different settings.
    pub fn replica(&self, settings: &[(&str, &str)]) -> Self {
        let db = self.app.db.clone();
        let shared = (self.directory.clone(), self.users.clone());
        Self::start(db, self.clock.clone(), shared, settings, |_, _| ())
    }

    /// The same, with a changed configuration.
    pub fn replica_with(&self, change: impl FnOnce(&mut Config, &mut Settings)) -> Self {
        let db = self.app.db.clone();
        let shared = (self.directory.clone(), self.users.clone());
        Self::start(db, self.clock.clone(), shared, &[], change)
    }

    /// The same keys and counters on another database.
    pub fn on(&self, db: Db) -> Self {
        let shared = (self.directory.clone(), self.users.clone());
        let mut app = Self::start(db, self.clock.clone(), shared, &[], |_, _| ());
        app.operator = self.operator.clone();
        app.auditor = self.auditor.clone();
        app
    }

    /// The URL of its database.
    pub fn database_url(&self) -> String {
        match &self.app.db {
            Db::Sqlite { .. } => database::sqlite_url(&self.directory),
            Db::Postgres { pool, .. } => {
                let options = pool.connect_options();
                let (host, port) = (options.get_host(), options.get_port());
                let name = options.get_database().expect("a database");
                format!("postgres://{}@{host}:{port}/{name}", options.get_username())
            }
        }
    }

    fn start(
        db: Db,
        clock: Clock,
        (directory, users): (Arc<TempDir>, Arc<AtomicU32>),
        settings: &[(&str, &str)],
        change: impl FnOnce(&mut Config, &mut Settings),
    ) -> Self {
        let below = |name: &str| directory.path().join(name).display().to_string();
        let mut overrides = vec![
            // With a fixed clock a bucket never fills again, so limits are off. Tests of limits set their own.
            ("limits.credentials.burst", "0".to_owned()),
            ("limits.account.burst", "0".to_owned()),
            ("limits.anonymous.burst", "0".to_owned()),
            ("limits.user.burst", "0".to_owned()),
            ("limits.service_key.burst", "0".to_owned()),
            // With a fixed clock a grace period never ends. Tests of it set their own.
            ("auth.refresh_grace_seconds", "0".to_owned()),
            // Most events of the tests have unlimited rewards. Tests of releases set their own.
            ("releases.required", "never".to_owned()),
            ("keys.directory", below("keys")),
            ("plugins.code_cache_directory", below("code")),
        ];
        overrides.extend(settings.iter().map(|(key, value)| (*key, (*value).to_owned())));
        let mut config = Config::load(None, None, &overrides).expect("the settings");
        let mut limits = Settings::from(&config.sandbox);
        change(&mut config, &mut limits);
        let compiler = PathBuf::from(env!("CARGO_BIN_EXE_meed"));
        let app = App::with_limits(&config, &limits, db, clock.clone(), compiler).expect("the application starts");
        let app = app.with_console(meed::console::files());
        let router = app.router();
        let listening = tokio::spawn({
            let app = app.clone();
            async move {
                loop {
                    let invalidation = app.cache.next_invalidation().await;
                    app.on_invalidation(&invalidation).await;
                }
            }
        });
        Self {
            app: Box::new(app),
            clock,
            config: Box::new(config),
            router,
            directory,
            listening: listening.abort_handle(),
            users,
            operator: OnceCell::new(),
            auditor: OnceCell::new(),
        }
    }

    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The directory of the keys, the compiled code and, on SQLite, the database.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    pub fn keys_directory(&self) -> PathBuf {
        self.directory.path().join("keys")
    }

    /// Sets the clock to this RFC 3339 timestamp.
    pub fn at(&self, instant: &str) -> Timestamp {
        let instant = instant.parse().expect("an instant");
        self.clock.set(instant);
        instant
    }

    /// A new logged-in account with this role, which has one `auth.login` and one `user.registered`.
    pub async fn user(&self, role: Role) -> TestUser {
        let number = self.users.fetch_add(1, Ordering::Relaxed);
        let email = format!("{role}-{number}@example.com").to_lowercase();
        let user = meed::user::create(&self.app.users, &email, PASSWORD.into(), role)
            .await
            .expect("the account is made");
        let tokens = self.app.logins.open_session(user.id, None).await.expect("a session");
        TestUser {
            id: user.id.to_string(),
            email,
            password: PASSWORD,
            token: tokens.access_token,
            refresh_token: tokens.refresh_token,
            invite_code: user.invite_code.expect("an invite code"),
        }
    }

    /// The access token of a new account with this role.
    pub async fn token(&self, role: Role) -> String {
        self.user(role).await.token
    }

    /// The response of a login over HTTP.
    pub async fn login(&self, email: &str, password: &str) -> Value {
        self.post("/auth/login")
            .json(&json!({"email": email, "password": password}))
            .send()
            .await
            .expect(200)
    }

    /// Serves it on a local port until the end of the test, and returns the address.
    pub async fn listen(&self) -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let router = self.router.clone();
        let limits = Limits::new(&self.config.http, &self.config.streams);
        tokio::spawn(server::serve(listener, router, limits, std::future::pending()));
        format!("http://{address}")
    }

    pub fn get(&self, path: &str) -> Call {
        self.call("GET", path)
    }

    pub fn post(&self, path: &str) -> Call {
        self.call("POST", path)
    }

    pub fn put(&self, path: &str) -> Call {
        self.call("PUT", path)
    }

    pub fn patch(&self, path: &str) -> Call {
        self.call("PATCH", path)
    }

    pub fn call(&self, method: &str, path: &str) -> Call {
        Call::new(self.router.clone(), method, path)
    }
}
