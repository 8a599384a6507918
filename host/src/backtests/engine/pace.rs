//! How often a condition must be asked.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::facts::Zone;

const HOUR: Duration = Duration::from_hours(1);

/// How often a condition must be asked although its facts stay the same. `retry-at` of its answer is always followed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Pace {
    #[default]
    WhenFactsChange,
    EachDay,
    EachHour,
}

impl Pace {
    pub fn reads_time(self) -> bool {
        self != Self::WhenFactsChange
    }

    /// The next instant after `at`.
    pub(super) fn next(self, at: Timestamp, zone: &Zone) -> Option<Timestamp> {
        match self {
            Self::WhenFactsChange => None,
            Self::EachDay => zone.start_of(zone.date(at).tomorrow().ok()?),
            Self::EachHour => {
                // Offsets are multiples of a quarter of an hour.
                let quarter = 900_000;
                let next = (at.as_millis().div_euclid(quarter) + 1) * quarter;
                (0..4)
                    .filter_map(|more| Timestamp::from_millis(next + more * quarter))
                    .find(|at| zone.local(*at).minute == 0)
                    .or_else(|| Some(at.plus(HOUR)))
            }
        }
    }
}
