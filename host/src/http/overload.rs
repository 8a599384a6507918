//! So many requests at a time and no more: those beyond are told so at once, before their bodies are read, while those
//! that run keep the memory and the time they need.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tokio::sync::Semaphore;

use crate::problem::{OVERLOADED, Problem};

/// Asked by supervisors, who must not take a busy process for a dead one.
const EXEMPT: [&str; 2] = ["/livez", "/readyz"];
/// In seconds.
const RETRY_AFTER: u32 = 1;

#[derive(Clone, Debug)]
pub struct Overload {
    places: Arc<Semaphore>,
    all: usize,
}

impl Overload {
    pub fn new(max_in_flight: usize) -> Self {
        Self {
            places: Arc::new(Semaphore::new(max_in_flight)),
            all: max_in_flight,
        }
    }

    pub fn in_flight(&self) -> usize {
        self.all - self.places.available_permits()
    }
}

pub async fn layer(State(overload): State<Overload>, request: Request, next: Next) -> Response {
    if EXEMPT.contains(&request.uri().path()) {
        return next.run(request).await;
    }
    let Ok(_place) = overload.places.try_acquire() else {
        metrics::counter!("meed_requests_shed_total").increment(1);
        return Problem::new(
            OVERLOADED,
            format!("The server is busy with {} requests; nothing was done.", overload.all),
        )
        .retry_after(RETRY_AFTER)
        .into_response();
    };
    next.run(request).await
}
