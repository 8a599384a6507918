//! The application as `serve` wires it, with a clock that stands still.

use meed_host::app::App;
use meed_host::clock::{Clock, Instant};
use meed_host::config::Config;
use meed_host::db::Db;
use tempfile::TempDir;

use super::client::Call;
use super::database;

/// When every test begins: a Sunday, noon in UTC.
pub const START: &str = "2026-03-01T12:00:00Z";

#[derive(Debug)]
pub struct TestApp {
    pub app: App,
    pub clock: Clock,
    router: axum::Router,
    _directory: TempDir,
}

impl TestApp {
    pub async fn on_sqlite() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let db = database::sqlite(&directory).await;
        Self::new(db, directory).await
    }

    pub async fn on_postgres() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        Self::new(database::postgres().await, directory).await
    }

    async fn new(db: Db, directory: TempDir) -> Self {
        let clock = Clock::fixed(START.parse().expect("an instant"));
        let config = Config::load(None, &[]).expect("the defaults");
        let app = App::new(&config, db, clock.clone())
            .await
            .expect("the application starts");
        let router = app.router();
        Self {
            app,
            clock,
            router,
            _directory: directory,
        }
    }

    /// Moves the clock to this RFC 3339 instant.
    pub fn at(&self, instant: &str) -> Instant {
        let instant = instant.parse().expect("an instant");
        self.clock.set(instant);
        instant
    }

    pub fn get(&self, path: &str) -> Call {
        self.call("GET", path)
    }

    pub fn post(&self, path: &str) -> Call {
        self.call("POST", path)
    }

    pub fn call(&self, method: &str, path: &str) -> Call {
        Call::new(self.router.clone(), method, path)
    }
}
