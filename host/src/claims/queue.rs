//! Pending claims: accepted with 202 or from a topic, decided later in the order of their arrival.
//!
//! `intake` and `external` accept claims, `worker` owns the queue of an event by a lease, `process` decides and commits.

mod external;
mod intake;
mod process;
mod worker;

pub use external::{ExternalClaim, ExternalIntake, PermanentRejection};
pub(super) use intake::Intake;
pub(super) use process::QueueProcessor;
pub use worker::Worker;
