//! Who is calling and what they may do: accounts' credentials, sessions, access tokens.
//!
//! Must not know: any other feature but `users` and `activities` (a login is an activity).

mod caller;

pub use caller::{Admin, Auditor, Caller, Claimant, Operator, Role};

use crate::http::Code;

pub const UNAUTHENTICATED: Code = Code::new("unauthenticated", 401, "An access token is required");
pub const INVALID_TOKEN: Code = Code::new("invalid-token", 401, "The access token is not valid");
pub const FORBIDDEN: Code = Code::new("forbidden", 403, "Your role does not allow this");

/// The problems that this feature owns.
pub const CODES: &[Code] = SECURED;

/// The problems of every route that needs a token.
pub const SECURED: &[Code] = &[UNAUTHENTICATED, INVALID_TOKEN, FORBIDDEN];
