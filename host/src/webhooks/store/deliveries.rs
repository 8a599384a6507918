//! `webhook_deliveries`.
//!
//! For each user at most one delivery of an endpoint is PENDING; the others are WAITING for it, or done. Every
//! transaction that changes a status locks the endpoint's row, so that this stays true. `fence` is that of the lease
//! under which an attempt runs; NULL: none does.

use std::collections::HashSet;

use uuid::Uuid;

use crate::clock::Timestamp;
use crate::db::{Db, Query, Result, Tx, placeholders, row};
use crate::webhooks::model::{DeliveryStatus, LastAttempt};

row! {
    #[derive(Clone, Debug)]
    pub(in crate::webhooks) struct DeliveryRow {
        pub message_id: Uuid,
        pub kind: String,
        pub created_at: Timestamp,
        pub status: DeliveryStatus,
        pub attempts: i64,
        pub next_at: Timestamp,
        pub finished_at: Option<Timestamp>,
        pub last_at: Option<Timestamp>,
        pub last_status: Option<i64>,
        pub last_error: Option<String>,
        pub last_answer: Option<String>,
        pub last_millis: Option<i64>,
    }
}

macro_rules! select_deliveries {
    ($tail:literal) => {
        concat!(
            "SELECT d.message_id, o.kind, d.created_at, d.status, d.attempts, d.next_at, d.finished_at, d.last_at, \
             d.last_status, d.last_error, d.last_answer, d.last_millis \
             FROM webhook_deliveries d JOIN outbox o ON o.id = d.message_id ",
            $tail
        )
    };
}

pub(in crate::webhooks) async fn find(db: &Db, endpoint_id: Uuid, message_id: Uuid) -> Result<Option<DeliveryRow>> {
    const SQL: &str = select_deliveries!("WHERE d.endpoint_id = $1 AND d.message_id = $2");
    db.query(SQL)
        .bind(endpoint_id)
        .bind(message_id)
        .fetch_optional(db)
        .await
}

pub(in crate::webhooks) async fn list(
    db: &Db,
    endpoint_id: Uuid,
    status: Option<DeliveryStatus>,
    after: Option<Uuid>,
    limit: i64,
) -> Result<Vec<DeliveryRow>> {
    db.select(select_deliveries!("WHERE TRUE"))
        .and("d.endpoint_id = $?", Some(endpoint_id))
        .and("d.status = $?", status)
        .and("d.message_id < $?", after)
        .end("ORDER BY d.message_id DESC LIMIT $?", limit)
        .fetch_all(db)
        .await
}

/// A message for an endpoint.
#[derive(Clone, Debug)]
pub(in crate::webhooks) struct NewDelivery {
    pub endpoint_id: Uuid,
    pub message_id: Uuid,
    pub ordering_key: Uuid,
    pub created_at: Timestamp,
    pub status: DeliveryStatus,
}

/// How many rows one statement takes: a power of two, and fewer parameters than either engine has.
const AT_ONCE: usize = 512;

/// Inserts those that do not exist yet.
pub(in crate::webhooks) async fn insert(db: &Db, tx: &mut Tx, rows: &[NewDelivery], now: Timestamp) -> Result<()> {
    for rows in rows.chunks(AT_ONCE) {
        let rows = placeholders::padded(rows.iter().cloned());
        let sql = format!(
            "INSERT INTO webhook_deliveries \
                (endpoint_id, message_id, ordering_key, created_at, status, next_at, attempts) \
             VALUES {} ON CONFLICT DO NOTHING",
            placeholders::rows(1, rows.len(), 7)
        );
        let query = rows.into_iter().fold(db.query_assembled(sql), |query, row| {
            query
                .bind(row.endpoint_id)
                .bind(row.message_id)
                .bind(row.ordering_key)
                .bind(row.created_at)
                .bind(row.status)
                .bind(now)
                .bind(0_i64)
        });
        query.execute(tx).await?;
    }
    Ok(())
}

/// Which of these users have deliveries that are not done, by endpoint.
pub(in crate::webhooks) async fn busy(
    db: &Db,
    tx: &mut Tx,
    keys: impl IntoIterator<Item = Uuid>,
) -> Result<HashSet<(Uuid, Uuid)>> {
    let keys: HashSet<Uuid> = keys.into_iter().collect();
    let keys: Vec<Uuid> = keys.into_iter().collect();
    let mut busy = HashSet::new();
    for keys in keys.chunks(AT_ONCE) {
        let keys = placeholders::padded(keys.iter().copied());
        let sql = format!(
            "SELECT DISTINCT d.endpoint_id, d.ordering_key FROM webhook_endpoints e \
             JOIN webhook_deliveries d ON d.endpoint_id = e.id \
             WHERE e.deleted_at IS NULL AND d.status IN ('WAITING', 'PENDING') AND d.ordering_key IN ({})",
            placeholders::list(1, keys.len())
        );
        let query = db.query_assembled(sql);
        let rows: Vec<(Uuid, Uuid)> = keys.into_iter().fold(query, Query::bind).fetch_all(&mut *tx).await?;
        busy.extend(rows);
    }
    Ok(busy)
}

/// Makes a user's next delivery PENDING, unless one is.
pub(in crate::webhooks) async fn wake(
    tx: &mut Tx,
    endpoint_id: Uuid,
    ordering_key: Uuid,
    now: Timestamp,
) -> Result<()> {
    // SQLite uses a partial index only for its very condition.
    const SQL: &str = "UPDATE webhook_deliveries SET status = 'PENDING', next_at = $3 \
        WHERE endpoint_id = $1 AND message_id = (SELECT message_id FROM webhook_deliveries \
            WHERE endpoint_id = $1 AND ordering_key = $2 AND status = 'WAITING' AND status IN ('WAITING', 'PENDING') \
            ORDER BY created_at, message_id LIMIT 1) \
        AND NOT EXISTS (SELECT 1 FROM webhook_deliveries \
            WHERE endpoint_id = $1 AND ordering_key = $2 AND status = 'PENDING' AND status IN ('WAITING', 'PENDING'))";
    tx.query(SQL)
        .bind(endpoint_id)
        .bind(ordering_key)
        .bind(now)
        .execute(tx)
        .await?;
    Ok(())
}

row! {
    /// An endpoint with deliveries that are due.
    #[derive(Clone, Copy, Debug)]
    pub(in crate::webhooks) struct Due {
        pub endpoint_id: Uuid,
        /// No process holds its lease.
        pub is_free: bool,
    }
}

/// Active endpoints with deliveries that are due. Deliveries that the current holder of an endpoint's lease has taken
/// are not due.
pub(in crate::webhooks) async fn due_endpoints(db: &Db, now: Timestamp) -> Result<Vec<Due>> {
    const SQL: &str = "SELECT e.id AS endpoint_id, e.lease_until <= $1 AS is_free FROM webhook_endpoints e \
        WHERE e.deleted_at IS NULL AND e.state = 'ACTIVE' \
        AND EXISTS (SELECT 1 FROM webhook_deliveries d WHERE d.endpoint_id = e.id AND d.status = 'PENDING' \
            AND d.next_at <= $1 AND (e.lease_until <= $1 OR d.fence IS NULL OR d.fence <> e.fence))";
    db.query(SQL).bind(now).fetch_all(db).await
}

row! {
    /// A delivery that was taken.
    #[derive(Clone, Copy, Debug)]
    pub(in crate::webhooks) struct TakenRow {
        pub message_id: Uuid,
        /// This one included.
        pub attempts: i64,
    }
}

/// Takes up to `limit` deliveries that are due, the longest due first, for the holder of the endpoint's lease; none
/// when the lease has another holder by now. The caller's transaction has locked the endpoint.
pub(in crate::webhooks) async fn take(
    tx: &mut Tx,
    endpoint_id: Uuid,
    fence: i64,
    limit: i64,
    now: Timestamp,
) -> Result<Vec<TakenRow>> {
    const SQL: &str = "UPDATE webhook_deliveries SET fence = $2, attempts = attempts + 1 \
        WHERE endpoint_id = $1 AND EXISTS (SELECT 1 FROM webhook_endpoints WHERE id = $1 AND fence = $2) \
        AND message_id IN (SELECT message_id FROM webhook_deliveries \
            WHERE endpoint_id = $1 AND status = 'PENDING' AND next_at <= $4 AND (fence IS NULL OR fence <> $2) \
            ORDER BY next_at LIMIT $3) \
        RETURNING message_id, attempts";
    tx.query(SQL)
        .bind(endpoint_id)
        .bind(fence)
        .bind(limit)
        .bind(now)
        .fetch_all(tx)
        .await
}

/// The state of a delivery after an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::webhooks) enum Next {
    Delivered,
    Parked,
    /// It is due again at that time.
    Retry(Timestamp),
}

row! {
    #[derive(Clone, Copy, Debug)]
    pub(in crate::webhooks) struct RecordedRow {
        pub ordering_key: Uuid,
        pub created_at: Timestamp,
    }
}

/// Writes the result of an attempt. `None`: a later holder of the endpoint's lease has taken the delivery, so this attempt
/// does not count.
pub(in crate::webhooks) async fn record(
    tx: &mut Tx,
    endpoint_id: Uuid,
    taken: TakenRow,
    fence: i64,
    next: Next,
    last: LastAttempt,
    now: Timestamp,
) -> Result<Option<RecordedRow>> {
    const SQL: &str = "UPDATE webhook_deliveries SET fence = NULL, status = $4, next_at = $5, finished_at = $6, \
        last_at = $7, last_status = $8, last_error = $9, last_answer = $10, last_millis = $11 \
        WHERE endpoint_id = $1 AND message_id = $2 AND fence = $3 AND status = 'PENDING' RETURNING ordering_key, created_at";
    let (status, next_at, finished_at) = match next {
        Next::Delivered => (DeliveryStatus::Delivered, now, Some(now)),
        Next::Parked => (DeliveryStatus::Parked, now, Some(now)),
        Next::Retry(at) => (DeliveryStatus::Pending, at, None),
    };
    tx.query(SQL)
        .bind(endpoint_id)
        .bind(taken.message_id)
        .bind(fence)
        .bind(status)
        .bind(next_at)
        .bind(finished_at)
        .bind(last.at)
        .bind(last.status.map(i64::from))
        .bind(last.error)
        .bind(last.answer)
        .bind(last.elapsed_milliseconds)
        .fetch_optional(tx)
        .await
}

/// Makes a delivery that is done WAITING again, and a PENDING one due now. `None`: there is no such delivery.
pub(in crate::webhooks) async fn put_back(
    tx: &mut Tx,
    endpoint_id: Uuid,
    message_id: Uuid,
    now: Timestamp,
) -> Result<Option<Uuid>> {
    const SQL: &str = "UPDATE webhook_deliveries SET \
        status = CASE WHEN status = 'PENDING' THEN 'PENDING' ELSE 'WAITING' END, \
        attempts = CASE WHEN status IN ('DELIVERED', 'PARKED') THEN 0 ELSE attempts END, \
        next_at = $3, finished_at = NULL \
        WHERE endpoint_id = $1 AND message_id = $2 RETURNING ordering_key";
    let found: Option<(Uuid,)> = tx
        .query(SQL)
        .bind(endpoint_id)
        .bind(message_id)
        .bind(now)
        .fetch_optional(tx)
        .await?;
    Ok(found.map(|(ordering_key,)| ordering_key))
}

/// Makes up to `limit` parked deliveries WAITING again; returns the user of each.
pub(in crate::webhooks) async fn put_back_parked(
    tx: &mut Tx,
    endpoint_id: Uuid,
    limit: i64,
    now: Timestamp,
) -> Result<Vec<Uuid>> {
    const SQL: &str = "UPDATE webhook_deliveries SET status = 'WAITING', attempts = 0, next_at = $3, finished_at = NULL \
        WHERE endpoint_id = $1 AND message_id IN (SELECT message_id FROM webhook_deliveries \
            WHERE endpoint_id = $1 AND status = 'PARKED' ORDER BY message_id LIMIT $2) RETURNING ordering_key";
    let rows: Vec<(Uuid,)> = tx
        .query(SQL)
        .bind(endpoint_id)
        .bind(limit)
        .bind(now)
        .fetch_all(tx)
        .await?;
    Ok(rows.into_iter().map(|(ordering_key,)| ordering_key).collect())
}

row! {
    /// Deliveries of an endpoint that are not done.
    #[derive(Clone, Debug)]
    pub(in crate::webhooks) struct DepthRow {
        pub endpoint_id: Uuid,
        pub status: DeliveryStatus,
        /// At most [`COUNTED`].
        pub deliveries: i64,
        pub oldest: Option<Timestamp>,
    }
}

/// Deliveries of one endpoint and status that are counted: a backlog must not make its count slow.
const COUNTED: i64 = 10_000;

pub(in crate::webhooks) async fn depths(db: &Db) -> Result<Vec<DepthRow>> {
    // Message ids begin with their time, so the first message is the oldest one.
    const SQL: &str = "SELECT e.id AS endpoint_id, s.status, \
            (SELECT COUNT(*) FROM (SELECT 1 FROM webhook_deliveries d \
                WHERE d.endpoint_id = e.id AND d.status = s.status LIMIT $1) AS counted) AS deliveries, \
            (SELECT d.created_at FROM webhook_deliveries d WHERE d.endpoint_id = e.id AND d.status = s.status \
                ORDER BY d.message_id LIMIT 1) AS oldest \
        FROM webhook_endpoints e CROSS JOIN (SELECT 'WAITING' AS status UNION ALL SELECT 'PENDING' \
            UNION ALL SELECT 'PARKED') AS s WHERE e.deleted_at IS NULL";
    db.query(SQL).bind(COUNTED).fetch_all(db).await
}

/// Makes those of these deliveries that are done WAITING again; returns the user of each.
pub(in crate::webhooks) async fn put_back_all(
    db: &Db,
    tx: &mut Tx,
    endpoint_id: Uuid,
    message_ids: &[Uuid],
    now: Timestamp,
) -> Result<Vec<Uuid>> {
    if message_ids.is_empty() {
        return Ok(Vec::new());
    }
    let ids = placeholders::padded(message_ids.iter().copied());
    let sql = format!(
        "UPDATE webhook_deliveries SET status = 'WAITING', attempts = 0, next_at = $2, finished_at = NULL \
         WHERE endpoint_id = $1 AND status IN ('DELIVERED', 'PARKED') AND message_id IN ({}) RETURNING ordering_key",
        placeholders::list(3, ids.len())
    );
    let query = db.query_assembled(sql).bind(endpoint_id).bind(now);
    let rows: Vec<(Uuid,)> = ids.into_iter().fold(query, Query::bind).fetch_all(tx).await?;
    Ok(rows.into_iter().map(|(ordering_key,)| ordering_key).collect())
}
