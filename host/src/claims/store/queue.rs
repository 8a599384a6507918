//! `received_claims` and `claim_lines`: claims that wait, and who settles those of an event. Of `users` it asks only which
//! ids exist: a claim of nobody would never leave its line.

use uuid::Uuid;

use super::Filter;
use crate::background::lease;
use crate::clock::Timestamp;
use crate::db::{Db, Result, Run, Tx, row};
use crate::sandbox::Digest;

row! {
    /// A claim that was answered with 202.
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
    }
}

/// The right to decide the claims of an event. The first lease of a queue inserts its row.
pub(in crate::claims) const LEASES: lease::Table = lease::Table {
    acquire: "INSERT INTO claim_lines AS l (event_id, fence, lease_until) VALUES ($1, 1, $3) \
        ON CONFLICT (event_id) DO UPDATE SET fence = l.fence + 1, lease_until = excluded.lease_until \
        WHERE l.lease_until <= $2 RETURNING fence",
    ..lease::table!("claim_lines", "event_id")
};

macro_rules! select_received {
    ($tail:literal) => {
        concat!(
            "SELECT id, event_id, user_id, received_at, event_revision, plugin_digest, period, idempotency_key, \
             fingerprint, http_request_id FROM received_claims ",
            $tail
        )
    };
}

/// A claim that wants to wait.
#[derive(Clone, Debug)]
pub(in crate::claims) struct NewPendingClaim {
    pub row: PendingClaimRow,
    /// How many grants its user may have in the period.
    pub grants: i64,
    /// How many claims of its user may wait.
    pub per_user: i64,
}

/// Writes those of these claims that may wait; tells their ids. A claim may not when its user has as many as may, not
/// counting others of these, or one on this event, or all grants of the period, or does not exist; or when its key is in
/// use. Of two of a user on one event the one with the smaller id waits.
pub(in crate::claims) async fn insert(db: &Db, new: &[NewPendingClaim]) -> Result<Vec<Uuid>> {
    const SET: &str = "INSERT INTO received_claims (id, event_id, user_id, received_at, event_revision, plugin_digest, \
        period, idempotency_key, fingerprint, http_request_id) \
        SELECT a.id, a.event_id, a.user_id, a.received_at, a.event_revision, a.plugin_digest, a.period, \
            a.idempotency_key, a.fingerprint, a.http_request_id \
        FROM UNNEST($1::UUID[], $2::UUID[], $3::UUID[], $4::BIGINT[], $5::BIGINT[], $6::TEXT[], $7::TEXT[], $8::TEXT[], \
            $9::BYTEA[], $10::TEXT[], $11::BIGINT[], $12::BIGINT[]) AS a (id, event_id, user_id, received_at, event_revision, \
            plugin_digest, period, idempotency_key, fingerprint, http_request_id, most, grants) \
        WHERE EXISTS (SELECT 1 FROM users u WHERE u.id = a.user_id) \
            AND (SELECT COUNT(*) FROM received_claims r WHERE r.user_id = a.user_id) < a.most \
            AND NOT EXISTS (SELECT 1 FROM idempotency_keys i WHERE i.user_id = a.user_id AND i.key = a.idempotency_key) \
            AND (SELECT COUNT(*) FROM reward_requests q WHERE q.event_id = a.event_id AND q.user_id = a.user_id \
                AND q.period = a.period AND q.status = 'GRANTED') < a.grants \
        ORDER BY a.event_id, a.user_id, a.id ON CONFLICT DO NOTHING RETURNING id";
    const ONE: &str = "INSERT INTO received_claims (id, event_id, user_id, received_at, event_revision, plugin_digest, \
        period, idempotency_key, fingerprint, http_request_id) SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10 \
        WHERE EXISTS (SELECT 1 FROM users WHERE id = $3) \
            AND (SELECT COUNT(*) FROM received_claims WHERE user_id = $3) < $11 \
            AND NOT EXISTS (SELECT 1 FROM idempotency_keys WHERE user_id = $3 AND key = $8) \
            AND (SELECT COUNT(*) FROM reward_requests WHERE event_id = $2 AND user_id = $3 AND period = $7 \
                AND status = 'GRANTED') < $12 \
        ON CONFLICT DO NOTHING";
    if let Some(set) = db.bulk(SET) {
        let rows = || new.iter().map(|new| &new.row);
        let ids: Vec<(Uuid,)> = set
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
            .each(new.iter().map(|new| new.per_user))
            .each(new.iter().map(|new| new.grants))
            .fetch_all()
            .await?;
        return Ok(ids.into_iter().map(|(id,)| id).collect());
    }
    let mut inserted = Vec::new();
    let mut tx = db.begin().await?;
    for NewPendingClaim { row, grants, per_user } in new.iter().cloned() {
        let id = row.id;
        let query = tx
            .query(ONE)
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
            .bind(per_user)
            .bind(grants);
        if query.execute(&mut tx).await? == 1 {
            inserted.push(id);
        }
    }
    tx.commit().await?;
    Ok(inserted)
}

pub(in crate::claims) async fn find(on: impl Run, id: Uuid) -> Result<Option<PendingClaimRow>> {
    const SQL: &str = select_received!("WHERE id = $1");
    on.statement(SQL).bind(id).fetch_optional(on).await
}

/// The one claim of a user on an event that waits, if one does.
pub(in crate::claims) async fn of_user(db: &Db, event_id: Uuid, user_id: Uuid) -> Result<Option<PendingClaimRow>> {
    const SQL: &str = select_received!("WHERE event_id = $1 AND user_id = $2");
    db.query(SQL).bind(event_id).bind(user_id).fetch_optional(db).await
}

pub(in crate::claims) async fn is_user(db: &Db, user_id: Uuid) -> Result<bool> {
    const SQL: &str = "SELECT COUNT(*) FROM users WHERE id = $1";
    let (count,): (i64,) = db.query(SQL).bind(user_id).fetch_one(db).await?;
    Ok(count == 1)
}

/// How many grants a user has in a period of an event.
pub(in crate::claims) async fn grants_of_user(db: &Db, event_id: Uuid, user_id: Uuid, period: String) -> Result<i64> {
    const SQL: &str = "SELECT COUNT(*) FROM reward_requests \
        WHERE event_id = $1 AND user_id = $2 AND period = $3 AND status = 'GRANTED'";
    let query = db.query(SQL).bind(event_id).bind(user_id).bind(period);
    let (count,): (i64,) = query.fetch_one(db).await?;
    Ok(count)
}

pub(in crate::claims) async fn count_of_user(db: &Db, user_id: Uuid) -> Result<i64> {
    const SQL: &str = "SELECT COUNT(*) FROM received_claims WHERE user_id = $1";
    let (count,): (i64,) = db.query(SQL).bind(user_id).fetch_one(db).await?;
    Ok(count)
}

/// The claims that a list shows; the filter's status is the caller's affair.
pub(in crate::claims) async fn list(
    db: &Db,
    filter: &Filter,
    after: Option<Uuid>,
    limit: i64,
) -> Result<Vec<PendingClaimRow>> {
    db.select(select_received!("WHERE TRUE"))
        .and("event_id = $?", filter.event_id)
        .and("user_id = $?", filter.user_id)
        .and("received_at >= $?", filter.from)
        .and("received_at < $?", filter.to)
        .and("id < $?", after)
        .end("ORDER BY id DESC LIMIT $?", limit)
        .fetch_all(db)
        .await
}

/// How many claims wait, and since when the first of them does.
pub(in crate::claims) async fn depth(db: &Db) -> Result<(i64, Option<Timestamp>)> {
    const SQL: &str = "SELECT COUNT(*), MIN(received_at) FROM received_claims";
    db.query(SQL).fetch_one(db).await
}

/// The claims of an event that came first, in the order of their arrival.
pub(in crate::claims) async fn first(db: &Db, event_id: Uuid, limit: i64) -> Result<Vec<PendingClaimRow>> {
    const SQL: &str = select_received!("WHERE event_id = $1 ORDER BY received_at, id LIMIT $2");
    db.query(SQL).bind(event_id).bind(limit).fetch_all(db).await
}

/// Takes a claim that waits away, in the transaction that writes its request. `false`: it does not wait, or its line is in
/// other hands. For one claim; sets on PostgreSQL do so in their own statement.
pub(in crate::claims) async fn remove(tx: &mut Tx, id: Uuid, event_id: Uuid, fence: i64) -> Result<bool> {
    const SQL: &str = "DELETE FROM received_claims WHERE id = $1 \
        AND EXISTS (SELECT 1 FROM claim_lines WHERE event_id = $2 AND fence = $3)";
    Ok(tx.query(SQL).bind(id).bind(event_id).bind(fence).execute(tx).await? == 1)
}

/// Events with claims that wait and that nobody settles right now.
pub(in crate::claims) async fn free_queues(db: &Db, now: Timestamp, limit: i64) -> Result<Vec<Uuid>> {
    // From one event to the next by the index, however many claims each has.
    const SQL: &str = "WITH RECURSIVE waiting (event_id) AS ( \
            SELECT (SELECT event_id FROM received_claims ORDER BY event_id LIMIT 1) \
            UNION ALL \
            SELECT (SELECT r.event_id FROM received_claims r WHERE r.event_id > w.event_id ORDER BY r.event_id LIMIT 1) \
            FROM waiting w WHERE w.event_id IS NOT NULL) \
        SELECT w.event_id FROM waiting w LEFT JOIN claim_lines l ON l.event_id = w.event_id \
        WHERE w.event_id IS NOT NULL AND (l.event_id IS NULL OR l.lease_until <= $1) LIMIT $2";
    let rows: Vec<(Uuid,)> = db.query(SQL).bind(now).bind(limit).fetch_all(db).await?;
    Ok(rows.into_iter().map(|(id,)| id).collect())
}
