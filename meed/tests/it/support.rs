//! Test support: a real application on a real database, and an HTTP client for it.

mod app;
mod background;
#[cfg(feature = "kafka")]
mod broker;
mod certificates;
mod client;
mod database;
mod fixtures;
pub mod oidc;
mod receiver;
mod redis;
mod rows;
mod smtp;

pub use app::{PASSWORD, TestApp, TestUser};
pub use background::Background;
#[cfg(feature = "kafka")]
pub use broker::{Broker, Record};
pub use certificates::{authority, certificate};
pub use client::{Call, Reply};
pub use database::postgres_url;
pub use fixtures::{assert_fault, bundled, each, event_input, guest, padded, reviewing, text, with};
pub use oidc::OidcProvider;
pub use receiver::{Got, Receiver};
pub use redis::{RedisServer, free_port, is_shared};
pub use smtp::SmtpServer;

/// Runs a test once per database engine: `#[apply(on_both_engines)] async fn name(app: TestApp)`.
#[rstest_reuse::template]
#[rstest::rstest]
#[case::sqlite(crate::support::TestApp::on_sqlite())]
#[case::postgres(crate::support::TestApp::on_postgres())]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_both_engines(
    #[future(awt)]
    #[case]
    app: TestApp,
) {
}
