//! Fulfilments: whether a grant has reached its user. PENDING until an endpoint's response or an acknowledgement makes it
//! DELIVERED or FAILED.
//!
//! A pending fulfilment has no row, so a claim does not pay for it. The routes are those of grants, in `claims`. Must not
//! know: claims, endpoints, how messages are delivered.

mod model;
mod personal;
mod service;
mod store;

pub use model::{Acknowledgement, Fulfilment, FulfilmentState, ReportedFulfilment};
pub use service::{Answer, Answered, FulfilmentService};
