//! `pending_claims` and `claim_queues`: pending claims, and which process owns the queue of an event.
//!
//! Of `users` it reads only which ids exist, because a claim of an unknown user could never be decided.

use uuid::Uuid;

use super::{Filter, Writer};
use crate::background::lease;
use crate::claims::model::{ClaimedBy, RewardRequest, Status};
use crate::clock::Timestamp;
use crate::db::{Bulk, Db, Executor, Json, Result, Tx, row};
use crate::sandbox::Digest;

row! {
    #[derive(Clone, Debug)]
    pub(in crate::claims) struct PendingClaimRow {
        pub id: Uuid,
        pub event_id: Uuid,
        pub user_id: Uuid,
        pub received_at: Timestamp,
        pub event_revision: i64,
        pub plugin_digest: Digest,
        pub period: String,
        pub idempotency_key: Option<String>,
        pub fingerprint: Option<Vec<u8>>,
        pub http_request_id: Option<String>,
        pub claimed_by: Option<Json<ClaimedBy>>,
        /// That failed.
        pub attempts: i64,
    }
}

/// The right to decide the claims of an event.
pub(in crate::claims) const LEASES: lease::SetTable = lease::SetTable {
    name: "claim_queues",
    key: "event_id",
};

impl From<PendingClaimRow> for RewardRequest {
    fn from(row: PendingClaimRow) -> Self {
        Self {
            id: row.id,
            event_id: row.event_id,
            event_revision: row.event_revision,
            user_id: row.user_id,
            status: Status::Received,
            retryable: false,
            reasons: Vec::new(),
            progress: Vec::new(),
            retry_at: None,
            period: row.period,
            grants: Vec::new(),
            review: None,
            reversal: None,
            received_at: row.received_at,
            decided_at: None,
            plugin_digest: row.plugin_digest,
            make_good_id: None,
        }
    }
}

macro_rules! select_pending {
    ($tail:literal) => {
        concat!(
            "SELECT ",
            columns!(pending_claims),
            ", attempts FROM pending_claims ",
            $tail
        )
    };
}

/// A claim to be queued.
#[derive(Clone, Debug)]
pub(in crate::claims) struct NewPendingClaim {
    pub row: PendingClaimRow,
    /// How many grants its user may have in the period.
    pub max_grants: i64,
    /// How many pending claims its user may have.
    pub max_pending: i64,
}

/// Queues those of these claims that can be queued, and returns their ids. A claim is left out if its user does not exist,
/// has the maximum of pending claims (without the others of this call), has a pending or held claim on the event, or has all
/// grants of the period; or if its key is in use. Of two claims of a user on one event the one with the smaller id is queued.
pub(in crate::claims) async fn insert(writer: &Writer, new: &[NewPendingClaim]) -> Result<Vec<Uuid>> {
    match writer {
        Writer::Postgres(bulk) => insert_bulk(bulk, new).await,
        Writer::Sqlite(db) => insert_rows(db, new).await,
    }
}

async fn insert_bulk(bulk: &Bulk, new: &[NewPendingClaim]) -> Result<Vec<Uuid>> {
    const SQL: &str = concat!(
        "INSERT INTO pending_claims (",
        columns!(pending_claims),
        ") SELECT a.id, a.event_id, a.user_id, a.received_at, a.event_revision, a.plugin_digest, a.period, \
            a.idempotency_key, a.fingerprint, a.http_request_id, a.claimed_by \
        FROM UNNEST($1::UUID[], $2::UUID[], $3::UUID[], $4::BIGINT[], $5::BIGINT[], $6::TEXT[], $7::TEXT[], $8::TEXT[], \
            $9::BYTEA[], $10::TEXT[], $11::JSONB[], $12::BIGINT[], $13::BIGINT[]) AS a (",
        columns!(pending_claims),
        ", max_pending, max_grants) \
        WHERE EXISTS (SELECT 1 FROM users u WHERE u.id = a.user_id) \
            AND (SELECT COUNT(*) FROM pending_claims r WHERE r.user_id = a.user_id) < a.max_pending \
            AND NOT EXISTS (SELECT 1 FROM idempotency_keys i WHERE i.user_id = a.user_id AND i.key = a.idempotency_key) \
            AND (SELECT COUNT(*) FROM reward_requests q WHERE q.event_id = a.event_id AND q.user_id = a.user_id \
                AND q.period = a.period AND q.status = 'GRANTED') < a.max_grants \
            AND NOT EXISTS (SELECT 1 FROM reward_requests h WHERE h.event_id = a.event_id AND h.user_id = a.user_id \
                AND h.status = 'HELD') \
        ORDER BY a.event_id, a.user_id, a.id ON CONFLICT DO NOTHING RETURNING id"
    );
    let rows = || new.iter().map(|new| &new.row);
    let ids: Vec<(Uuid,)> = bulk
        .statement(SQL)
        .each(rows().map(|row| row.id))
        .each(rows().map(|row| row.event_id))
        .each(rows().map(|row| row.user_id))
        .each(rows().map(|row| row.received_at.as_millis()))
        .each(rows().map(|row| row.event_revision))
        .each(rows().map(|row| row.plugin_digest.to_string()))
        .each(rows().map(|row| row.period.clone()))
        .each(rows().map(|row| row.idempotency_key.clone()))
        .each(rows().map(|row| row.fingerprint.clone()))
        .each(rows().map(|row| row.http_request_id.clone()))
        .each(rows().map(|row| row.claimed_by.clone()))
        .each(new.iter().map(|new| new.max_pending))
        .each(new.iter().map(|new| new.max_grants))
        .fetch_all()
        .await?;
    Ok(ids.into_iter().map(|(id,)| id).collect())
}

async fn insert_rows(db: &Db, new: &[NewPendingClaim]) -> Result<Vec<Uuid>> {
    const SQL: &str = concat!(
        "INSERT INTO pending_claims (",
        columns!(pending_claims),
        ") SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11 \
        WHERE EXISTS (SELECT 1 FROM users WHERE id = $3) \
            AND (SELECT COUNT(*) FROM pending_claims WHERE user_id = $3) < $12 \
            AND NOT EXISTS (SELECT 1 FROM idempotency_keys WHERE user_id = $3 AND key = $8) \
            AND (SELECT COUNT(*) FROM reward_requests WHERE event_id = $2 AND user_id = $3 AND period = $7 \
                AND status = 'GRANTED') < $13 \
            AND NOT EXISTS (SELECT 1 FROM reward_requests WHERE event_id = $2 AND user_id = $3 AND status = 'HELD') \
        ON CONFLICT DO NOTHING"
    );
    let mut inserted = Vec::new();
    let mut tx = db.begin().await?;
    for new in new.iter().cloned() {
        let row = new.row;
        let id = row.id;
        let query = tx
            .query(SQL)
            .bind(row.id)
            .bind(row.event_id)
            .bind(row.user_id)
            .bind(row.received_at)
            .bind(row.event_revision)
            .bind(row.plugin_digest)
            .bind(row.period)
            .bind(row.idempotency_key)
            .bind(row.fingerprint)
            .bind(row.http_request_id)
            .bind(row.claimed_by)
            .bind(new.max_pending)
            .bind(new.max_grants);
        if query.execute(&mut tx).await? == 1 {
            inserted.push(id);
        }
    }
    tx.commit().await?;
    Ok(inserted)
}

pub(in crate::claims) async fn find(on: impl Executor, id: Uuid) -> Result<Option<PendingClaimRow>> {
    const SQL: &str = select_pending!("WHERE id = $1");
    on.statement(SQL).bind(id).fetch_optional(on).await
}

/// The pending claim of a user on an event; there is at most one.
pub(in crate::claims) async fn of_user(db: &Db, event_id: Uuid, user_id: Uuid) -> Result<Option<PendingClaimRow>> {
    const SQL: &str = select_pending!("WHERE event_id = $1 AND user_id = $2");
    db.query(SQL).bind(event_id).bind(user_id).fetch_optional(db).await
}

pub(in crate::claims) async fn is_user(db: &Db, user_id: Uuid) -> Result<bool> {
    const SQL: &str = "SELECT COUNT(*) FROM users WHERE id = $1";
    let (count,): (i64,) = db.query(SQL).bind(user_id).fetch_one(db).await?;
    Ok(count == 1)
}

/// The number of grants that a user has in a period of an event.
pub(in crate::claims) async fn grants_of_user(db: &Db, event_id: Uuid, user_id: Uuid, period: String) -> Result<i64> {
    const SQL: &str = "SELECT COUNT(*) FROM reward_requests \
        WHERE event_id = $1 AND user_id = $2 AND period = $3 AND status = 'GRANTED'";
    let query = db.query(SQL).bind(event_id).bind(user_id).bind(period);
    let (count,): (i64,) = query.fetch_one(db).await?;
    Ok(count)
}

pub(in crate::claims) async fn count_of_user(db: &Db, user_id: Uuid) -> Result<i64> {
    const SQL: &str = "SELECT COUNT(*) FROM pending_claims WHERE user_id = $1";
    let (count,): (i64,) = db.query(SQL).bind(user_id).fetch_one(db).await?;
    Ok(count)
}

/// The pending claims of a list. Ignores the status of the filter: all of them are RECEIVED.
pub(in crate::claims) async fn list(
    db: &Db,
    filter: &Filter,
    after: Option<Uuid>,
    limit: i64,
) -> Result<Vec<PendingClaimRow>> {
    const AROUND: (&str, &str) = (
        concat!("SELECT ", columns!(pending_claims), ", attempts FROM ("),
        ") AS pending ORDER BY id DESC LIMIT $?",
    );
    // An id begins with the time of receipt.
    let select = db
        .select(select_pending!("WHERE TRUE"))
        .and("id >= $?", filter.from.map(Timestamp::first_id))
        .and("id < $?", filter.to.map(Timestamp::first_id))
        .and("id < $?", after);
    let query = match filter.event_id {
        Some(_) if filter.user_id.is_none() => {
            let select = select.and("event_id = $?", filter.event_id);
            select.newest_of(&["retry_at = 0", "retry_at > 0"], AROUND, limit)
        }
        // COALESCE hides the condition from the choice of an index, as in `store::list`.
        event_id => select
            .and("user_id = $?", filter.user_id)
            .and("COALESCE(event_id = $?, FALSE)", event_id)
            .end("ORDER BY id DESC LIMIT $?", limit),
    };
    query.fetch_all(db).await
}

/// The number of pending claims, and when the oldest of them arrived.
pub(in crate::claims) async fn depth(db: &Db) -> Result<(i64, Option<Timestamp>)> {
    // Ids begin with the time of receipt.
    const SQL: &str =
        "SELECT COUNT(*), (SELECT received_at FROM pending_claims ORDER BY id LIMIT 1) FROM pending_claims";
    db.query(SQL).fetch_one(db).await
}

/// The oldest pending claims of an event, in the order of their arrival.
pub(in crate::claims) async fn first(db: &Db, event_id: Uuid, limit: i64) -> Result<Vec<PendingClaimRow>> {
    const SQL: &str = select_pending!("WHERE event_id = $1 AND retry_at = 0 ORDER BY id LIMIT $2");
    db.query(SQL).bind(event_id).bind(limit).fetch_all(db).await
}

/// Pending claims of an event that could not be decided, and whose next attempt is due.
pub(in crate::claims) async fn due(
    db: &Db,
    event_id: Uuid,
    now: Timestamp,
    limit: i64,
) -> Result<Vec<PendingClaimRow>> {
    const SQL: &str =
        select_pending!("WHERE event_id = $1 AND retry_at > 0 AND retry_at <= $2 ORDER BY retry_at, id LIMIT $3");
    db.query(SQL).bind(event_id).bind(now).bind(limit).fetch_all(db).await
}

/// Takes a claim out of its place in the queue until its next attempt. Has no effect if the claim is no longer pending, or
/// if its queue belongs to another process.
pub(in crate::claims) async fn defer(tx: &mut Tx, row: &PendingClaimRow, fence: i64, until: Timestamp) -> Result<()> {
    const SQL: &str = "UPDATE pending_claims SET attempts = attempts + 1, retry_at = $4 WHERE user_id = $1 AND id = $2 \
        AND EXISTS (SELECT 1 FROM claim_queues WHERE event_id = pending_claims.event_id AND fence = $3)";
    let query = tx.query(SQL).bind(row.user_id).bind(row.id);
    query.bind(fence).bind(until).execute(tx).await.map(drop)
}

/// Events after this one whose queue no process owns and has claims.
pub(in crate::claims) async fn free_queues(db: &Db, after: Uuid, now: Timestamp, limit: i64) -> Result<Vec<Uuid>> {
    // Steps from one event to the next by the index, however many claims each has.
    const SQL: &str = "WITH RECURSIVE waiting (event_id) AS ( \
            SELECT (SELECT event_id FROM pending_claims WHERE retry_at = 0 AND event_id > $3 ORDER BY event_id LIMIT 1) \
            UNION ALL \
            SELECT (SELECT r.event_id FROM pending_claims r WHERE r.retry_at = 0 AND r.event_id > w.event_id \
                ORDER BY r.event_id LIMIT 1) \
            FROM waiting w WHERE w.event_id IS NOT NULL) \
        SELECT w.event_id FROM waiting w LEFT JOIN claim_queues l ON l.event_id = w.event_id \
        WHERE w.event_id IS NOT NULL AND (l.event_id IS NULL OR l.lease_until <= $1) LIMIT $2";
    let query = db.query(SQL).bind(now).bind(limit).bind(after);
    let rows: Vec<(Uuid,)> = query.fetch_all(db).await?;
    Ok(rows.into_iter().map(|(id,)| id).collect())
}

/// Events whose queue no process owns, and that have claims that are due to be tried again: those of the `limit` claims that
/// are due longest.
pub(in crate::claims) async fn due_queues(db: &Db, now: Timestamp, limit: i64) -> Result<Vec<Uuid>> {
    const SQL: &str = "SELECT DISTINCT due.event_id FROM ( \
            SELECT p.event_id FROM pending_claims p LEFT JOIN claim_queues l ON l.event_id = p.event_id \
            WHERE p.retry_at > 0 AND p.retry_at <= $1 AND (l.event_id IS NULL OR l.lease_until <= $1) \
            ORDER BY p.retry_at LIMIT $2) AS due";
    let rows: Vec<(Uuid,)> = db.query(SQL).bind(now).bind(limit).fetch_all(db).await?;
    Ok(rows.into_iter().map(|(id,)| id).collect())
}
