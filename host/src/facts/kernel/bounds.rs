//! The integers that a fact can hold.

use crate::contract::{Fact, MAX_INTEGER};

/// An answer that a condition cannot be given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "The answer to query {query} is {value}, which is outside -{MAX_INTEGER} to {MAX_INTEGER}. Narrow the window or the \
     filters of the query."
)]
pub struct TooLarge {
    /// Its index in the plan.
    pub query: usize,
    pub value: i128,
}

/// The fact with this value.
pub(in crate::facts) fn integer(query: usize, value: i128) -> Result<Fact, TooLarge> {
    let fits = i64::try_from(value).ok();
    let fits = fits.filter(|fits| fits.unsigned_abs() <= MAX_INTEGER.unsigned_abs());
    fits.map(Fact::Integer).ok_or(TooLarge { query, value })
}
