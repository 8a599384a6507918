//! Records what services cannot: refused attempts, and actions of staff that no service recorded.

use std::sync::Arc;

use axum::extract::{MatchedPath, Request, State};
use axum::http::Method;
use axum::middleware::Next;
use axum::response::Response;
use ipnet::IpNet;
use uuid::Uuid;

use crate::audit::context::{self, Actor, Origin};
use crate::audit::entry::Outcome;
use crate::audit::service::AuditService;
use crate::auth::{INVALID_TOKEN, has_forged_token, principal};
use crate::http::peer;
use crate::problem::{Problem, RATE_LIMITED};

/// Refusals of logins, which have no principal.
const LOGIN_REFUSALS: &[&str] = &[
    "wrong-credentials",
    "wrong-code",
    "oidc-login-failed",
    "invalid-reset-token",
    RATE_LIMITED.code,
];

/// In the extensions of a request that changes nothing, although its method could.
#[derive(Clone, Copy, Debug)]
pub struct ReadOnly;

/// Cheap to clone.
#[derive(Clone)]
pub struct Recorder(Arc<(AuditService, Vec<IpNet>)>);

impl Recorder {
    /// `proxies`: the trusted ones, which name the client's address.
    pub fn new(service: AuditService, proxies: Vec<IpNet>) -> Self {
        Self(Arc::new((service, proxies)))
    }
}

/// The path without external ids: the log holds no names of users, because its entries are never erased.
fn without_names(path: &str, pattern: &str) -> String {
    let parts: Vec<&str> = path.split('/').collect();
    let names: Vec<&str> = pattern.split('/').collect();
    if parts.len() != names.len() {
        return path.to_owned();
    }
    let part = |(part, name): (&&str, &&str)| match *name {
        "{externalId}" => (*name).to_owned(),
        "{id}" if Uuid::parse_str(part).is_err() => (*name).to_owned(),
        _ => (*part).to_owned(),
    };
    let kept: Vec<String> = parts.iter().zip(&names).map(part).collect();
    kept.join("/")
}

/// Must be inside the layer that authenticates the request.
pub async fn layer(State(recorder): State<Recorder>, request: Request, next: Next) -> Response {
    let (service, proxies) = &*recorder.0;
    let extensions = request.extensions();
    let client = peer::client(extensions, request.headers(), proxies);
    let actor = Actor::of(principal(extensions));
    let is_forged = has_forged_token(extensions);
    let is_change = ![Method::GET, Method::HEAD, Method::OPTIONS].contains(request.method())
        && extensions.get::<ReadOnly>().is_none();
    let pattern = extensions
        .get::<MatchedPath>()
        .map_or("(no route)", MatchedPath::as_str);
    let action = format!("{} {pattern}", request.method());
    let path = without_names(request.uri().path(), pattern);
    let address = client.map(|address| address.to_string());
    let is_staff = actor.is_staff();
    let origin = Arc::new(Origin::new(actor, address, action));
    let response = context::run_as(Arc::clone(&origin), next.run(request)).await;
    let code = response.extensions().get::<Problem>().map(Problem::code);
    let network = || client.map(|address| peer::name(Some(address)));
    if is_forged {
        let reason = Some(INVALID_TOKEN.code);
        service
            .refused(&origin, &path, network(), Outcome::Refused, reason)
            .await;
        return response;
    }
    let status = response.status();
    if !status.is_client_error() && !status.is_server_error() {
        if is_change && is_staff && !origin.is_recorded() {
            service.done(&origin, &path).await;
        }
        return response;
    }
    let is_login_refusal = code.is_some_and(|code| LOGIN_REFUSALS.contains(&code.code));
    if status.as_u16() == 403 || is_login_refusal || (is_change && is_staff) {
        let outcome = if status.is_server_error() {
            Outcome::Failed
        } else {
            Outcome::Refused
        };
        let reason = code.map(|code| code.code);
        service.refused(&origin, &path, network(), outcome, reason).await;
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_in_the_log_name_no_users() {
        let id = Uuid::from_u128(7);
        for (path, pattern, logged) in [
            (
                "/users/external/ada",
                "/users/external/{externalId}",
                "/users/external/{externalId}",
            ),
            ("/users/external:ada/export", "/users/{id}/export", "/users/{id}/export"),
            ("/users/external%3Aada", "/users/{id}", "/users/{id}"),
            (&format!("/users/{id}"), "/users/{id}", &format!("/users/{id}")),
            (
                "/plugins/a/versions/1",
                "/plugins/{name}/versions/{version}",
                "/plugins/a/versions/1",
            ),
            ("/nothing/here", "(no route)", "/nothing/here"),
        ] {
            assert_eq!(without_names(path, pattern), logged);
        }
    }
}
