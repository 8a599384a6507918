//! `idempotency_keys`: stored responses. A key may also belong to a pending claim, which has no response yet.

use std::collections::HashSet;

use uuid::Uuid;

use super::{StoredResponse, Writer};
use crate::clock::Timestamp;
use crate::db::{Bulk, Db, Engine, Result, Tx, row};

row! {
    #[derive(Clone, Debug)]
    pub(in crate::claims) struct ResponseRow {
        pub fingerprint: Vec<u8>,
        pub request_id: Uuid,
        /// `None`: the claim is pending.
        pub response: Option<String>,
        pub expires_at: Option<Timestamp>,
    }
}

pub(in crate::claims) async fn find(db: &Db, user_id: Uuid, key: String) -> Result<Option<ResponseRow>> {
    const SQL: &str = "SELECT fingerprint, request_id, response, expires_at FROM idempotency_keys \
        WHERE user_id = $1 AND key = $2 \
        UNION ALL SELECT fingerprint, id, CAST(NULL AS TEXT), CAST(NULL AS BIGINT) FROM pending_claims \
        WHERE user_id = $1 AND idempotency_key = $2";
    db.batched_read(SQL).id(user_id).text(key).fetch_optional().await
}

/// A response: its user, its key and its request.
type ResponseKey = (Uuid, String, Uuid);

/// Stores responses to requests that exist, and returns those that it stored. It leaves out a response whose key has one, or
/// whose request was deleted.
pub(in crate::claims) async fn insert(writer: &Writer, rows: &[StoredResponse]) -> Result<HashSet<ResponseKey>> {
    match writer {
        Writer::Postgres(bulk) => insert_bulk(bulk, rows).await,
        Writer::Sqlite(db) => insert_rows(db, rows).await,
    }
}

async fn insert_bulk(bulk: &Bulk, rows: &[StoredResponse]) -> Result<HashSet<ResponseKey>> {
    const SQL: &str = concat!(
        "WITH input AS MATERIALIZED (SELECT k.* FROM UNNEST($1::UUID[], $2::TEXT[], $3::BYTEA[], $4::UUID[], $5::TEXT[], \
                $6::BIGINT[], $7::BIGINT[]) AS k (",
        columns!(idempotency_keys),
        ") JOIN reward_requests r ON r.user_id = k.user_id AND r.id = k.request_id FOR KEY SHARE OF r) \
        INSERT INTO idempotency_keys (",
        columns!(idempotency_keys),
        ") SELECT * FROM input ORDER BY user_id, key ON CONFLICT DO NOTHING RETURNING user_id, key, request_id"
    );
    let stored: Vec<ResponseKey> = bulk
        .statement(SQL)
        .each(rows.iter().map(|row| row.user_id))
        .each(rows.iter().map(|row| row.key.clone()))
        .each(rows.iter().map(|row| row.fingerprint.clone()))
        .each(rows.iter().map(|row| row.request_id))
        .each(rows.iter().map(|row| row.response.clone()))
        .each(rows.iter().map(|row| row.created_at.as_millis()))
        .each(rows.iter().map(|row| row.expires_at.as_millis()))
        .fetch_all()
        .await?;
    Ok(stored.into_iter().collect())
}

async fn insert_rows(db: &Db, rows: &[StoredResponse]) -> Result<HashSet<ResponseKey>> {
    const SQL: &str = concat!(
        "INSERT INTO idempotency_keys (",
        columns!(idempotency_keys),
        ") SELECT $1, $2, $3, $4, $5, $6, $7 \
        WHERE EXISTS (SELECT 1 FROM reward_requests WHERE user_id = $1 AND id = $4) ON CONFLICT DO NOTHING"
    );
    let mut stored = HashSet::new();
    let mut tx = db.begin().await?;
    for row in rows.iter().cloned() {
        let key = (row.user_id, row.key.clone(), row.request_id);
        let query = tx.query(SQL).bind(row.user_id).bind(row.key).bind(row.fingerprint);
        let query = query.bind(row.request_id).bind(row.response);
        let inserted = query.bind(row.created_at).bind(row.expires_at).execute(&mut tx).await?;
        if inserted == 1 {
            stored.insert(key);
        }
    }
    tx.commit().await?;
    Ok(stored)
}

/// Frees the key if its response has expired.
pub(in crate::claims) async fn delete_if_expired(
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

/// Deletes up to `max` expired responses, the oldest first, and returns their number.
pub(in crate::claims) async fn delete_expired(tx: &mut Tx, expired_at: Timestamp, max: i64) -> Result<u64> {
    const POSTGRES: &str = "WITH expired AS MATERIALIZED (SELECT user_id, key FROM idempotency_keys \
        WHERE expires_at <= $1 ORDER BY expires_at LIMIT $2 FOR UPDATE SKIP LOCKED) \
        DELETE FROM idempotency_keys WHERE (user_id, key) IN (SELECT user_id, key FROM expired)";
    // SQLite would find the rows of a list of pairs by a scan.
    const SQLITE: &str = "DELETE FROM idempotency_keys WHERE rowid IN (SELECT rowid FROM idempotency_keys \
        WHERE expires_at <= $1 ORDER BY expires_at LIMIT $2)";
    // Rows that another process or a claim under the same key is deleting are left to it.
    let sql = match tx.engine() {
        Engine::Postgres => POSTGRES,
        Engine::Sqlite => SQLITE,
    };
    tx.query(sql).bind(expired_at).bind(max).execute(tx).await
}
