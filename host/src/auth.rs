//! Who acts and what they may do: principals and scopes, guards, sessions, access tokens and refresh tokens.
//!
//! Every feature may use it. Must not know any feature; of `users` it reads the role and state of a session's user.

mod authenticate;
mod cookies;
mod guards;
mod long_lived;
mod passes;
mod personal;
mod principal;
mod routes;
mod same_origin;
mod service;
mod sessions;
mod step_up;
mod store;
mod tokens;

pub use authenticate::{authenticate, authenticate_cookie, bearer_token, cookie_of, session_cookie, set_cookie};
pub use guards::*;
pub use long_lived::LongLived;
pub use passes::{Pass, Passes};
pub use principal::{KeyHolder, Principal, Role, Scope};
pub use routes::{bounded_secret, router};
pub use same_origin::is_same_origin;
pub use service::{AuthError, AuthService, TokenPair};
pub use sessions::{EndReason, EndedSessions, Sessions};
pub use step_up::{SteppedUp, SteppedUpOrKey};

use crate::problem::Code;

pub const UNAUTHENTICATED: Code = Code::new("unauthenticated", 401, "An access token is required");
pub const INVALID_TOKEN: Code = Code::new("invalid-token", 401, "The access token is not valid");
pub const FORBIDDEN: Code = Code::new("forbidden", 403, "Your role does not allow this");
const ADDRESS_NOT_ALLOWED: Code = Code::new(
    "address-not-allowed",
    403,
    "The service key may not be used from this address",
);
const INVALID_REFRESH_TOKEN: Code = Code::new("invalid-refresh-token", 401, "The refresh token is not valid");
const STEP_UP_REQUIRED: Code = Code::new("step-up-required", 403, "A recent proof of identity is required");
const TOTP_REQUIRED: Code = Code::new("totp-required", 403, "Your role needs a second factor");
pub const FOREIGN_ORIGIN: Code = Code::new("foreign-origin", 403, "The request comes from another site");
const NO_SUCH_SESSION: Code = Code::new("no-such-session", 404, "You have no such session");
const REFRESH_TOKEN_REUSED: Code = Code::new("refresh-token-reused", 401, "The refresh token was used before");

/// The problems that this feature owns.
pub const CODES: &[Code] = &[
    UNAUTHENTICATED,
    INVALID_TOKEN,
    FORBIDDEN,
    ADDRESS_NOT_ALLOWED,
    INVALID_REFRESH_TOKEN,
    REFRESH_TOKEN_REUSED,
    NO_SUCH_SESSION,
    STEP_UP_REQUIRED,
    TOTP_REQUIRED,
    FOREIGN_ORIGIN,
];

/// The problems of every route that needs a token.
pub const SECURED: &[Code] = &[
    UNAUTHENTICATED,
    INVALID_TOKEN,
    FORBIDDEN,
    ADDRESS_NOT_ALLOWED,
    TOTP_REQUIRED,
];
