//! Why a backtest is refused or fails.

use uuid::Uuid;

use super::engine::EngineError;
use super::state::State;
use crate::contract::Issue;
use crate::db::DbError;
use crate::events::EventError;
use crate::facts::UnknownZone;
use crate::keys::KeyError;
use crate::plugins::PluginError;
use crate::sandbox::LoadError;

#[derive(Debug, thiserror::Error)]
pub enum BacktestError {
    #[error("There is no backtest {0}.")]
    NotFound(Uuid),
    #[error("{pointer}: {message}")]
    Field { pointer: &'static str, message: String },
    #[error("The params are invalid for the plugin.")]
    Params { pointer: &'static str, issues: Vec<Issue> },
    #[error(
        "You have {0} backtests that are not over; the maximum is {max}. Cancel one, or wait until one is DONE.",
        max = super::limits::MAX_UNFINISHED
    )]
    TooMany(i64),
    #[error(
        "The server has {0} backtests that are not over; the maximum is {max}. Try again when one is DONE.",
        max = super::limits::MAX_UNFINISHED_OF_ALL
    )]
    TooManyOfAll(i64),
    #[error("The backtest is {is}, so it cannot be {wanted}.")]
    State { is: State, wanted: &'static str },
    #[error("The backtest is {0}; its report exists once it is DONE.")]
    NoReport(State),
    #[error("Accept is {0:?}; a report is application/json, text/csv or text/html.")]
    NotAcceptable(String),
    #[error("the stored result of a shard cannot be read: {0}")]
    Stored(#[from] serde_json::Error),
    #[error("{0}")]
    TooLarge(String),
    #[error("a thread that counts a backtest ended: {0}")]
    Thread(#[from] tokio::task::JoinError),
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error(transparent)]
    Zone(#[from] UnknownZone),
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error(transparent)]
    Plugin(#[from] PluginError),
    #[error(transparent)]
    Event(#[from] EventError),
    #[error(transparent)]
    Db(#[from] DbError),
}

impl BacktestError {
    /// Whether another attempt may end differently.
    pub(super) fn is_temporary(&self) -> bool {
        matches!(self, Self::Engine(_) | Self::Db(_))
    }
}
