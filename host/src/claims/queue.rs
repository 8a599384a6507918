//! Pending claims: accepted with 202 or from a topic, decided later in the order of their arrival.
//!
//! `intake` and `external` accept them, `worker` owns an event's queue by a lease, `process` decides and commits.

mod external;
mod intake;
mod process;
mod worker;

pub use external::{ExternalClaim, PermanentRejection};
pub(super) use intake::Intake;
pub use worker::{Worker, count_pending};
