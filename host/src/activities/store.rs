//! `activities` and `activity_directory`. Of `users` it reads only which ids exist, to name the item of a batch whose user
//! does not, and who invited them.

pub(super) mod invitations;
pub(super) mod sources;

use std::collections::{BTreeMap, HashMap};

use uuid::Uuid;

use crate::clock::Timestamp;
use crate::db::{Db, Engine, Json, Query, Result, Tx, placeholders, row};

row! {
    #[derive(Clone, Debug)]
    pub(super) struct ActivityRow {
        pub id: Uuid,
        pub source: String,
        pub source_id: String,
        pub user_id: Uuid,
        pub kind: String,
        pub amount: Option<i64>,
        pub attributes: Json<BTreeMap<String, String>>,
        pub occurred_at: Timestamp,
        pub recorded_at: Timestamp,
        pub reported_by: Option<Uuid>,
    }
}

/// All rows as one JSON parameter, so that batches of every size use the same statement.
fn as_json(rows: &[ActivityRow]) -> Json<serde_json::Value> {
    let rows = rows.iter().map(|row| {
        serde_json::json!({
            // Without hyphens, which both SQLite's unhex and PostgreSQL's uuid accept.
            "id": row.id.simple().to_string(),
            "source": row.source,
            "source_id": row.source_id,
            "user_id": row.user_id.simple().to_string(),
            "kind": row.kind,
            "amount": row.amount,
            "attributes": row.attributes.0,
            "occurred_at": row.occurred_at.as_millis(),
            "recorded_at": row.recorded_at.as_millis(),
            "reported_by": row.reported_by.map(|id| id.simple().to_string()),
        })
    });
    Json(rows.collect())
}

/// Inserts what is not there yet, by source and id, and returns the ids of the rows that it added, with the users who invited
/// theirs. No two of the rows have the same source and id.
pub(super) async fn insert(tx: &mut Tx, rows: &[ActivityRow]) -> Result<HashMap<Uuid, Option<Uuid>>> {
    const POSTGRES: &str = "WITH item AS MATERIALIZED ( \
            SELECT * FROM jsonb_to_recordset($1) AS i (id UUID, source TEXT, source_id TEXT, user_id UUID, kind TEXT, \
                amount BIGINT, attributes JSONB, occurred_at BIGINT, recorded_at BIGINT, reported_by UUID)), \
        entered AS ( \
            INSERT INTO activity_directory (source, source_id, user_id) SELECT source, source_id, user_id FROM item \
            ON CONFLICT (source, source_id) DO NOTHING RETURNING source, source_id) \
        INSERT INTO activities (id, source, source_id, user_id, kind, amount, attributes, occurred_at, recorded_at, \
            reported_by, inviter_id) \
        SELECT id, source, source_id, user_id, kind, amount, attributes, occurred_at, recorded_at, reported_by, \
            (SELECT u.invited_by FROM users u WHERE u.id = item.user_id) \
        FROM item JOIN entered USING (source, source_id) RETURNING id, inviter_id";
    // SQLite has no INSERT inside WITH. No other writer comes between the two statements.
    const SQLITE: &str = "INSERT INTO activities \
        (id, source, source_id, user_id, kind, amount, attributes, occurred_at, recorded_at, \
            reported_by, inviter_id) \
        SELECT unhex(value ->> 'id'), value ->> 'source', value ->> 'source_id', unhex(value ->> 'user_id'), \
        value ->> 'kind', value ->> 'amount', value -> 'attributes', value ->> 'occurred_at', value ->> 'recorded_at', \
        unhex(value ->> 'reported_by'), (SELECT u.invited_by FROM users u WHERE u.id = unhex(value ->> 'user_id')) \
        FROM json_each($1) WHERE NOT EXISTS (SELECT 1 FROM activity_directory d \
            WHERE d.source = value ->> 'source' AND d.source_id = value ->> 'source_id') RETURNING id, inviter_id";
    const SQLITE_DIRECTORY: &str = "INSERT INTO activity_directory (source, source_id, user_id) \
        SELECT value ->> 'source', value ->> 'source_id', unhex(value ->> 'user_id') FROM json_each($1) \
        WHERE TRUE ON CONFLICT (source, source_id) DO NOTHING";
    let added: Vec<(Uuid, Option<Uuid>)> = match tx.engine() {
        Engine::Postgres => tx.query(POSTGRES).bind(as_json(rows)).fetch_all(tx).await?,
        Engine::Sqlite => {
            let added = tx.query(SQLITE).bind(as_json(rows)).fetch_all(&mut *tx).await?;
            tx.query(SQLITE_DIRECTORY).bind(as_json(rows)).execute(tx).await?;
            added
        }
    };
    Ok(added.into_iter().collect())
}

/// The activities recorded under the sources and ids of these rows.
pub(super) async fn recorded(tx: &mut Tx, rows: &[ActivityRow]) -> Result<Vec<ActivityRow>> {
    // CROSS JOIN keeps the order of the tables: without recent statistics SQLite scans all activities for each item.
    const SQLITE: &str = "SELECT a.id, a.source, a.source_id, a.user_id, a.kind, a.amount, a.attributes, \
        a.occurred_at, a.recorded_at, a.reported_by FROM json_each($1) AS item CROSS JOIN activity_directory d \
        ON d.source = item.value ->> 'source' AND d.source_id = item.value ->> 'source_id' \
        CROSS JOIN activities a ON a.user_id = d.user_id AND a.source = d.source AND a.source_id = d.source_id";
    const POSTGRES: &str = "SELECT a.id, a.source, a.source_id, a.user_id, a.kind, a.amount, a.attributes, \
        a.occurred_at, a.recorded_at, a.reported_by FROM jsonb_to_recordset($1) AS item (source TEXT, source_id TEXT) \
        JOIN activity_directory d ON d.source = item.source AND d.source_id = item.source_id \
        JOIN activities a ON a.user_id = d.user_id AND a.source = d.source AND a.source_id = d.source_id";
    let sql = match tx.engine() {
        Engine::Sqlite => SQLITE,
        Engine::Postgres => POSTGRES,
    };
    tx.query(sql).bind(as_json(rows)).fetch_all(tx).await
}

/// The ids among these that belong to a user. An erased user has no name.
pub(super) async fn known_users(tx: &mut Tx, ids: &[Uuid]) -> Result<Vec<Uuid>> {
    const SQLITE: &str = "SELECT id FROM users WHERE id IN (SELECT unhex(value) FROM json_each($1)) \
        AND (email IS NOT NULL OR external_id IS NOT NULL)";
    const POSTGRES: &str = "SELECT id FROM users \
        WHERE id IN (SELECT CAST(value AS UUID) FROM jsonb_array_elements_text($1)) \
        AND (email IS NOT NULL OR external_id IS NOT NULL)";
    let sql = match tx.engine() {
        Engine::Sqlite => SQLITE,
        Engine::Postgres => POSTGRES,
    };
    let ids: Vec<String> = ids.iter().map(|id| id.simple().to_string()).collect();
    let known: Vec<(Uuid,)> = tx.query(sql).bind(Json(ids)).fetch_all(tx).await?;
    Ok(known.into_iter().map(|(id,)| id).collect())
}

pub(super) async fn is_user(db: &Db, id: Uuid) -> Result<bool> {
    const SQL: &str = "SELECT id FROM users WHERE id = $1";
    Ok(db.query(SQL).bind(id).fetch_optional::<(Uuid,)>(db).await?.is_some())
}

/// A user's activities, newest first, from `from` (inclusive) and before the key `before`.
pub(super) async fn list(
    db: &Db,
    user_id: Uuid,
    kind: Option<String>,
    from: Timestamp,
    before: (Timestamp, Uuid),
    limit: i64,
) -> Result<Vec<ActivityRow>> {
    const SQL: &str = "SELECT id, source, source_id, user_id, kind, amount, attributes, occurred_at, recorded_at, \
        reported_by FROM activities WHERE TRUE";
    db.select(SQL)
        .and("user_id = $?", Some(user_id))
        .and("kind = $?", kind)
        .and("occurred_at >= $?", Some(from))
        .and_pair("(occurred_at, id) < ($?, $?)", before)
        .end("ORDER BY occurred_at DESC, id DESC LIMIT $?", limit)
        .fetch_all(db)
        .await
}

/// The newest activity of each of these users, by the time at which it occurred.
pub(super) async fn newest(db: &Db, users: &[Uuid]) -> Result<Vec<(Uuid, Option<Uuid>)>> {
    let users = placeholders::padded(users.iter().copied());
    let sql = format!(
        "SELECT u.id, (SELECT a.id FROM activities a WHERE a.user_id = u.id ORDER BY a.occurred_at DESC, a.id DESC LIMIT 1) \
         FROM users u WHERE u.id IN ({})",
        placeholders::list(1, users.len())
    );
    let query = db.query_assembled(sql);
    users.into_iter().fold(query, Query::bind).fetch_all(db).await
}

/// A user's activities by time, after this key.
pub(super) async fn by_time(db: &Db, user_id: Uuid, after: (Timestamp, Uuid), limit: i64) -> Result<Vec<ActivityRow>> {
    const SQL: &str = "SELECT id, source, source_id, user_id, kind, amount, attributes, occurred_at, recorded_at, \
        reported_by FROM activities WHERE user_id = $1 AND (occurred_at, id) > ($2, $3) \
        ORDER BY occurred_at, id LIMIT $4";
    let query = db.query(SQL).bind(user_id).bind(after.0).bind(after.1);
    query.bind(limit).fetch_all(db).await
}

/// Deletes up to `limit` activities of a user, and returns their number.
pub(super) async fn erase(tx: &mut Tx, user_id: Uuid, limit: i64) -> Result<u64> {
    const POSTGRES: &str = "WITH gone AS ( \
            DELETE FROM activities WHERE ctid = ANY(ARRAY(SELECT ctid FROM activities WHERE user_id = $1 LIMIT $2)) \
            RETURNING source, source_id) \
        DELETE FROM activity_directory d USING gone WHERE d.source = gone.source AND d.source_id = gone.source_id";
    const SQLITE_DIRECTORY: &str = "DELETE FROM activity_directory WHERE rowid IN ( \
        SELECT d.rowid FROM (SELECT source, source_id FROM activities WHERE user_id = $1 \
            ORDER BY source, source_id LIMIT $2) a \
        JOIN activity_directory d ON d.source = a.source AND d.source_id = a.source_id)";
    const SQLITE: &str = "DELETE FROM activities WHERE rowid IN ( \
        SELECT rowid FROM activities WHERE user_id = $1 ORDER BY source, source_id LIMIT $2)";
    match tx.engine() {
        Engine::Postgres => tx.query(POSTGRES).bind(user_id).bind(limit).execute(tx).await,
        Engine::Sqlite => {
            let directory = tx.query(SQLITE_DIRECTORY).bind(user_id).bind(limit);
            directory.execute(&mut *tx).await?;
            tx.query(SQLITE).bind(user_id).bind(limit).execute(tx).await
        }
    }
}

/// Deletes up to `limit` of what is left of a user's compacted activities, and returns their number.
pub(super) async fn erase_compacted(tx: &mut Tx, user_id: Uuid, limit: i64) -> Result<u64> {
    const POSTGRES: &str = "DELETE FROM activity_directory WHERE ctid = ANY(ARRAY( \
        SELECT ctid FROM activity_directory WHERE user_id = $1 AND is_compacted LIMIT $2))";
    const SQLITE: &str = "DELETE FROM activity_directory WHERE rowid IN ( \
        SELECT rowid FROM activity_directory WHERE user_id = $1 AND is_compacted LIMIT $2)";
    let sql = match tx.engine() {
        Engine::Sqlite => SQLITE,
        Engine::Postgres => POSTGRES,
    };
    tx.query(sql).bind(user_id).bind(limit).execute(tx).await
}
