//! Calendar periods in the event's time zone, for recurrences and budgets.

use jiff::ToSpan as _;
use serde::{Deserialize, Serialize};
use strum::{Display, EnumString};
use utoipa::ToSchema;

use super::Zone;
use crate::clock::Timestamp;

/// The period after which a user can be granted the event again
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Display, EnumString, ToSchema)]
#[serde(rename_all = "UPPERCASE")]
#[strum(serialize_all = "UPPERCASE")]
pub enum Period {
    /// The whole event is one period.
    Once,
    Daily,
    /// ISO 8601 weeks, which begin on Monday.
    Weekly,
    Monthly,
}

impl Period {
    /// The key of the period that contains this timestamp: `once`, `2026-03-01`, `2026-W09` or `2026-03`.
    pub fn key(self, at: Timestamp, zone: &Zone) -> String {
        let date = zone.date(at);
        match self {
            Self::Once => "once".to_owned(),
            Self::Daily => date.to_string(),
            Self::Weekly => {
                let week = date.iso_week_date();
                format!("{:04}-W{:02}", week.year(), week.week())
            }
            Self::Monthly => format!("{:04}-{:02}", date.year(), date.month()),
        }
    }

    /// The start of the next period; `None` for `Once`, and at the end of the calendar.
    pub fn next_start(self, at: Timestamp, zone: &Zone) -> Option<Timestamp> {
        let date = zone.date(at);
        let next = match self {
            Self::Once => return None,
            Self::Daily => date.tomorrow(),
            Self::Weekly => date.checked_add((7 - i64::from(date.weekday().to_monday_zero_offset())).days()),
            Self::Monthly => date.first_of_month().checked_add(1.month()),
        };
        zone.start_of(next.ok()?)
    }
}

crate::db::text_column!(Period);

#[cfg(test)]
mod tests;
