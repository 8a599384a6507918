//! How many backtests there can be.

/// The most backtests of one principal, and of all, that are not over.
pub(super) const MAX_UNFINISHED: i64 = 5;
pub(super) const MAX_UNFINISHED_OF_ALL: i64 = 50;
