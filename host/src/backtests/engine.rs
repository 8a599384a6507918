//! The engine of backtests: what two conditions would have decided about one owner after the other.
//!
//! [`Engine::replay`] asks both conditions about an owner at the instants that matter (`walk`), through the gates, slots,
//! stock and budget of claims ([`crate::claims::prepare`]). What all owners left of stock and budget is a [`World`]: it is
//! made from the grants of a whole round (`settle`) and given to the next one, until it stays the same. `tally` counts
//! what a report says, in any order of the owners. `probe` finds out whether a condition reads the time. Must not know: the
//! database, the clock, shards.

mod counts;
mod examples;
mod flips;
mod fuel;
mod owner;
mod pace;
mod probe;
mod replay;
mod settle;
mod tally;
mod walk;
mod world;

pub use examples::{EXAMPLES, Example, Examples, stable_hash};
pub use flips::{Flip, Flips};
pub use fuel::FuelHistogram;
pub use owner::{Claim, Owner, Recorded};
pub use pace::Pace;
pub use replay::{Engine, EngineError, Side};
pub use settle::{Exhausted, Settled, settle};
pub use tally::{Coverage, GrantRow, Outcomes, Reproduction, SideTally, StepTally, Steps, Tally};
pub use walk::{Answer, Said};
pub use world::World;
