//! Requests and reversals as the transparency log reads them: whole rows by their ids, and the ids in their order.

use serde_json::Value;
use uuid::Uuid;

use super::{RequestKey, bind_key};
use crate::claims::model::{Reason, Status};
use crate::claims::review::Review;
use crate::clock::Timestamp;
use crate::contract::Progress;
use crate::db::{Db, Json, Query, Result, placeholders, row};

row! {
    #[derive(Clone, Debug)]
    pub(in crate::claims) struct LoggedRequestRow {
        pub id: Uuid,
        pub user_id: Uuid,
        pub event_id: Uuid,
        pub event_revision: i64,
        pub plugin_digest: String,
        pub status: Status,
        pub period: String,
        pub slot: i64,
        pub reasons: Json<Vec<Reason>>,
        pub progress: Json<Vec<Progress>>,
        pub received_at: Timestamp,
        pub decided_at: Timestamp,
        pub review: Option<Json<Review>>,
        pub fuel: Option<i64>,
        pub budget_period: Option<String>,
        pub budget_amount: Option<i64>,
        pub group_name: Option<String>,
        pub group_slot: Option<i64>,
        pub receipt: Option<String>,
        pub receipt_salt: Option<Vec<u8>>,
        pub receipt_digest: Vec<u8>,
        pub receipt_path: Vec<u8>,
        pub receipt_key_id: String,
        pub receipt_signature: Vec<u8>,
        pub make_good_id: Option<Uuid>,
        /// Of its reversal; `None`: it has none.
        pub reversal_id: Option<Uuid>,
    }
}

/// A list of ids for the end of a statement.
fn by_ids(db: &Db, sql: &str, ids: &[Uuid]) -> Query {
    let ids = placeholders::padded(ids.iter().copied());
    let query = db.query_assembled(format!("{sql} ({})", placeholders::list(1, ids.len())));
    ids.into_iter().fold(query, Query::bind)
}

pub(in crate::claims) async fn requests(db: &Db, ids: &[Uuid]) -> Result<Vec<LoggedRequestRow>> {
    const SQL: &str = "SELECT r.id, r.user_id, r.event_id, r.event_revision, r.plugin_digest, r.status, r.period, r.slot, \
        r.reasons, r.progress, r.received_at, r.decided_at, r.review, r.fuel, r.budget_period, r.budget_amount, \
        r.group_name, r.group_slot, r.receipt, r.receipt_salt, r.receipt_digest, r.receipt_path, r.receipt_key_id, \
        r.receipt_signature, r.make_good_id, v.id AS reversal_id \
        FROM reward_requests r LEFT JOIN reversals v ON v.user_id = r.user_id AND v.request_id = r.id WHERE r.id IN";
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    by_ids(db, SQL, ids).fetch_all(db).await
}

row! {
    #[derive(Clone, Debug)]
    pub(in crate::claims) struct LoggedGrantRow {
        pub id: Uuid,
        pub request_id: Uuid,
        pub reward_id: Uuid,
        pub event_id: Uuid,
        pub quantity: i64,
        pub reward: Json<Value>,
        pub stock_since: Option<i64>,
        pub granted_at: Timestamp,
        pub reversed: bool,
    }
}

/// The grants of these requests.
pub(in crate::claims) async fn grants(db: &Db, requests: &[RequestKey]) -> Result<Vec<LoggedGrantRow>> {
    if requests.is_empty() {
        return Ok(Vec::new());
    }
    let requests = placeholders::padded(requests.iter().copied());
    let sql = format!(
        "SELECT g.id, g.request_id, g.reward_id, g.event_id, g.quantity, g.reward, g.stock_since, g.granted_at, g.reversed \
         FROM {} JOIN grants g ON g.user_id = pair.column1 AND g.request_id = pair.column2",
        placeholders::pairs(1, requests.len())
    );
    let query = db.query_assembled(sql);
    requests.into_iter().fold(query, bind_key).fetch_all(db).await
}

/// The ids of requests after this one.
pub(in crate::claims) async fn request_ids(db: &Db, after: Uuid, limit: i64) -> Result<Vec<Uuid>> {
    const SQL: &str = "SELECT id FROM reward_requests WHERE id > $1 ORDER BY id LIMIT $2";
    ids(db, SQL, after, limit).await
}

/// The ids of reversed requests after this one.
pub(in crate::claims) async fn reversed_ids(db: &Db, after: Uuid, limit: i64) -> Result<Vec<Uuid>> {
    const SQL: &str = "SELECT id FROM reward_requests WHERE status = 'REVERSED' AND id > $1 ORDER BY id LIMIT $2";
    ids(db, SQL, after, limit).await
}

async fn ids(db: &Db, sql: &'static str, after: Uuid, limit: i64) -> Result<Vec<Uuid>> {
    let rows: Vec<(Uuid,)> = db.query(sql).bind(after).bind(limit).fetch_all(db).await?;
    Ok(rows.into_iter().map(|(id,)| id).collect())
}

row! {
    #[derive(Clone, Debug)]
    pub(in crate::claims) struct LoggedReversalRow {
        pub user_id: Uuid,
        pub request_id: Uuid,
        pub id: Uuid,
        pub reason: String,
        pub reversed_by: Uuid,
        pub reversed_at: Timestamp,
        pub receipt: Option<String>,
        pub receipt_salt: Option<Vec<u8>>,
        pub receipt_digest: Vec<u8>,
        pub receipt_path: Vec<u8>,
        pub receipt_key_id: String,
        pub receipt_signature: Vec<u8>,
    }
}

/// The reversals of these requests.
pub(in crate::claims) async fn reversals(db: &Db, ids: &[Uuid]) -> Result<Vec<LoggedReversalRow>> {
    const SQL: &str = "SELECT v.user_id, v.request_id, v.id, v.reason, v.reversed_by, v.reversed_at, v.receipt, \
        v.receipt_salt, v.receipt_digest, v.receipt_path, v.receipt_key_id, v.receipt_signature \
        FROM reward_requests r JOIN reversals v ON v.user_id = r.user_id AND v.request_id = r.id WHERE r.id IN";
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    by_ids(db, SQL, ids).fetch_all(db).await
}
