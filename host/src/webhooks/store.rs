//! `webhook_endpoints`; `webhook_deliveries` in `deliveries`.

pub(super) mod deliveries;
pub(super) mod sweep;

use uuid::Uuid;

use super::model::EndpointState;
use crate::background::lease;
use crate::clock::Timestamp;
use crate::db::{Db, Engine, Executor, Json, Result, Tx, row};

/// The right to deliver to an endpoint.
pub(super) const ENDPOINT_LEASES: lease::Table = lease::table!("webhook_endpoints", "id");

row! {
    #[derive(Clone)]
    pub(super) struct EndpointRow {
        pub id: Uuid,
        pub name: String,
        pub url: String,
        pub description: Option<String>,
        pub types: Json<Vec<String>>,
        pub acknowledges: bool,
        pub state: EndpointState,
        pub pause_reason: Option<String>,
        pub secret: Vec<u8>,
        pub previous_secret: Option<Vec<u8>>,
        pub previous_until: Option<Timestamp>,
        pub revision: i64,
        pub applied_revision: Option<i64>,
        pub created_by: Uuid,
        pub created_at: Timestamp,
        pub updated_at: Timestamp,
    }
}

impl EndpointRow {
    /// Raises the revision without a change of what files say about the endpoint.
    pub(super) fn operate(&mut self) {
        if self.applied_revision == Some(self.revision) {
            self.applied_revision = Some(self.revision + 1);
        }
        self.revision += 1;
    }
}

macro_rules! select_endpoints {
    ($tail:literal) => {
        concat!(
            "SELECT id, name, url, description, types, acknowledges, state, pause_reason, secret, previous_secret, previous_until, \
             revision, applied_revision, created_by, created_at, updated_at FROM webhook_endpoints WHERE deleted_at IS NULL",
            $tail
        )
    };
}

pub(super) async fn insert(tx: &mut Tx, row: EndpointRow) -> Result<()> {
    const SQL: &str = "INSERT INTO webhook_endpoints \
        (id, url, description, types, acknowledges, state, secret, revision, created_by, created_at, updated_at, fence, \
        lease_until, name, applied_revision) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, 0, 0, $12, $13)";
    tx.query(SQL)
        .bind(row.id)
        .bind(row.url)
        .bind(row.description)
        .bind(row.types)
        .bind(row.acknowledges)
        .bind(row.state)
        .bind(row.secret)
        .bind(row.revision)
        .bind(row.created_by)
        .bind(row.created_at)
        .bind(row.updated_at)
        .bind(row.name)
        .bind(row.applied_revision)
        .execute(tx)
        .await?;
    Ok(())
}

/// Writes every column that a change of an endpoint may touch.
pub(super) async fn update(tx: &mut Tx, row: EndpointRow) -> Result<()> {
    const SQL: &str = "UPDATE webhook_endpoints SET url = $2, description = $3, types = $4, state = $5, \
        pause_reason = $6, secret = $7, previous_secret = $8, previous_until = $9, revision = $10, updated_at = $11, \
        acknowledges = $12, name = $13, applied_revision = $14 WHERE id = $1";
    tx.query(SQL)
        .bind(row.id)
        .bind(row.url)
        .bind(row.description)
        .bind(row.types)
        .bind(row.state)
        .bind(row.pause_reason)
        .bind(row.secret)
        .bind(row.previous_secret)
        .bind(row.previous_until)
        .bind(row.revision)
        .bind(row.updated_at)
        .bind(row.acknowledges)
        .bind(row.name)
        .bind(row.applied_revision)
        .execute(tx)
        .await?;
    Ok(())
}

/// Marks an endpoint as deleted and erases its secrets. Its deliveries are deleted with their messages.
pub(super) async fn mark_deleted(tx: &mut Tx, id: Uuid, at: Timestamp) -> Result<()> {
    const SQL: &str = "UPDATE webhook_endpoints SET deleted_at = $2, secret = $3, previous_secret = NULL WHERE id = $1";
    tx.query(SQL)
        .bind(id)
        .bind(at)
        .bind(Vec::<u8>::new())
        .execute(tx)
        .await?;
    Ok(())
}

pub(super) async fn find(on: impl Executor, id: Uuid) -> Result<Option<EndpointRow>> {
    const SQL: &str = select_endpoints!(" AND id = $1");
    on.statement(SQL).bind(id).fetch_optional(on).await
}

/// Reads an endpoint and locks its row until the transaction ends, so that one transaction at a time changes the status
/// of its deliveries. SQLite has one writer anyway.
pub(super) async fn lock(tx: &mut Tx, id: Uuid) -> Result<Option<EndpointRow>> {
    const POSTGRES: &str = select_endpoints!(" AND id = $1 FOR NO KEY UPDATE");
    const SQLITE: &str = select_endpoints!(" AND id = $1");
    let sql = match tx.engine() {
        Engine::Postgres => POSTGRES,
        Engine::Sqlite => SQLITE,
    };
    tx.query(sql).bind(id).fetch_optional(tx).await
}

/// All endpoints. No status of their deliveries and no URL or filter changes until the transaction ends.
pub(super) async fn hold_all(tx: &mut Tx) -> Result<Vec<EndpointRow>> {
    const POSTGRES: &str = select_endpoints!(" ORDER BY id FOR SHARE");
    const SQLITE: &str = select_endpoints!(" ORDER BY id");
    let sql = match tx.engine() {
        Engine::Postgres => POSTGRES,
        Engine::Sqlite => SQLITE,
    };
    tx.query(sql).fetch_all(tx).await
}

pub(super) async fn list(db: &Db, name: Option<String>, after: Option<Uuid>, limit: i64) -> Result<Vec<EndpointRow>> {
    db.select(select_endpoints!(""))
        .and("name = $?", name)
        .and("id < $?", after)
        .end("ORDER BY id DESC LIMIT $?", limit)
        .fetch_all(db)
        .await
}

pub(super) async fn count(on: impl Executor) -> Result<i64> {
    const SQL: &str = "SELECT COUNT(*) FROM webhook_endpoints WHERE deleted_at IS NULL";
    let (count,): (i64,) = on.statement(SQL).fetch_one(on).await?;
    Ok(count)
}
