//! `reversals`, and the statement that lets one of several concurrent reversals of a request win.

use uuid::Uuid;

use crate::claims::model::{GrantedReward, ReversalNote};
use crate::clock::Timestamp;
use crate::db::{Db, Result, Tx, row};

row! {
    /// The request that the statement reversed.
    #[derive(Debug)]
    pub(in crate::claims) struct TakenRow {
        pub event_id: Uuid,
        pub user_id: Uuid,
        pub period: String,
        pub receipt: String,
        pub decided_at: Timestamp,
        pub budget_period: Option<String>,
        pub budget_amount: Option<i64>,
    }
}

/// `None`: no request with this id is GRANTED. Concurrent reversals wait here until the transaction ends.
pub(in crate::claims) async fn take(tx: &mut Tx, request_id: Uuid) -> Result<Option<TakenRow>> {
    const SQL: &str = "UPDATE reward_requests SET status = 'REVERSED' WHERE id = $1 AND status = 'GRANTED' \
        RETURNING event_id, user_id, period, receipt, decided_at, budget_period, budget_amount";
    tx.query(SQL).bind(request_id).fetch_optional(tx).await
}

row! {
    #[derive(Debug)]
    pub(in crate::claims) struct TakenGrantRow {
        pub id: Uuid,
        pub reward_id: Uuid,
        pub quantity: i64,
        pub reward: crate::db::Json<GrantedReward>,
        pub stock_since: Option<i64>,
    }
}

/// In the order in which every transaction locks the stock of rewards.
pub(in crate::claims) async fn grants(tx: &mut Tx, request_id: Uuid) -> Result<Vec<TakenGrantRow>> {
    const SQL: &str = "SELECT id, reward_id, quantity, reward, stock_since FROM grants WHERE request_id = $1 \
        ORDER BY reward_id";
    tx.query(SQL).bind(request_id).fetch_all(tx).await
}

#[derive(Debug)]
pub(in crate::claims) struct ReversalRow {
    pub id: Uuid,
    pub request_id: Uuid,
    pub reason: String,
    pub reversed_by: Uuid,
    pub reversed_at: Timestamp,
    pub receipt: String,
    pub receipt_key_id: String,
    pub receipt_signature: Vec<u8>,
}

pub(in crate::claims) async fn insert(tx: &mut Tx, row: ReversalRow) -> Result<()> {
    const SQL: &str = "INSERT INTO reversals \
        (id, request_id, reason, reversed_by, reversed_at, receipt, receipt_key_id, receipt_signature) \
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";
    tx.query(SQL)
        .bind(row.id)
        .bind(row.request_id)
        .bind(row.reason)
        .bind(row.reversed_by)
        .bind(row.reversed_at)
        .bind(row.receipt)
        .bind(row.receipt_key_id)
        .bind(row.receipt_signature)
        .execute(tx)
        .await?;
    Ok(())
}

row! {
    #[derive(Debug)]
    pub(in crate::claims) struct SealedRow {
        pub receipt: String,
        pub receipt_key_id: String,
        pub receipt_signature: Vec<u8>,
    }
}

pub(in crate::claims) async fn find(db: &Db, request_id: Uuid) -> Result<Option<SealedRow>> {
    const SQL: &str = "SELECT receipt, receipt_key_id, receipt_signature FROM reversals WHERE request_id = $1";
    db.query(SQL).bind(request_id).fetch_optional(db).await
}

row! {
    #[derive(Debug)]
    pub(in crate::claims) struct NoteRow {
        pub request_id: Uuid,
        pub id: Uuid,
        pub reason: String,
        pub reversed_at: Timestamp,
    }
}

impl From<NoteRow> for ReversalNote {
    fn from(row: NoteRow) -> Self {
        Self {
            id: row.id,
            reason: row.reason,
            reversed_at: row.reversed_at,
        }
    }
}

/// The reversals of these requests.
pub(in crate::claims) async fn notes(db: &Db, request_ids: &[Uuid]) -> Result<Vec<NoteRow>> {
    if request_ids.is_empty() {
        return Ok(Vec::new());
    }
    let list = crate::db::places::list(1, request_ids.len());
    let sql = format!("SELECT request_id, id, reason, reversed_at FROM reversals WHERE request_id IN ({list})");
    request_ids
        .iter()
        .fold(db.query_assembled(sql), |query, id| query.bind(*id))
        .fetch_all(db)
        .await
}
