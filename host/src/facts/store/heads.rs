//! SQL for `fact_heads`. Of `activities` it reads whether a user has many of a kind, of `users` their ids in order.

use serde::Serialize;
use strum::{Display, EnumString};
use uuid::Uuid;

use crate::db::{Db, Engine, Executor, Json, Result, Tx, row, text_column};

/// How far a head is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Display, EnumString)]
#[strum(serialize_all = "UPPERCASE")]
pub(in crate::facts) enum HeadState {
    /// Transactions may run that have not seen it.
    New,
    Building,
    Built,
}

impl HeadState {
    pub(in crate::facts) fn after(is_done: bool) -> Self {
        if is_done { Self::Built } else { Self::Building }
    }
}

text_column!(HeadState);

row! {
    /// A head with its series.
    #[derive(Clone, Debug)]
    pub(in crate::facts) struct HeadRow {
        pub user_id: Uuid,
        pub kind: String,
        pub series: i64,
        pub through_at: i64,
        pub through_id: Uuid,
        pub state: HeadState,
        pub crowded_at: Option<i64>,
        pub crowded_id: Option<Uuid>,
        pub filters: Json<Vec<(String, String)>>,
        pub zone: Option<String>,
        pub is_of_invitees: bool,
    }
}

/// An activity, as JSON.
#[derive(Clone, Debug, Serialize)]
pub(in crate::facts) struct Place<'a> {
    pub user_id: String,
    pub kind: &'a str,
    pub at: i64,
    pub id: String,
    /// The user is the inviter of the one who did it.
    pub is_of_invitees: bool,
}

/// The column of `activities` with the user to whom an activity belongs in a series.
pub(in crate::facts) fn owner(is_of_invitees: bool) -> &'static str {
    if is_of_invitees { "inviter_id" } else { "user_id" }
}

/// A statement about the series of one subject: it has `OWNER` for the column of the owner, and `OF_INVITEES`.
fn about(sql: &str, is_of_invitees: bool) -> String {
    let truth = if is_of_invitees { "TRUE" } else { "FALSE" };
    sql.replace("OF_INVITEES", truth)
        .replace("OWNER", owner(is_of_invitees))
}

/// Executes a statement with the places of each subject, and a number.
async fn for_each_subject(tx: &mut Tx, sql: &'static str, places: &[Place<'_>], number: i64) -> Result<()> {
    for is_of_invitees in [false, true] {
        let of_subject = places.iter().filter(|place| place.is_of_invitees == is_of_invitees);
        let of_subject: Vec<&Place<'_>> = of_subject.collect();
        if !of_subject.is_empty() {
            let query = tx.query_assembled(about(sql, is_of_invitees));
            let query = query.bind(Json(serde_json::json!(of_subject))).bind(number);
            query.execute(&mut *tx).await?;
        }
    }
    Ok(())
}

/// The heads of these users and kinds. None of them moves until the transaction ends.
pub(in crate::facts) async fn lock(tx: &mut Tx, places: &[Place<'_>]) -> Result<Vec<HeadRow>> {
    const SQLITE: &str = "SELECT h.user_id, h.kind, h.series, h.through_at, h.through_id, h.state, h.crowded_at, \
        h.crowded_id, s.filters, s.zone, s.is_of_invitees \
        FROM (SELECT DISTINCT unhex(value ->> 'user_id') AS user_id, value ->> 'kind' AS kind, \
            value ->> 'is_of_invitees' AS is_of_invitees FROM json_each($1)) AS item \
        CROSS JOIN fact_heads h ON h.user_id = item.user_id AND h.kind = item.kind \
        CROSS JOIN fact_series s ON s.id = h.series AND s.is_of_invitees = item.is_of_invitees";
    // In the order of the keys, so that two calls cannot deadlock. Each owner is looked up by its key, whatever the database
    // expects of the list.
    const POSTGRES: &str = "SELECT head.* FROM ( \
            SELECT DISTINCT user_id, kind, is_of_invitees \
            FROM jsonb_to_recordset($1) AS i (user_id UUID, kind TEXT, is_of_invitees BOOLEAN) \
            ORDER BY user_id, kind, is_of_invitees) AS item \
        CROSS JOIN LATERAL ( \
            SELECT h.user_id, h.kind, h.series, h.through_at, h.through_id, h.state, h.crowded_at, h.crowded_id, \
                s.filters, s.zone, s.is_of_invitees FROM fact_heads h JOIN fact_series s ON s.id = h.series \
            WHERE h.user_id = item.user_id AND h.kind = item.kind AND s.is_of_invitees = item.is_of_invitees \
            ORDER BY h.series FOR SHARE OF h) AS head";
    let sql = match tx.engine() {
        Engine::Sqlite => SQLITE,
        Engine::Postgres => POSTGRES,
    };
    tx.query(sql).bind(Json(serde_json::json!(places))).fetch_all(tx).await
}

/// Makes a head for each series of a kind that a user has more than `many` activities of.
pub(in crate::facts) async fn find_large(tx: &mut Tx, places: &[Place<'_>], many: i64) -> Result<()> {
    const SQLITE: &str = "INSERT INTO fact_heads (user_id, kind, series, through_at, through_id, state) \
        SELECT unhex(item.value ->> 'user_id'), s.kind, s.id, -1, zeroblob(16), 'NEW' FROM json_each($1) AS item \
        CROSS JOIN fact_series s ON s.kind = item.value ->> 'kind' AND s.state <> 'DROPPED' AND s.is_of_invitees = OF_INVITEES \
        WHERE NOT EXISTS (SELECT 1 FROM fact_heads h WHERE h.user_id = unhex(item.value ->> 'user_id') \
            AND h.kind = s.kind AND h.series = s.id) \
        AND (SELECT 1 FROM activities a WHERE a.OWNER = unhex(item.value ->> 'user_id') AND a.kind = s.kind \
            ORDER BY a.occurred_at, a.id LIMIT 1 OFFSET $2) = 1 \
        ON CONFLICT DO NOTHING";
    const POSTGRES: &str = "INSERT INTO fact_heads (user_id, kind, series, through_at, through_id, state) \
        SELECT item.user_id, s.kind, s.id, -1, '00000000-0000-0000-0000-000000000000', 'NEW' \
        FROM jsonb_to_recordset($1) AS item (user_id UUID, kind TEXT) \
        JOIN fact_series s ON s.kind = item.kind AND s.state <> 'DROPPED' AND s.is_of_invitees = OF_INVITEES \
        WHERE NOT EXISTS (SELECT 1 FROM fact_heads h WHERE h.user_id = item.user_id AND h.kind = s.kind \
            AND h.series = s.id) \
        AND (SELECT 1 FROM activities a WHERE a.OWNER = item.user_id AND a.kind = s.kind \
            ORDER BY a.occurred_at, a.id LIMIT 1 OFFSET $2) = 1 \
        ORDER BY item.user_id, s.kind, s.id FOR SHARE OF s \
        ON CONFLICT DO NOTHING";
    let sql = match tx.engine() {
        Engine::Sqlite => SQLITE,
        Engine::Postgres => POSTGRES,
    };
    for_each_subject(tx, sql, places, many).await
}

/// Lets the builder work on these heads again where more than `many` activities follow what they contain. A head that
/// another transaction holds is left out: the next activity asks again.
pub(in crate::facts) async fn find_behind(tx: &mut Tx, places: &[Place<'_>], many: i64) -> Result<()> {
    const SQLITE: &str = "UPDATE fact_heads SET state = 'BUILDING' WHERE (user_id, kind, series) IN ( \
        SELECT h.user_id, h.kind, h.series FROM json_each($1) AS item \
        CROSS JOIN fact_heads h ON h.user_id = unhex(item.value ->> 'user_id') AND h.kind = item.value ->> 'kind' \
        CROSS JOIN fact_series s ON s.id = h.series AND s.is_of_invitees = OF_INVITEES \
        WHERE h.state = 'BUILT' AND (SELECT 1 FROM activities a WHERE a.OWNER = h.user_id AND a.kind = h.kind \
            AND (a.occurred_at, a.id) > (h.through_at, h.through_id) \
            ORDER BY a.occurred_at, a.id LIMIT 1 OFFSET $2) = 1)";
    const POSTGRES: &str = "UPDATE fact_heads SET state = 'BUILDING' WHERE ctid = ANY (ARRAY( \
        SELECT h.ctid FROM jsonb_to_recordset($1) AS item (user_id UUID, kind TEXT) \
        JOIN fact_heads h ON h.user_id = item.user_id AND h.kind = item.kind \
        JOIN fact_series s ON s.id = h.series AND s.is_of_invitees = OF_INVITEES \
        WHERE h.state = 'BUILT' AND (SELECT 1 FROM activities a WHERE a.OWNER = h.user_id AND a.kind = h.kind \
            AND (a.occurred_at, a.id) > (h.through_at, h.through_id) \
            ORDER BY a.occurred_at, a.id LIMIT 1 OFFSET $2) = 1 \
        FOR NO KEY UPDATE OF h SKIP LOCKED))";
    let sql = match tx.engine() {
        Engine::Sqlite => SQLITE,
        Engine::Postgres => POSTGRES,
    };
    for_each_subject(tx, sql, places, many).await
}

/// Notes where late activities have crowded the interval between two marks.
pub(in crate::facts) async fn find_crowded(tx: &mut Tx, places: &[Place<'_>], many: i64) -> Result<()> {
    const SQLITE: &str = "UPDATE fact_heads AS h SET state = 'BUILDING', crowded_at = item.value ->> 'at', \
        crowded_id = unhex(item.value ->> 'id') FROM json_each($1) AS item \
        WHERE h.user_id = unhex(item.value ->> 'user_id') AND h.kind = item.value ->> 'kind' AND h.crowded_at IS NULL \
        AND (SELECT s.is_of_invitees FROM fact_series s WHERE s.id = h.series) = OF_INVITEES \
        AND (SELECT 1 FROM fact_marks m WHERE m.user_id = h.user_id AND m.series = h.series LIMIT 1) = 1 \
        AND (SELECT 1 FROM activities a WHERE a.OWNER = h.user_id AND a.kind = h.kind \
            AND (a.occurred_at, a.id) > (COALESCE((SELECT m.at FROM fact_marks m WHERE m.user_id = h.user_id \
                    AND m.series = h.series AND (m.at, m.id) < (item.value ->> 'at', unhex(item.value ->> 'id')) \
                    ORDER BY m.at DESC, m.id DESC LIMIT 1), -1), \
                COALESCE((SELECT m.id FROM fact_marks m WHERE m.user_id = h.user_id \
                    AND m.series = h.series AND (m.at, m.id) < (item.value ->> 'at', unhex(item.value ->> 'id')) \
                    ORDER BY m.at DESC, m.id DESC LIMIT 1), zeroblob(16))) \
            AND (a.occurred_at, a.id) < (SELECT m.at, m.id FROM fact_marks m WHERE m.user_id = h.user_id \
                AND m.series = h.series AND (m.at, m.id) > (item.value ->> 'at', unhex(item.value ->> 'id')) \
                ORDER BY m.at, m.id LIMIT 1) \
            ORDER BY a.occurred_at, a.id LIMIT 1 OFFSET $2) = 1";
    const POSTGRES: &str = "UPDATE fact_heads AS h SET state = 'BUILDING', crowded_at = found.at, crowded_id = found.id \
        FROM (SELECT h.ctid AS place, item.at, item.id \
            FROM jsonb_to_recordset($1) AS item (user_id UUID, kind TEXT, at BIGINT, id UUID) \
            JOIN fact_heads h ON h.user_id = item.user_id AND h.kind = item.kind \
            JOIN fact_series s ON s.id = h.series AND s.is_of_invitees = OF_INVITEES \
            CROSS JOIN LATERAL (SELECT m.at, m.id FROM (SELECT m.at, m.id FROM fact_marks m WHERE m.user_id = h.user_id \
                    AND m.series = h.series AND (m.at, m.id) < (item.at, item.id) ORDER BY m.at DESC, m.id DESC LIMIT 1) AS m \
                UNION ALL SELECT -1, '00000000-0000-0000-0000-000000000000' LIMIT 1) AS before \
            CROSS JOIN LATERAL (SELECT m.at, m.id FROM fact_marks m WHERE m.user_id = h.user_id AND m.series = h.series \
                AND (m.at, m.id) > (item.at, item.id) ORDER BY m.at, m.id LIMIT 1) AS after \
            WHERE h.crowded_at IS NULL AND (SELECT 1 FROM activities a WHERE a.OWNER = h.user_id AND a.kind = h.kind \
                AND (a.occurred_at, a.id) > (before.at, before.id) AND (a.occurred_at, a.id) < (after.at, after.id) \
                ORDER BY a.occurred_at, a.id LIMIT 1 OFFSET $2) = 1 \
            FOR NO KEY UPDATE OF h SKIP LOCKED) AS found WHERE h.ctid = found.place";
    let sql = match tx.engine() {
        Engine::Sqlite => SQLITE,
        Engine::Postgres => POSTGRES,
    };
    for_each_subject(tx, sql, places, many).await
}

/// Heads that are not built, each with its series, after this series and user.
pub(in crate::facts) async fn unbuilt(db: &Db, after: (i64, Uuid), limit: i64) -> Result<Vec<HeadRow>> {
    const SQL: &str = "SELECT h.user_id, h.kind, h.series, h.through_at, h.through_id, h.state, h.crowded_at, h.crowded_id, \
        s.filters, s.zone, s.is_of_invitees FROM (SELECT * FROM fact_heads WHERE state <> 'BUILT' AND (series, user_id) > ($1, $2) \
        ORDER BY series, user_id LIMIT $3) AS h \
        JOIN fact_series s ON s.id = h.series";
    let query = db.query(SQL).bind(after.0).bind(after.1);
    query.bind(limit).fetch_all(db).await
}

/// The head as it is now, locked; `None` if it is gone or another process works on it.
pub(in crate::facts) async fn hold(tx: &mut Tx, head: &HeadRow) -> Result<Option<HeadRow>> {
    const SQLITE: &str = "SELECT h.user_id, h.kind, h.series, h.through_at, h.through_id, h.state, h.crowded_at, \
        h.crowded_id, s.filters, s.zone, s.is_of_invitees FROM fact_heads h CROSS JOIN fact_series s ON s.id = h.series \
        WHERE h.user_id = $1 AND h.kind = $2 AND h.series = $3";
    const POSTGRES: &str = "SELECT h.user_id, h.kind, h.series, h.through_at, h.through_id, h.state, h.crowded_at, \
        h.crowded_id, s.filters, s.zone, s.is_of_invitees FROM fact_heads h JOIN fact_series s ON s.id = h.series \
        WHERE h.user_id = $1 AND h.kind = $2 AND h.series = $3 FOR NO KEY UPDATE OF h";
    let sql = match tx.engine() {
        Engine::Sqlite => SQLITE,
        Engine::Postgres => POSTGRES,
    };
    let query = tx.query(sql).bind(head.user_id).bind(head.kind.clone());
    query.bind(head.series).fetch_optional(tx).await
}

/// Writes how far a head is built.
pub(in crate::facts) async fn save(tx: &mut Tx, head: &HeadRow) -> Result<()> {
    const SQL: &str = "UPDATE fact_heads SET through_at = $4, through_id = $5, state = $6, crowded_at = $7, crowded_id = $8 \
        WHERE user_id = $1 AND kind = $2 AND series = $3";
    let query = tx
        .query(SQL)
        .bind(head.user_id)
        .bind(head.kind.clone())
        .bind(head.series);
    let query = query.bind(head.through_at).bind(head.through_id).bind(head.state);
    query.bind(head.crowded_at).bind(head.crowded_id).execute(tx).await?;
    Ok(())
}

/// Deletes a head with everything that it contains. The caller holds it.
pub(in crate::facts) async fn delete(tx: &mut Tx, head: &HeadRow) -> Result<()> {
    const SQL: &str = "DELETE FROM fact_heads WHERE user_id = $1 AND kind = $2 AND series = $3";
    empty(tx, head).await?;
    let query = tx.query(SQL).bind(head.user_id).bind(head.kind.clone());
    query.bind(head.series).execute(tx).await?;
    Ok(())
}

/// Deletes what a head contains from the horizon of compacted activities on: marks and, after the given word and in it all but
/// these bits, days. The caller holds it.
pub(in crate::facts) async fn empty_after(
    tx: &mut Tx,
    head: &HeadRow,
    horizon: i64,
    last_day: Option<(i64, i64)>,
) -> Result<()> {
    const MARKS: &str = "DELETE FROM fact_marks WHERE user_id = $1 AND series = $2 AND at >= $3";
    const DAYS: &str = "DELETE FROM fact_days WHERE user_id = $1 AND series = $2 AND word > $3";
    const BITS: &str = "UPDATE fact_days SET bits = bits & $4 WHERE user_id = $1 AND series = $2 AND word = $3";
    let query = tx.query(MARKS).bind(head.user_id).bind(head.series).bind(horizon);
    query.execute(&mut *tx).await?;
    if let Some((word, bits)) = last_day {
        let query = tx.query(DAYS).bind(head.user_id).bind(head.series).bind(word);
        query.execute(&mut *tx).await?;
        let query = tx.query(BITS).bind(head.user_id).bind(head.series).bind(word);
        query.bind(bits).execute(tx).await?;
    }
    Ok(())
}

/// Deletes what a head contains. The caller holds it.
pub(in crate::facts) async fn empty(tx: &mut Tx, head: &HeadRow) -> Result<()> {
    for sql in [
        "DELETE FROM fact_marks WHERE user_id = $1 AND series = $2",
        "DELETE FROM fact_days WHERE user_id = $1 AND series = $2",
    ] {
        tx.query(sql)
            .bind(head.user_id)
            .bind(head.series)
            .execute(&mut *tx)
            .await?;
    }
    Ok(())
}

/// A number that is greater than that of every transaction that writes now. SQLite has one writer, so there none runs.
pub(in crate::facts) async fn next_transaction(db: &Db) -> Result<i64> {
    const SQL: &str = "SELECT CAST(CAST(pg_current_xact_id() AS TEXT) AS BIGINT)";
    number_of(db, SQL).await
}

/// The lowest number of the transactions that write now, or a number that none of them has reached.
pub(in crate::facts) async fn oldest_transaction(db: &Db) -> Result<i64> {
    const SQL: &str = "SELECT CAST(CAST(pg_snapshot_xmin(pg_current_snapshot()) AS TEXT) AS BIGINT)";
    number_of(db, SQL).await
}

async fn number_of(db: &Db, sql: &'static str) -> Result<i64> {
    match db.engine() {
        Engine::Sqlite => Ok(0),
        Engine::Postgres => {
            let (number,): (i64,) = db.query(sql).fetch_one(db).await?;
            Ok(number)
        }
    }
}

/// The heads of a user, from this key on.
pub(in crate::facts) async fn of_user(on: impl Executor, user_id: Uuid) -> Result<Vec<HeadRow>> {
    const SQL: &str = "SELECT h.user_id, h.kind, h.series, h.through_at, h.through_id, h.state, h.crowded_at, h.crowded_id, \
        s.filters, s.zone, s.is_of_invitees FROM fact_heads h JOIN fact_series s ON s.id = h.series WHERE h.user_id = $1 \
        ORDER BY h.kind, h.series";
    on.statement(SQL).bind(user_id).fetch_all(on).await
}

/// The heads of a series in the order of their users, after this user.
pub(in crate::facts) async fn of_series(db: &Db, series: i64, after: Uuid, limit: i64) -> Result<Vec<HeadRow>> {
    const SQL: &str = "SELECT h.user_id, h.kind, h.series, h.through_at, h.through_id, h.state, h.crowded_at, h.crowded_id, \
        s.filters, s.zone, s.is_of_invitees FROM (SELECT * FROM fact_heads WHERE series = $1 AND user_id > $2 \
            ORDER BY series, user_id LIMIT $3) AS h \
        JOIN fact_series s ON s.id = h.series ORDER BY h.user_id";
    db.query(SQL).bind(series).bind(after).bind(limit).fetch_all(db).await
}

/// All heads in the order of their keys, after this one.
pub(in crate::facts) async fn after(db: &Db, after: Option<&HeadRow>, limit: i64) -> Result<Vec<HeadRow>> {
    const SQL: &str = "SELECT h.user_id, h.kind, h.series, h.through_at, h.through_id, h.state, h.crowded_at, h.crowded_id, \
        s.filters, s.zone, s.is_of_invitees FROM (SELECT * FROM fact_heads WHERE (user_id, kind, series) > ($1, $2, $3) \
            ORDER BY user_id, kind, series LIMIT $4) AS h \
        JOIN fact_series s ON s.id = h.series ORDER BY h.user_id, h.kind, h.series";
    let key = after.map(|head| (head.user_id, head.kind.clone(), head.series));
    let (user_id, kind, series) = key.unwrap_or((Uuid::nil(), String::new(), i64::MIN));
    let query = db.query(SQL).bind(user_id).bind(kind).bind(series);
    query.bind(limit).fetch_all(db).await
}

/// The first heads of this user or a later one.
pub(in crate::facts) async fn from_user(db: &Db, user_id: Uuid, limit: i64) -> Result<Vec<HeadRow>> {
    const SQL: &str = "SELECT h.user_id, h.kind, h.series, h.through_at, h.through_id, h.state, h.crowded_at, h.crowded_id, \
        s.filters, s.zone, s.is_of_invitees FROM (SELECT * FROM fact_heads WHERE user_id >= $1 ORDER BY user_id, kind, series LIMIT $2) AS h \
        JOIN fact_series s ON s.id = h.series";
    db.query(SQL).bind(user_id).bind(limit).fetch_all(db).await
}
