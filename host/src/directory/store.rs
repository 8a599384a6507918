//! Users by external id, in `user_directory` and `users`.

use serde::Serialize;
use uuid::Uuid;

use super::{Account, ExternalId};
use crate::auth::Role;
use crate::clock::Timestamp;
use crate::db::{Db, Engine, Executor, Json, Result, Tx};

pub(super) struct NewMember<'a> {
    pub id: Uuid,
    pub external: &'a ExternalId,
    pub created_at: Timestamp,
}

#[derive(Serialize)]
struct Item<'a> {
    /// Without hyphens, which both SQLite's unhex and PostgreSQL's uuid accept.
    id: String,
    external_id: &'a str,
    created_at: i64,
}

pub(super) async fn account(db: &Db, id: Uuid) -> Result<Option<Account>> {
    const SQL: &str = "SELECT id, role, disabled FROM users WHERE id = $1";
    let found: Option<(Uuid, Role, bool)> = db.batched_read(SQL).id(id).fetch_optional().await?;
    Ok(found.map(|(id, role, disabled)| Account { id, role, disabled }))
}

pub(super) async fn find(db: &Db, external: &ExternalId) -> Result<Option<Uuid>> {
    const SQL: &str = "SELECT user_id FROM user_directory WHERE kind = 'EXTERNAL_ID' AND value = $1";
    let found: Option<(Uuid,)> = db
        .batched_read(SQL)
        .text(external.as_str().to_owned())
        .fetch_optional()
        .await?;
    Ok(found.map(|(id,)| id))
}

/// The external ids among these that belong to a user, with the users.
pub(super) async fn find_all<'a>(
    on: impl Executor,
    externals: impl Iterator<Item = &'a ExternalId>,
) -> Result<Vec<(String, Uuid)>> {
    const SQLITE: &str = "SELECT d.value, d.user_id FROM json_each($1) AS item \
        JOIN user_directory d ON d.kind = 'EXTERNAL_ID' AND d.value = item.value";
    const POSTGRES: &str = "SELECT d.value, d.user_id FROM jsonb_array_elements_text($1) AS item (external_id) \
        JOIN user_directory d ON d.kind = 'EXTERNAL_ID' AND d.value = item.external_id";
    let sql = match on.engine() {
        Engine::Sqlite => SQLITE,
        Engine::Postgres => POSTGRES,
    };
    let externals: Vec<String> = externals.map(|external| external.as_str().to_owned()).collect();
    let query = on.statement(sql).bind(Json(externals));
    on.fetch_all(query).await
}

/// Inserts users whose external id is free, and returns their ids. The rows must be sorted by external id, so that two calls
/// cannot deadlock.
pub(super) async fn insert(tx: &mut Tx, rows: &[NewMember<'_>]) -> Result<Vec<Uuid>> {
    const POSTGRES: &str = "WITH item AS MATERIALIZED ( \
            SELECT * FROM jsonb_to_recordset($1) AS i (id UUID, external_id TEXT, created_at BIGINT)), \
        entered AS ( \
            INSERT INTO user_directory (kind, value, user_id) SELECT 'EXTERNAL_ID', external_id, id FROM item \
            ON CONFLICT (kind, value) DO NOTHING RETURNING user_id) \
        INSERT INTO users (id, external_id, role, disabled, created_at) \
        SELECT item.id, item.external_id, 'USER', FALSE, item.created_at \
        FROM item JOIN entered ON entered.user_id = item.id RETURNING id";
    // SQLite has no INSERT inside WITH. No other writer comes between the two statements.
    const SQLITE: &str = "INSERT INTO users (id, external_id, role, disabled, created_at) \
        SELECT unhex(value ->> 'id'), value ->> 'external_id', 'USER', FALSE, value ->> 'created_at' \
        FROM json_each($1) AS item WHERE NOT EXISTS (SELECT 1 FROM user_directory d \
            WHERE d.kind = 'EXTERNAL_ID' AND d.value = item.value ->> 'external_id') RETURNING id";
    const SQLITE_DIRECTORY: &str = "INSERT INTO user_directory (kind, value, user_id) \
        SELECT 'EXTERNAL_ID', item.value ->> 'external_id', unhex(item.value ->> 'id') FROM json_each($1) AS item \
        WHERE TRUE ON CONFLICT (kind, value) DO NOTHING";
    let items = rows.iter().map(|row| Item {
        id: row.id.simple().to_string(),
        external_id: row.external.as_str(),
        created_at: row.created_at.as_millis(),
    });
    let items = Json(serde_json::json!(items.collect::<Vec<_>>()));
    let added: Vec<(Uuid,)> = match tx.engine() {
        Engine::Postgres => tx.query(POSTGRES).bind(items).fetch_all(tx).await?,
        Engine::Sqlite => {
            let added = tx.query(SQLITE).bind(items.clone()).fetch_all(&mut *tx).await?;
            tx.query(SQLITE_DIRECTORY).bind(items).execute(tx).await?;
            added
        }
    };
    Ok(added.into_iter().map(|(id,)| id).collect())
}
