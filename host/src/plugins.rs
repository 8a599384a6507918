//! Uploaded conditions: taking them in, listing them, binding params, and handing them to whoever runs them.
//!
//! Must not know: events or requests (they know plugins). What an upload is and whether it may stay is the sandbox's
//! word; this feature stores it.

pub mod cases;
mod params;
mod routes;
mod service;
mod simulate;
mod store;

pub use routes::{CODES, field_errors, router};
pub use service::{Bound, PluginError, PluginService, PluginState, PluginVersion, Uploaded};
pub use simulate::{Simulation, SimulationRequest, Simulator};
