//! The RPC face: Connect, gRPC and gRPC-Web on the port of REST, for the services of `proto/meed/v1`.
//!
//! `routes` mounts the methods inside the layers of REST, so that authentication, limits, audit and metrics are the same.
//! `refusal` makes errors of problems, and lets those layers see the problem of a method. `message` converts ids, users and
//! documents. `watches` is what the streams of changes have in common. The other files are the services: each method names a guard and makes one call of a feature.
//!
//! Must not know: stores, and rules of features.

#![expect(
    refining_impl_trait,
    reason = "a method names the message that it returns, instead of `impl Encodable`"
)]

mod activities;
mod claims;
mod events;
mod message;
mod progress;
mod receipts;
mod refusal;
mod routes;
mod watches;

pub use routes::{Services, errors, is_streamed, router};
