//! The layer that finds the principal of a request before any route runs.

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::guards::{Authentication, InvalidToken, set_principal};
use super::same_origin::is_same_origin;
use super::step_up::Proofs;
use super::{AuthService, FOREIGN_ORIGIN};
use crate::http::limit::Subject;
use crate::problem::Problem;

/// Puts the principal of an access token into the request's extensions, where the guards read it. It refuses no request: a
/// public route ignores an invalid token. Layers around it may have found the principal of a token of another kind.
pub async fn authenticate(State(service): State<AuthService>, mut request: Request, next: Next) -> Response {
    let is_done = request.extensions().get::<Authentication>().is_some();
    if !is_done && request.headers().contains_key(header::AUTHORIZATION) {
        let found = match bearer_token(request.headers()) {
            Some(token) => match service.check(token).await {
                Ok(found) => found,
                Err(error) => return Problem::from(error).into_response(),
            },
            None => Err(InvalidToken { is_forged: false }),
        };
        if let Ok((principal, _)) = &found {
            request.extensions_mut().insert(Subject::user(principal.id()));
        }
        set_principal(request.extensions_mut(), found);
    }
    request.extensions_mut().insert(Proofs(service));
    next.run(request).await
}

/// The prefix makes browsers accept it only from this host, over https or from this machine.
const SESSION_COOKIE: &str = "__Host-meed-session";

/// Puts the principal of a console session into the request's extensions, as [`authenticate`] does for a token. A request with
/// an `Authorization` header has the principal of the header; its cookies do not count.
///
/// A change with the cookie that another site sent is refused; a reading request of another site has no principal.
pub async fn authenticate_cookie(State(service): State<AuthService>, mut request: Request, next: Next) -> Response {
    let cookie = match cookie_of(request.headers(), SESSION_COOKIE) {
        Some(cookie) if !request.headers().contains_key(header::AUTHORIZATION) => cookie.to_owned(),
        _ => return next.run(request).await,
    };
    if !is_same_origin(request.method(), request.uri(), request.headers()) {
        if request.method().is_safe() {
            return next.run(request).await;
        }
        let detail =
            "A session of the console counts only for requests of its own pages; programs send Authorization: Bearer.";
        return Problem::new(FOREIGN_ORIGIN, detail).into_response();
    }
    let found = match service.check_cookie(&cookie).await {
        Ok(found) => found,
        Err(error) => return Problem::from(error).into_response(),
    };
    let mut renewed = None;
    let found = found.map(|found| {
        request.extensions_mut().insert(Subject::user(found.principal.id()));
        renewed = found.renewed;
        (found.principal, found.end)
    });
    set_principal(request.extensions_mut(), found);
    let mut response = next.run(request).await;
    // A logout removes the cookie, and must not be undone here.
    if let Some(cookie) = renewed.and_then(|cookie| session_cookie(&cookie))
        && !response.headers().contains_key(header::SET_COOKIE)
    {
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
    response
}

/// Gives a browser the cookie of a console session; an empty content removes it. It ends with the browser.
pub fn session_cookie(content: &str) -> Option<HeaderValue> {
    let lifetime = content.is_empty().then_some(0);
    set_cookie(SESSION_COOKIE, content, lifetime, "Strict")
}

/// A cookie of this host that no script can read; `lifetime` in seconds, without one until the browser ends.
pub fn set_cookie(name: &str, content: &str, lifetime: Option<u64>, same_site: &str) -> Option<HeaderValue> {
    let lifetime = lifetime.map_or_else(String::new, |seconds| format!("Max-Age={seconds}; "));
    let cookie = format!("{name}={content}; Path=/; {lifetime}Secure; HttpOnly; SameSite={same_site}");
    HeaderValue::from_str(&cookie).ok()
}

/// The content of a cookie, if the request has exactly one of this name.
pub fn cookie_of<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let lines = headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|line| line.to_str().ok());
    let pairs = lines
        .flat_map(|line| line.split(';'))
        .filter_map(|pair| pair.trim().split_once('='));
    let mut found = pairs.filter(|(found, _)| *found == name).map(|(_, content)| content);
    let first = found.next()?;
    found.next().is_none().then_some(first)
}

/// The token of the `Authorization` header. `None` without one, with two, or with another scheme.
pub fn bearer_token(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let value = values.next().filter(|_| values.next().is_none())?;
    let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
    scheme
        .eq_ignore_ascii_case("Bearer")
        .then(|| token.trim_start_matches(' '))
}
