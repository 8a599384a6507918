//! The extractors that let in only users who proved a short time ago who they are.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;

use super::{AuthService, Principal};
use crate::problem::Problem;

/// Reads when the user of a session proved who they are. The authentication layer puts it into the request's extensions.
#[derive(Clone, Debug)]
pub(super) struct Proofs(pub AuthService);

/// Lets in users who logged in a short time ago, or called `POST /auth/step-up`, and no service keys: a key cannot prove
/// anything, and a stolen one must not become more powerful. For changes of roles and keys, after the guard of the scope.
#[derive(Clone, Copy, Debug)]
pub struct SteppedUp;

/// The same, and service keys: for changes that are within the scope that an ADMIN gave the key.
#[derive(Clone, Copy, Debug)]
pub struct SteppedUpOrKey;

async fn require_proof(parts: &Parts, principal: &Principal) -> Result<(), Problem> {
    let Some(Proofs(service)) = parts.extensions.get::<Proofs>().cloned() else {
        return Err(Problem::internal("the authentication layer is missing"));
    };
    Ok(service.require_proof(principal).await?)
}

impl<S: Send + Sync> FromRequestParts<S> for SteppedUp {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let principal = Principal::of(&parts.extensions)?;
        require_proof(parts, &principal).await?;
        Ok(Self)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for SteppedUpOrKey {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let principal = Principal::of(&parts.extensions)?;
        if principal.key_holder().is_none() {
            require_proof(parts, &principal).await?;
        }
        Ok(Self)
    }
}
