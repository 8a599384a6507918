//! `reward_requests`, `grants` and `idempotency_keys`; `reversals` in `reversal`, lists of grants in `grants`, claims that wait in `received`.

pub(super) mod commit_postgres;
pub(super) mod grants;
pub(super) mod queue;
pub(super) mod reversal;

use uuid::Uuid;

use super::budget::Spending;
use super::model::{Grant, GrantedReward, Reason, Status};
use crate::clock::Timestamp;
use crate::contract::Progress;
use crate::db::{Db, Engine, Json, Result, Run, Tx, row};
use crate::fulfilments::Fulfilment;
pub(super) use crate::outbox::{Message as OutboxRow, write as insert_outbox};
use crate::sandbox::Digest;

row! {
    #[derive(Clone, Debug)]
    pub(super) struct RequestRow {
        pub id: Uuid,
        pub event_id: Uuid,
        pub event_revision: i64,
        pub user_id: Uuid,
        pub plugin_digest: Digest,
        pub status: Status,
        pub period: String,
        pub sequence: i64,
        pub reasons: Json<Vec<Reason>>,
        pub progress: Json<Vec<Progress>>,
        pub retry_at: Option<Timestamp>,
        pub received_at: Timestamp,
        pub decided_at: Timestamp,
        pub fuel: Option<i64>,
    }
}

row! {
    #[derive(Clone, Debug)]
    pub(super) struct ReceiptRow {
        pub user_id: Uuid,
        pub receipt: String,
        pub receipt_key_id: String,
        pub receipt_signature: Vec<u8>,
    }
}

row! {
    #[derive(Clone, Debug)]
    pub(super) struct GrantRow {
        pub id: Uuid,
        pub request_id: Uuid,
        pub reward_id: Uuid,
        pub quantity: i64,
        pub reward: Json<GrantedReward>,
    }
}

impl From<GrantRow> for Grant {
    fn from(row: GrantRow) -> Self {
        Self {
            id: row.id,
            reward_id: row.reward_id,
            quantity: u32::try_from(row.quantity).unwrap_or(u32::MAX),
            reward: row.reward.0,
            fulfilment: Fulfilment::PENDING,
        }
    }
}

row! {
    #[derive(Clone, Debug)]
    pub(super) struct IdempotencyRow {
        pub fingerprint: Vec<u8>,
        pub request_id: Uuid,
        /// `None`: the claim waits to be decided.
        pub response: Option<String>,
        pub expires_at: Option<Timestamp>,
    }
}

macro_rules! select_requests {
    ($tail:literal) => {
        concat!(
            "SELECT id, event_id, event_revision, user_id, plugin_digest, status, period, sequence, reasons, progress, \
             retry_at, received_at, decided_at, fuel FROM reward_requests ",
            $tail
        )
    };
}

/// `false` when the user's place in the period was granted already, or this very request was written before.
pub(super) async fn insert(
    tx: &mut Tx,
    row: &RequestRow,
    receipt: &ReceiptRow,
    spending: Option<&Spending>,
) -> Result<bool> {
    const SQL: &str = "INSERT INTO reward_requests (id, event_id, event_revision, user_id, plugin_digest, status, \
        period, sequence, reasons, progress, retry_at, received_at, decided_at, fuel, receipt, receipt_key_id, \
        receipt_signature, budget_period, budget_amount) \
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19) \
        ON CONFLICT DO NOTHING";
    let (row, receipt) = (row.clone(), receipt.clone());
    let inserted = tx
        .query(SQL)
        .bind(row.id)
        .bind(row.event_id)
        .bind(row.event_revision)
        .bind(row.user_id)
        .bind(row.plugin_digest)
        .bind(row.status)
        .bind(row.period)
        .bind(row.sequence)
        .bind(row.reasons)
        .bind(row.progress)
        .bind(row.retry_at)
        .bind(row.received_at)
        .bind(row.decided_at)
        .bind(row.fuel)
        .bind(receipt.receipt)
        .bind(receipt.receipt_key_id)
        .bind(receipt.receipt_signature)
        .bind(spending.map(|spending| spending.period.clone()))
        .bind(spending.map(|spending| spending.amount))
        .execute(tx)
        .await?;
    Ok(inserted == 1)
}

pub(super) async fn insert_grant(tx: &mut Tx, row: &GrantRow, at: Timestamp) -> Result<()> {
    const SQL: &str = "INSERT INTO grants (id, request_id, reward_id, quantity, reward, granted_at, stock_since) \
        VALUES ($1, $2, $3, $4, $5, $6, (SELECT since FROM reward_stock WHERE reward_id = $3))";
    tx.query(SQL)
        .bind(row.id)
        .bind(row.request_id)
        .bind(row.reward_id)
        .bind(row.quantity)
        .bind(row.reward.clone())
        .bind(at)
        .execute(tx)
        .await?;
    Ok(())
}

pub(super) async fn savepoint(tx: &mut Tx) -> Result<()> {
    tx.query("SAVEPOINT claim").execute(tx).await.map(drop)
}

pub(super) async fn roll_back_to_savepoint(tx: &mut Tx) -> Result<()> {
    tx.query("ROLLBACK TO SAVEPOINT claim").execute(tx).await.map(drop)
}

pub(super) async fn release_savepoint(tx: &mut Tx) -> Result<()> {
    tx.query("RELEASE SAVEPOINT claim").execute(tx).await.map(drop)
}

/// What is kept under an Idempotency-Key.
#[derive(Clone, Debug)]
pub(super) struct StoredResponse {
    pub user_id: Uuid,
    pub key: String,
    pub fingerprint: Vec<u8>,
    pub request_id: Uuid,
    pub response: String,
    pub created_at: Timestamp,
    pub expires_at: Timestamp,
}

/// `false` when an answer under this key, of the same moment, was faster.
pub(super) async fn store_response(tx: &mut Tx, answer: StoredResponse) -> Result<bool> {
    const KEEP: &str = "INSERT INTO idempotency_keys \
        (user_id, key, fingerprint, request_id, response, created_at, expires_at) \
        VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (user_id, key) DO NOTHING";
    let kept = tx
        .query(KEEP)
        .bind(answer.user_id)
        .bind(answer.key)
        .bind(answer.fingerprint)
        .bind(answer.request_id)
        .bind(answer.response)
        .bind(answer.created_at)
        .bind(answer.expires_at)
        .execute(tx)
        .await?;
    Ok(kept == 1)
}

pub(super) async fn stored_response(db: &Db, user_id: Uuid, key: String) -> Result<Option<IdempotencyRow>> {
    const SQL: &str = "SELECT fingerprint, request_id, response, expires_at FROM idempotency_keys \
        WHERE user_id = $1 AND key = $2 \
        UNION ALL SELECT fingerprint, id, CAST(NULL AS TEXT), CAST(NULL AS BIGINT) FROM received_claims \
        WHERE user_id = $1 AND idempotency_key = $2";
    db.batched_read(SQL).id(user_id).text(key).fetch_optional().await
}

/// Forgets the answer under this key if it has expired, so that the key is free.
pub(super) async fn delete_expired_response(
    tx: &mut Tx,
    user_id: Uuid,
    key: String,
    expired_at: Timestamp,
) -> Result<()> {
    const SQL: &str = "DELETE FROM idempotency_keys WHERE user_id = $1 AND key = $2 AND expires_at <= $3";
    tx.query(SQL)
        .bind(user_id)
        .bind(key)
        .bind(expired_at)
        .execute(tx)
        .await?;
    Ok(())
}

/// Forgets up to `most` of the answers that have expired, the oldest first.
pub(super) async fn delete_expired_responses(tx: &mut Tx, expired_at: Timestamp, most: i64) -> Result<u64> {
    macro_rules! delete_expired {
        ($lock:literal) => {
            concat!(
                "WITH expired AS MATERIALIZED (SELECT user_id, key FROM idempotency_keys WHERE expires_at <= $1 \
                 ORDER BY expires_at LIMIT $2",
                $lock,
                ") DELETE FROM idempotency_keys WHERE (user_id, key) IN (SELECT user_id, key FROM expired)"
            )
        };
    }
    // What another process is about to delete, or a claim under the same key, is left to it.
    let sql = match tx.engine() {
        Engine::Postgres => delete_expired!(" FOR UPDATE SKIP LOCKED"),
        Engine::Sqlite => delete_expired!(""),
    };
    tx.query(sql).bind(expired_at).bind(most).execute(tx).await
}

pub(super) async fn find(on: impl Run, id: Uuid) -> Result<Option<RequestRow>> {
    const SQL: &str = select_requests!("WHERE id = $1");
    on.statement(SQL).bind(id).fetch_optional(on).await
}

/// The newest grant of a user in a period of an event.
pub(super) async fn newest_granted(
    db: &Db,
    event_id: Uuid,
    user_id: Uuid,
    period: String,
) -> Result<Option<RequestRow>> {
    const SQL: &str = select_requests!(
        "WHERE event_id = $1 AND user_id = $2 AND period = $3 AND status = 'GRANTED' ORDER BY sequence DESC LIMIT 1"
    );
    db.query(SQL)
        .bind(event_id)
        .bind(user_id)
        .bind(period)
        .fetch_optional(db)
        .await
}

/// Which requests a list shows; an absent field shows all.
#[derive(Clone, Debug, Default)]
pub(super) struct Filter {
    pub event_id: Option<Uuid>,
    pub user_id: Option<Uuid>,
    pub status: Option<Status>,
    /// Received at or after this instant
    pub from: Option<Timestamp>,
    /// and before this one.
    pub to: Option<Timestamp>,
}

pub(super) async fn list(db: &Db, filter: Filter, after: Option<Uuid>, limit: i64) -> Result<Vec<RequestRow>> {
    db.select(select_requests!("WHERE TRUE"))
        .and("event_id = $?", filter.event_id)
        .and("user_id = $?", filter.user_id)
        .and("status = $?", filter.status)
        .and("received_at >= $?", filter.from)
        .and("received_at < $?", filter.to)
        .and("id < $?", after)
        .end("ORDER BY id DESC LIMIT $?", limit)
        .fetch_all(db)
        .await
}

pub(super) async fn grants(db: &Db, request_ids: &[Uuid]) -> Result<Vec<GrantRow>> {
    if request_ids.is_empty() {
        return Ok(Vec::new());
    }
    let places = (1..=request_ids.len())
        .map(|place| format!("${place}"))
        .collect::<Vec<_>>()
        .join(", ");
    let sql = format!(
        "SELECT id, request_id, reward_id, quantity, reward FROM grants WHERE request_id IN ({places}) ORDER BY request_id, reward_id"
    );
    request_ids
        .iter()
        .fold(db.query_assembled(sql), |query, id| query.bind(*id))
        .fetch_all(db)
        .await
}

pub(super) async fn receipt(db: &Db, id: Uuid) -> Result<Option<ReceiptRow>> {
    const SQL: &str = "SELECT user_id, receipt, receipt_key_id, receipt_signature FROM reward_requests WHERE id = $1";
    db.query(SQL).bind(id).fetch_optional(db).await
}

/// The fuel of a version's newest evaluations.
pub(super) async fn newest_fuel(db: &Db, plugin: Digest, limit: i64) -> Result<Vec<i64>> {
    const SQL: &str = "SELECT fuel FROM reward_requests WHERE plugin_digest = $1 AND fuel IS NOT NULL \
        ORDER BY id DESC LIMIT $2";
    let rows: Vec<(i64,)> = db.query(SQL).bind(plugin).bind(limit).fetch_all(db).await?;
    Ok(rows.into_iter().map(|(fuel,)| fuel).collect())
}
