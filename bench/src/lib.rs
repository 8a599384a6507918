//! What a decision costs: the measuring, and everything of ours that is measured.
//!
//! `harness` measures rows in turns and `table` prints them; `rules` are the modules, and the rule in Rust that all are
//! compared with. `sandboxed` is the way a claim takes, `reused` and `floor` are what the same engine could do otherwise,
//! `cache` and `threads` ask one question each. `comparison` puts them together; `peers/` adds other engines to it.

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
