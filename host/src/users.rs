//! Users: registering and logging in, roles, attributes, and the users of other systems.
//!
//! Knows `auth` for sessions and guards, `directory` for external ids, and `activities` because registration and login are
//! activities. Must not know any other feature.

mod account;
mod devices;
mod email;
mod erasure;
mod external;
mod identity;
mod invite;
mod issuers;
mod logged;
mod login;
mod mail;
mod mail_queue;
mod mailing;
mod oidc;
mod password;
mod personal;
mod provisioning;
mod replacement;
mod routes;
mod second_factor;
mod service;
mod standing;
mod store;
mod totp;

pub use account::PasswordReset;
pub use devices::Devices;
pub use email::Email;
pub use erasure::{Erasure, Erasures};
pub use external::{ExternalUser, MAX_UPSERTS, UpsertOutcome, Upserted, Upserts, require_distinct};
pub use issuers::{IssuerError, Issuers};
pub use logged::LoggedErasures;
pub use login::{Login, LoginError, LoginService, NewAccount};
pub use mailing::Mailing;
pub use oidc::{OidcError, OidcLogins};
pub use password::{Caller, Password, PasswordError, Passwords};
pub use routes::{CODES, CREDENTIALS_PATHS, authenticate, erasure_router, login_router, oidc_router, router};
pub use second_factor::{SecondFactors, reseal};
pub use service::{Filter, NewUser, User, UserChange, UserDetails, UserError, UserService};
pub use standing::Standings;
