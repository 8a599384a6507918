//! Benchmarks of a decision: the measuring code and the rows of Meed.
//!
//! `harness` measures rows in interleaved rounds, and `table` prints them. `rules` has the plugin modules and the native
//! rule that they are compared with. `sandboxed` measures the code path of a claim; `reused` and `floor` measure other
//! uses of the same engine; `cache` and `threads` measure restarts and scaling. `comparison` combines all of them, and
//! `peers/` adds other engines.

#![expect(clippy::print_stdout, reason = "its output is its purpose")]

mod cache;
mod comparison;
mod floor;
pub mod harness;
mod reused;
pub mod rules;
mod sandboxed;
mod table;
mod threads;

pub use comparison::{Ours, compare, directory};
