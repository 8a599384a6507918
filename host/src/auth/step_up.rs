//! The extractor that lets in only principals who proved a short time ago who they are.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;

use super::{AuthService, Principal};
use crate::problem::Problem;

/// Reads when the user of a session proved who they are. The authentication layer puts it into the request's extensions.
#[derive(Clone, Debug)]
pub(super) struct Proofs(pub AuthService);

/// Lets in principals who logged in a short time ago, or called `POST /auth/step-up`. For changes of roles and keys, after the
/// guard of the scope.
#[derive(Clone, Copy, Debug)]
pub struct SteppedUp;

impl<S: Send + Sync> FromRequestParts<S> for SteppedUp {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let principal = <Principal as FromRequestParts<S>>::from_request_parts(parts, state).await?;
        let Some(Proofs(service)) = parts.extensions.get::<Proofs>().cloned() else {
            return Err(Problem::internal("the authentication layer is missing"));
        };
        service.require_proof(&principal).await?;
        Ok(Self)
    }
}
