//! `reversals`, and the statement that lets one of several concurrent reversals of a request win.

use uuid::Uuid;

use super::{ReceiptRow, RequestKey, bind_key};
use crate::claims::logged::REVERSAL;
use crate::claims::model::{GrantedReward, ReversalNote};
use crate::claims::receipt::{Draft, Seal};
use crate::clock::Timestamp;
use crate::db::{Db, Result, Tx, placeholders, row};
use crate::transparency;

row! {
    /// The request that the statement reversed.
    #[derive(Debug)]
    pub(in crate::claims) struct TakenRow {
        pub event_id: Uuid,
        pub user_id: Uuid,
        pub period: String,
        pub receipt_digest: Vec<u8>,
        pub decided_at: Timestamp,
        pub budget_period: Option<String>,
        pub budget_amount: Option<i64>,
    }
}

/// `None`: no request with this id is GRANTED. Concurrent reversals wait here until the transaction ends.
pub(in crate::claims) async fn take(tx: &mut Tx, request_id: Uuid) -> Result<Option<TakenRow>> {
    const SQL: &str = "UPDATE reward_requests SET status = 'REVERSED' WHERE id = $1 AND status = 'GRANTED' \
        RETURNING event_id, user_id, period, receipt_digest, decided_at, budget_period, budget_amount";
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

/// Marks the grants of a request as reversed, for lists.
pub(in crate::claims) async fn mark_grants(tx: &mut Tx, request: RequestKey) -> Result<()> {
    const SQL: &str = "UPDATE grants SET reversed = TRUE WHERE user_id = $1 AND request_id = $2";
    bind_key(tx.query(SQL), request).execute(tx).await.map(drop)
}

/// In the order in which every transaction locks the stock of rewards.
pub(in crate::claims) async fn grants(tx: &mut Tx, request: RequestKey) -> Result<Vec<TakenGrantRow>> {
    const SQL: &str = "SELECT id, reward_id, quantity, reward, stock_since FROM grants \
        WHERE user_id = $1 AND request_id = $2 ORDER BY reward_id";
    bind_key(tx.query(SQL), request).fetch_all(tx).await
}

#[derive(Debug)]
pub(in crate::claims) struct ReversalRow {
    pub user_id: Uuid,
    pub id: Uuid,
    pub request_id: Uuid,
    pub reason: String,
    pub reversed_by: Uuid,
    pub reversed_at: Timestamp,
    pub receipt: Draft,
    pub seal: Seal,
}

pub(in crate::claims) async fn insert(tx: &mut Tx, row: ReversalRow) -> Result<()> {
    const SQL: &str = "INSERT INTO reversals \
        (user_id, id, request_id, reason, reversed_by, reversed_at, receipt, receipt_salt, receipt_digest, receipt_path, \
        receipt_key_id, receipt_signature) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)";
    let request_id = row.request_id;
    tx.query(SQL)
        .bind(row.user_id)
        .bind(row.id)
        .bind(row.request_id)
        .bind(row.reason)
        .bind(row.reversed_by)
        .bind(row.reversed_at)
        .bind(row.receipt.text)
        .bind(row.receipt.salt.to_vec())
        .bind(row.receipt.digest.as_bytes().to_vec())
        .bind(row.seal.path)
        .bind(row.seal.key_id)
        .bind(row.seal.signature)
        .execute(&mut *tx)
        .await?;
    transparency::enqueue(tx, REVERSAL, request_id).await
}

pub(in crate::claims) async fn find(db: &Db, request: RequestKey) -> Result<Option<ReceiptRow>> {
    const SQL: &str = "SELECT user_id, receipt, receipt_salt, receipt_digest, receipt_path, receipt_key_id, \
        receipt_signature FROM reversals WHERE user_id = $1 AND request_id = $2";
    bind_key(db.query(SQL), request).fetch_optional(db).await
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
pub(in crate::claims) async fn notes(db: &Db, requests: &[RequestKey]) -> Result<Vec<NoteRow>> {
    if requests.is_empty() {
        return Ok(Vec::new());
    }
    let requests = placeholders::padded(requests.iter().copied());
    let sql = format!(
        "SELECT r.request_id, r.id, r.reason, r.reversed_at FROM {} \
         JOIN reversals r ON r.user_id = pair.column1 AND r.request_id = pair.column2",
        placeholders::pairs(1, requests.len())
    );
    let query = db.query_assembled(sql);
    requests.into_iter().fold(query, bind_key).fetch_all(db).await
}
