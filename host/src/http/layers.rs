//! The layers around every route: request id, panics as problems, time and size limits, security headers.

use std::any::Any;
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware;
use axum::response::{IntoResponse, Response};
use tower::ServiceBuilder;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::set_header::SetResponseHeaderLayer;

use super::health::{self, Health};
use super::receive::{self, Bodies};
use super::{metrics, request_id};
use crate::body;
use crate::clock::Clock;
use crate::problem::{METHOD_NOT_ALLOWED, NO_SUCH_ROUTE, Problem, TIMED_OUT};

/// How long a response may take.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    pub any: Duration,
    /// A route that may take longer, by its method and path.
    pub slow: ((&'static str, &'static str), Duration),
}

impl Timeouts {
    fn of(self, request: &Request) -> Duration {
        let ((method, path), slow) = self.slow;
        if request.method() == method && request.uri().path() == path {
            slow
        } else {
            self.any
        }
    }
}

/// The responses of other paths and methods, which later layers apply to as well.
pub fn fallbacks(router: Router) -> Router {
    router
        .fallback(async || Problem::new(NO_SUCH_ROUTE, "There is no such path; see /openapi.json."))
        .method_not_allowed_fallback(async || {
            Problem::new(
                METHOD_NOT_ALLOWED,
                "This path does not support this method; see /openapi.json.",
            )
        })
}

pub fn around(router: Router, clock: Clock, health: Health, timeouts: Timeouts, bodies: Bodies) -> Router {
    router.layer(
        // As one layer: axum puts a box between layers that are added one by one, and each request clones all of them.
        ServiceBuilder::new()
            .layer(middleware::from_fn_with_state(health, health::close_while_draining))
            .layer(SetResponseHeaderLayer::if_not_present(
                header::CACHE_CONTROL,
                HeaderValue::from_static("no-store"),
            ))
            .layer(SetResponseHeaderLayer::if_not_present(
                header::X_CONTENT_TYPE_OPTIONS,
                HeaderValue::from_static("nosniff"),
            ))
            .layer(SetResponseHeaderLayer::if_not_present(
                header::REFERRER_POLICY,
                HeaderValue::from_static("no-referrer"),
            ))
            .layer(SetResponseHeaderLayer::if_not_present(
                header::CONTENT_SECURITY_POLICY,
                content_security_policy,
            ))
            .layer(middleware::from_fn(move |request, next| {
                request_id::layer(clock.clone(), request, next)
            }))
            // Outside the next two, so that time-outs and panics are counted.
            .layer(middleware::from_fn(metrics::layer))
            .layer(CatchPanicLayer::custom(panicked))
            .layer(middleware::from_fn(move |request, next: middleware::Next| async move {
                let timeout = timeouts.of(&request);
                // Dropping a request is safe: its transaction is rolled back unless it is committed, and a claim
                // runs in a separate task.
                match tokio::time::timeout(timeout, next.run(request)).await {
                    Ok(response) => response,
                    Err(_) => Problem::new(TIMED_OUT, format!("No response within {} seconds.", timeout.as_secs()))
                        .into_response(),
                }
            }))
            .layer(middleware::from_fn_with_state(bodies, receive::layer))
            .layer(DefaultBodyLimit::max(body::LIMIT)),
    )
}

/// A page may only be Swagger UI, which loads its own files; no other site may show it in a frame.
#[expect(clippy::unnecessary_wraps, reason = "the layer's signature")]
fn content_security_policy<B>(response: &axum::http::Response<B>) -> Option<HeaderValue> {
    let content_type = response.headers().get(header::CONTENT_TYPE);
    let is_page = content_type.is_some_and(|value| value.as_bytes().starts_with(b"text/html"));
    Some(HeaderValue::from_static(if is_page { PAGE_POLICY } else { API_POLICY }))
}

const API_POLICY: &str = "default-src 'none'; frame-ancestors 'none'";
const PAGE_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; \
    img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

#[expect(clippy::needless_pass_by_value, reason = "the layer's signature")]
fn panicked(payload: Box<dyn Any + Send>) -> Response {
    let text = payload
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| payload.downcast_ref::<&str>().copied())
        .unwrap_or("no message");
    let mut response = Problem::internal(format!("panic: {text}")).into_response();
    *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
    response
}
