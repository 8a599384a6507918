//! Faults: the executable hurried, killed and cut off from its database and from Redis, on both engines. After every run
//! the same invariants are checked, against the tables and against what the clients saw.
//!
//! Every test prints its seed and takes it back in `SEED` (what the scheduler does is not in it, so a seed makes a failure
//! likely again, not certain). `MEED_TEST_LONG=1` makes the runs long. `tests/planted` holds known bugs, each of which one
//! of these tests must find: `cargo xtask planted`.

#![allow(
    clippy::print_stdout,
    reason = "what a run did and its seed are told to whoever looks for the failure"
)]

mod claims;
mod cluster;
pub mod fleet;
mod invariants;
mod mix;
pub mod proxy;
mod run;
mod seed;
pub mod stage;

mod budgets;
mod disk;
#[cfg(feature = "kafka")]
mod kafka;
mod kill;
mod lost_replies;
mod outbox;
mod planted;
mod race;
mod received;
mod redis;
mod refresh;
mod restart;
mod silence;
