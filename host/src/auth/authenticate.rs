//! The layer that finds out who sent a request, before any route sees it.

use axum::extract::{Request, State};
use axum::http::{HeaderMap, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::AuthService;
use super::caller::{Authentication, InvalidToken};
use crate::http::limit::Subject;
use crate::problem::Problem;

/// Puts what it found into the request's extensions, where the guards look. It refuses nothing itself: a public route
/// ignores a bad token.
pub async fn authenticate(State(service): State<AuthService>, mut request: Request, next: Next) -> Response {
    if let Some(token) = bearer_token(request.headers()) {
        let caller = match token {
            Ok(token) => match service.check(token).await {
                Ok(caller) => caller.ok_or(InvalidToken),
                Err(error) => return Problem::from(error).into_response(),
            },
            Err(invalid) => Err(invalid),
        };
        if let Ok(caller) = caller {
            request.extensions_mut().insert(Subject(caller.user_id));
        }
        request.extensions_mut().insert(Authentication(caller));
    }
    next.run(request).await
}

/// `None` without an `Authorization` header; two of them, or another scheme, are no token of ours.
fn bearer_token(headers: &HeaderMap) -> Option<Result<&str, InvalidToken>> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let value = values.next()?;
    let token = value
        .to_str()
        .ok()
        .filter(|_| values.next().is_none())
        .and_then(|value| value.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("Bearer"))
        .map(|(_, token)| token.trim_start_matches(' '));
    Some(token.ok_or(InvalidToken))
}
