//! Whether what was granted has reached its user: `PENDING` until an endpoint's answer or somebody's word says
//! `DELIVERED` or `FAILED`.
//!
//! A grant that nobody spoke of has no row, so a claim pays nothing for this. Its routes are those of grants, in
//! `requests`. Must not know: claims, endpoints, how messages travel.

mod model;
mod service;
mod store;

pub use model::{Acknowledgement, Fulfilment, FulfilmentState, Said};
pub use service::{Answer, Answered, FulfilmentService};
