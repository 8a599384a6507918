//! SQL for `activity_sources`. Of `users` and `service_keys` it reads which ids exist, because an owner must exist.

use uuid::Uuid;

use crate::clock::Timestamp;
use crate::db::{Engine, Json, Result, Tx};

/// The owners of those of the sources that are taken.
pub(in crate::activities) async fn owners(tx: &mut Tx, sources: &[String]) -> Result<Vec<(String, Option<Uuid>)>> {
    const SQLITE: &str =
        "SELECT source, owner_id FROM activity_sources WHERE source IN (SELECT value FROM json_each($1))";
    const POSTGRES: &str = "SELECT source, owner_id FROM activity_sources \
        WHERE source IN (SELECT value FROM jsonb_array_elements_text($1))";
    let sql = match tx.engine() {
        Engine::Sqlite => SQLITE,
        Engine::Postgres => POSTGRES,
    };
    tx.query(sql).bind(Json(sources.to_vec())).fetch_all(tx).await
}

/// Takes those of the sources that are free. The sources must be sorted, so that two calls cannot deadlock.
pub(in crate::activities) async fn take(
    tx: &mut Tx,
    sources: &[String],
    owner: Option<Uuid>,
    since: Timestamp,
) -> Result<()> {
    const SQLITE: &str = "INSERT INTO activity_sources (source, owner_id, since) \
        SELECT value, $2, $3 FROM json_each($1) WHERE TRUE ON CONFLICT (source) DO NOTHING";
    const POSTGRES: &str = "INSERT INTO activity_sources (source, owner_id, since) \
        SELECT value, $2, $3 FROM jsonb_array_elements_text($1) ON CONFLICT (source) DO NOTHING";
    let sql = match tx.engine() {
        Engine::Sqlite => SQLITE,
        Engine::Postgres => POSTGRES,
    };
    let query = tx.query(sql).bind(Json(sources.to_vec()));
    query.bind(owner).bind(since).execute(tx).await?;
    Ok(())
}

pub(in crate::activities) async fn is_principal(tx: &mut Tx, id: Uuid) -> Result<bool> {
    const SQL: &str = "SELECT id FROM users WHERE id = $1 UNION ALL SELECT id FROM service_keys WHERE id = $1";
    Ok(tx.query(SQL).bind(id).fetch_optional::<(Uuid,)>(tx).await?.is_some())
}

pub(in crate::activities) async fn give(tx: &mut Tx, source: String, owner: Uuid, since: Timestamp) -> Result<()> {
    const SQL: &str = "INSERT INTO activity_sources (source, owner_id, since) VALUES ($1, $2, $3) \
        ON CONFLICT (source) DO UPDATE SET owner_id = $2, since = $3";
    tx.query(SQL).bind(source).bind(owner).bind(since).execute(tx).await?;
    Ok(())
}
