//! SQL for `backtests`; `shards` has that of `backtest_shards`, `history` reads what users did, `logged` what the
//! transparency log has digests of.

pub(super) mod history;
pub(super) mod logged;
pub(super) mod shards;

use uuid::Uuid;

use super::engine::{Pace, World};
use super::state::State;
use super::terms::Terms;
use crate::background::lease;
use crate::clock::Timestamp;
use crate::db::{Db, Engine, Json, Result, Tx, row};

/// The lease of a backtest: for its planning and its merges.
pub(super) static LEASE: lease::Table = lease::table!("backtests", "id");

/// What a round starts with.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Worlds {
    pub sides: [World; 2],
    pub paces: [Pace; 2],
}

row! {
    #[derive(Clone, Debug)]
    pub(super) struct BacktestRow {
        pub id: Uuid,
        pub event_id: Uuid,
        pub state: State,
        pub terms: Json<Terms>,
        pub worlds: Json<Worlds>,
        pub users: Option<i64>,
        pub round: Option<i64>,
        pub sample_through: Option<i64>,
        pub report_digest: Option<String>,
        pub failure: Option<String>,
        pub created_by: Uuid,
        pub created_at: Timestamp,
        pub updated_at: Timestamp,
    }
}

macro_rules! select_backtests {
    ($tail:literal) => {
        concat!(
            "SELECT id, event_id, state, terms, worlds, users, round, sample_through, report_digest, \
             failure, created_by, created_at, updated_at FROM backtests ",
            $tail
        )
    };
}

#[derive(Clone, Debug, Default)]
pub(super) struct Filter {
    pub event_id: Option<Uuid>,
    pub state: Option<State>,
}

pub(super) async fn insert(tx: &mut Tx, row: BacktestRow) -> Result<()> {
    const SQL: &str = "INSERT INTO backtests (id, event_id, state, terms, worlds, created_by, created_at, updated_at, \
        fence, lease_until) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 0, 0)";
    let query = tx.query(SQL).bind(row.id).bind(row.event_id).bind(row.state);
    let query = query.bind(row.terms).bind(row.worlds);
    let query = query.bind(row.created_by).bind(row.created_at).bind(row.updated_at);
    query.execute(tx).await.map(drop)
}

pub(super) async fn find(db: &Db, id: Uuid) -> Result<Option<BacktestRow>> {
    const SQL: &str = select_backtests!("WHERE id = $1");
    db.query(SQL).bind(id).fetch_optional(db).await
}

pub(super) async fn lock(tx: &mut Tx, id: Uuid) -> Result<Option<BacktestRow>> {
    const SQLITE: &str = select_backtests!("WHERE id = $1");
    const POSTGRES: &str = select_backtests!("WHERE id = $1 FOR UPDATE");
    let sql = match tx.engine() {
        Engine::Sqlite => SQLITE,
        Engine::Postgres => POSTGRES,
    };
    tx.query(sql).bind(id).fetch_optional(tx).await
}

/// Newest first.
pub(super) async fn list(db: &Db, filter: Filter, before: Option<Uuid>, limit: i64) -> Result<Vec<BacktestRow>> {
    db.select(select_backtests!("WHERE TRUE"))
        .and("event_id = $?", filter.event_id)
        .and("state = $?", filter.state)
        .and("id < $?", before)
        .end("ORDER BY id DESC LIMIT $?", limit)
        .fetch_all(db)
        .await
}

/// Backtests that are not over: of a principal, and of all.
pub(super) async fn unfinished(db: &Db, by: Uuid) -> Result<(i64, i64)> {
    const OWN: &str =
        "SELECT COUNT(*) FROM backtests WHERE created_by = $1 AND state IN ('QUEUED', 'RUNNING', 'PAUSED')";
    const ALL: &str = "SELECT COUNT(*) FROM backtests WHERE state IN ('QUEUED', 'RUNNING', 'PAUSED')";
    let (own,): (i64,) = db.query(OWN).bind(by).fetch_one(db).await?;
    let (all,): (i64,) = db.query(ALL).fetch_one(db).await?;
    Ok((own, all))
}

/// The oldest one that is to run.
pub(super) async fn next(db: &Db) -> Result<Option<BacktestRow>> {
    const SQL: &str = select_backtests!("WHERE state = 'QUEUED' OR state = 'RUNNING' ORDER BY id LIMIT 1");
    db.query(SQL).fetch_optional(db).await
}

pub(super) async fn set_state(tx: &mut Tx, id: Uuid, state: State, now: Timestamp) -> Result<()> {
    const SQL: &str = "UPDATE backtests SET state = $2, updated_at = $3 WHERE id = $1";
    tx.query(SQL).bind(id).bind(state).bind(now).execute(tx).await.map(drop)
}

/// A plan or the result of a merge, written by the holder of the lease.
#[derive(Clone, Debug)]
pub(super) struct RoundStart {
    pub terms: Terms,
    pub worlds: Worlds,
    pub users: i64,
    pub round: i64,
    pub sample_through: Option<i64>,
}

/// Begins a round. `false`: the lease was lost, or the backtest is not to run.
pub(super) async fn begin_round(tx: &mut Tx, id: Uuid, fence: i64, start: RoundStart, now: Timestamp) -> Result<bool> {
    const SQL: &str = "UPDATE backtests SET state = 'RUNNING', terms = $3, worlds = $4, users = $5, round = $6, \
        sample_through = $7, updated_at = $8 WHERE id = $1 AND fence = $2 AND (state = 'QUEUED' OR state = 'RUNNING')";
    let query = tx
        .query(SQL)
        .bind(id)
        .bind(fence)
        .bind(Json(start.terms))
        .bind(Json(start.worlds));
    let query = query
        .bind(start.users)
        .bind(start.round)
        .bind(start.sample_through)
        .bind(now);
    Ok(query.execute(tx).await? == 1)
}

/// Ends a backtest with its report. `false`: the lease was lost, or the backtest is not to run.
pub(super) async fn finish(
    tx: &mut Tx,
    id: Uuid,
    fence: i64,
    (report, digest): (String, String),
    now: Timestamp,
) -> Result<bool> {
    const SQL: &str = "UPDATE backtests SET state = 'DONE', report = $3, report_digest = $4, updated_at = $5 \
        WHERE id = $1 AND fence = $2 AND state = 'RUNNING'";
    let query = tx.query(SQL).bind(id).bind(fence).bind(report).bind(digest).bind(now);
    Ok(query.execute(tx).await? == 1)
}

/// `false`: it is over already.
pub(super) async fn fail(tx: &mut Tx, id: Uuid, why: String, now: Timestamp) -> Result<bool> {
    const SQL: &str = "UPDATE backtests SET state = 'FAILED', failure = $2, updated_at = $3 \
        WHERE id = $1 AND (state = 'QUEUED' OR state = 'RUNNING')";
    let query = tx.query(SQL).bind(id).bind(why).bind(now);
    Ok(query.execute(tx).await? == 1)
}

pub(super) async fn report(db: &Db, id: Uuid) -> Result<Option<String>> {
    const SQL: &str = "SELECT report FROM backtests WHERE id = $1 AND report IS NOT NULL";
    let row: Option<(String,)> = db.query(SQL).bind(id).fetch_optional(db).await?;
    Ok(row.map(|(report,)| report))
}

/// Deletes some backtests in a state that have not changed since.
pub(super) async fn prune(tx: &mut Tx, state: State, before: Timestamp, limit: i64) -> Result<u64> {
    const SQL: &str = "DELETE FROM backtests WHERE id IN (SELECT id FROM backtests WHERE state = $1 AND updated_at < $2 \
        ORDER BY updated_at LIMIT $3)";
    tx.query(SQL).bind(state).bind(before).bind(limit).execute(tx).await
}
