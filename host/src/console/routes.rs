//! `/console/` over HTTP: the pages, login, logout and who is logged in. Not part of the API's document: the pages and this
//! module are one release.

use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use garde::Validate;
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::files::Files;
use crate::auth::{
    AuthService, FORBIDDEN, FOREIGN_ORIGIN, Principal, Role, bounded_secret, cookie_of, is_same_origin, session_cookie,
    set_cookie,
};
use crate::http::{Body, Path, Problem};
use crate::problem::NO_SUCH_ROUTE;
use crate::users::{LoginService, OidcLogins};

const DEVICE_COOKIE: &str = "__Host-meed-device";
/// As long as a device token is valid.
const DEVICE_SECONDS: u64 = 180 * 24 * 60 * 60;

/// Scripts, styles and requests come from this server only, and no script can make code from text.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
    base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'";

/// Wired by `app`; cheap to clone.
#[derive(Clone, Debug)]
pub struct Console {
    pub auth: AuthService,
    pub logins: LoginService,
    pub oidc: OidcLogins,
    pub files: Files,
}

pub fn router(console: Console) -> Router {
    Router::new()
        .route("/console", get(async || Redirect::permanent("/console/")))
        .route("/console/", get(page))
        .route("/console/session", get(session))
        .route("/console/session/login", post(login))
        .route("/console/session/logout", post(logout))
        .route("/console/{*path}", get(file))
        .with_state(console)
}

async fn page(State(console): State<Console>, headers: HeaderMap) -> Response {
    send(&console.files, "", &headers)
}

async fn file(State(console): State<Console>, Path(path): Path<String>, headers: HeaderMap) -> Response {
    send(&console.files, &path, &headers)
}

fn send(files: &Files, path: &str, headers: &HeaderMap) -> Response {
    if files.is_empty() {
        return (StatusCode::NOT_FOUND, page_headers(), MISSING).into_response();
    }
    let encodings = headers
        .get(header::ACCEPT_ENCODING)
        .and_then(|value| value.to_str().ok());
    let accepts_gzip = encodings.is_some_and(|value| value.split(',').any(|coding| coding.trim() == "gzip"));
    let Some(file) = files.find(path, accepts_gzip) else {
        let detail = "This build of the console has no such file; load /console/ again.";
        return Problem::new(NO_SUCH_ROUTE, detail).into_response();
    };
    let caching = if file.is_immutable {
        "public, max-age=31536000, immutable"
    } else {
        "no-cache"
    };
    let mut response = (page_headers(), file.content).into_response();
    let sent = response.headers_mut();
    sent.insert(header::CONTENT_TYPE, HeaderValue::from_static(file.content_type));
    sent.insert(header::CACHE_CONTROL, HeaderValue::from_static(caching));
    sent.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    if file.is_gzip {
        sent.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    response
}

fn page_headers() -> [(HeaderName, &'static str); 4] {
    [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ]
}

const MISSING: &str = "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>Meed</title>\
    <h1>This build of Meed has no console</h1>\
    <p>Run <code>cargo xtask console</code> and build the server again. The API works without it.</p></html>\n";

/// Who is logged in, and how one can log in.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Session {
    user: Option<SessionUser>,
    /// Whether staff can log in with an identity provider.
    has_identity_provider: bool,
    version: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SessionUser {
    id: Uuid,
    role: Role,
    /// What the role allows.
    scopes: Vec<&'static str>,
    /// The role needs a second factor and the login was without.
    needs_second_factor: bool,
}

/// No account, if the session is over.
async fn session(State(console): State<Console>, principal: Result<Principal, Problem>) -> Json<Session> {
    let user = principal.ok().as_ref().and_then(SessionUser::of);
    Json(console.session(user))
}

impl Console {
    fn session(&self, user: Option<SessionUser>) -> Session {
        Session {
            user,
            has_identity_provider: self.oidc.is_configured(),
            version: env!("CARGO_PKG_VERSION"),
        }
    }
}

impl SessionUser {
    fn of(principal: &Principal) -> Option<Self> {
        let Principal::User {
            id,
            role,
            needs_second_factor,
            ..
        } = principal
        else {
            return None;
        };
        let scopes = if *needs_second_factor { &[] } else { role.scopes() };
        Some(Self {
            id: *id,
            role: *role,
            scopes: scopes.iter().map(|scope| scope.name()).collect(),
            needs_second_factor: *needs_second_factor,
        })
    }
}

#[derive(Debug, Deserialize, Validate)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Credentials {
    #[garde(length(bytes, max = 1024))]
    email: String,
    #[garde(custom(bounded_secret))]
    password: SecretString,
    #[garde(inner(custom(bounded_secret)))]
    code: Option<SecretString>,
}

/// Logs in, as `POST /auth/login` does, into a cookie. Another site must not log a browser in.
async fn login(
    State(console): State<Console>,
    (method, uri): (Method, Uri),
    headers: HeaderMap,
    Body(credentials): Body<Credentials>,
) -> Result<Response, Problem> {
    if !is_same_origin(&method, &uri, &headers) {
        let detail = "Only pages of the console log in here; programs send POST /auth/login.";
        return Err(Problem::new(FOREIGN_ORIGIN, detail));
    }
    let Credentials { email, password, code } = credentials;
    let device = cookie_of(&headers, DEVICE_COOKIE).map(SecretString::from);
    let device = device.filter(|token| token.expose_secret().len() <= 1024);
    let login = console.logins.login(&email, password, code, device).await?;
    let (principal, cookie) = console.auth.cookie(&login.tokens).await?;
    if let Principal::User {
        id,
        role: Role::User,
        session: Some(session),
        ..
    } = principal
    {
        console.auth.logout(id, session).await?;
        return Err(Problem::new(FORBIDDEN, "The console is for staff; your role is USER."));
    }
    let mut response = Json(console.session(SessionUser::of(&principal))).into_response();
    let device = set_cookie(DEVICE_COOKIE, &login.device_token, Some(DEVICE_SECONDS), "Strict");
    let cookies = [session_cookie(&cookie), device];
    for cookie in cookies.into_iter().flatten() {
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
    Ok(response)
}

/// Ends the session, if there is one, and removes the cookie.
async fn logout(State(console): State<Console>, principal: Result<Principal, Problem>) -> Result<Response, Problem> {
    if let Ok(principal) = principal {
        let (user_id, session_id) = principal.require_session()?;
        console.auth.logout(user_id, session_id).await?;
    }
    let mut response = StatusCode::NO_CONTENT.into_response();
    if let Some(removed) = session_cookie("") {
        response.headers_mut().insert(header::SET_COOKIE, removed);
    }
    Ok(response)
}
