//! The console: its pages, and the login that gives a browser a session in a cookie.
//!
//! The pages call the same routes as every other client, so this module has no rules and no data of its own. Must not know:
//! events, claims or any other feature than `auth` and `users`.

mod files;
mod routes;

pub use files::Files;
pub use routes::{Console, router};
