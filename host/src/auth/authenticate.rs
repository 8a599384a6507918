//! The layer that finds the principal of a request before any route runs.

use axum::extract::{Request, State};
use axum::http::{HeaderMap, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::AuthService;
use super::guards::{Authentication, InvalidToken};
use super::step_up::Proofs;
use crate::http::limit::Subject;
use crate::problem::Problem;

/// Puts the principal into the request's extensions, where the guards read it. It refuses no request: a public route
/// ignores an invalid token.
pub async fn authenticate(State(service): State<AuthService>, mut request: Request, next: Next) -> Response {
    if let Some(token) = bearer_token(request.headers()) {
        let principal = match token {
            Ok(token) => match service.check(token).await {
                Ok(principal) => principal,
                Err(error) => return Problem::from(error).into_response(),
            },
            Err(invalid) => Err(invalid),
        };
        if let Ok(principal) = &principal {
            request.extensions_mut().insert(Subject(principal.id()));
        }
        request.extensions_mut().insert(Authentication(principal));
        request.extensions_mut().insert(Proofs(service));
    }
    next.run(request).await
}

/// `None` without an `Authorization` header. Two such headers, or another scheme, are an invalid token.
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
    Some(token.ok_or(InvalidToken { is_forged: false }))
}
