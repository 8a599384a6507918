//! The authenticated caller, and extractors that let only some roles in.
//!
//! A handler names the extractor, so it cannot forget to check; it runs before the body is read.

use std::convert::Infallible;

use axum::extract::{FromRequestParts, OptionalFromRequestParts};
use axum::http::request::Parts;
use serde::{Deserialize, Serialize};
use strum::{Display, EnumString};
use utoipa::ToSchema;
use uuid::Uuid;

use super::{FORBIDDEN, INVALID_TOKEN, UNAUTHENTICATED};
use crate::db::text_column;
use crate::problem::Problem;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, Display, EnumString, ToSchema)]
#[serde(rename_all = "UPPERCASE")]
#[strum(serialize_all = "UPPERCASE", parse_err_ty = String, parse_err_fn = not_a_role)]
pub enum Role {
    /// Claims rewards.
    User,
    /// Runs events, rewards and plugins.
    Operator,
    /// Reads reward requests and nothing else.
    Auditor,
    /// May do everything.
    Admin,
}

text_column!(Role);

fn not_a_role(text: &str) -> String {
    format!("{text:?} is not a role; the roles are USER, OPERATOR, AUDITOR and ADMIN")
}

/// Who sent the request: checked by [`super::authenticate`], so holding one is proof.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caller {
    pub user_id: Uuid,
    pub session_id: Uuid,
    pub role: Role,
}

/// What the authentication layer found in the request; absent when it carried no token.
#[derive(Clone, Copy, Debug)]
pub(super) struct Authentication(pub Result<Caller, InvalidToken>);

/// Why a token was refused is for the log, never for the client.
#[derive(Clone, Copy, Debug)]
pub(super) struct InvalidToken;

impl Caller {
    fn of(parts: &Parts) -> Result<Self, Problem> {
        match parts.extensions.get::<Authentication>() {
            None => Err(Problem::new(
                UNAUTHENTICATED,
                "Send Authorization: Bearer with the accessToken of POST /auth/login.",
            )),
            Some(Authentication(Err(InvalidToken))) => Err(Problem::new(
                INVALID_TOKEN,
                "The access token is malformed, expired or revoked; refresh it or log in again.",
            )),
            Some(Authentication(Ok(caller))) => Ok(*caller),
        }
    }

    fn require(self, roles: &[Role]) -> Result<Self, Problem> {
        if roles.contains(&self.role) {
            return Ok(self);
        }
        let roles = roles.iter().map(ToString::to_string).collect::<Vec<_>>().join(" or ");
        Err(Problem::new(
            FORBIDDEN,
            format!("You are {}; this needs {roles}.", self.role),
        ))
    }
}

/// Any authenticated caller.
impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        Self::of(parts)
    }
}

/// Anyone; a token that was sent must be valid.
impl<S: Send + Sync> OptionalFromRequestParts<S> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Option<Self>, Problem> {
        if parts.extensions.get::<Authentication>().is_none() {
            return Ok(None);
        }
        Self::of(parts).map(Some)
    }
}

macro_rules! guard {
    ($(#[$meta:meta])* $name:ident: $($role:ident)|+) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug)]
        pub struct $name(pub Caller);

        impl<S: Send + Sync> FromRequestParts<S> for $name {
            type Rejection = Problem;

            async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
                Caller::of(parts)?.require(&[$(Role::$role),+]).map(Self)
            }
        }
    };
}

guard! {
    /// May claim rewards.
    Claimant: User | Admin
}
guard! {
    /// May run events, rewards and plugins.
    Operator: Operator | Admin
}
guard! {
    /// May read reward requests of everyone.
    Auditor: Operator | Auditor | Admin
}
guard! {
    /// May do everything.
    Admin: Admin
}

impl From<Infallible> for Problem {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}
