//! Which events use a plugin version, and what its evaluations cost. It is here because plugins know neither events nor
//! claims.

use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::error::ClaimError;
use super::store;
use crate::db::Db;
use crate::events::EventService;
use crate::plugins::PluginService;

/// Events that are listed; the count includes all.
const NAMED_EVENTS: u32 = 20;
/// The newest evaluations, from which the percentiles are computed.
const NEWEST_RUNS: i64 = 1_000;

/// The events that use a version, and its fuel.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct PluginUsage {
    pub events: UsingEvents,
    /// null if no claim was evaluated yet
    pub fuel: Option<FuelPercentiles>,
}

/// The events that use the version.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct UsingEvents {
    pub count: i64,
    /// The newest 20; `GET /events?plugin=NAME&version=VERSION` lists all
    pub newest_ids: Vec<Uuid>,
}

/// The fuel of the newest evaluations, as percentiles.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct FuelPercentiles {
    pub p50: i64,
    pub p99: i64,
    /// The number of evaluations, at most the newest 1000
    pub runs: usize,
}

impl FuelPercentiles {
    fn of(mut fuel: Vec<i64>) -> Option<Self> {
        fuel.sort_unstable();
        let at = |percent: usize| {
            fuel.get((fuel.len() * percent).div_ceil(100).saturating_sub(1))
                .copied()
        };
        Some(Self {
            p50: at(50)?,
            p99: at(99)?,
            runs: fuel.len(),
        })
    }
}

/// Cheap to clone.
#[derive(Clone)]
pub(super) struct Usage {
    pub db: Db,
    pub plugins: PluginService,
    pub events: EventService,
}

impl Usage {
    pub(super) async fn of(&self, name: &str, version: &str) -> Result<PluginUsage, ClaimError> {
        let version = self.plugins.version(name, version).await?;
        let (count, newest_ids) = self.events.using(version.digest, NAMED_EVENTS).await?;
        let fuel = store::newest_fuel(&self.db, version.digest, NEWEST_RUNS).await?;
        Ok(PluginUsage {
            events: UsingEvents { count, newest_ids },
            fuel: FuelPercentiles::of(fuel),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_the_nearest_rank() {
        let of = |fuel: Vec<i64>| FuelPercentiles::of(fuel).map(|fuel| (fuel.p50, fuel.p99, fuel.runs));
        assert_eq!(of(vec![]), None);
        assert_eq!(of(vec![7]), Some((7, 7, 1)));
        assert_eq!(of(vec![3, 1, 2, 4]), Some((2, 4, 4)));
        assert_eq!(of((1..=1000).rev().collect()), Some((500, 990, 1000)));
    }
}
