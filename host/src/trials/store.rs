//! SQL for `release_counters` and `release_divergences`.

use serde_json::Value;
use uuid::Uuid;

use super::model::{Divergence, Kind};
use super::totals::Totals;
use crate::clock::Timestamp;
use crate::db::{Db, Json, Result, Tx, row};
use crate::events::Arm;

/// The key of a counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct CounterKey {
    pub release_id: Uuid,
    pub event_revision: i64,
    pub arm: Arm,
    /// Its first instant.
    pub hour: i64,
}

/// Reads a counter, which is made if there is none, and locks it until the transaction ends.
pub(super) async fn lock(tx: &mut Tx, key: &CounterKey) -> Result<Totals> {
    const SQL: &str = "INSERT INTO release_counters (release_id, event_revision, arm, hour, totals) \
        VALUES ($1, $2, $3, $4, $5) \
        ON CONFLICT (release_id, event_revision, arm, hour) DO UPDATE SET totals = release_counters.totals \
        RETURNING totals";
    let query = tx.query(SQL).bind(key.release_id).bind(key.event_revision);
    let query = query.bind(key.arm).bind(key.hour).bind(Json(Totals::default()));
    let (totals,): (Json<Totals>,) = query.fetch_one(tx).await?;
    Ok(totals.0)
}

pub(super) async fn save(tx: &mut Tx, key: &CounterKey, totals: Totals) -> Result<()> {
    const SQL: &str = "UPDATE release_counters SET totals = $5 \
        WHERE release_id = $1 AND event_revision = $2 AND arm = $3 AND hour = $4";
    let query = tx.query(SQL).bind(key.release_id).bind(key.event_revision);
    let query = query.bind(key.arm).bind(key.hour).bind(Json(totals));
    query.execute(tx).await?;
    Ok(())
}

row! {
    struct CounterRow {
        release_id: Uuid,
        event_revision: i64,
        arm: Arm,
        hour: i64,
        totals: Json<Totals>,
    }
}

impl CounterRow {
    fn split(self) -> (CounterKey, Totals) {
        let key = CounterKey {
            release_id: self.release_id,
            event_revision: self.event_revision,
            arm: self.arm,
            hour: self.hour,
        };
        (key, self.totals.0)
    }
}

/// The counters of one step.
pub(super) async fn of_step(db: &Db, release_id: Uuid, event_revision: i64) -> Result<Vec<(CounterKey, Totals)>> {
    const SQL: &str = "SELECT release_id, event_revision, arm, hour, totals FROM release_counters \
        WHERE release_id = $1 AND event_revision = $2";
    let query = db.query(SQL).bind(release_id).bind(event_revision);
    let rows: Vec<CounterRow> = query.fetch_all(db).await?;
    Ok(rows.into_iter().map(CounterRow::split).collect())
}

pub(super) async fn of_release(db: &Db, release_id: Uuid) -> Result<Vec<(CounterKey, Totals)>> {
    const SQL: &str =
        "SELECT release_id, event_revision, arm, hour, totals FROM release_counters WHERE release_id = $1";
    let rows: Vec<CounterRow> = db.query(SQL).bind(release_id).fetch_all(db).await?;
    Ok(rows.into_iter().map(CounterRow::split).collect())
}

row! {
    #[derive(Clone, Debug)]
    pub(super) struct DivergenceRow {
        pub user_id: Uuid,
        pub id: Uuid,
        pub release_id: Uuid,
        pub event_id: Uuid,
        pub event_revision: i64,
        pub request_id: Uuid,
        pub kind: Kind,
        pub decided_by: Arm,
        pub stable: Json<Value>,
        pub candidate: Json<Value>,
        pub decided_at: Timestamp,
    }
}

impl From<DivergenceRow> for Divergence {
    fn from(row: DivergenceRow) -> Self {
        Self {
            id: row.id,
            event_id: row.event_id,
            event_revision: row.event_revision,
            user_id: row.user_id,
            request_id: row.request_id,
            kind: row.kind,
            decided_by: row.decided_by,
            stable: row.stable.0,
            candidate: row.candidate.0,
            decided_at: row.decided_at,
        }
    }
}

pub(super) async fn insert(tx: &mut Tx, row: DivergenceRow) -> Result<()> {
    const SQL: &str = "INSERT INTO release_divergences (user_id, id, release_id, event_id, event_revision, request_id, \
        kind, decided_by, stable, candidate, decided_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)";
    tx.query(SQL)
        .bind(row.user_id)
        .bind(row.id)
        .bind(row.release_id)
        .bind(row.event_id)
        .bind(row.event_revision)
        .bind(row.request_id)
        .bind(row.kind)
        .bind(row.decided_by)
        .bind(row.stable)
        .bind(row.candidate)
        .bind(row.decided_at)
        .execute(tx)
        .await?;
    Ok(())
}

pub(super) async fn list(
    db: &Db,
    release_id: Uuid,
    kind: Option<Kind>,
    after: Option<Uuid>,
    limit: i64,
) -> Result<Vec<DivergenceRow>> {
    const SQL: &str = "SELECT user_id, id, release_id, event_id, event_revision, request_id, kind, decided_by, stable, \
        candidate, decided_at FROM release_divergences WHERE TRUE";
    db.select(SQL)
        .and("release_id = $?", Some(release_id))
        .and("kind = $?", kind)
        .and("id < $?", after)
        .end("ORDER BY id DESC LIMIT $?", limit)
        .fetch_all(db)
        .await
}

/// Deletes divergences that are older, and returns their number.
pub(super) async fn delete_before(tx: &mut Tx, before: Timestamp, limit: i64) -> Result<u64> {
    const SQL: &str = "DELETE FROM release_divergences WHERE (user_id, id) IN ( \
        SELECT user_id, id FROM release_divergences WHERE decided_at < $1 ORDER BY decided_at LIMIT $2)";
    tx.query(SQL).bind(before).bind(limit).execute(tx).await
}

/// The divergences of a user after this one, in the order of their ids.
pub(super) async fn of_user(db: &Db, user: Uuid, after: Uuid, limit: i64) -> Result<Vec<DivergenceRow>> {
    const SQL: &str = "SELECT user_id, id, release_id, event_id, event_revision, request_id, kind, decided_by, stable, \
        candidate, decided_at FROM release_divergences WHERE user_id = $1 AND id > $2 ORDER BY id LIMIT $3";
    db.query(SQL).bind(user).bind(after).bind(limit).fetch_all(db).await
}

/// Deletes divergences of a user, and returns their number.
pub(super) async fn erase(tx: &mut Tx, user: Uuid, limit: i64) -> Result<u64> {
    const SQL: &str = "DELETE FROM release_divergences WHERE user_id = $1 AND id IN ( \
        SELECT id FROM release_divergences WHERE user_id = $1 ORDER BY id LIMIT $2)";
    tx.query(SQL).bind(user).bind(limit).execute(tx).await
}
