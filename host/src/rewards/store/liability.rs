//! SQL for what events can still give out.

use uuid::Uuid;

use crate::clock::Timestamp;
use crate::db::{Result, Tx, row};
use crate::facts::Period;

row! {
    #[derive(Clone, Debug)]
    pub(in crate::rewards) struct UnitRow {
        pub reward_id: Uuid,
        pub value: Option<i64>,
        /// Whether it has a stock.
        pub is_limited: bool,
        pub remaining: Option<i64>,
    }
}

/// The rewards that an event offers: at most 32.
pub(in crate::rewards) async fn units(tx: &mut Tx, event_id: Uuid) -> Result<Vec<UnitRow>> {
    const SQL: &str = "SELECT r.id AS reward_id, r.value, s.reward_id IS NOT NULL AS is_limited, s.remaining \
        FROM event_rewards e JOIN rewards r ON r.id = e.reward_id LEFT JOIN reward_stock s ON s.reward_id = r.id \
        WHERE e.event_id = $1";
    tx.query(SQL).bind(event_id).fetch_all(tx).await
}

row! {
    #[derive(Clone, Debug)]
    pub(in crate::rewards) struct OfferingRow {
        pub event_id: Uuid,
        pub start_at: Timestamp,
        pub end_at: Timestamp,
        pub max_quantity: i64,
        pub budget_period: Option<Period>,
        pub budget_grants: Option<i64>,
        pub budget_amount: Option<i64>,
    }
}

/// The events that offer a reward, are not over, and are or were active.
pub(in crate::rewards) async fn live_events_offering(
    tx: &mut Tx,
    reward_id: Uuid,
    now: Timestamp,
    limit: i64,
) -> Result<Vec<OfferingRow>> {
    const SQL: &str = "SELECT e.id AS event_id, e.start_at, e.end_at, e.max_quantity, e.budget_period, e.budget_grants, \
        e.budget_amount FROM event_rewards o JOIN events e ON e.id = o.event_id \
        LEFT JOIN live_events l ON l.event_id = e.id \
        WHERE o.reward_id = $1 AND e.deleted_at IS NULL AND e.end_at > $2 AND (e.is_active OR l.event_id IS NOT NULL) \
        LIMIT $3";
    tx.query(SQL).bind(reward_id).bind(now).bind(limit).fetch_all(tx).await
}
