//! Accounts: registering and logging in, roles, and attributes.
//!
//! Knows `auth` for sessions and guards, and `activities` because registration and login are activities. Must not know
//! any other feature.

mod account;
mod email;
mod invite;
mod login;
mod mail;
mod mail_queue;
mod mailing;
mod password;
mod routes;
mod second_factor;
mod service;
mod store;
mod totp;

pub use account::PasswordReset;
pub use email::Email;
pub use login::{LoginError, LoginService, NewAccount};
pub use mailing::Mailing;
pub use password::{Password, PasswordError, Passwords};
pub use routes::{CODES, CREDENTIALS_PATHS, login_router, router};
pub use second_factor::{SecondFactors, reseal};
pub use service::{Filter, NewUser, User, UserChange, UserDetails, UserError, UserService};
