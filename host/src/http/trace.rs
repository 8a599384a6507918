//! The span of a request in a build with the feature `otel`: its name is the route, its parent the client's span (W3C Trace
//! Context).

use axum::extract::{MatchedPath, Request};
use opentelemetry::trace::TraceContextExt as _;
use opentelemetry_http::HeaderExtractor;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

/// Makes the span part of the client's trace, and names it after the route.
pub(super) fn name(span: &Span, request: &Request) {
    let headers = HeaderExtractor(request.headers());
    let parent = opentelemetry::global::get_text_map_propagator(|propagator| propagator.extract(&headers));
    // A span that is not sampled has no parent.
    span.set_parent(parent).ok();
    if let Some(route) = request.extensions().get::<MatchedPath>() {
        let name = format!("{} {}", request.method(), route.as_str());
        span.context().span().update_name(name);
    }
}
