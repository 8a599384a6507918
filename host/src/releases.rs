//! Releases: the only way by which a live event that can give out much changes.
//!
//! `[releases]` says which events that are; `rewards/liability.rs` computes what an event can still give out, and
//! `events/protection.rs` refuses every other way. One [`ReleaseService::activate`] serves requests, files, schedules and the
//! ramp. An approval is for a hash of the content (`content.rs`), by a person who wrote none of it (`people.rs`).
//!
//! # The doors
//!
//! Each way by which users could get more, or something else, from a live event, and what closes it. The tests
//! `releases::doors` try each.
//!
//! | door | what happens |
//! |---|---|
//! | `PUT /events/{id}`, also with a service key or by `meed apply` | 409 `release-required`; `meed apply` proposes a release |
//! | other terms: rewards, budget, recurrence, group, `maxQuantity`, dates, zone | the same, if they raise what can be given |
//! | a change while the event is paused, and then `isActive: true` | compared with the content that was live last |
//! | `POST /events` of an active event, also after a deletion of the old one | the same: create it inactive, and release it |
//! | a small budget or stock first, a larger one later | each raise above the limit needs a release |
//! | `PUT /rewards/{id}`: more stock, another value, type, item or duration | 409 `release-required` |
//! | `POST /rewards/{id}/codes` and `meed codes import`, which raise the stock | the same |
//! | `PUT /event-groups/{name}` with a higher limit | the same |
//! | a plugin's name or version that means other bytes | a release and an event pin the digest |
//! | a plugin that was disabled and is enabled again | its bytes are those that were approved |
//! | an edit after the approval, an edit by the approver | the hash differs; an editor is an author and cannot approve |
//! | a change of the event after the approval | the revision is part of the hash: back to the review |
//! | a service key that approves | needs a person; a key that proposes counts as its maker |
//! | a schedule that passes before the approval | is missed: a person must activate it, or set another time |
//! | two activations at once, two releases of one event | one transaction each, under the lock of release and event |
//! | RPC and Kafka | have no method or topic that changes events |
//!
//! Not closed: someone who can write to the database, an ADMIN with two accounts, and many small events below the limit (use
//! `always`). Must not know: claims.

mod activation;
mod actor;
mod approval;
mod content;
mod error;
mod evidence;
mod guard;
mod logged;
mod model;
mod people;
mod plan;
mod ramp;
mod routes;
mod service;
mod state;
mod store;

pub use error::ReleaseError;
pub use logged::LoggedReleases;
pub use model::Release;
pub use routes::{CODES, SECOND_PERSON_REQUIRED, router};
pub use service::ReleaseService;
pub use state::State;
