//! Meed.

pub mod clock;
pub mod contract;
pub mod sandbox;
