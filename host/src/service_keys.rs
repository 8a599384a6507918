//! Service keys: long-lived tokens of programs, such as the back end of a shop. A key has scopes, and may be bound to sources
//! of activities and to addresses.
//!
//! Knows `auth` for principals and guards, and `audit`. Must not know any other feature.

mod authenticate;
mod cached;
mod model;
mod routes;
mod service;
mod store;
mod token;

pub use authenticate::{Authenticator, authenticate};
pub use model::{KeyRate, NewServiceKey, ServiceKey, ServiceKeySecret};
pub use routes::{CODES, router};
pub use service::{ServiceKeyError, ServiceKeyService};
