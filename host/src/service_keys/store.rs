//! SQL for `service_keys`.

use uuid::Uuid;

use super::model::NewServiceKey;
use crate::clock::Timestamp;
use crate::db::{Db, Executor, Json, Result, Tx, row};

row! {
    #[derive(Clone, Debug)]
    pub(super) struct KeyRow {
        pub id: Uuid,
        pub settings: Json<NewServiceKey>,
        pub hash: Vec<u8>,
        pub previous_hash: Option<Vec<u8>>,
        pub previous_until: Option<Timestamp>,
        pub revision: i64,
        pub applied_revision: Option<i64>,
        pub created_by: Option<Uuid>,
        pub created_at: Timestamp,
        pub updated_at: Timestamp,
        pub last_used_at: Option<Timestamp>,
        pub last_used_address: Option<String>,
        pub revoked_at: Option<Timestamp>,
    }
}

macro_rules! select_keys {
    ($tail:literal) => {
        concat!(
            "SELECT id, settings, hash, previous_hash, previous_until, revision, applied_revision, created_by, created_at, \
             updated_at, last_used_at, last_used_address, revoked_at FROM service_keys ",
            $tail
        )
    };
}

/// `false`: a key that is not revoked has this name.
pub(super) async fn insert(tx: &mut Tx, row: &KeyRow) -> Result<bool> {
    const SQL: &str = "INSERT INTO service_keys (id, name, settings, hash, revision, created_by, created_at, updated_at, \
        applied_revision) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT DO NOTHING";
    let inserted = tx
        .query(SQL)
        .bind(row.id)
        .bind(row.settings.0.name.clone())
        .bind(row.settings.clone())
        .bind(row.hash.clone())
        .bind(row.revision)
        .bind(row.created_by)
        .bind(row.created_at)
        .bind(row.updated_at)
        .bind(row.applied_revision)
        .execute(tx)
        .await?;
    Ok(inserted == 1)
}

pub(super) async fn find(on: impl Executor, id: Uuid) -> Result<Option<KeyRow>> {
    const SQL: &str = select_keys!("WHERE id = $1");
    on.statement(SQL).bind(id).fetch_optional(on).await
}

/// The key that is not revoked.
pub(super) async fn find_named(db: &Db, name: String) -> Result<Option<KeyRow>> {
    const SQL: &str = select_keys!("WHERE name = $1 AND revoked_at IS NULL");
    db.query(SQL).bind(name).fetch_optional(db).await
}

/// Newest first.
pub(super) async fn list(db: &Db, after: Option<Uuid>, limit: i64) -> Result<Vec<KeyRow>> {
    db.select(select_keys!("WHERE TRUE"))
        .and("id < $?", after)
        .end("ORDER BY id DESC LIMIT $?", limit)
        .fetch_all(db)
        .await
}

/// Writes what may change, if the key has the revision before and is not revoked; `false`: it has not. Fails with a violated
/// unique key if another key has the name.
pub(super) async fn update(tx: &mut Tx, row: &KeyRow) -> Result<bool> {
    const SQL: &str = "UPDATE service_keys SET name = $3, settings = $4, hash = $5, previous_hash = $6, previous_until = $7, \
        updated_at = $8, revoked_at = $9, applied_revision = $10, revision = revision + 1 WHERE id = $1 AND revision = $2 AND revoked_at IS NULL";
    let changed = tx
        .query(SQL)
        .bind(row.id)
        .bind(row.revision)
        .bind(row.settings.0.name.clone())
        .bind(row.settings.clone())
        .bind(row.hash.clone())
        .bind(row.previous_hash.clone())
        .bind(row.previous_until)
        .bind(row.updated_at)
        .bind(row.revoked_at)
        .bind(row.applied_revision)
        .execute(tx)
        .await?;
    Ok(changed == 1)
}

/// Notes a use, if the latest is from before `since`.
pub(super) async fn set_used(
    db: &Db,
    id: Uuid,
    at: Timestamp,
    address: Option<String>,
    since: Timestamp,
) -> Result<()> {
    const SQL: &str = "UPDATE service_keys SET last_used_at = $2, last_used_address = $3 \
        WHERE id = $1 AND (last_used_at IS NULL OR last_used_at < $4)";
    let mut tx = db.begin().await?;
    let query = tx.query(SQL).bind(id).bind(at).bind(address).bind(since);
    query.execute(&mut tx).await?;
    tx.commit().await
}
