//! The extractor for routes whose response takes long.

use axum::extract::FromRequestParts;
use axum::http::Extensions;
use axum::http::request::Parts;
use uuid::Uuid;

use super::guards::TokenEnd;
use super::passes::{Pass, Passes};
use super::principal::Principal;
use super::step_up::Proofs;
use crate::clock::Timestamp;
use crate::problem::Problem;

/// Makes a pass for the principal of the request.
#[derive(Debug)]
pub struct LongLived {
    passes: Passes,
    principal: Principal,
    until: Option<Timestamp>,
}

impl LongLived {
    /// For handlers of protocols that have no extractors.
    pub fn of(extensions: &Extensions) -> Result<Self, Problem> {
        let principal = Principal::of(extensions)?;
        let Some(Proofs(service)) = extensions.get::<Proofs>() else {
            return Err(Problem::internal("the authentication layer is missing"));
        };
        Ok(Self {
            passes: service.passes().clone(),
            principal,
            until: extensions.get::<TokenEnd>().and_then(|end| end.0),
        })
    }

    /// For watching this user.
    pub fn pass(self, user_id: Uuid) -> Pass {
        self.passes.hold(self.principal, Some(user_id), self.until)
    }

    /// For what concerns no particular user.
    pub fn own_pass(self) -> Pass {
        self.passes.hold(self.principal, None, self.until)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for LongLived {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        Self::of(&parts.extensions)
    }
}
