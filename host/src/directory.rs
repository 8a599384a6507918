//! The names by which other systems know users: finds users by external ids, and creates users for them.
//!
//! Below `users` and `activities`, whose requests name users. Knows `auth` for roles only. Must not know any other
//! feature.

mod external_id;
mod reference;
mod service;
mod store;

pub use external_id::ExternalId;
pub use reference::UserRef;
pub use service::{Account, Directory, Members};
