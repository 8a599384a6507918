//! Rate limits: per user or service key for requests with a valid token, else per address. Every limited response has the headers of
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
    "/grpc.health.v1.Health/Check",
];

/// The subject that requests with a valid token are counted for, in the request's extensions.
#[derive(Clone, Debug)]
pub struct Subject {
    id: Uuid,
    limit: SubjectLimit,
}

#[derive(Clone, Debug)]
enum SubjectLimit {
    /// That of all users.
    User,
    /// Its own; `None`: none.
    Own(Option<Policy>),
}

impl Subject {
    pub fn user(id: Uuid) -> Self {
        let limit = SubjectLimit::User;
        Self { id, limit }
    }

    /// A subject that has its own limit.
    pub fn with_limit(id: Uuid, limit: Option<Policy>) -> Self {
        let limit = SubjectLimit::Own(limit);
        Self { id, limit }
    }
}

/// Cheap to clone.
#[derive(Clone)]
pub struct Limits(Arc<Inner>);

struct Inner {
    cache: Cache,
    clock: Clock,
    proxies: Vec<IpNet>,
    /// Paths that check passwords or create accounts.
    credentials_paths: &'static [&'static str],
    /// Those of an address, and of the networks around it.
    credentials: Vec<Policy>,
    anonymous: Vec<Policy>,
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
            credentials: by_network("credentials", limits.credentials),
            anonymous: by_network("anonymous", limits.anonymous),
            user: policy("user", limits.user),
        }))
    }

    /// The policies that limit a request, the narrowest first, and whom each counts it for.
    fn of<'a>(&'a self, request: &'a Request) -> Vec<(&'a Policy, String)> {
        let limits = &*self.0;
        let path = request.uri().path();
        if UNLIMITED.contains(&path) {
            return Vec::new();
        }
        // Password attempts count by address, with or without a token.
        let policies = if limits.credentials_paths.contains(&path) {
            &limits.credentials
        } else if let Some(Subject { id, limit }) = request.extensions().get::<Subject>() {
            let policy = match limit {
                SubjectLimit::User => &limits.user,
                SubjectLimit::Own(policy) => policy,
            };
            return policy.iter().map(|policy| (policy, id.to_string())).collect();
        } else {
            &limits.anonymous
        };
        let client = peer::client(request.extensions(), request.headers(), &limits.proxies);
        policies.iter().zip(peer::networks(client)).collect()
    }
}

/// How much more a wider network of IPv6 may use than a /64, in the order of [`peer::networks`]. A provider gives a customer up
/// to a /48, which has 65,536 of these.
const WIDER: [u32; 3] = [1, 4, 16];

fn by_network(name: &'static str, limit: config::Limit) -> Vec<Policy> {
    let policies = WIDER.into_iter().filter_map(|times| {
        let (burst, per_minute) = (
            limit.burst.saturating_mul(times),
            limit.per_minute.saturating_mul(times),
        );
        Policy::new(name, burst, per_minute)
    });
    policies.collect()
}

pub fn policy(name: &'static str, limit: config::Limit) -> Option<Policy> {
    Policy::new(name, limit.burst, limit.per_minute)
}

/// Must be inside the layer that authenticates the request.
pub async fn layer(State(limits): State<Limits>, request: Request, next: Next) -> Response {
    let now = limits.0.clock.now();
    let mut narrowest = None;
    for (policy, who) in limits.of(&request) {
        let state = limits.0.cache.check(policy, &who, now).await;
        if !state.allowed {
            let mut response = refuse(policy, state).into_response();
            add_headers(response.headers_mut(), policy, state);
            return response;
        }
        narrowest.get_or_insert_with(|| (policy.clone(), state));
    }
    let mut response = next.run(request).await;
    if let Some((policy, state)) = narrowest {
        add_headers(response.headers_mut(), &policy, state);
    }
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
