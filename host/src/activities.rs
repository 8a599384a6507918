//! Activities of users: typed, time-stamped, append-only. Facts are computed from them.
//!
//! Reporting is idempotent by source and id, so that a sender can safely repeat a call. Must not know: any feature
//! except `auth` (the caller's identity) and `directory` (its user). The features that own logins, registrations and invites report these
//! themselves.

mod batch;
mod calls;
mod cloud_events;
mod invitations;
mod lenient;
mod news;
mod open_streams;
mod personal;
mod report;
mod routes;
mod service;
mod sources;
mod store;
mod users;

pub use batch::{Batch, CODES, MAX_BATCH};
pub use calls::{IDLE, MAX_DURATION, MAX_STREAM_ERRORS};
pub use news::ActivityNews;
pub use open_streams::StreamPermit;
pub use report::NewActivity;
pub use routes::{is_streamed, router};
pub use service::{
    Activity, ActivityError, ActivityService, Filter, ItemError, ItemOutcome, OwnActivity, Recorded, RecordedItem,
};
