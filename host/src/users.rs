//! Accounts: who may log in, in which role, and what is known of them (their attributes).
//!
//! Must not know: tokens and refresh tokens. It knows `auth` for roles and guards, and to end the sessions of an
//! account that changed.

mod email;
mod invite;
mod password;
mod routes;
mod service;
mod store;

pub use email::Email;
pub use password::{Password, PasswordError, Passwords};
pub use routes::{CODES, router};
pub use service::{Filter, NewUser, User, UserChange, UserDetails, UserError, UserService};
