//! Work that runs beside requests.
//!
//! `supervisor` runs every long-running task of a process, reports its status and stops all of them in order; `lease` lets
//! one process at a time work on something that all processes share. Must not know: any feature, HTTP.

mod children;
pub mod lease;
mod status;
mod supervisor;

use std::time::Duration;

pub use children::Children;
pub use status::{Health, State, TaskStatus};
pub use supervisor::{Context, Next, Spec, Stage, Supervisor, Task};

/// How often a task polls the database for work.
pub const POLL_INTERVAL: Duration = Duration::from_millis(100);
/// The same while no work is possible: another process has the lease, or there is no receiver.
pub const IDLE_INTERVAL: Duration = Duration::from_secs(1);
