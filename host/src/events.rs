//! What is offered: dates, a condition, rewards, and how often a user may have them.
//!
//! Must not know: requests (they know events). Knows rewards and plugins.

mod budget;
mod check;
mod model;
mod routes;
mod seed;
mod service;
mod store;

pub use budget::Budget;
pub use model::{Event, NewEvent, Recurrence};
pub use routes::{CODES, NO_SUCH_EVENT, router};
pub use seed::{Purpose, Secret};
pub use service::{EventError, EventService, Offer};
