//! SQL for `fact_marks` and `fact_days`. Of `activities` it reads those that follow what a head contains.

use std::collections::BTreeMap;

use uuid::Uuid;

use super::heads::{HeadRow, owner};
use crate::db::{Engine, Json, Result, Tx, row};

row! {
    /// What the user had up to and including an activity.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(in crate::facts) struct MarkRow {
        pub at: i64,
        pub id: Uuid,
        pub n: i64,
        pub sum: i64,
        /// Of the last activity of the series until then; -1: none.
        pub last_at: i64,
        /// Of the first one after it and before the horizon, where a window begins before the horizon.
        pub next_at: Option<i64>,
    }
}

row! {
    #[derive(Clone, Debug)]
    pub(in crate::facts) struct EntryRow {
        pub occurred_at: i64,
        pub id: Uuid,
        pub amount: Option<i64>,
        pub attributes: Option<Json<BTreeMap<String, String>>>,
    }
}

/// What to add to the marks between two keys, both exclusive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::facts) struct Addition {
    pub after: (i64, Uuid),
    pub before: (i64, Uuid),
    pub n: i64,
    pub sum: i64,
    /// The latest of the late activities.
    pub last_at: i64,
}

/// The first mark of all, before every activity.
pub(in crate::facts) const ORIGIN: MarkRow = MarkRow {
    at: -1,
    id: Uuid::nil(),
    n: 0,
    sum: 0,
    last_at: -1,
    next_at: None,
};

/// The key after every activity before this instant.
pub(in crate::facts) fn end_before(instant: i64) -> (i64, Uuid) {
    (instant - 1, Uuid::max())
}

/// The activities of a head after this key, in their order. Attributes only if they are asked for.
pub(in crate::facts) async fn entries(
    tx: &mut Tx,
    head: &HeadRow,
    (after_at, after_id): (i64, Uuid),
    limit: i64,
) -> Result<Vec<EntryRow>> {
    let attributes = match (head.filters.0.is_empty(), tx.engine()) {
        (true, Engine::Sqlite) => "NULL",
        (true, Engine::Postgres) => "CAST(NULL AS JSONB)",
        (false, _) => "attributes",
    };
    let owner = owner(head.is_of_invitees);
    let sql = format!(
        "SELECT occurred_at, id, amount, {attributes} AS attributes FROM activities \
         WHERE {owner} = $1 AND kind = $2 AND (occurred_at, id) > ($3, $4) ORDER BY occurred_at, id LIMIT $5"
    );
    let query = tx.query_assembled(sql).bind(head.user_id).bind(head.kind.clone());
    query.bind(after_at).bind(after_id).bind(limit).fetch_all(tx).await
}

/// The last mark at or before this key.
pub(in crate::facts) async fn last(tx: &mut Tx, head: &HeadRow, (at, id): (i64, Uuid)) -> Result<MarkRow> {
    const SQL: &str = "SELECT at, id, n, sum, last_at, next_at FROM fact_marks WHERE user_id = $1 AND series = $2 AND (at, id) <= ($3, $4) \
        ORDER BY at DESC, id DESC LIMIT 1";
    let query = tx.query(SQL).bind(head.user_id).bind(head.series).bind(at).bind(id);
    Ok(query.fetch_optional(tx).await?.unwrap_or(ORIGIN))
}

/// The first mark after this key.
pub(in crate::facts) async fn next(tx: &mut Tx, head: &HeadRow, (at, id): (i64, Uuid)) -> Result<Option<MarkRow>> {
    const SQL: &str = "SELECT at, id, n, sum, last_at, next_at FROM fact_marks WHERE user_id = $1 AND series = $2 AND (at, id) > ($3, $4) \
        ORDER BY at, id LIMIT 1";
    let query = tx.query(SQL).bind(head.user_id).bind(head.series).bind(at).bind(id);
    query.fetch_optional(tx).await
}

pub(in crate::facts) async fn insert(tx: &mut Tx, head: &HeadRow, marks: &[MarkRow]) -> Result<()> {
    const SQLITE: &str = "INSERT INTO fact_marks (user_id, series, at, id, n, sum, last_at, next_at) \
        SELECT $1, $2, value ->> 'at', unhex(value ->> 'id'), value ->> 'n', value ->> 'sum', value ->> 'last_at', \
            value ->> 'next_at' FROM json_each($3)";
    const POSTGRES: &str = "INSERT INTO fact_marks (user_id, series, at, id, n, sum, last_at, next_at) \
        SELECT $1, $2, at, id, n, sum, last_at, next_at FROM jsonb_to_recordset($3) \
            AS i (at BIGINT, id UUID, n BIGINT, sum BIGINT, last_at BIGINT, next_at BIGINT)";
    let sql = match tx.engine() {
        Engine::Sqlite => SQLITE,
        Engine::Postgres => POSTGRES,
    };
    let marks = marks.iter().map(|mark| {
        serde_json::json!({
            "at": mark.at, "id": mark.id.simple().to_string(), "n": mark.n, "sum": mark.sum,
            "last_at": mark.last_at, "next_at": mark.next_at,
        })
    });
    let query = tx.query(sql).bind(head.user_id).bind(head.series);
    query
        .bind(Json(marks.collect::<serde_json::Value>()))
        .execute(tx)
        .await?;
    Ok(())
}

/// Adds to the marks that follow late activities.
pub(in crate::facts) async fn add(tx: &mut Tx, head: &HeadRow, additions: &[Addition]) -> Result<()> {
    // One statement for each range, because SQLite would read the list for each mark.
    const SQLITE: &str = "UPDATE fact_marks SET n = n + $7, sum = sum + $8, last_at = MAX(last_at, $9) \
        WHERE user_id = $1 AND series = $2 AND (at, id) > ($3, $4) AND (at, id) < ($5, $6)";
    const POSTGRES: &str = "UPDATE fact_marks m SET n = m.n + d.n, sum = m.sum + d.sum, last_at = GREATEST(m.last_at, d.last_at) \
            FROM jsonb_to_recordset($3) AS d (after_at BIGINT, after_id UUID, before_at BIGINT, before_id UUID, n BIGINT, \
                sum BIGINT, last_at BIGINT) \
        WHERE m.user_id = $1 AND m.series = $2 AND (m.at, m.id) > (d.after_at, d.after_id) \
            AND (m.at, m.id) < (d.before_at, d.before_id)";
    match tx.engine() {
        Engine::Sqlite => {
            for addition in additions {
                let query = tx.query(SQLITE).bind(head.user_id).bind(head.series);
                let query = query.bind(addition.after.0).bind(addition.after.1);
                let query = query.bind(addition.before.0).bind(addition.before.1);
                let query = query.bind(addition.n).bind(addition.sum).bind(addition.last_at);
                query.execute(&mut *tx).await?;
            }
        }
        Engine::Postgres => {
            let ranges = additions.iter().map(|addition| {
                serde_json::json!({
                    "after_at": addition.after.0, "after_id": addition.after.1,
                    "before_at": addition.before.0, "before_id": addition.before.1,
                    "n": addition.n, "sum": addition.sum, "last_at": addition.last_at,
                })
            });
            let query = tx.query(POSTGRES).bind(head.user_id).bind(head.series);
            query
                .bind(Json(ranges.collect::<serde_json::Value>()))
                .execute(tx)
                .await?;
        }
    }
    Ok(())
}

/// The mark with exactly this key.
pub(in crate::facts) async fn at(tx: &mut Tx, head: &HeadRow, (at, id): (i64, Uuid)) -> Result<Option<MarkRow>> {
    const SQL: &str = "SELECT at, id, n, sum, last_at, next_at FROM fact_marks \
        WHERE user_id = $1 AND series = $2 AND at = $3 AND id = $4";
    let query = tx.query(SQL).bind(head.user_id).bind(head.series).bind(at).bind(id);
    query.fetch_optional(tx).await
}

/// The last mark whose last activity is before this instant: the first activity from the instant on follows it.
pub(in crate::facts) async fn last_before(tx: &mut Tx, head: &HeadRow, instant: i64) -> Result<MarkRow> {
    const SQL: &str = "SELECT at, id, n, sum, last_at, next_at FROM fact_marks \
        WHERE user_id = $1 AND series = $2 AND last_at < $3 ORDER BY last_at DESC, at DESC, id DESC LIMIT 1";
    let query = tx.query(SQL).bind(head.user_id).bind(head.series).bind(instant);
    Ok(query.fetch_optional(tx).await?.unwrap_or(ORIGIN))
}

/// Deletes the marks before a horizon, except those at these beginnings of windows.
pub(in crate::facts) async fn thin_out(tx: &mut Tx, head: &HeadRow, horizon: i64, starts: &[i64]) -> Result<()> {
    const SQLITE: &str = "DELETE FROM fact_marks WHERE user_id = $1 AND series = $2 AND at < $3 \
        AND NOT (id = $4 AND at IN (SELECT value - 1 FROM json_each($5)))";
    const POSTGRES: &str = "DELETE FROM fact_marks WHERE user_id = $1 AND series = $2 AND at < $3 \
        AND NOT (id = $4 AND at IN (SELECT CAST(value AS BIGINT) - 1 FROM jsonb_array_elements_text($5)))";
    let sql = match tx.engine() {
        Engine::Sqlite => SQLITE,
        Engine::Postgres => POSTGRES,
    };
    let (end, highest) = end_before(horizon);
    let query = tx
        .query(sql)
        .bind(head.user_id)
        .bind(head.series)
        .bind(end)
        .bind(highest);
    // Marks of the last millisecond before the horizon stay: they are in order, and few.
    query.bind(Json(starts.to_vec())).execute(tx).await?;
    Ok(())
}

/// Sets the bits of days, in the order of their words.
pub(in crate::facts) async fn set_days(tx: &mut Tx, head: &HeadRow, words: &BTreeMap<i64, i64>) -> Result<()> {
    const SQLITE: &str = "INSERT INTO fact_days (user_id, series, word, bits) \
        SELECT $1, $2, value ->> 0, value ->> 1 FROM json_each($3) WHERE TRUE \
        ON CONFLICT (user_id, series, word) DO UPDATE SET bits = fact_days.bits | excluded.bits \
            WHERE fact_days.bits & excluded.bits <> excluded.bits";
    const POSTGRES: &str = "INSERT INTO fact_days (user_id, series, word, bits) \
        SELECT $1, $2, CAST(value ->> 0 AS BIGINT), CAST(value ->> 1 AS BIGINT) \
        FROM jsonb_array_elements($3) WITH ORDINALITY AS item (value, number) ORDER BY number \
        ON CONFLICT (user_id, series, word) DO UPDATE SET bits = fact_days.bits | excluded.bits \
            WHERE fact_days.bits & excluded.bits <> excluded.bits";
    let sql = match tx.engine() {
        Engine::Sqlite => SQLITE,
        Engine::Postgres => POSTGRES,
    };
    let words: Vec<(i64, i64)> = words.iter().map(|(word, bits)| (*word, *bits)).collect();
    let query = tx.query(sql).bind(head.user_id).bind(head.series);
    query.bind(Json(serde_json::json!(words))).execute(tx).await?;
    Ok(())
}

/// Every mark of a head.
pub(in crate::facts) async fn all(tx: &mut Tx, head: &HeadRow) -> Result<Vec<MarkRow>> {
    const SQL: &str =
        "SELECT at, id, n, sum, last_at, next_at FROM fact_marks WHERE user_id = $1 AND series = $2 ORDER BY at, id";
    tx.query(SQL).bind(head.user_id).bind(head.series).fetch_all(tx).await
}

/// Every word of a head.
pub(in crate::facts) async fn days(tx: &mut Tx, head: &HeadRow) -> Result<BTreeMap<i64, i64>> {
    const SQL: &str = "SELECT word, bits FROM fact_days WHERE user_id = $1 AND series = $2 ORDER BY word";
    let rows: Vec<(i64, i64)> = tx.query(SQL).bind(head.user_id).bind(head.series).fetch_all(tx).await?;
    Ok(rows.into_iter().collect())
}

/// Who invited a user that has activities.
pub(in crate::facts) async fn inviter(tx: &mut Tx, user_id: Uuid) -> Result<Option<Uuid>> {
    const SQL: &str = "SELECT inviter_id FROM activities WHERE user_id = $1 LIMIT 1";
    let found: Option<(Option<Uuid>,)> = tx.query(SQL).bind(user_id).fetch_optional(tx).await?;
    Ok(found.and_then(|(inviter,)| inviter))
}
