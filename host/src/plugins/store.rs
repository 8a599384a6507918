//! `plugin_versions` and `plugin_modules`.

use uuid::Uuid;

use super::service::PluginState;
use crate::clock::Instant;
use crate::db::{Db, Json, Result, Run, Tx, row, text_column};
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
        pub params_schema: Json<serde_json::Value>,
        pub abi: String,
        pub class: Class,
        pub size_bytes: i64,
        pub state: PluginState,
        pub uploaded_by: Option<Uuid>,
        pub created_at: Instant,
    }
}

macro_rules! select_versions {
    ($tail:literal) => {
        concat!(
            "SELECT digest, id, name, version, title, description, params_schema, abi, class, size_bytes, state, uploaded_by, \
             created_at FROM plugin_versions ",
            $tail
        )
    };
}

/// `false` when a version with this digest, or with this name and version, is there already.
pub(super) async fn insert(tx: &mut Tx, row: &VersionRow, module: Vec<u8>) -> Result<bool> {
    const VERSION: &str = "INSERT INTO plugin_versions \
        (digest, id, name, version, title, description, params_schema, abi, class, size_bytes, state, uploaded_by, created_at) \
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13) ON CONFLICT DO NOTHING";
    const MODULE: &str = "INSERT INTO plugin_modules (digest, module) VALUES ($1, $2)";
    let inserted = tx
        .query(VERSION)
        .bind(row.digest)
        .bind(row.id)
        .bind(row.name.clone())
        .bind(row.version.clone())
        .bind(row.title.clone())
        .bind(row.description.clone())
        .bind(row.params_schema.clone())
        .bind(row.abi.clone())
        .bind(row.class)
        .bind(row.size_bytes)
        .bind(row.state)
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

pub(super) async fn find_by_digest(on: impl Run, digest: Digest) -> Result<Option<VersionRow>> {
    const SQL: &str = select_versions!("WHERE digest = $1");
    on.statement(SQL).bind(digest).fetch_optional(on).await
}

pub(super) async fn find(on: impl Run, name: String, version: String) -> Result<Option<VersionRow>> {
    const SQL: &str = select_versions!("WHERE name = $1 AND version = $2");
    on.statement(SQL).bind(name).bind(version).fetch_optional(on).await
}

/// All versions of a name, newest upload first.
pub(super) async fn versions(db: &Db, name: String) -> Result<Vec<VersionRow>> {
    const SQL: &str = select_versions!("WHERE name = $1 ORDER BY id DESC");
    db.query(SQL).bind(name).fetch_all(db).await
}

pub(super) async fn list(
    db: &Db,
    name: Option<String>,
    state: Option<PluginState>,
    after: Option<Uuid>,
    limit: i64,
) -> Result<Vec<VersionRow>> {
    const SQL: &str = select_versions!(
        "WHERE ($1 IS NULL OR name = $1) AND ($2 IS NULL OR state = $2) AND ($3 IS NULL OR id < $3) \
        ORDER BY id DESC LIMIT $4"
    );
    db.query(SQL)
        .bind(name)
        .bind(state)
        .bind(after)
        .bind(limit)
        .fetch_all(db)
        .await
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

pub(super) async fn set_state(tx: &mut Tx, digest: Digest, state: PluginState) -> Result<()> {
    const SQL: &str = "UPDATE plugin_versions SET state = $2 WHERE digest = $1";
    tx.query(SQL).bind(digest).bind(state).execute(tx).await?;
    Ok(())
}

/// Fails with a foreign key violation while an event or a reward request refers to the version.
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
