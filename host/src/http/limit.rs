//! Rate limits: per user for requests with a valid token, else per address. Every limited response has the headers of
//! draft-ietf-httpapi-ratelimit-headers; a request beyond the limit gets 429.
//!
//! Must not know: what a user is, where requests are counted.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use ipnet::IpNet;
use uuid::Uuid;

use super::peer;
use crate::cache::{Cache, Policy, RateLimit};
use crate::clock::Clock;
use crate::config;
use crate::problem::{Problem, RATE_LIMITED};

const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const STATE: HeaderName = HeaderName::from_static("ratelimit");

/// Not limited: probes, and public keys that anyone may cache.
pub const UNLIMITED: &[&str] = &[
    "/livez",
    "/readyz",
    "/.well-known/jwks.json",
    "/.well-known/receipt-keys.json",
];

/// The user of the valid token in the request, in its extensions.
#[derive(Clone, Copy, Debug)]
pub struct Subject(pub Uuid);

/// Cheap to clone.
#[derive(Clone)]
pub struct Limits(Arc<Inner>);

struct Inner {
    cache: Cache,
    clock: Clock,
    proxies: Vec<IpNet>,
    /// Paths that check passwords or create accounts.
    credentials_paths: &'static [&'static str],
    credentials: Option<Policy>,
    anonymous: Option<Policy>,
    user: Option<Policy>,
}

impl Limits {
    pub fn new(
        limits: &config::Limits,
        proxies: Vec<IpNet>,
        credentials_paths: &'static [&'static str],
        cache: Cache,
        clock: Clock,
    ) -> Self {
        Self(Arc::new(Inner {
            cache,
            clock,
            proxies,
            credentials_paths,
            credentials: policy("credentials", limits.credentials),
            anonymous: policy("anonymous", limits.anonymous),
            user: policy("user", limits.user),
        }))
    }

    /// The policy that limits a request, and the client that it counts for.
    fn of(&self, request: &Request) -> Option<(&Policy, String)> {
        let limits = &*self.0;
        let path = request.uri().path();
        let address = || peer::name(peer::client(request.extensions(), request.headers(), &limits.proxies));
        if UNLIMITED.contains(&path) {
            return None;
        }
        // Password attempts count by address, with or without a token.
        if limits.credentials_paths.contains(&path) {
            return Some((limits.credentials.as_ref()?, address()));
        }
        match request.extensions().get::<Subject>() {
            Some(Subject(id)) => Some((limits.user.as_ref()?, id.to_string())),
            None => Some((limits.anonymous.as_ref()?, address())),
        }
    }
}

pub fn policy(name: &'static str, limit: config::Limit) -> Option<Policy> {
    Policy::new(name, limit.burst, limit.per_minute)
}

/// Must be inside the layer that authenticates the request.
pub async fn layer(State(limits): State<Limits>, request: Request, next: Next) -> Response {
    let Some((policy, who)) = limits.of(&request) else {
        return next.run(request).await;
    };
    let now = limits.0.clock.now();
    let state = limits.0.cache.check(policy, &who, now).await;
    let mut response = if state.allowed {
        next.run(request).await
    } else {
        refuse(policy, state).into_response()
    };
    add_headers(response.headers_mut(), policy, state);
    response
}

/// The problem for a request beyond the limit.
pub fn refuse(policy: &Policy, state: RateLimit) -> Problem {
    metrics::counter!("meed_rate_limited_total", "policy" => policy.name).increment(1);
    let seconds = state.retry_after;
    Problem::new(
        RATE_LIMITED,
        format!("Too many requests for the limit {:?}; wait {seconds} s.", policy.name),
    )
    .retry_after(seconds)
}

/// Structured fields (RFC 9651): the quota with its window, and the remainder with the seconds until it resets.
fn add_headers(headers: &mut HeaderMap, policy: &Policy, state: RateLimit) {
    let Policy { name, burst, .. } = policy;
    let RateLimit { remaining, reset, .. } = state;
    let quota = format!("\"{name}\";q={burst};w={}", policy.window());
    let left = format!("\"{name}\";r={remaining};t={reset}");
    for (header, text) in [(POLICY, quota), (STATE, left)] {
        if let Ok(value) = HeaderValue::from_str(&text) {
            headers.insert(header, value);
        }
    }
}
