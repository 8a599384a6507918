//! The kernel: answers every query of the contract from a log in memory, as of any instant and known by any instant.
//!
//! It is the second implementation of the facts beside the SQL of `store`. A property test holds them equal. Backtests ask
//! it, because it moves over the log of an owner without reading it again. It computes only: it knows no database, no
//! clock and no event.

mod bounds;
mod cursor;
mod log;
mod window;

pub use bounds::TooLarge;
pub(super) use bounds::integer;
pub use cursor::{Cursor, answer};
pub use log::{Activity, AttributeChange, Grant, Invitee, KnownBy, Log};
pub use window::Scope;

#[cfg(test)]
mod tests;
