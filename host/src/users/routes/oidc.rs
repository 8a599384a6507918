//! `/auth/oidc` over HTTP: the login of staff with an identity provider.

use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{IDENTITY_PROVIDER_UNAVAILABLE, NO_MAPPED_ROLE, OIDC_LOGIN_FAILED, OIDC_NOT_CONFIGURED};
use crate::auth::TokenPair;
use crate::http::{Params, Problem};
use crate::users::oidc::{Answer, LOGIN_LIFETIME};
use crate::users::{OidcError, OidcLogins};

/// The prefix makes browsers accept it only from this host, over https or from this machine.
const COOKIE: &str = "__Host-meed-oidc";

pub fn router(service: OidcLogins) -> OpenApiRouter {
    OpenApiRouter::new()
        .routes(routes!(login))
        .routes(routes!(callback))
        .with_state(service)
}

/// Begin a login with the identity provider of staff: redirects a browser to it.
#[utoipa::path(
    get, path = "/auth/oidc/login", tag = "auth",
    responses((status = 303, description = "To the identity provider", headers(("Location" = String), ("Set-Cookie" = String)))),
    extensions(("x-problems" = json!(["oidc-not-configured", "identity-provider-unavailable"]))),
)]
async fn login(State(service): State<OidcLogins>) -> Result<Response, Problem> {
    let begun = service.begin().await?;
    let cookie = cookie(&begun.cookie, LOGIN_LIFETIME.as_secs())?;
    let headers = [
        (header::SET_COOKIE, cookie),
        (header::LOCATION, value(&begun.location)?),
    ];
    Ok((StatusCode::SEE_OTHER, headers).into_response())
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct CallbackParams {
    code: Option<String>,
    state: Option<String>,
    /// The provider (RFC 9207)
    iss: Option<String>,
    /// Why the provider refused the login
    error: Option<String>,
}

/// Complete a login with the identity provider: it redirects the browser here. Opens a session, as `POST /auth/login` does.
///
/// The role of the account becomes the one that the provider gives. Only the browser that began the login can complete it,
/// within ten minutes.
#[utoipa::path(
    get, path = "/auth/oidc/callback", tag = "auth",
    params(CallbackParams),
    responses((status = 200, body = TokenPair)),
    extensions(("x-problems" = json!([
        "oidc-not-configured", "oidc-login-failed", "no-mapped-role", "last-admin", "identity-provider-unavailable"
    ]))),
)]
async fn callback(
    State(service): State<OidcLogins>,
    headers: HeaderMap,
    Params(params): Params<CallbackParams>,
) -> Result<Response, Problem> {
    let answer = Answer {
        code: params.code,
        state: params.state,
        iss: params.iss,
        error: params.error,
    };
    let pair = service.complete(cookie_of(&headers), answer).await?;
    let used = [(header::SET_COOKIE, cookie("", 0)?)];
    Ok((used, axum::Json(pair)).into_response())
}

/// Lax, because the provider's redirect comes from another site.
fn cookie(content: &str, seconds: u64) -> Result<HeaderValue, Problem> {
    value(&format!(
        "{COOKIE}={content}; Path=/; Max-Age={seconds}; Secure; HttpOnly; SameSite=Lax"
    ))
}

fn value(text: &str) -> Result<HeaderValue, Problem> {
    HeaderValue::from_str(text).map_err(Problem::internal)
}

/// The cookie of the request, if it has exactly one.
fn cookie_of(headers: &HeaderMap) -> Option<&str> {
    let lines = headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|line| line.to_str().ok());
    let pairs = lines
        .flat_map(|line| line.split(';'))
        .filter_map(|pair| pair.trim().split_once('='));
    let mut found = pairs.filter(|(name, _)| *name == COOKIE).map(|(_, content)| content);
    let first = found.next()?;
    found.next().is_none().then_some(first)
}

impl From<OidcError> for Problem {
    fn from(error: OidcError) -> Self {
        let detail = error.to_string();
        match error {
            OidcError::NotConfigured => Self::new(OIDC_NOT_CONFIGURED, detail),
            OidcError::Failed(_) => Self::new(OIDC_LOGIN_FAILED, detail),
            OidcError::NoRole => Self::new(NO_MAPPED_ROLE, detail),
            OidcError::Unavailable(_) => Self::new(IDENTITY_PROVIDER_UNAVAILABLE, detail).retry_after(10),
            OidcError::Login(error) => error.into(),
            OidcError::User(error) => error.into(),
        }
    }
}
