//! The layer that authenticates requests by tokens of trusted issuers.

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::IDENTITY_PROVIDER_UNAVAILABLE;
use crate::auth;
use crate::http::limit::Subject;
use crate::problem::Problem;
use crate::users::{IssuerError, Issuers};

/// Must be outside of [`auth::authenticate`], which refuses tokens that this server did not issue. It refuses no request
/// itself, unless a token cannot be checked now.
pub async fn authenticate(State(issuers): State<Issuers>, mut request: Request, next: Next) -> Response {
    if !issuers.is_empty()
        && let Some(token) = auth::bearer_token(request.headers())
    {
        match issuers.check(token).await {
            Ok(None) => {}
            Ok(Some(found)) => {
                if let Ok((principal, _)) = &found {
                    request.extensions_mut().insert(Subject::user(principal.id()));
                }
                auth::set_principal(request.extensions_mut(), found);
            }
            Err(error) => return Problem::from(error).into_response(),
        }
    }
    next.run(request).await
}

impl From<IssuerError> for Problem {
    fn from(error: IssuerError) -> Self {
        let detail = error.to_string();
        match error {
            IssuerError::Unavailable(_) => Self::new(IDENTITY_PROVIDER_UNAVAILABLE, detail).retry_after(10),
            IssuerError::User(error) => error.into(),
        }
    }
}
