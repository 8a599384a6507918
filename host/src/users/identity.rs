//! Identity providers: their keys, the check of their tokens, and what a token says about its user.
//!
//! Must not know: users, sessions, the database.

mod fetch;
mod keys;
mod mapping;
mod provider;
mod token;

pub(super) use fetch::{Fetcher, endpoint};
pub(super) use mapping::{Identity, Mapping};
pub(super) use provider::{Metadata, Provider, Source};
pub(super) use token::{Claims, Expected, Refused, Validity, issuer_of};

/// Longer tokens are not parsed.
pub(super) const MAX_TOKEN_BYTES: usize = 16 * 1024;
