//! Fault tests: the executable under load, killed, and cut off from its database and Redis, on both engines. After
//! every run the same invariants are checked, against the tables and against the responses that clients received.
//!
//! Every test prints its seed and accepts it in `SEED`. The seed does not control the scheduler, so it makes a failure
//! likely to repeat, but not certain. `MEED_TEST_LONG=1` makes the runs long. `cargo xtask mutations` checks that these
//! tests find known bugs.

#![allow(
    clippy::print_stdout,
    reason = "the output of a failed run shows its seed and its faults"
)]

mod claims;
pub mod cluster;
pub mod fixtures;
pub mod fleet;
mod invariants;
mod mix;
pub mod proxy;
mod run;
pub mod seed;

mod budgets;
mod disk;
mod facts;
#[cfg(feature = "kafka")]
mod kafka;
mod kill;
mod lost_replies;
mod outbox;
mod queued_claims;
mod race;
mod redis;
mod refresh;
mod restart;
mod silence;
