//! What the tests stand on: a real application on a real database, and a client that reads like the wire.

mod app;
#[cfg(feature = "kafka")]
mod broker;
mod client;
mod database;
mod receiver;
mod redis;
mod rows;
mod stage;

pub use app::{PASSWORD, TestApp, TestUser};
#[cfg(feature = "kafka")]
pub use broker::{Broker, Record};
pub use client::Reply;
pub use database::postgres_url;
pub use receiver::{Got, Receiver};
pub use redis::{RedisServer, free_port, is_shared};
pub use stage::{assert_fault, bundled, each, event_input, guest, padded, text, with};

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
