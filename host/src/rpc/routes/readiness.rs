//! `grpc.health.v1.Health`: the readiness of the process, for it and for each of its services.

use std::time::Duration;

use connectrpc::ConnectError;
use connectrpc_health::{Checker, Status, StatusStream};
use futures_util::stream;
use meed_proto::v1;

use crate::http::health::Health;

/// Between two looks at the readiness for a caller that watches it.
const PERIOD: Duration = Duration::from_secs(1);
/// The whole process, and its services.
const NAMES: [&str; 6] = [
    "",
    v1::ACTIVITY_SERVICE_SERVICE_NAME,
    v1::CLAIM_SERVICE_SERVICE_NAME,
    v1::EVENT_SERVICE_SERVICE_NAME,
    v1::PROGRESS_SERVICE_SERVICE_NAME,
    v1::RECEIPT_SERVICE_SERVICE_NAME,
];

pub(super) struct Readiness(pub(super) Health);

async fn status(health: &Health) -> Status {
    if health.is_ready().await {
        Status::Serving
    } else {
        Status::NotServing
    }
}

fn known(service: &str) -> Result<(), ConnectError> {
    if NAMES.contains(&service) {
        return Ok(());
    }
    Err(ConnectError::not_found(format!(
        "There is no service {service:?}; see the reflection service."
    )))
}

impl Checker for Readiness {
    async fn check(&self, service: &str) -> Result<Status, ConnectError> {
        known(service)?;
        Ok(status(&self.0).await)
    }

    /// The status now and after each change.
    async fn watch(&self, service: &str) -> Result<StatusStream, ConnectError> {
        known(service)?;
        let changes = stream::unfold((self.0.clone(), None), async |(health, told)| {
            loop {
                let found = status(&health).await;
                if told != Some(found) {
                    return Some((found, (health, Some(found))));
                }
                tokio::time::sleep(PERIOD).await;
            }
        });
        Ok(StatusStream::new(changes))
    }
}
