//! SQL for `make_goods`; `entries` has that of `make_good_entries`.

pub(super) mod entries;

use uuid::Uuid;

use super::state::State;
use super::terms::{Condition, Counts};
use crate::background::lease;
use crate::clock::Timestamp;
use crate::db::{Db, Engine, Executor, Json, Result, Tx, row};

pub(super) static LEASE: lease::Table = lease::table!("make_goods", "id");

row! {
    #[derive(Clone, Debug)]
    pub(super) struct MakeGoodRow {
        pub id: Uuid,
        pub event_id: Uuid,
        pub state: State,
        pub title: String,
        pub from_at: Timestamp,
        pub to_at: Timestamp,
        pub known_by: Timestamp,
        pub condition: Json<Condition>,
        pub reversals: bool,
        pub looked_at: String,
        pub last_claim: Option<Uuid>,
        pub counts: Json<Counts>,
        pub hash: Option<String>,
        pub authors: Json<Vec<Uuid>>,
        pub created_by: Uuid,
        pub created_at: Timestamp,
        pub updated_at: Timestamp,
        pub approved_by: Option<Uuid>,
        pub approved_at: Option<Timestamp>,
        pub reason: Option<String>,
    }
}

macro_rules! select_make_goods {
    ($tail:literal) => {
        concat!(
            "SELECT id, event_id, state, title, from_at, to_at, known_by, condition, reversals, looked_at, last_claim, \
             counts, hash, authors, created_by, created_at, updated_at, approved_by, approved_at, reason FROM make_goods ",
            $tail
        )
    };
}

/// `false`: the event has an open one.
pub(super) async fn insert(tx: &mut Tx, row: MakeGoodRow) -> Result<bool> {
    const SQL: &str = "INSERT INTO make_goods (id, event_id, state, title, from_at, to_at, known_by, condition, reversals, \
        looked_at, counts, authors, created_by, created_at, updated_at, fence, lease_until) \
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, 0, 0) ON CONFLICT DO NOTHING";
    let query = tx
        .query(SQL)
        .bind(row.id)
        .bind(row.event_id)
        .bind(row.state)
        .bind(row.title);
    let query = query.bind(row.from_at).bind(row.to_at).bind(row.known_by);
    let query = query.bind(row.condition).bind(row.reversals).bind(row.looked_at);
    let query = query.bind(row.counts).bind(row.authors).bind(row.created_by);
    let query = query.bind(row.created_at).bind(row.updated_at);
    Ok(query.execute(tx).await? == 1)
}

pub(super) async fn find(on: impl Executor, id: Uuid) -> Result<Option<MakeGoodRow>> {
    const SQL: &str = select_make_goods!("WHERE id = $1");
    on.statement(SQL).bind(id).fetch_optional(on).await
}

/// Reads a make-good and locks it until the transaction ends.
pub(super) async fn lock(tx: &mut Tx, id: Uuid) -> Result<Option<MakeGoodRow>> {
    // SQLite has one writer, which holds the lock already.
    const SQLITE: &str = select_make_goods!("WHERE id = $1");
    const POSTGRES: &str = select_make_goods!("WHERE id = $1 FOR NO KEY UPDATE");
    let sql = match tx.engine() {
        Engine::Sqlite => SQLITE,
        Engine::Postgres => POSTGRES,
    };
    tx.query(sql).bind(id).fetch_optional(tx).await
}

/// The open one of an event.
pub(super) async fn open(db: &Db, event_id: Uuid) -> Result<Option<Uuid>> {
    const SQL: &str = "SELECT id FROM make_goods \
        WHERE event_id = $1 AND state IN ('PROPOSING', 'PROPOSED', 'APPROVED', 'APPLYING')";
    let found: Option<(Uuid,)> = db.query(SQL).bind(event_id).fetch_optional(db).await?;
    Ok(found.map(|(id,)| id))
}

/// Newest first.
pub(super) async fn list(db: &Db, event_id: Uuid, before: Option<Uuid>, limit: i64) -> Result<Vec<MakeGoodRow>> {
    db.select(select_make_goods!("WHERE TRUE"))
        .and("event_id = $?", Some(event_id))
        .and("id < $?", before)
        .end("ORDER BY id DESC LIMIT $?", limit)
        .fetch_all(db)
        .await
}

/// Those in this state at which the server works, the oldest first.
pub(super) async fn in_state(db: &Db, state: State, limit: i64) -> Result<Vec<MakeGoodRow>> {
    const SQL: &str = select_make_goods!("WHERE state = $1 ORDER BY id LIMIT $2");
    db.query(SQL).bind(state).bind(limit).fetch_all(db).await
}

/// Writes everything that changes. The caller holds the lock of the row.
pub(super) async fn update(tx: &mut Tx, row: MakeGoodRow) -> Result<()> {
    const SQL: &str = "UPDATE make_goods SET state = $2, looked_at = $3, last_claim = $4, counts = $5, hash = $6, \
        authors = $7, updated_at = $8, approved_by = $9, approved_at = $10, reason = $11 WHERE id = $1";
    let query = tx.query(SQL).bind(row.id).bind(row.state).bind(row.looked_at);
    let query = query
        .bind(row.last_claim)
        .bind(row.counts)
        .bind(row.hash)
        .bind(row.authors);
    let query = query.bind(row.updated_at).bind(row.approved_by).bind(row.approved_at);
    query.bind(row.reason).execute(tx).await.map(drop)
}

/// Whether the holder of the lease may still write.
pub(super) async fn has_fence(tx: &mut Tx, id: Uuid, fence: i64) -> Result<bool> {
    const SQL: &str = "SELECT id FROM make_goods WHERE id = $1 AND fence = $2";
    let found: Option<(Uuid,)> = tx.query(SQL).bind(id).bind(fence).fetch_optional(tx).await?;
    Ok(found.is_some())
}
