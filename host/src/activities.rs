//! What users did: typed, time-stamped, append-only. Facts are read from it.
//!
//! Reporting is idempotent by source and id, so that a sender may repeat what it is not sure of. Must not know: any
//! other feature but `auth` (who is calling); a login, a registration and an accepted invite are handed in by theirs.

mod batch;
mod report;
mod routes;
mod service;
mod store;

pub use batch::{Batch, MAX_BATCH};
pub use report::NewActivity;
pub use routes::{CODES, router};
pub use service::{
    Activity, ActivityError, ActivityService, Fault, Filter, Outcome, OwnActivity, Recorded, RecordedItem,
};
