//! SQL for `plugin_keys`.

use uuid::Uuid;

use crate::clock::Timestamp;
use crate::db::{Db, Result, Tx, row};

row! {
    #[derive(Clone, Debug)]
    pub(in crate::plugins) struct KeyRow {
        pub key_id: String,
        pub id: Uuid,
        pub name: String,
        pub public_key: String,
        pub added_by: Uuid,
        pub added_at: Timestamp,
        pub revoked_by: Option<Uuid>,
        pub revoked_at: Option<Timestamp>,
    }
}

macro_rules! select_keys {
    ($tail:literal) => {
        concat!(
            "SELECT key_id, id, name, public_key, added_by, added_at, revoked_by, revoked_at FROM plugin_keys ",
            $tail
        )
    };
}

/// Inserts a key; `false` if this id or this key exists, revoked or not.
pub(in crate::plugins) async fn insert(tx: &mut Tx, row: &KeyRow, key: String) -> Result<bool> {
    const SQL: &str = "INSERT INTO plugin_keys (key_id, id, name, public_key, added_by, added_at, key) \
        VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING";
    let inserted = tx
        .query(SQL)
        .bind(row.key_id.clone())
        .bind(row.id)
        .bind(row.name.clone())
        .bind(row.public_key.clone())
        .bind(row.added_by)
        .bind(row.added_at)
        .bind(key)
        .execute(tx)
        .await?;
    Ok(inserted == 1)
}

pub(in crate::plugins) async fn find(db: &Db, key_id: String) -> Result<Option<KeyRow>> {
    const SQL: &str = select_keys!("WHERE key_id = $1");
    db.query(SQL).bind(key_id).fetch_optional(db).await
}

/// Newest first.
pub(in crate::plugins) async fn list(db: &Db, after: Option<Uuid>, limit: i64) -> Result<Vec<KeyRow>> {
    db.select(select_keys!("WHERE TRUE"))
        .and("id < $?", after)
        .end("ORDER BY id DESC LIMIT $?", limit)
        .fetch_all(db)
        .await
}

/// Revokes a key; `false` if it does not exist or was revoked before.
pub(in crate::plugins) async fn revoke(tx: &mut Tx, key_id: String, by: Uuid, at: Timestamp) -> Result<bool> {
    const SQL: &str =
        "UPDATE plugin_keys SET revoked_by = $2, revoked_at = $3 WHERE key_id = $1 AND revoked_at IS NULL";
    let revoked = tx.query(SQL).bind(key_id).bind(by).bind(at).execute(tx).await?;
    Ok(revoked == 1)
}
