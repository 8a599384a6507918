//! Events: offers with dates, a condition, rewards, a recurrence and a budget.
//!
//! Uses rewards and plugins. Must not know: claims, which depend on events.

mod budget;
mod candidate;
mod change;
mod check;
mod error;
mod groups;
mod model;
mod offer;
mod protection;
mod routes;
mod row;
mod seed;
mod service;
mod store;

pub use budget::Budget;
pub use candidate::{ALL, Arm, Candidate, JointPlan, Mode, TooManyQueries, Trial};
pub use change::Checked;
pub use error::EventError;
pub use groups::{NewEventGroup, group_limit};
pub use model::{ActiveEvent, Event, NewCondition, NewEvent, OfferedReward, Recurrence, group_name};
pub use offer::Offer;
pub use protection::Release;
pub use routes::{CODES, NO_SUCH_EVENT, router};
pub use seed::{Purpose, Secret};
pub use service::{EventService, offer_without_secret, reseal};
pub use store::Filter;
