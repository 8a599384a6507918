//! SQL for `fact_series` and `fact_needs`. Of `users` it reads the ids in their order.

use uuid::Uuid;

use crate::clock::Timestamp;
use crate::db::{Db, Engine, Executor, Json, Result, Tx, row};
use crate::facts::calendar::zone_data;
use crate::facts::series::{Need, Series};

row! {
    #[derive(Clone, Debug)]
    pub(in crate::facts) struct SeriesRow {
        pub id: i64,
        pub kind: String,
        pub is_of_invitees: bool,
        pub state: String,
        pub scanned: Uuid,
    }
}

row! {
    /// A series of days.
    #[derive(Clone, Debug)]
    pub(in crate::facts) struct ZonedRow {
        pub id: i64,
        pub kind: String,
        pub filters: Json<Vec<(String, String)>>,
        pub zone: Option<String>,
        pub is_of_invitees: bool,
    }
}

/// Series of days that events need and that were made with older zone data than this.
pub(in crate::facts) async fn of_older_zone_data(db: &Db, zone_data: &'static str) -> Result<Vec<ZonedRow>> {
    const SQL: &str = "SELECT id, kind, filters, zone, is_of_invitees FROM fact_series \
        WHERE zone IS NOT NULL AND zone_data < $1 AND state <> 'DROPPED' ORDER BY id";
    db.query(SQL).bind(zone_data).fetch_all(db).await
}

/// Newer zone data has the same rules for the zone.
pub(in crate::facts) async fn set_zone_data(tx: &mut Tx, id: i64, zone_data: &'static str) -> Result<()> {
    const SQL: &str = "UPDATE fact_series SET zone_data = $2 WHERE id = $1";
    tx.query(SQL).bind(id).bind(zone_data).execute(tx).await?;
    Ok(())
}

/// Lets the events that need a series need another one, too.
pub(in crate::facts) async fn copy_needs(tx: &mut Tx, from: i64, to: i64) -> Result<()> {
    const SQL: &str = "INSERT INTO fact_needs (series, event_id, until, starts, days) \
        SELECT $2, event_id, until, starts, days FROM fact_needs WHERE series = $1 ON CONFLICT DO NOTHING";
    tx.query(SQL).bind(from).bind(to).execute(tx).await?;
    Ok(())
}

pub(in crate::facts) async fn drop_needs(tx: &mut Tx, id: i64) -> Result<()> {
    const SQL: &str = "DELETE FROM fact_needs WHERE series = $1";
    tx.query(SQL).bind(id).execute(tx).await?;
    Ok(())
}

pub(in crate::facts) async fn is_ready(tx: &mut Tx, id: i64) -> Result<bool> {
    const SQL: &str = "SELECT id FROM fact_series WHERE id = $1 AND state = 'READY'";
    let found: Option<(i64,)> = tx.query(SQL).bind(id).fetch_optional(tx).await?;
    Ok(found.is_some())
}

/// Makes a series, or takes back that it was dropped.
pub(in crate::facts) async fn add(tx: &mut Tx, series: &Series) -> Result<()> {
    const SQL: &str = "INSERT INTO fact_series (id, kind, filters, zone, is_of_invitees, state, scanned, zone_data) \
        VALUES ($1, $2, $3, $4, $5, 'BUILDING', $6, $7) \
        ON CONFLICT (id) DO UPDATE SET state = 'BUILDING', scanned = excluded.scanned WHERE fact_series.state = 'DROPPED'";
    let query = tx.query(SQL).bind(series.id).bind(series.kind.clone());
    let query = query.bind(Json(series.filters.clone())).bind(series.zone.clone());
    let query = query.bind(series.is_of_invitees).bind(Uuid::nil());
    query.bind(zone_data()).execute(tx).await?;
    Ok(())
}

/// The series that an event needs.
pub(in crate::facts) async fn needed(tx: &mut Tx, event_id: Uuid) -> Result<Vec<i64>> {
    const SQL: &str = "SELECT series FROM fact_needs WHERE event_id = $1";
    let rows: Vec<(i64,)> = tx.query(SQL).bind(event_id).fetch_all(tx).await?;
    Ok(rows.into_iter().map(|(id,)| id).collect())
}

/// Locks a series against those that add it.
pub(in crate::facts) async fn lock(tx: &mut Tx, id: i64) -> Result<()> {
    const SQL: &str = "UPDATE fact_series SET state = state WHERE id = $1";
    tx.query(SQL).bind(id).execute(tx).await?;
    Ok(())
}

/// Replaces what an event needs.
pub(in crate::facts) async fn need(tx: &mut Tx, event_id: Uuid, needs: &[Need], until: Timestamp) -> Result<()> {
    const DELETE: &str = "DELETE FROM fact_needs WHERE event_id = $1";
    const INSERT: &str = "INSERT INTO fact_needs (series, event_id, until, starts, days) VALUES ($1, $2, $3, $4, $5)";
    tx.query(DELETE).bind(event_id).execute(&mut *tx).await?;
    for need in needs {
        let query = tx.query(INSERT).bind(need.series.id).bind(event_id).bind(until);
        let query = query.bind(Json(need.starts.clone())).bind(need.days);
        query.execute(&mut *tx).await?;
    }
    Ok(())
}

/// Forgets needs of events that ended before this instant, and returns their series.
pub(in crate::facts) async fn forget_ended(tx: &mut Tx, before: Timestamp, limit: i64) -> Result<Vec<i64>> {
    const SQL: &str = "DELETE FROM fact_needs WHERE (series, event_id) IN ( \
        SELECT series, event_id FROM fact_needs WHERE until < $1 ORDER BY until LIMIT $2) RETURNING series";
    let rows: Vec<(i64,)> = tx.query(SQL).bind(before).bind(limit).fetch_all(tx).await?;
    Ok(rows.into_iter().map(|(id,)| id).collect())
}

/// Drops a series that no event needs. The caller has locked it before, so this sees every need.
pub(in crate::facts) async fn drop_unneeded(tx: &mut Tx, id: i64) -> Result<()> {
    const SQL: &str = "UPDATE fact_series SET state = 'DROPPED' WHERE id = $1 \
        AND NOT EXISTS (SELECT 1 FROM fact_needs WHERE series = $1)";
    tx.query(SQL).bind(id).execute(tx).await?;
    Ok(())
}

/// Series in a state other than READY: those that the builder works on.
pub(in crate::facts) async fn in_state(on: impl Executor, state: &'static str) -> Result<Vec<SeriesRow>> {
    const SQL: &str = "SELECT id, kind, is_of_invitees, state, scanned FROM fact_series WHERE state <> 'READY' AND state = $1 ORDER BY id";
    on.statement(SQL).bind(state).fetch_all(on).await
}

/// Notes how far a series looked for users with many activities.
pub(in crate::facts) async fn save_scan(tx: &mut Tx, id: i64, scanned: Uuid) -> Result<()> {
    const SQL: &str = "UPDATE fact_series SET scanned = $2 WHERE id = $1 AND state = 'BUILDING'";
    tx.query(SQL).bind(id).bind(scanned).execute(tx).await?;
    Ok(())
}

/// Makes a series READY that has looked at all users and whose heads are built.
pub(in crate::facts) async fn make_ready(tx: &mut Tx, id: i64) -> Result<bool> {
    const SQL: &str = "UPDATE fact_series SET state = 'READY' WHERE id = $1 AND state = 'BUILDING' AND scanned = $2 \
        AND NOT EXISTS (SELECT 1 FROM fact_heads WHERE series = $1 AND state <> 'BUILT')";
    Ok(tx.query(SQL).bind(id).bind(Uuid::max()).execute(tx).await? > 0)
}

/// Deletes a dropped series without heads.
pub(in crate::facts) async fn delete(tx: &mut Tx, id: i64) -> Result<()> {
    const SQL: &str = "DELETE FROM fact_series WHERE id = $1 AND state = 'DROPPED' \
        AND NOT EXISTS (SELECT 1 FROM fact_heads WHERE series = $1)";
    tx.query(SQL).bind(id).execute(tx).await?;
    Ok(())
}

/// The ids of users after this one, in their order.
pub(in crate::facts) async fn users(on: impl Executor, after: Uuid, limit: i64) -> Result<Vec<Uuid>> {
    const SQL: &str = "SELECT id FROM users WHERE id > $1 ORDER BY id LIMIT $2";
    let rows: Vec<(Uuid,)> = on.statement(SQL).bind(after).bind(limit).fetch_all(on).await?;
    Ok(rows.into_iter().map(|(id,)| id).collect())
}

/// Locks a series, so that one process works on it.
pub(in crate::facts) async fn hold(tx: &mut Tx, id: i64) -> Result<Option<SeriesRow>> {
    const SQLITE: &str = "SELECT id, kind, is_of_invitees, state, scanned FROM fact_series WHERE id = $1";
    const POSTGRES: &str =
        "SELECT id, kind, is_of_invitees, state, scanned FROM fact_series WHERE id = $1 FOR NO KEY UPDATE SKIP LOCKED";
    let sql = match tx.engine() {
        Engine::Sqlite => SQLITE,
        Engine::Postgres => POSTGRES,
    };
    tx.query(sql).bind(id).fetch_optional(tx).await
}

/// The number of heads that are not built, up to a thousand.
pub(in crate::facts) async fn unbuilt(db: &Db) -> Result<i64> {
    const SQL: &str = "SELECT COUNT(*) FROM (SELECT 1 FROM fact_heads WHERE state <> 'BUILT' LIMIT 1000) AS counted";
    let (unbuilt,): (i64,) = db.query(SQL).fetch_one(db).await?;
    Ok(unbuilt)
}
