//! SQL for `event_budgets`: the usage of budgets by period.

use uuid::Uuid;

use crate::db::{Db, Result, Tx, row};

/// Counts a granted claim; `false` if it exceeds the event's current budget.
pub(in crate::events) async fn spend(tx: &mut Tx, event_id: Uuid, period: String, amount: i64) -> Result<bool> {
    const SQL: &str = "INSERT INTO event_budgets (event_id, period, grants, amount, max_grants, max_amount) \
        SELECT id, $2, 1, $3, budget_grants, budget_amount FROM events WHERE id = $1 \
            AND (budget_amount IS NULL OR $3 <= budget_amount) \
        ON CONFLICT (event_id, period) DO UPDATE SET grants = event_budgets.grants + 1, \
            amount = event_budgets.amount + excluded.amount, max_grants = excluded.max_grants, \
            max_amount = excluded.max_amount \
        WHERE (excluded.max_grants IS NULL OR event_budgets.grants + 1 <= excluded.max_grants) \
            AND (excluded.max_amount IS NULL OR event_budgets.amount + excluded.amount <= excluded.max_amount)";
    let counted = tx
        .query(SQL)
        .bind(event_id)
        .bind(period)
        .bind(amount)
        .execute(tx)
        .await?;
    Ok(counted == 1)
}

pub(in crate::events) async fn give_back(tx: &mut Tx, event_id: Uuid, period: String, amount: i64) -> Result<()> {
    const SQL: &str = "UPDATE event_budgets SET grants = grants - 1, amount = amount - $3 \
        WHERE event_id = $1 AND period = $2";
    tx.query(SQL)
        .bind(event_id)
        .bind(period)
        .bind(amount)
        .execute(tx)
        .await?;
    Ok(())
}

row! {
    #[derive(Clone, Debug)]
    pub(in crate::events) struct UsedRow {
        pub period: String,
        pub grants: i64,
        pub amount: i64,
    }
}

/// The usage of the newest periods. Keys of one kind of period sort by time.
pub(in crate::events) async fn used(db: &Db, event_id: Uuid, limit: i64) -> Result<Vec<UsedRow>> {
    const SQL: &str = "SELECT period, grants, amount FROM event_budgets WHERE event_id = $1 \
        ORDER BY period DESC LIMIT $2";
    db.query(SQL).bind(event_id).bind(limit).fetch_all(db).await
}
