//! Uploaded conditions: uploads, signatures, states, params and simulations.
//!
//! The sandbox decides whether an upload is a valid plugin; this feature stores it. Must not know: events or claims,
//! which depend on plugins.

pub mod cases;
mod condition;
mod gate;
mod lifecycle;
mod names;
mod params;
mod quarantine;
mod quota;
mod routes;
mod service;
mod signature;
mod signatures;
mod simulate;
mod stand_in;
mod store;
mod usage;

pub use condition::BoundCondition;
pub use gate::GateRefusal;
pub use lifecycle::{Action, HistoryEntry, PluginState, VersionStatus};
pub use params::check as check_params;
pub use routes::{CODES, field_errors, router};
pub use service::{PluginError, PluginService, PluginVersion, Uploaded};
pub use signature::trusted_comment;
pub use signatures::{PluginKey, SignatureError, SignatureState, Signer, VersionSignature};
pub use simulate::{Simulation, SimulationRequest, Simulator};
