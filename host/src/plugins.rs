//! Uploaded conditions: taking them in, listing them, binding params, and handing them to whoever runs them.
//!
//! Must not know: events or requests (they know plugins). What an upload is and whether it may stay is the sandbox's
//! word; this feature stores it.

pub mod cases;
mod gate;
mod lifecycle;
mod params;
mod quarantine;
mod quota;
mod routes;
mod service;
mod signature;
mod signatures;
mod simulate;
mod store;
mod usage;

pub use gate::GateRefusal;
pub use lifecycle::{Action, HistoryEntry, PluginState, Standing};
pub use routes::{CODES, field_errors, router};
pub use service::{Bound, PluginError, PluginService, PluginVersion, Uploaded};
pub use signature::trusted_comment;
pub use signatures::{PluginKey, SignatureError, SignatureState, Signer, VersionSignature};
pub use simulate::{Simulation, SimulationRequest, Simulator};
