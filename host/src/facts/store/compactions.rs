//! SQL for `fact_horizons` and `fact_compactions`. It deletes compacted rows of `activities`, notes that in
//! `activity_directory`, and reads `users` in order.

use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;

use super::heads::HeadRow;
use crate::clock::Timestamp;
use crate::db::{Db, Engine, Executor, Json, Result, Tx, row};
use crate::facts::series::Series;

row! {
    /// Up to where the activities of a kind may be compacted.
    #[derive(Clone, Debug)]
    pub(in crate::facts) struct HorizonRow {
        pub kind: String,
        pub until: i64,
        pub invited_until: i64,
        pub is_settled: bool,
        pub scanned: Uuid,
    }
}

row! {
    /// Compacted activities of a user.
    #[derive(Clone, Debug)]
    pub(in crate::facts) struct CompactionRow {
        pub kind: String,
        pub until: i64,
        pub n: i64,
        pub sum: i64,
        pub first_at: Option<i64>,
        pub last_at: Option<i64>,
        pub is_done: bool,
    }
}

row! {
    /// What events need of a kind.
    #[derive(Clone, Debug)]
    pub(in crate::facts) struct KindRow {
        pub kind: String,
        /// The longest window that moves.
        pub days: i64,
        /// Series that are not READY.
        pub unready: i64,
    }
}

row! {
    /// What an event needs of a series.
    #[derive(Clone, Debug)]
    pub(in crate::facts) struct NeedRow {
        pub series: i64,
        pub is_of_invitees: bool,
        pub starts: Json<BTreeSet<i64>>,
    }
}

row! {
    /// What a step has deleted.
    #[derive(Clone, Copy, Debug)]
    pub(in crate::facts) struct Deleted {
        pub n: i64,
        pub sum: i64,
        pub first_at: Option<i64>,
        pub last_at: Option<i64>,
    }
}

/// The horizons by kind.
pub(in crate::facts) async fn horizons(tx: &mut Tx) -> Result<BTreeMap<String, i64>> {
    let rows = all(tx).await?;
    Ok(rows.into_iter().map(|row| (row.kind, row.until)).collect())
}

pub(in crate::facts) async fn all(on: impl Executor) -> Result<Vec<HorizonRow>> {
    const SQL: &str = "SELECT kind, until, invited_until, is_settled, scanned FROM fact_horizons ORDER BY kind";
    on.statement(SQL).fetch_all(on).await
}

/// The kinds of which events need series.
pub(in crate::facts) async fn kinds(db: &Db) -> Result<Vec<KindRow>> {
    const SQL: &str = "SELECT s.kind, MAX(n.days) AS days, CAST(SUM(CASE WHEN s.state = 'READY' THEN 0 ELSE 1 END) AS BIGINT) \
        AS unready FROM fact_series s JOIN fact_needs n ON n.series = s.id GROUP BY s.kind ORDER BY s.kind";
    db.query(SQL).fetch_all(db).await
}

/// What events need of a kind.
pub(in crate::facts) async fn needs(on: impl Executor, kind: &str) -> Result<Vec<NeedRow>> {
    const SQL: &str = "SELECT n.series, s.is_of_invitees, n.starts FROM fact_series s JOIN fact_needs n ON n.series = s.id \
        WHERE s.kind = $1 ORDER BY n.series, n.event_id";
    on.statement(SQL).bind(kind.to_owned()).fetch_all(on).await
}

/// Where windows over a series begin, of all events. A series of days is the same with other zone data.
pub(in crate::facts) async fn starts(tx: &mut Tx, series: &Series) -> Result<BTreeSet<i64>> {
    const SQL: &str = "SELECT n.series, s.is_of_invitees, n.starts FROM fact_series s JOIN fact_needs n ON n.series = s.id \
        WHERE s.kind = $1 AND s.filters = $2 AND s.is_of_invitees = $3 AND COALESCE(s.zone, '') = $4";
    let query = tx
        .query(SQL)
        .bind(series.kind.clone())
        .bind(Json(series.filters.clone()));
    let query = query
        .bind(series.is_of_invitees)
        .bind(series.zone.clone().unwrap_or_default());
    let rows: Vec<NeedRow> = query.fetch_all(tx).await?;
    Ok(rows.into_iter().flat_map(|row| row.starts.0).collect())
}

/// Raises the horizon of a kind; the users are looked at again.
pub(in crate::facts) async fn raise(tx: &mut Tx, kind: String, until: i64) -> Result<()> {
    const SQL: &str = "INSERT INTO fact_horizons (kind, until, invited_until, is_settled, scanned) \
        VALUES ($1, $2, 0, FALSE, $3) ON CONFLICT (kind) DO UPDATE SET until = excluded.until, is_settled = FALSE, \
            scanned = excluded.scanned WHERE fact_horizons.until < excluded.until";
    let query = tx.query(SQL).bind(kind).bind(until).bind(Uuid::nil());
    query.execute(tx).await?;
    Ok(())
}

/// Every transaction sees the horizon from now on.
pub(in crate::facts) async fn settle(tx: &mut Tx, horizon: &HorizonRow, with_invited: bool) -> Result<()> {
    const SQL: &str = "UPDATE fact_horizons SET is_settled = TRUE, \
        invited_until = CASE WHEN $3 THEN until ELSE invited_until END WHERE kind = $1 AND until = $2";
    let query = tx.query(SQL).bind(horizon.kind.clone()).bind(horizon.until);
    query.bind(with_invited).execute(tx).await?;
    Ok(())
}

/// Notes up to which user the activities of a kind are compacted.
pub(in crate::facts) async fn save_scan(tx: &mut Tx, horizon: &HorizonRow, scanned: Uuid) -> Result<()> {
    const SQL: &str = "UPDATE fact_horizons SET scanned = $3 WHERE kind = $1 AND until = $2 AND scanned < $3";
    let query = tx.query(SQL).bind(horizon.kind.clone()).bind(horizon.until);
    query.bind(scanned).execute(tx).await?;
    Ok(())
}

/// The users of these that have more than `many` activities before the horizon, or some that a killed process left.
pub(in crate::facts) async fn due(db: &Db, horizon: &HorizonRow, users: &[Uuid], many: i64) -> Result<Vec<Uuid>> {
    const SQLITE: &str = "SELECT u.id FROM json_each($1) AS item CROSS JOIN users u ON u.id = unhex(item.value) \
        WHERE (u.invited_by IS NULL OR $4) \
        AND ((SELECT 1 FROM activities a WHERE a.user_id = u.id AND a.kind = $2 AND a.occurred_at < $3 \
                ORDER BY a.occurred_at, a.id LIMIT 1 OFFSET $5) = 1 \
            OR EXISTS (SELECT 1 FROM fact_compactions c WHERE c.user_id = u.id AND c.kind = $2 AND NOT c.is_done)) \
        ORDER BY u.id";
    const POSTGRES: &str = "SELECT u.id FROM users u \
        WHERE u.id = ANY (ARRAY(SELECT CAST(value AS UUID) FROM jsonb_array_elements_text($1))) \
        AND (u.invited_by IS NULL OR $4) \
        AND ((SELECT 1 FROM activities a WHERE a.user_id = u.id AND a.kind = $2 AND a.occurred_at < $3 \
                ORDER BY a.occurred_at, a.id LIMIT 1 OFFSET $5) = 1 \
            OR EXISTS (SELECT 1 FROM fact_compactions c WHERE c.user_id = u.id AND c.kind = $2 AND NOT c.is_done)) \
        ORDER BY u.id";
    let sql = match db.engine() {
        Engine::Sqlite => SQLITE,
        Engine::Postgres => POSTGRES,
    };
    let users: Vec<String> = users.iter().map(|id| id.simple().to_string()).collect();
    let query = db
        .query(sql)
        .bind(Json(users))
        .bind(horizon.kind.clone())
        .bind(horizon.until);
    let query = query.bind(horizon.invited_until == horizon.until).bind(many);
    let rows: Vec<(Uuid,)> = query.fetch_all(db).await?;
    Ok(rows.into_iter().map(|(id,)| id).collect())
}

/// Makes the head of a user in a series if there is none.
pub(in crate::facts) async fn add_head(tx: &mut Tx, user_id: Uuid, kind: String, series: i64) -> Result<()> {
    const SQL: &str = "INSERT INTO fact_heads (user_id, kind, series, through_at, through_id, state) \
        VALUES ($1, $2, $3, -1, $4, 'NEW') ON CONFLICT DO NOTHING";
    let query = tx.query(SQL).bind(user_id).bind(kind).bind(series).bind(Uuid::nil());
    query.execute(tx).await?;
    Ok(())
}

/// Makes heads in a new series for users who have compacted activities, of those after the first user up to the last.
pub(in crate::facts) async fn add_heads(tx: &mut Tx, series: i64, after: Uuid, last: Uuid) -> Result<()> {
    const SQL: &str = "INSERT INTO fact_heads (user_id, kind, series, through_at, through_id, state) \
        SELECT c.user_id, s.kind, s.id, -1, $4, 'NEW' FROM fact_series s \
        JOIN fact_compactions c ON c.user_id > $2 AND c.user_id <= $3 AND c.kind = s.kind \
        WHERE s.id = $1 AND NOT s.is_of_invitees ON CONFLICT DO NOTHING";
    let query = tx.query(SQL).bind(series).bind(after).bind(last);
    query.bind(Uuid::nil()).execute(tx).await?;
    Ok(())
}

/// The series that has the compacted days of a head with other zone data.
pub(in crate::facts) async fn twin(tx: &mut Tx, head: &HeadRow, (at, id): (i64, Uuid)) -> Result<Option<i64>> {
    const SQL: &str = "SELECT h.series FROM fact_heads h JOIN fact_series s ON s.id = h.series \
        JOIN fact_marks m ON m.user_id = h.user_id AND m.series = h.series AND m.at = $6 AND m.id = $7 \
        WHERE h.user_id = $1 AND h.kind = $2 AND h.series <> $3 AND s.zone = $4 AND s.filters = $5 \
            AND NOT s.is_of_invitees ORDER BY h.series LIMIT 1";
    let query = tx
        .query(SQL)
        .bind(head.user_id)
        .bind(head.kind.clone())
        .bind(head.series);
    let query = query.bind(head.zone.clone()).bind(Json(head.filters.0.clone()));
    let found: Option<(i64,)> = query.bind(at).bind(id).fetch_optional(tx).await?;
    Ok(found.map(|(series,)| series))
}

/// Copies what a series has of compacted days.
pub(in crate::facts) async fn copy(tx: &mut Tx, head: &HeadRow, from: i64, (at, id): (i64, Uuid)) -> Result<()> {
    const MARKS: &str = "INSERT INTO fact_marks (user_id, series, at, id, n, sum, last_at, next_at) \
        SELECT user_id, $3, at, id, n, sum, last_at, next_at FROM fact_marks \
        WHERE user_id = $1 AND series = $2 AND at <= $4 AND id = $5";
    const DAYS: &str = "INSERT INTO fact_days (user_id, series, word, bits) \
        SELECT user_id, $3, word, bits FROM fact_days WHERE user_id = $1 AND series = $2";
    let query = tx.query(MARKS).bind(head.user_id).bind(from).bind(head.series);
    query.bind(at).bind(id).execute(&mut *tx).await?;
    let query = tx.query(DAYS).bind(head.user_id).bind(from).bind(head.series);
    query.execute(tx).await?;
    Ok(())
}

pub(in crate::facts) async fn find(tx: &mut Tx, user_id: Uuid, kind: &str) -> Result<Option<CompactionRow>> {
    const SQL: &str = "SELECT kind, until, n, sum, first_at, last_at, is_done FROM fact_compactions \
        WHERE user_id = $1 AND kind = $2";
    let query = tx.query(SQL).bind(user_id).bind(kind.to_owned());
    query.fetch_optional(tx).await
}

pub(in crate::facts) async fn of_user(db: &Db, user_id: Uuid) -> Result<Vec<CompactionRow>> {
    const SQL: &str = "SELECT kind, until, n, sum, first_at, last_at, is_done FROM fact_compactions \
        WHERE user_id = $1 ORDER BY kind";
    db.query(SQL).bind(user_id).fetch_all(db).await
}

/// From now on, questions about this user do not read activities before the horizon.
pub(in crate::facts) async fn begin(tx: &mut Tx, user_id: Uuid, horizon: &HorizonRow, now: Timestamp) -> Result<()> {
    const SQL: &str = "INSERT INTO fact_compactions (user_id, kind, until, compacted_at, n, sum, is_done) \
        VALUES ($1, $2, $3, $4, 0, 0, FALSE) \
        ON CONFLICT (user_id, kind) DO UPDATE SET until = excluded.until, compacted_at = excluded.compacted_at, \
            is_done = FALSE WHERE fact_compactions.until < excluded.until";
    let query = tx
        .query(SQL)
        .bind(user_id)
        .bind(horizon.kind.clone())
        .bind(horizon.until);
    query.bind(now).execute(tx).await?;
    Ok(())
}

/// Deletes up to `limit` activities before the horizon.
pub(in crate::facts) async fn take(tx: &mut Tx, user_id: Uuid, kind: &str, until: i64, limit: i64) -> Result<Deleted> {
    const POSTGRES: &str = "WITH gone AS ( \
            DELETE FROM activities WHERE ctid = ANY(ARRAY(SELECT ctid FROM activities \
                WHERE user_id = $1 AND kind = $2 AND occurred_at < $3 ORDER BY occurred_at, id LIMIT $4)) \
            RETURNING source, source_id, occurred_at, amount), \
        noted AS ( \
            UPDATE activity_directory d SET is_compacted = TRUE FROM gone \
            WHERE d.source = gone.source AND d.source_id = gone.source_id) \
        SELECT COUNT(*) AS n, CAST(COALESCE(SUM(amount), 0) AS BIGINT) AS sum, MIN(occurred_at) AS first_at, \
            MAX(occurred_at) AS last_at FROM gone";
    const SQLITE_DIRECTORY: &str = "UPDATE activity_directory SET is_compacted = TRUE WHERE rowid IN ( \
        SELECT d.rowid FROM (SELECT source, source_id FROM activities \
            WHERE user_id = $1 AND kind = $2 AND occurred_at < $3 ORDER BY occurred_at, id LIMIT $4) a \
        CROSS JOIN activity_directory d ON d.source = a.source AND d.source_id = a.source_id)";
    const SQLITE_NUMBERS: &str = "SELECT COUNT(*) AS n, COALESCE(SUM(amount), 0) AS sum, MIN(occurred_at) AS first_at, \
        MAX(occurred_at) AS last_at FROM (SELECT occurred_at, amount FROM activities \
            WHERE user_id = $1 AND kind = $2 AND occurred_at < $3 ORDER BY occurred_at, id LIMIT $4)";
    const SQLITE: &str = "DELETE FROM activities WHERE rowid IN (SELECT rowid FROM activities \
        WHERE user_id = $1 AND kind = $2 AND occurred_at < $3 ORDER BY occurred_at, id LIMIT $4)";
    let bound = |query: crate::db::Query| query.bind(user_id).bind(kind.to_owned()).bind(until).bind(limit);
    match tx.engine() {
        Engine::Postgres => bound(tx.query(POSTGRES)).fetch_one(tx).await,
        Engine::Sqlite => {
            bound(tx.query(SQLITE_DIRECTORY)).execute(&mut *tx).await?;
            let deleted = bound(tx.query(SQLITE_NUMBERS)).fetch_one(&mut *tx).await?;
            bound(tx.query(SQLITE)).execute(tx).await?;
            Ok(deleted)
        }
    }
}

/// Adds what was deleted to what is told about it.
pub(in crate::facts) async fn add(
    tx: &mut Tx,
    user_id: Uuid,
    kind: &str,
    deleted: Deleted,
    is_done: bool,
) -> Result<()> {
    const SQL: &str = "UPDATE fact_compactions SET n = n + $3, sum = sum + $4, \
        first_at = CASE WHEN first_at <= $5 THEN first_at ELSE COALESCE($5, first_at) END, \
        last_at = CASE WHEN last_at >= $6 THEN last_at ELSE COALESCE($6, last_at) END, is_done = $7 \
        WHERE user_id = $1 AND kind = $2";
    let query = tx.query(SQL).bind(user_id).bind(kind.to_owned());
    let query = query.bind(deleted.n).bind(deleted.sum);
    let query = query.bind(deleted.first_at).bind(deleted.last_at).bind(is_done);
    query.execute(tx).await?;
    Ok(())
}

pub(in crate::facts) async fn delete(tx: &mut Tx, user_id: Uuid) -> Result<()> {
    const SQL: &str = "DELETE FROM fact_compactions WHERE user_id = $1";
    tx.query(SQL).bind(user_id).execute(tx).await?;
    Ok(())
}
