//! The audit log: who did what, from where, to what, with which outcome, and which fields changed.
//!
//! A service calls [`record`] in the transaction of its action, so the row exists if and only if the action was
//! committed. The layer around the routes provides the actor, the address and the action, and writes rows for refused
//! attempts and for actions of staff that recorded nothing themselves, so that none can be forgotten. Every feature may
//! use it. Must not know: any feature except the principals of `auth`.

mod context;
mod entry;
mod leaves;
mod logged;
mod refusals;
mod routes;
mod service;
mod store;

pub use context::{Origin, about, recorded_elsewhere, run_as};
pub use entry::Entry;
pub use logged::LoggedEntries;
pub use routes::{CODES, ReadOnly, Recorder, layer, router};
pub use service::{AuditService, record};
