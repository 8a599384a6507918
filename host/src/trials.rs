//! What a candidate does to live claims: both decisions compared, counted per step and arm, and listed where they differ.
//!
//! Claims hand in observations after their answers; a release reads the totals for its guard. Uses events. Must not know:
//! claims, and the states of releases.

mod counts;
mod model;
mod observation;
mod personal;
mod routes;
mod service;
mod sketch;
mod store;
mod totals;

pub use model::{Divergence, Kind, Status};
pub use observation::{Decision, Observation};
pub use routes::router;
pub use service::TrialService;
pub use totals::{FUEL_PARTS, Totals};
