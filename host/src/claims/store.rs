//! `reward_requests` and `grants`: the rows of a claim, who writes them, and reads of requests.
//!
//! `commit_postgres` and `commit_rows` write commit records, in bulk and row by row. `responses` is `idempotency_keys`,
//! `queue` the pending claims, `redecision` the claims that a make-good looks at, `refusals` old requests to be deleted, `reviews` the held claims, `reversal` is `reversals`, `terms` is `receipt_terms`, `grants` the lists of grants, `logged` whole rows for the
//! transparency log.

/// The columns that both writers fill, in the order of their values.
macro_rules! columns {
    (reward_requests) => {
        "id, event_id, event_revision, user_id, plugin_digest, status, period, slot, reasons, progress, retry_at, \
         received_at, decided_at, fuel, receipt, receipt_salt, receipt_digest, receipt_path, receipt_key_id, \
         receipt_signature, budget_period, budget_amount, refusal, group_name, group_slot, make_good_id"
    };
    (grants) => {
        "user_id, id, request_id, reward_id, event_id, quantity, reward, granted_at, stock_since"
    };
    (idempotency_keys) => {
        "user_id, key, fingerprint, request_id, response, created_at, expires_at"
    };
    (pending_claims) => {
        "id, event_id, user_id, received_at, event_revision, plugin_digest, period, idempotency_key, fingerprint, \
         http_request_id, claimed_by"
    };
}

pub(super) mod commit_postgres;
pub(super) mod commit_rows;
pub(super) mod erasure;
pub(super) mod grants;
pub(super) mod logged;
pub(super) mod queue;
pub(super) mod redecision;
pub(super) mod refusals;
pub(super) mod responses;
pub(super) mod reversal;
pub(super) mod reviews;
pub(super) mod terms;

use std::sync::Arc;

use uuid::Uuid;

use super::model::{Grant, GrantedReward, Reason, RewardRequest, Status};
use super::receipt::{Draft, Seal};
use super::review::Review;
use crate::clock::Timestamp;
use crate::contract::Progress;
use crate::db::{BULK_CONNECTIONS, Bulk, Db, DbError, Executor, Json, Query, Result, placeholders, row};
use crate::fulfilments::Fulfilment;
use crate::outbox::Message;
use crate::rewards::Taking;
use crate::sandbox::Digest;
pub(super) use terms::TermsRow;

/// All rows that a decided claim writes. Its ids are minted before the commit, so that every attempt writes the same.
#[derive(Clone, Debug)]
pub(super) struct CommitRecord {
    pub request: RequestRow,
    pub receipt: Draft,
    /// Made when the record is committed, with the others of its batch.
    pub seal: Seal,
    pub terms: Arc<TermsRow>,
    /// A digest of what a rejection says; `None`: it is no rejection, or the claim was pending.
    pub refusal: Option<String>,
    /// In the order of their rewards' ids.
    pub grants: Vec<GrantRow>,
    /// What the grants take from the event's budget, if it has one.
    pub spending: Option<Spending>,
    pub messages: Vec<Message>,
    pub response: Option<StoredResponse>,
    /// Only of a pending claim: it leaves its queue, whose fence must still be this one.
    pub fence: Option<i64>,
    /// The event's group, and the number of the user's grant or held claim in it.
    pub group: Option<(String, i64)>,
}

/// How the commit of a record ended.
#[derive(Clone, Debug)]
pub(super) enum CommitOutcome {
    Committed,
    /// Another transaction was first: the event changed, the slot, the stock or the budget was taken, or the key has a
    /// response. Nothing was written.
    Lost,
    /// The database failed. Unless the error says that the outcome is unknown, nothing was written.
    Failed(DbError),
}

/// How claims are written. Bulk statements exist on PostgreSQL only; SQLite has one writer, which writes row by row.
/// Cheap to clone.
#[derive(Clone)]
pub(super) enum Writer {
    Postgres(Bulk),
    Sqlite(Db),
}

impl Writer {
    pub(super) fn new(db: &Db) -> Self {
        match db {
            Db::Postgres { bulk, .. } => Self::Postgres(bulk.clone()),
            Db::Sqlite { .. } => Self::Sqlite(db.clone()),
        }
    }

    /// The number of batches that can be written at the same time.
    pub(super) fn parallelism(&self) -> u32 {
        match self {
            Self::Postgres(_) => BULK_CONNECTIONS,
            Self::Sqlite(_) => 1,
        }
    }
}

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
        pub slot: i64,
        pub reasons: Json<Vec<Reason>>,
        pub progress: Json<Vec<Progress>>,
        pub retry_at: Option<Timestamp>,
        pub received_at: Timestamp,
        pub decided_at: Timestamp,
        pub review: Option<Json<Review>>,
        pub fuel: Option<i64>,
        /// Of the make-good that granted it.
        pub make_good_id: Option<Uuid>,
    }
}

impl RequestRow {
    pub(super) fn into_request(self, grants: Vec<Grant>) -> RewardRequest {
        RewardRequest {
            id: self.id,
            event_id: self.event_id,
            event_revision: self.event_revision,
            user_id: self.user_id,
            status: self.status,
            retryable: !matches!(self.status, Status::Granted | Status::Held),
            reasons: self.reasons.0,
            progress: self.progress.0,
            retry_at: self.retry_at,
            period: self.period,
            grants,
            review: self.review.map(|review| review.0),
            reversal: None,
            received_at: self.received_at,
            decided_at: (self.status != Status::Held).then_some(self.decided_at),
            plugin_digest: self.plugin_digest,
            make_good_id: self.make_good_id,
        }
    }
}

row! {
    #[derive(Clone, Debug)]
    pub(super) struct ReceiptRow {
        pub user_id: Uuid,
        /// `None`: the content was erased.
        pub receipt: Option<String>,
        pub receipt_salt: Option<Vec<u8>>,
        pub receipt_digest: Vec<u8>,
        pub receipt_path: Vec<u8>,
        pub receipt_key_id: String,
        pub receipt_signature: Vec<u8>,
    }
}

row! {
    #[derive(Clone, Debug)]
    pub(super) struct GrantRow {
        pub user_id: Uuid,
        pub id: Uuid,
        pub request_id: Uuid,
        pub reward_id: Uuid,
        pub quantity: i64,
        pub reward: Json<GrantedReward>,
    }
}

impl GrantRow {
    /// What the grant takes from the stock of its reward.
    pub(super) fn taking(&self, at: Timestamp) -> Taking {
        Taking {
            grant_id: self.id,
            reward_id: self.reward_id,
            quantity: self.quantity,
            at,
        }
    }
}

impl From<GrantRow> for Grant {
    fn from(row: GrantRow) -> Self {
        Self {
            id: row.id,
            codes: None,
            reward_id: row.reward_id,
            quantity: u32::try_from(row.quantity).unwrap_or(u32::MAX),
            reward: row.reward.0,
            fulfilment: Fulfilment::PENDING,
        }
    }
}

/// What a granted claim takes from its event's budget: one grant, and the amount if the budget limits it.
#[derive(Clone, Debug)]
pub(super) struct Spending {
    /// The budget's period that contains the instant of the claim.
    pub period: String,
    pub amount: i64,
    pub max_grants: Option<i64>,
    pub max_amount: Option<i64>,
}

impl Spending {
    /// Adds itself to what was spent, if the budget allows it.
    pub(super) fn add_to(&self, (grants, amount): &mut (i64, i64)) -> bool {
        let fits = self.max_grants.is_none_or(|max| *grants < max)
            && self
                .max_amount
                .is_none_or(|max| amount.saturating_add(self.amount) <= max);
        if fits {
            *grants += 1;
            *amount += self.amount;
        }
        fits
    }
}

/// A response under an Idempotency-Key.
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

macro_rules! select_requests {
    ($tail:literal) => {
        concat!(
            "SELECT id, event_id, event_revision, user_id, plugin_digest, status, period, slot, reasons, progress, \
             retry_at, received_at, decided_at, review, fuel, make_good_id FROM reward_requests ",
            $tail
        )
    };
}

pub(super) async fn find(on: impl Executor, id: Uuid) -> Result<Option<RequestRow>> {
    const SQL: &str = select_requests!("WHERE id = $1");
    on.statement(SQL).bind(id).fetch_optional(on).await
}

/// The user's request on the event that was rejected in the same words.
pub(super) async fn find_refusal(
    db: &Db,
    user_id: Uuid,
    event_id: Uuid,
    refusal: String,
) -> Result<Option<RequestRow>> {
    const SQL: &str = select_requests!("WHERE user_id = $1 AND event_id = $2 AND refusal = $3");
    let query = db.query(SQL).bind(user_id).bind(event_id).bind(refusal);
    query.fetch_optional(db).await
}

/// The newest granted request of a user in a period of an event.
pub(super) async fn newest_granted(
    db: &Db,
    event_id: Uuid,
    user_id: Uuid,
    period: String,
) -> Result<Option<RequestRow>> {
    const SQL: &str = select_requests!(
        "WHERE event_id = $1 AND user_id = $2 AND period = $3 AND status = 'GRANTED' ORDER BY slot DESC LIMIT 1"
    );
    db.query(SQL)
        .bind(event_id)
        .bind(user_id)
        .bind(period)
        .fetch_optional(db)
        .await
}

/// The conditions of a list; an absent field selects everything.
#[derive(Clone, Debug, Default)]
pub(super) struct Filter {
    pub event_id: Option<Uuid>,
    pub user_id: Option<Uuid>,
    pub status: Option<Status>,
    /// Received at or after this time
    pub from: Option<Timestamp>,
    /// and before this one.
    pub to: Option<Timestamp>,
}

/// Newest first. Each set of filters reads a range of one index, or one range per status.
pub(super) async fn list(db: &Db, filter: Filter, after: Option<Uuid>, limit: i64) -> Result<Vec<RequestRow>> {
    const AROUND: (&str, &str) = (
        "SELECT id, event_id, event_revision, user_id, plugin_digest, status, period, slot, reasons, progress, \
         retry_at, received_at, decided_at, review, fuel, make_good_id FROM (",
        ") AS request ORDER BY id DESC LIMIT $?",
    );
    // An id begins with the time of receipt.
    let select = db
        .select(select_requests!("WHERE TRUE"))
        .and("id >= $?", filter.from.map(Timestamp::first_id))
        .and("id < $?", filter.to.map(Timestamp::first_id))
        .and("id < $?", after);
    let query = match filter {
        // COALESCE hides the conditions from the choice of an index: without statistics, SQLite would read the event's
        // history instead of the user's.
        Filter { user_id: Some(_), .. } => select
            .and("user_id = $?", filter.user_id)
            .and("COALESCE(event_id = $?, FALSE)", filter.event_id)
            .and("COALESCE(status = $?, FALSE)", filter.status)
            .end("ORDER BY id DESC LIMIT $?", limit),
        Filter {
            event_id: None,
            status: None,
            ..
        } => select.end("ORDER BY id DESC LIMIT $?", limit),
        Filter { event_id, status, .. } => {
            let statuses: Vec<&str> = STATUSES
                .iter()
                .filter(|(of, _)| status.is_none_or(|status| status == *of))
                .map(|(_, condition)| *condition)
                .collect();
            select
                .and("event_id = $?", event_id)
                .newest_of(&statuses, AROUND, limit)
        }
    };
    query.fetch_all(db).await
}

/// Literals, so that a range of each can be read.
const STATUSES: [(Status, &str); 5] = [
    (Status::Granted, "status = 'GRANTED'"),
    (Status::Held, "status = 'HELD'"),
    (Status::Rejected, "status = 'REJECTED'"),
    (Status::Failed, "status = 'FAILED'"),
    (Status::Reversed, "status = 'REVERSED'"),
];

/// A request: its user and its id.
pub(super) type RequestKey = (Uuid, Uuid);

pub(super) async fn grants_of_requests(db: &Db, requests: &[RequestKey]) -> Result<Vec<GrantRow>> {
    if requests.is_empty() {
        return Ok(Vec::new());
    }
    let requests = placeholders::padded(requests.iter().copied());
    let sql = format!(
        "SELECT g.user_id, g.id, g.request_id, g.reward_id, g.quantity, g.reward FROM {} \
         JOIN grants g ON g.user_id = pair.column1 AND g.request_id = pair.column2 ORDER BY g.request_id, g.reward_id",
        placeholders::pairs(1, requests.len())
    );
    let query = db.query_assembled(sql);
    requests.into_iter().fold(query, bind_key).fetch_all(db).await
}

fn bind_key(query: Query, (user_id, id): RequestKey) -> Query {
    query.bind(user_id).bind(id)
}

pub(super) async fn receipt(db: &Db, id: Uuid) -> Result<Option<ReceiptRow>> {
    const SQL: &str = "SELECT user_id, receipt, receipt_salt, receipt_digest, receipt_path, receipt_key_id, \
        receipt_signature FROM reward_requests WHERE id = $1";
    db.query(SQL).bind(id).fetch_optional(db).await
}

/// The fuel of a plugin version's newest evaluations.
pub(super) async fn newest_fuel(db: &Db, plugin: Digest, limit: i64) -> Result<Vec<i64>> {
    const SQL: &str = "SELECT fuel FROM reward_requests WHERE plugin_digest = $1 AND fuel IS NOT NULL \
        ORDER BY id DESC LIMIT $2";
    let rows: Vec<(i64,)> = db.query(SQL).bind(plugin).bind(limit).fetch_all(db).await?;
    Ok(rows.into_iter().map(|(fuel,)| fuel).collect())
}
