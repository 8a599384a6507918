//! How often a client may ask: per user where the request says who it is from, else per address. Every limited answer
//! tells where the client stands, in the headers of draft-ietf-httpapi-ratelimit-headers; one too many gets 429.
//!
//! Must not know: what a user is, where the counting is done.

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

/// Where nobody is counted: what watches over the server, and what everybody may keep.
pub const UNLIMITED: &[&str] = &[
    "/livez",
    "/readyz",
    "/.well-known/jwks.json",
    "/.well-known/receipt-keys.json",
];

/// The user whose valid token came with the request, in its extensions.
#[derive(Clone, Copy, Debug)]
pub struct Subject(pub Uuid);

/// Cheap to clone.
#[derive(Clone)]
pub struct Limits(Arc<Inner>);

struct Inner {
    cache: Cache,
    clock: Clock,
    proxies: Vec<IpNet>,
    /// Where passwords are tried or accounts are made.
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

    /// What limits a request, and whom it counts for.
    fn of(&self, request: &Request) -> Option<(&Policy, String)> {
        let limits = &*self.0;
        let path = request.uri().path();
        let address = || peer::name(peer::client(request.extensions(), request.headers(), &limits.proxies));
        if UNLIMITED.contains(&path) {
            return None;
        }
        // Whoever tries passwords is counted by address, with a token or without.
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

/// Stands inside of the layer that finds out whose request it is.
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
    tell(response.headers_mut(), policy, state);
    response
}

/// The problem for one request too many.
pub fn refuse(policy: &Policy, state: RateLimit) -> Problem {
    metrics::counter!("meed_rate_limited_total", "policy" => policy.name).increment(1);
    let seconds = state.retry_after;
    Problem::new(
        RATE_LIMITED,
        format!("Too many requests for the limit {:?}; wait {seconds} s.", policy.name),
    )
    .retry_after(seconds)
}

/// Structured fields (RFC 9651): the quota and its window, and what is left of it for how long.
fn tell(headers: &mut HeaderMap, policy: &Policy, state: RateLimit) {
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
