//! What the commands of `meed` do, apart from reading their arguments.

pub mod keys;
pub mod user;
