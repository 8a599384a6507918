//! Backtests: a condition decides about the past, through the same limits, stock and budget as claims, and a signed report
//! says what would have been different.
//!
//! `engine` replays owners and is pure apart from running the sandbox: it knows no database and no clock. `store` reads the
//! history and keeps the jobs; `worker` runs them in shards, on every replica; `local` runs one in a single process.
//! `report` is what they make. [Backtests](../../docs/backtests.md) has the semantics. Must not know: releases, which read
//! [`Evidence`].

pub mod engine;
mod error;
pub mod exchange;
mod history;
mod limits;
pub mod local;
mod logged;
mod model;
mod planning;
pub mod report;
mod routes;
mod service;
mod state;
mod store;
mod terms;
mod worker;

pub use error::BacktestError;
pub use local::Backtested;
pub use logged::LoggedReports;
pub use model::{Backtest, NewBacktest};
pub use routes::{CODES, router};
pub use service::{BacktestService, Evidence};
pub use state::{Population, State};
pub use terms::{ConditionTerms, Terms};
pub use worker::Worker;
