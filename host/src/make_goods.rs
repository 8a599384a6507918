//! Make-goods: a wrong rule was mended, and what it did to users is put right, as one batch that a second person approves.
//!
//! `proposal` asks the event's condition again about the claims of a period ([`Claims::would_grant`](crate::claims::Claims))
//! and lists who was wrongly refused and who wrongly granted. An approval (`approval`) is for the hash of that list
//! (`content`). `application` carries it out by the commits of claims and reversals, each entry once under an id of its own.
//! `worker` runs both, under a lease. [Make-goods](../../docs/make-goods.md) has the semantics. Uses claims, events and a
//! problem code of releases. Must not know: backtests.

mod application;
mod approval;
mod content;
mod error;
mod model;
mod personal;
mod proposal;
mod routes;
mod service;
mod state;
mod store;
mod terms;
mod worker;

pub use error::MakeGoodError;
pub use routes::{CODES, router};
pub use service::MakeGoodService;
pub use worker::Worker;
