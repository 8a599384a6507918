//! SQL for `plugin_versions` and `plugin_modules`. The other tables of the feature have their own files in this folder.

pub(super) mod history;
pub(super) mod keys;
pub(super) mod names;
pub(super) mod signatures;
pub(super) mod usage;

use uuid::Uuid;

use super::lifecycle::PluginState;
use crate::clock::Timestamp;
use crate::contract::Texts;
use crate::db::{Db, Engine, Executor, Json, Result, Tx, row, text_column};
use crate::sandbox::{Class, Digest};

text_column!(Digest);
text_column!(Class);

row! {
    #[derive(Clone, Debug)]
    pub(super) struct VersionRow {
        pub digest: Digest,
        pub id: Uuid,
        pub name: String,
        pub version: String,
        pub title: String,
        pub description: String,
        pub texts: Json<Texts>,
        pub params_schema: Json<serde_json::Value>,
        pub abi: String,
        pub class: Class,
        pub size_bytes: i64,
        pub state: PluginState,
        pub state_revision: i64,
        pub uploaded_by: Option<Uuid>,
        pub created_at: Timestamp,
        pub runs: i64,
        pub failures: i64,
        pub last_run_at: Option<Timestamp>,
        pub key_id: Option<String>,
        pub verified: Option<bool>,
        pub signer: Option<String>,
        pub revoked_at: Option<Timestamp>,
    }
}

/// A new version: active, unsigned, never run.
#[derive(Clone, Debug)]
pub(super) struct NewVersion {
    pub digest: Digest,
    pub id: Uuid,
    pub name: String,
    pub version: String,
    pub title: String,
    pub description: String,
    pub texts: Json<Texts>,
    pub params_schema: Json<serde_json::Value>,
    pub abi: String,
    pub class: Class,
    pub size_bytes: i64,
    pub uploaded_by: Option<Uuid>,
    pub created_at: Timestamp,
}

macro_rules! select_versions {
    ($tail:literal) => {
        concat!(
            "SELECT v.digest, v.id, v.name, v.version, v.title, v.description, v.texts, v.params_schema, v.abi, v.class, \
             v.size_bytes, v.state, v.state_revision, v.uploaded_by, v.created_at, COALESCE(u.runs, 0) AS runs, \
             COALESCE(u.failures, 0) AS failures, u.last_run_at, s.key_id, s.verified, k.name AS signer, k.revoked_at \
             FROM plugin_versions v \
             LEFT JOIN plugin_usage u ON u.digest = v.digest \
             LEFT JOIN plugin_signatures s ON s.digest = v.digest \
             LEFT JOIN plugin_keys k ON s.verified AND k.key_id = s.key_id ",
            $tail
        )
    };
}

/// Inserts a version; `false` if a version with this digest, or with this name and version, exists.
pub(super) async fn insert(tx: &mut Tx, row: &NewVersion, module: Vec<u8>) -> Result<bool> {
    const VERSION: &str = "INSERT INTO plugin_versions \
        (digest, id, name, version, title, description, texts, params_schema, abi, class, size_bytes, state, uploaded_by, created_at) \
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14) ON CONFLICT DO NOTHING";
    const MODULE: &str = "INSERT INTO plugin_modules (digest, module) VALUES ($1, $2)";
    let inserted = tx
        .query(VERSION)
        .bind(row.digest)
        .bind(row.id)
        .bind(row.name.clone())
        .bind(row.version.clone())
        .bind(row.title.clone())
        .bind(row.description.clone())
        .bind(row.texts.clone())
        .bind(row.params_schema.clone())
        .bind(row.abi.clone())
        .bind(row.class)
        .bind(row.size_bytes)
        .bind(PluginState::Active)
        .bind(row.uploaded_by)
        .bind(row.created_at)
        .execute(tx)
        .await?;
    if inserted == 0 {
        return Ok(false);
    }
    tx.query(MODULE).bind(row.digest).bind(module).execute(tx).await?;
    Ok(true)
}

pub(super) async fn find_by_digest(on: impl Executor, digest: Digest) -> Result<Option<VersionRow>> {
    const SQL: &str = select_versions!("WHERE v.digest = $1");
    on.statement(SQL).bind(digest).fetch_optional(on).await
}

pub(super) async fn find(on: impl Executor, name: String, version: String) -> Result<Option<VersionRow>> {
    const SQL: &str = select_versions!("WHERE v.name = $1 AND v.version = $2");
    on.statement(SQL).bind(name).bind(version).fetch_optional(on).await
}

/// All versions of a name, newest upload first.
pub(super) async fn versions(db: &Db, name: String) -> Result<Vec<VersionRow>> {
    const SQL: &str = select_versions!("WHERE v.name = $1 ORDER BY v.id DESC");
    db.query(SQL).bind(name).fetch_all(db).await
}

pub(super) async fn list(
    db: &Db,
    name: Option<String>,
    state: Option<PluginState>,
    after: Option<Uuid>,
    limit: i64,
) -> Result<Vec<VersionRow>> {
    db.select(select_versions!("WHERE TRUE"))
        .and("v.name = $?", name)
        .and("v.state = $?", state)
        .and("v.id < $?", after)
        .end("ORDER BY v.id DESC LIMIT $?", limit)
        .fetch_all(db)
        .await
}

/// The number of stored versions that a user uploaded, and the total size of their modules in bytes.
pub(super) async fn uploaded_by(db: &Db, user: Uuid) -> Result<(i64, i64)> {
    const SQL: &str = "SELECT COUNT(*), CAST(COALESCE(SUM(size_bytes), 0) AS BIGINT) FROM plugin_versions \
        WHERE uploaded_by = $1";
    Ok(db
        .query(SQL)
        .bind(user)
        .fetch_optional::<(i64, i64)>(db)
        .await?
        .unwrap_or_default())
}

pub(super) async fn module(db: &Db, digest: Digest) -> Result<Option<Vec<u8>>> {
    const SQL: &str = "SELECT module FROM plugin_modules WHERE digest = $1";
    Ok(db
        .query(SQL)
        .bind(digest)
        .fetch_optional::<(Vec<u8>,)>(db)
        .await?
        .map(|(module,)| module))
}

/// Locks a version's state until the transaction ends, and returns the state and its revision.
pub(super) async fn lock_state(tx: &mut Tx, digest: Digest) -> Result<Option<(PluginState, i64)>> {
    const SQLITE: &str = "SELECT state, state_revision FROM plugin_versions WHERE digest = $1";
    const POSTGRES: &str = "SELECT state, state_revision FROM plugin_versions WHERE digest = $1 FOR NO KEY UPDATE";
    let sql = match tx.engine() {
        Engine::Sqlite => SQLITE,
        Engine::Postgres => POSTGRES,
    };
    tx.query(sql).bind(digest).fetch_optional(tx).await
}

/// Sets the state; `false` if it has changed since the revision.
pub(super) async fn set_state(tx: &mut Tx, digest: Digest, state: PluginState, revision: i64) -> Result<bool> {
    const SQL: &str = "UPDATE plugin_versions SET state = $2, state_revision = $3 + 1 \
        WHERE digest = $1 AND state_revision = $3";
    let changed = tx
        .query(SQL)
        .bind(digest)
        .bind(state)
        .bind(revision)
        .execute(tx)
        .await?;
    Ok(changed == 1)
}

/// Deletes a version. Fails with a foreign key violation while an event, a revision of an event or a reward request
/// refers to it.
pub(super) async fn delete(tx: &mut Tx, digest: Digest) -> Result<()> {
    tx.query("DELETE FROM plugin_modules WHERE digest = $1")
        .bind(digest)
        .execute(tx)
        .await?;
    tx.query("DELETE FROM plugin_versions WHERE digest = $1")
        .bind(digest)
        .execute(tx)
        .await?;
    Ok(())
}
