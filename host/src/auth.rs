//! Who is calling and what they may do: sessions, access tokens, refresh tokens, roles.
//!
//! Two floors. Below: roles, guards and [`Sessions`], which every feature may use and which know only the database.
//! Above: [`AuthService`], which logs people in and so knows `users` and `activities` (a login is an activity).
//! Must not know: any other feature.

mod authenticate;
mod caller;
mod routes;
mod service;
mod sessions;
mod store;
mod tokens;

pub use authenticate::authenticate;
pub use caller::{Admin, Auditor, Caller, Claimant, Operator, Role};
pub use routes::router;
pub use service::{AuthError, AuthService, NewAccount, TokenPair};
pub use sessions::{EndReason, EndedSessions, Sessions};

use crate::problem::Code;

pub const UNAUTHENTICATED: Code = Code::new("unauthenticated", 401, "An access token is required");
pub const INVALID_TOKEN: Code = Code::new("invalid-token", 401, "The access token is not valid");
pub const FORBIDDEN: Code = Code::new("forbidden", 403, "Your role does not allow this");
const WRONG_CREDENTIALS: Code = Code::new("wrong-credentials", 401, "The e-mail or the password is wrong");
const INVALID_REFRESH_TOKEN: Code = Code::new("invalid-refresh-token", 401, "The refresh token is not valid");
const REFRESH_TOKEN_REUSED: Code = Code::new("refresh-token-reused", 401, "The refresh token was used before");

/// The problems that this feature owns.
pub const CODES: &[Code] = &[
    UNAUTHENTICATED,
    INVALID_TOKEN,
    FORBIDDEN,
    WRONG_CREDENTIALS,
    INVALID_REFRESH_TOKEN,
    REFRESH_TOKEN_REUSED,
];

/// Where passwords are tried or accounts are made, which is limited by address.
pub const CREDENTIALS_PATHS: &[&str] = &["/auth/register", "/auth/login"];

/// The problems of every route that needs a token.
pub const SECURED: &[Code] = &[UNAUTHENTICATED, INVALID_TOKEN, FORBIDDEN];
