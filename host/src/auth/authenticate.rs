//! The layer that finds the principal of a request before any route runs.

use axum::extract::{Request, State};
use axum::http::{HeaderMap, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::AuthService;
use super::guards::{Authentication, InvalidToken, set_principal};
use super::step_up::Proofs;
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

/// The token of the `Authorization` header. `None` without one, with two, or with another scheme.
pub fn bearer_token(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let value = values.next().filter(|_| values.next().is_none())?;
    let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
    scheme
        .eq_ignore_ascii_case("Bearer")
        .then(|| token.trim_start_matches(' '))
}
