//! Mounts the methods as routes, and writes problems in the form of the protocol.
//!
//! A method is a route `POST /meed.v1.ClaimService/Claim` like any other, so every layer of REST applies to it. Reads answer to
//! `GET` as well, as Connect defines it.

mod readiness;

use std::sync::Arc;

use axum::body::Body;
use axum::extract::Request;
use axum::http::header;
use axum::http::request::Parts;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use connectrpc::{CompressionRegistry, DeadlinePolicy, Limits};

use self::readiness::Readiness;
use super::activities::Activities;
use super::claims::ClaimCalls;
use super::events::EventCalls;
use super::progress::ProgressCalls;
use super::receipts::ReceiptCalls;
use super::refusal::{Refusals, Slot, error_of};
use crate::activities::{ActivityService, MAX_DURATION};
use crate::audit::ReadOnly;
use crate::body;
use crate::claims::Claims;
use crate::events::EventService;
use crate::http::health::Health;
use crate::http::request_id;
use crate::keys::Keyring;
use crate::problem::Problem;

/// Of one message; the library's limit on the memory of its fields.
const MAX_MESSAGE_MEMORY: usize = 16 << 20;
/// The methods that change something. Connect sends the others by `POST` as well.
const CHANGES: [&str; 3] = ["/Claim", "/Ingest", "/RecordActivities"];
/// The methods whose requests are streams, by the beginning of their paths.
const STREAMED: [&str; 2] = ["/meed.v1.ActivityService/Ingest", "/grpc.reflection."];

/// The methods whose responses are streams of changes. Other limits bound how long they last.
const WATCHES: [&str; 3] = ["/WatchProgress", "/WatchRewardRequest", "/WatchRewardRequests"];

/// What the methods call.
pub struct Services {
    pub activities: ActivityService,
    pub claims: Claims,
    pub events: EventService,
    pub receipt_keys: Arc<Keyring>,
    pub health: Health,
}

/// The methods, to be merged into the routes of REST.
pub fn router(services: Services) -> axum::Router {
    let Services {
        activities,
        claims,
        events,
        receipt_keys,
        health,
    } = services;
    let progress = ProgressCalls {
        claims: claims.clone(),
        events: events.clone(),
    };
    let receipts = ReceiptCalls {
        claims: claims.clone(),
        keys: receipt_keys,
    };
    let methods = connectrpc::Router::new()
        .add_service(Arc::new(Activities(activities)))
        .add_service(Arc::new(ClaimCalls(claims)))
        .add_service(Arc::new(EventCalls(events)))
        .add_service(Arc::new(progress))
        .add_service(Arc::new(receipts))
        .add_service(Arc::new(connectrpc_health::HealthService::new(Readiness(health))));
    let methods = connectrpc_health::apply_request_limits(methods, connectrpc_health::request_limits());
    // The descriptors are a part of the program.
    let methods = match connectrpc_reflection::Reflector::from_descriptor_set_bytes(meed_proto::DESCRIPTORS) {
        Ok(reflector) => connectrpc_reflection::install(methods, reflector),
        Err(error) => {
            tracing::error!(%error, "no reflection");
            methods
        }
    };
    let paths: Vec<String> = methods
        .methods()
        .map(|path| format!("/{}", path.trim_start_matches('/')))
        .collect();
    let limits = Limits::default()
        .with_max_request_body_size(body::LIMIT)
        .with_max_message_size(body::LIMIT)
        .with_element_memory_limit(MAX_MESSAGE_MEMORY);
    // `http.timeout_seconds` bounds the calls that are no streams.
    let deadlines = DeadlinePolicy::new()
        .with_max(MAX_DURATION)
        .with_default_timeout(MAX_DURATION)
        .with_enforce_on_streams(true);
    let service = methods
        .into_axum_service()
        .with_limits(limits)
        .with_deadline_policy(deadlines)
        // As REST, which refuses compressed bodies.
        .with_compression(CompressionRegistry::new())
        .with_interceptor(Refusals);
    let watches = service
        .clone()
        .with_deadline_policy(DeadlinePolicy::new().with_enforce_on_streams(true));
    let routes = paths.iter().fold(axum::Router::new(), |routes, path| {
        let is_watch = WATCHES.iter().any(|method| path.ends_with(method));
        routes.route_service(path, if is_watch { watches.clone() } else { service.clone() })
    });
    routes.layer(middleware::from_fn(problems))
}

/// Whether a method reads the body of this request itself, as it arrives.
pub fn is_streamed(parts: &Parts) -> bool {
    STREAMED.iter().any(|path| parts.uri.path().starts_with(path))
}

fn is_rpc(path: &str) -> bool {
    path.starts_with("/meed.v1.") || path.starts_with("/grpc.")
}

/// Answers with the problem that ended the method, so that the layers around it see what REST would show them.
async fn problems(mut request: Request, next: Next) -> Response {
    let slot = Slot::default();
    request.extensions_mut().insert(slot.clone());
    let response = next.run(request).await;
    match slot.0.get() {
        Some(problem) => problem.clone().into_response(),
        None => response,
    }
}

/// Writes the problems of methods, and of the layers around them, in the form of the request's protocol. The outermost layer.
pub async fn errors(mut request: Request, next: Next) -> Response {
    let path = request.uri().path();
    if !is_rpc(path) {
        return next.run(request).await;
    }
    if !CHANGES.iter().any(|method| path.ends_with(method)) {
        request.extensions_mut().insert(ReadOnly);
    }
    let asked = request.headers().clone();
    let mut response = next.run(request).await;
    let Some(problem) = response.extensions_mut().remove::<Problem>() else {
        return response;
    };
    let request_id = response
        .headers()
        .get(request_id::HEADER)
        .and_then(|id| id.to_str().ok());
    let mut written = error_of(problem, request_id.map(str::to_owned))
        .into_http_response(&asked)
        .map(Body::new);
    // Those of the layers: the request id, the rate limit.
    for (name, value) in response.headers() {
        if ![header::CONTENT_TYPE, header::CONTENT_LENGTH].contains(name) {
            written.headers_mut().insert(name, value.clone());
        }
    }
    written
}
