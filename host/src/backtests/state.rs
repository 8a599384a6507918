//! The states of a backtest, and the users that it asks about.

use std::fmt;

use serde::{Deserialize, Serialize};
use strum::{Display, EnumString};
use utoipa::ToSchema;

use crate::db::text_column;

/// About whom the conditions are asked
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[schema(as = BacktestPopulation)]
pub enum Population {
    /// At each claim of the period; and about users without a claim whenever the answer could change
    #[default]
    All,
    /// Only at each claim of the period
    Claimants,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Display, EnumString, ToSchema)]
#[serde(rename_all = "UPPERCASE")]
#[strum(serialize_all = "UPPERCASE")]
#[schema(as = BacktestState)]
pub enum State {
    Queued,
    Running,
    Paused,
    /// The report is ready
    Done,
    Failed,
    Cancelled,
}

text_column!(State);

impl State {
    pub fn is_over(self) -> bool {
        matches!(self, Self::Done | Self::Failed | Self::Cancelled)
    }
}

impl fmt::Display for Population {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::All => "ALL",
            Self::Claimants => "CLAIMANTS",
        })
    }
}
