//! Load shedding: a request beyond `http.max_in_flight` is refused immediately, so that the running ones keep the memory and
//! the time that they need. Its body has arrived by then ([`super::receive`]), so no slow client is among the running ones.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tokio::sync::Semaphore;

use crate::problem::{OVERLOADED, Problem};

/// Probes, which must not mistake a busy process for a dead one.
const EXEMPT: [&str; 3] = ["/livez", "/readyz", "/grpc.health.v1.Health/Check"];
/// In seconds.
const RETRY_AFTER: u32 = 1;

#[derive(Clone, Debug)]
pub struct Overload {
    slots: Arc<Semaphore>,
    all: usize,
}

impl Overload {
    pub fn new(max_in_flight: usize) -> Self {
        Self {
            slots: Arc::new(Semaphore::new(max_in_flight)),
            all: max_in_flight,
        }
    }

    pub fn in_flight(&self) -> usize {
        self.all - self.slots.available_permits()
    }
}

pub async fn layer(State(overload): State<Overload>, request: Request, next: Next) -> Response {
    if EXEMPT.contains(&request.uri().path()) {
        return next.run(request).await;
    }
    let Ok(_slot) = overload.slots.try_acquire() else {
        metrics::counter!("meed_requests_shed_total").increment(1);
        return Problem::new(
            OVERLOADED,
            format!(
                "The server is busy with {} requests, the maximum; nothing was done. Retry later.",
                overload.all
            ),
        )
        .retry_after(RETRY_AFTER)
        .into_response();
    };
    next.run(request).await
}
