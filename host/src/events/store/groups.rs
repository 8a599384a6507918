//! SQL for `event_groups`.

use uuid::Uuid;

use crate::clock::Timestamp;
use crate::db::{Db, Engine, Result, Tx, row};

row! {
    #[derive(Clone, Debug)]
    pub(in crate::events) struct GroupRow {
        pub name: String,
        pub max_per_user: i64,
        pub revision: i64,
        pub applied_revision: Option<i64>,
        pub created_by: Uuid,
        pub created_at: Timestamp,
        pub updated_at: Timestamp,
    }
}

macro_rules! select_groups {
    ($tail:literal) => {
        concat!(
            "SELECT name, max_per_user, revision, applied_revision, created_by, created_at, updated_at FROM event_groups ",
            $tail
        )
    };
}

/// `false`: the group exists.
pub(in crate::events) async fn insert(tx: &mut Tx, row: GroupRow) -> Result<bool> {
    const SQL: &str = "INSERT INTO event_groups (name, max_per_user, revision, created_by, created_at, updated_at, \
        applied_revision) VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING";
    let query = tx.query(SQL).bind(row.name).bind(row.max_per_user).bind(row.revision);
    let query = query.bind(row.created_by).bind(row.created_at).bind(row.updated_at);
    let query = query.bind(row.applied_revision);
    Ok(query.execute(tx).await? == 1)
}

pub(in crate::events) async fn find(db: &Db, name: &str) -> Result<Option<GroupRow>> {
    const SQL: &str = select_groups!("WHERE name = $1");
    db.query(SQL).bind(name.to_owned()).fetch_optional(db).await
}

/// Reads a group and locks it against changes, and against events that enter it, until the transaction ends.
pub(in crate::events) async fn lock(tx: &mut Tx, name: &str) -> Result<Option<GroupRow>> {
    const SQLITE: &str = select_groups!("WHERE name = $1");
    const POSTGRES: &str = select_groups!("WHERE name = $1 FOR UPDATE");
    let sql = match tx.engine() {
        Engine::Sqlite => SQLITE,
        Engine::Postgres => POSTGRES,
    };
    tx.query(sql).bind(name.to_owned()).fetch_optional(tx).await
}

/// Keeps a group from being deleted until the transaction ends; `false`: it does not exist.
pub(in crate::events) async fn keep(tx: &mut Tx, name: &str) -> Result<bool> {
    const SQLITE: &str = "SELECT name FROM event_groups WHERE name = $1";
    const POSTGRES: &str = "SELECT name FROM event_groups WHERE name = $1 FOR KEY SHARE";
    let sql = match tx.engine() {
        Engine::Sqlite => SQLITE,
        Engine::Postgres => POSTGRES,
    };
    let found: Option<(String,)> = tx.query(sql).bind(name.to_owned()).fetch_optional(tx).await?;
    Ok(found.is_some())
}

pub(in crate::events) async fn list(db: &Db, after: Option<String>, limit: i64) -> Result<Vec<GroupRow>> {
    db.select(select_groups!("WHERE TRUE"))
        .and("name > $?", after)
        .end("ORDER BY name LIMIT $?", limit)
        .fetch_all(db)
        .await
}

pub(in crate::events) async fn update(tx: &mut Tx, row: GroupRow) -> Result<()> {
    const SQL: &str = "UPDATE event_groups SET max_per_user = $2, revision = $3, updated_at = $4, applied_revision = $5 \
        WHERE name = $1";
    let query = tx.query(SQL).bind(row.name).bind(row.max_per_user);
    let query = query.bind(row.revision).bind(row.updated_at).bind(row.applied_revision);
    query.execute(tx).await.map(drop)
}

pub(in crate::events) async fn delete(tx: &mut Tx, name: &str) -> Result<()> {
    let query = tx
        .query("DELETE FROM event_groups WHERE name = $1")
        .bind(name.to_owned());
    query.execute(tx).await.map(drop)
}

/// An event in the group.
pub(in crate::events) async fn event_in(tx: &mut Tx, name: &str) -> Result<Option<Uuid>> {
    const SQL: &str = "SELECT id FROM events WHERE group_name = $1 LIMIT 1";
    let found: Option<(Uuid,)> = tx.query(SQL).bind(name.to_owned()).fetch_optional(tx).await?;
    Ok(found.map(|(id,)| id))
}
