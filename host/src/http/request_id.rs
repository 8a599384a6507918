//! The correlation id of an HTTP request: taken from `X-Request-Id` or minted, and sent back in the same header.

use axum::extract::Request;
use axum::http::{HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::Response;
use tracing::Instrument;

use crate::clock::Clock;
use crate::correlation;

pub const HEADER: HeaderName = HeaderName::from_static("x-request-id");

/// Uses the client's id when it is safe, mints one otherwise, and opens the request's span.
pub async fn layer(clock: Clock, request: Request, next: Next) -> Response {
    let id = request
        .headers()
        .get(&HEADER)
        .and_then(|value| value.to_str().ok())
        .filter(|value| correlation::is_safe(value))
        .map_or_else(|| clock.new_id().to_string(), str::to_owned);
    let span = tracing::info_span!(
        "request",
        request.id = %id,
        http.method = %request.method(),
        http.path = %request.uri().path(),
    );
    #[cfg(feature = "otel")]
    super::trace::name(&span, &request);
    let started = std::time::Instant::now();
    let mut response = correlation::scope(id.clone(), next.run(request).instrument(span.clone())).await;
    let _entered = span.enter();
    tracing::info!(
        http.status = response.status().as_u16(),
        elapsed_ms = started.elapsed().as_secs_f64() * 1000.0,
        "answered"
    );
    if let Ok(value) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(HEADER, value);
    }
    response
}
