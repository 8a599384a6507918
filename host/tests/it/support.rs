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

/// Makes one test per engine out of `async fn name(app: TestApp)`.
macro_rules! on_both_engines {
    ($($(#[$meta:meta])* async fn $name:ident($app:ident: TestApp) $body:block)*) => {
        $(mod $name {
            #[allow(unused_imports, reason = "not every test uses everything its file imports")]
            use super::*;

            async fn test($app: $crate::support::TestApp) $body

            $(#[$meta])*
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn sqlite() {
                test($crate::support::TestApp::on_sqlite().await).await;
            }

            $(#[$meta])*
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn postgres() {
                test($crate::support::TestApp::on_postgres().await).await;
            }
        })*
    };
}
pub(crate) use on_both_engines;
