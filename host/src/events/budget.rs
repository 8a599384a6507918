//! What an event may give to all users together, per period, and what of that was used. Claims count it in their own
//! commit.

use garde::Validate;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::service::{EventError, EventService, unknown_reward};
use super::store::{self, EventRow, budget};
use crate::clock::Timestamp;
use crate::contract::MAX_INTEGER;
use crate::db::{DbError, Tx};
use crate::facts::{Period, Zone};

/// Periods that are told of at once.
const TOLD: u32 = 32;

/// The most that all users together may be granted in each `period` of the event's zone: `grants`, `amount` or both.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema, Validate)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Budget {
    #[garde(skip)]
    pub period: Period,
    /// Claims that may be granted
    #[garde(range(min = 1, max = 1_000_000_000))]
    #[schema(example = 1000, minimum = 1, maximum = 1_000_000_000)]
    pub grants: Option<i64>,
    /// The sum of what is granted, each reward's `value` times its quantity; a reward without a value counts nothing
    #[garde(range(min = 1, max = MAX_INTEGER))]
    #[schema(example = 500_000, minimum = 1, maximum = 9_007_199_254_740_991_i64)]
    pub amount: Option<i64>,
}

/// An event's budget and what was used of it.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct EventBudget {
    pub event_id: Uuid,
    /// null when the event has none now
    pub budget: Option<Budget>,
    /// When the next period begins; null when there is none before the event's end
    pub renews_at: Option<Timestamp>,
    /// The newest 32 periods in which something was granted, and the present one of an event that runs; newest first
    #[schema(max_items = 32)]
    pub periods: Vec<BudgetUse>,
}

/// What was used in one period, less what was given back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct BudgetUse {
    /// `once`, a date, an ISO week or a month in the event's zone
    #[schema(example = "2026-03-01")]
    pub period: String,
    pub grants: i64,
    /// Counted only while the budget bounds the amount
    pub amount: i64,
}

impl Budget {
    /// What is wrong with it beyond its shape.
    pub(super) fn check(self) -> Result<(), EventError> {
        if self.grants.is_none() && self.amount.is_none() {
            return Err(EventError::Field {
                pointer: "/budget",
                message: "bounds nothing; set grants, amount or both, or leave the budget out".to_owned(),
            });
        }
        Ok(())
    }

    /// When it is full again after `now`, if the event still runs then.
    pub fn renews_at(self, now: Timestamp, zone: &Zone, event_ends: Timestamp) -> Option<Timestamp> {
        self.period.next_start(now, zone).filter(|at| *at < event_ends)
    }
}

impl EventService {
    pub(super) async fn budget(&self, id: Uuid) -> Result<EventBudget, EventError> {
        let event = self.get(id).await?;
        let now = self.clock.now();
        let zone: Zone = event.time_zone.parse()?;
        let rows = budget::used(&self.db, id, i64::from(TOLD)).await?;
        let mut periods: Vec<BudgetUse> = rows.into_iter().map(BudgetUse::from).collect();
        if let Some(budget) = event.budget
            && (event.start_date..event.end_date).contains(&now)
        {
            let period = budget.period.key(now, &zone);
            if periods.iter().all(|used| used.period != period) {
                periods.truncate(TOLD as usize - 1);
                let (grants, amount) = (0, 0);
                periods.insert(0, BudgetUse { period, grants, amount });
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

    /// Makes the row's rewards what the event offers. Part of the caller's transaction.
    pub(super) async fn set_offer(&self, tx: &mut Tx, row: &EventRow) -> Result<(), EventError> {
        self.rewards
            .set_offer(tx, row.id, &row.reward_ids.0)
            .await
            .map_err(unknown_reward)?;
        if row.budget_amount.is_some() && !self.rewards.is_any_of_value(tx, row.id).await? {
            return Err(EventError::Field {
                pointer: "/budget/amount",
                message:
                    "none of the event's rewards has a value, so nothing would ever be counted; give one a value, \
                    or bound the grants instead"
                        .to_owned(),
            });
        }
        Ok(())
    }

    /// Counts one granted claim; `false` when the event's budget does not hold it. Part of the caller's transaction. For
    /// SQLite: sets of claims on PostgreSQL count theirs in their own statement.
    pub async fn spend(&self, tx: &mut Tx, id: Uuid, period: &str, amount: i64) -> Result<bool, DbError> {
        budget::spend(tx, id, period.to_owned(), amount).await
    }

    /// Gives back what [`Self::spend`] took. Part of the caller's transaction.
    pub async fn give_back(&self, tx: &mut Tx, id: Uuid, period: &str, amount: i64) -> Result<(), DbError> {
        budget::give_back(tx, id, period.to_owned(), amount).await
    }
}

impl From<store::budget::UsedRow> for BudgetUse {
    fn from(row: store::budget::UsedRow) -> Self {
        Self {
            period: row.period,
            grants: row.grants,
            amount: row.amount,
        }
    }
}
