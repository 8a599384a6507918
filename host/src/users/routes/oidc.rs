//! `/auth/oidc` over HTTP: the login of staff with an identity provider.

use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{IDENTITY_PROVIDER_UNAVAILABLE, NO_MAPPED_ROLE, OIDC_LOGIN_FAILED, OIDC_NOT_CONFIGURED};
use crate::auth::{AuthService, Principal, Role, TokenPair, cookie_of, session_cookie, set_cookie};
use crate::http::{Params, Problem};
use crate::users::oidc::{Answer, LOGIN_LIFETIME};
use crate::users::{OidcError, OidcLogins};

/// The prefix makes browsers accept it only from this host, over https or from this machine.
const COOKIE: &str = "__Host-meed-oidc";

/// Present while the console waits for the login that has begun.
const CONSOLE_COOKIE: &str = "__Host-meed-oidc-console";

#[derive(Clone, Debug)]
struct Logins {
    oidc: OidcLogins,
    auth: AuthService,
}

pub fn router(oidc: OidcLogins, auth: AuthService) -> OpenApiRouter {
    OpenApiRouter::new()
        .routes(routes!(login))
        .routes(routes!(callback))
        .with_state(Logins { oidc, auth })
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct LoginParams {
    /// Whether the login opens a session of the console: the callback then redirects to it
    #[serde(default)]
    #[param(default = false)]
    console: bool,
}

/// Begin a login with the identity provider of staff: redirects a browser to it.
#[utoipa::path(
    get, path = "/auth/oidc/login", tag = "auth",
    params(LoginParams),
    responses((status = 303, description = "To the identity provider", headers(("Location" = String), ("Set-Cookie" = String)))),
    extensions(("x-problems" = json!(["oidc-not-configured", "identity-provider-unavailable"]))),
)]
async fn login(
    State(logins): State<Logins>,
    Params(LoginParams { console }): Params<LoginParams>,
) -> Result<Response, Problem> {
    let begun = match logins.oidc.begin().await {
        Ok(begun) => begun,
        Err(error) if console => return to_console(&Problem::from(error)),
        Err(error) => return Err(error.into()),
    };
    let seconds = LOGIN_LIFETIME.as_secs();
    let headers = [
        (header::SET_COOKIE, cookie(COOKIE, &begun.cookie, seconds)?),
        (
            header::SET_COOKIE,
            cookie(CONSOLE_COOKIE, "1", if console { seconds } else { 0 })?,
        ),
        (header::LOCATION, value(&begun.location)?),
    ];
    Ok((StatusCode::SEE_OTHER, axum::response::AppendHeaders(headers)).into_response())
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
/// With `console=true` at the beginning, the response redirects to the console, with its session in a cookie.
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
    State(logins): State<Logins>,
    headers: HeaderMap,
    Params(params): Params<CallbackParams>,
) -> Result<Response, Problem> {
    let answer = Answer {
        code: params.code,
        state: params.state,
        iss: params.iss,
        error: params.error,
    };
    let for_console = cookie_of(&headers, CONSOLE_COOKIE).is_some();
    let completed = logins.oidc.complete(cookie_of(&headers, COOKIE), answer).await;
    if !for_console {
        let pair = completed?;
        let used = [(header::SET_COOKIE, cookie(COOKIE, "", 0)?)];
        return Ok((used, axum::Json(pair)).into_response());
    }
    let opened = match completed {
        Ok(pair) => logins.open_console(&pair).await,
        Err(error) => Err(error.into()),
    };
    let mut response = match opened {
        Ok(session) => {
            let headers = [(header::SET_COOKIE, session), (header::LOCATION, value("/console/")?)];
            (StatusCode::SEE_OTHER, headers).into_response()
        }
        Err(problem) => to_console(&problem)?,
    };
    for name in [COOKIE, CONSOLE_COOKIE] {
        response.headers_mut().append(header::SET_COOKIE, cookie(name, "", 0)?);
    }
    Ok(response)
}

impl Logins {
    async fn open_console(&self, pair: &TokenPair) -> Result<HeaderValue, Problem> {
        let (principal, content) = self.auth.cookie(pair).await?;
        if let Principal::User {
            id,
            role: Role::User,
            session: Some(session),
            ..
        } = principal
        {
            self.auth.logout(id, session).await?;
            return Err(OidcError::NoRole.into());
        }
        session_cookie(&content).ok_or_else(|| Problem::internal("the cookie is no header value"))
    }
}

/// Shows the problem in the console.
fn to_console(problem: &Problem) -> Result<Response, Problem> {
    let location = value(&format!("/console/?problem={}", problem.code().code))?;
    let headers: [(HeaderName, HeaderValue); 1] = [(header::LOCATION, location)];
    Ok((StatusCode::SEE_OTHER, headers).into_response())
}

/// Lax, because the provider's redirect comes from another site.
fn cookie(name: &str, content: &str, seconds: u64) -> Result<HeaderValue, Problem> {
    set_cookie(name, content, Some(seconds), "Lax").ok_or_else(|| Problem::internal("the cookie is no header value"))
}

fn value(text: &str) -> Result<HeaderValue, Problem> {
    HeaderValue::from_str(text).map_err(Problem::internal)
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
