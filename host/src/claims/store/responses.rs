//! `idempotency_keys`: stored responses. A key may also belong to a pending claim, which has no response yet.

use uuid::Uuid;

use crate::clock::Timestamp;
use crate::db::{Db, Engine, Result, Tx, row};

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
