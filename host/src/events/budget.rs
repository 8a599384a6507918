//! Budgets: the maximum that an event grants to all users together in a period, and the usage. Claims count the usage
//! in their own transaction.

use garde::Validate;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::error::{EventError, unknown_reward};
use super::service::EventService;
use super::store::{self, EventRow, budget};
use crate::clock::Timestamp;
use crate::contract::MAX_INTEGER;
use crate::db::{DbError, Tx};
use crate::facts::{Period, Zone};

/// The maximum number of periods in a response.
const MAX_PERIODS: u32 = 32;

/// The maximum that all users together are granted in each `period` of the event's time zone: `grants`, `amount` or
/// both.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema, Validate)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Budget {
    #[garde(skip)]
    pub period: Period,
    /// The maximum number of granted claims
    #[garde(range(min = 1, max = 1_000_000_000))]
    #[schema(example = 1000, minimum = 1, maximum = 1_000_000_000)]
    pub grants: Option<i64>,
    /// The maximum sum of the granted rewards' `value` times quantity; a reward without a value counts as 0
    #[garde(range(min = 1, max = MAX_INTEGER))]
    #[schema(example = 500_000, minimum = 1, maximum = 9_007_199_254_740_991_i64)]
    pub amount: Option<i64>,
}

/// An event's budget and its usage.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct EventBudget {
    pub event_id: Uuid,
    /// null if the event has no budget now
    pub budget: Option<Budget>,
    /// The start of the next period; null if there is none before the event's end
    pub renews_at: Option<Timestamp>,
    /// The newest 32 periods with grants, and the current period of a running event; newest first
    #[schema(max_items = 32)]
    pub periods: Vec<PeriodUsage>,
}

/// The usage in one period, without reversed grants.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct PeriodUsage {
    /// `once`, a date, an ISO week or a month in the event's time zone
    #[schema(example = "2026-03-01")]
    pub period: String,
    pub grants: i64,
    /// Counted only while the budget limits the amount
    pub amount: i64,
}

impl Budget {
    /// Validates the budget beyond the schema of the body.
    pub(super) fn check(self) -> Result<(), EventError> {
        if self.grants.is_none() && self.amount.is_none() {
            return Err(EventError::Field {
                pointer: "/budget",
                message: "has no limit; set grants, amount or both, or omit the budget".to_owned(),
            });
        }
        Ok(())
    }

    /// The start of the next period after `now`, if it is before the event's end.
    pub fn renews_at(self, now: Timestamp, zone: &Zone, event_ends: Timestamp) -> Option<Timestamp> {
        self.period.next_start(now, zone).filter(|at| *at < event_ends)
    }
}

impl EventService {
    pub(super) async fn budget(&self, id: Uuid) -> Result<EventBudget, EventError> {
        let event = self.get(id).await?;
        let now = self.clock.now();
        let zone: Zone = event.time_zone.parse()?;
        let rows = budget::used(&self.db, id, i64::from(MAX_PERIODS)).await?;
        let mut periods: Vec<PeriodUsage> = rows.into_iter().map(PeriodUsage::from).collect();
        if let Some(budget) = event.budget
            && (event.start_date..event.end_date).contains(&now)
        {
            let period = budget.period.key(now, &zone);
            if periods.iter().all(|used| used.period != period) {
                periods.truncate(MAX_PERIODS as usize - 1);
                let (grants, amount) = (0, 0);
                periods.insert(0, PeriodUsage { period, grants, amount });
            }
        }
        Ok(EventBudget {
            event_id: id,
            budget: event.budget,
            renews_at: event
                .budget
                .and_then(|budget| budget.renews_at(now, &zone, event.end_date)),
            periods,
        })
    }

    /// Stores the rewards that the event offers. Part of the caller's transaction.
    pub(super) async fn set_offer(&self, tx: &mut Tx, row: &EventRow) -> Result<(), EventError> {
        self.rewards
            .set_offer(tx, row.id, &row.reward_ids.0)
            .await
            .map_err(unknown_reward)?;
        if row.budget_amount.is_some() && !self.rewards.is_any_of_value(tx, row.id).await? {
            return Err(EventError::Field {
                pointer: "/budget/amount",
                message:
                    "none of the event's rewards has a value, so this limit has no effect; give a reward a value, or limit \
                    the grants instead"
                        .to_owned(),
            });
        }
        Ok(())
    }

    /// Counts one granted claim; `false` if it exceeds the event's budget. Part of the caller's transaction.
    /// On PostgreSQL a bulk statement counts many claims.
    pub async fn spend(&self, tx: &mut Tx, id: Uuid, period: &str, amount: i64) -> Result<bool, DbError> {
        budget::spend(tx, id, period.to_owned(), amount).await
    }

    /// Reverts one [`Self::spend`]. Part of the caller's transaction.
    pub async fn give_back(&self, tx: &mut Tx, id: Uuid, period: &str, amount: i64) -> Result<(), DbError> {
        budget::give_back(tx, id, period.to_owned(), amount).await
    }
}

impl From<store::budget::UsedRow> for PeriodUsage {
    fn from(row: store::budget::UsedRow) -> Self {
        Self {
            period: row.period,
            grants: row.grants,
            amount: row.amount,
        }
    }
}
