//! SQL for `make_good_entries`.

use uuid::Uuid;

use crate::claims::Reason;
use crate::clock::Timestamp;
use crate::contract::Award;
use crate::db::{Db, Executor, Json, Result, Tx, row};
use crate::make_goods::state::{EntryState, Kind};

row! {
    #[derive(Clone, Debug)]
    pub(in crate::make_goods) struct EntryRow {
        pub user_id: Uuid,
        pub id: Uuid,
        pub make_good_id: Uuid,
        pub kind: Kind,
        pub state: EntryState,
        pub request_id: Uuid,
        pub received_at: Timestamp,
        pub period: String,
        pub slot: i64,
        pub awards: Json<Vec<Award>>,
        pub reasons_before: Json<Vec<Reason>>,
        pub reasons_now: Json<Vec<Reason>>,
        pub skipped: Option<String>,
        pub updated_at: Timestamp,
    }
}

macro_rules! select_entries {
    ($tail:literal) => {
        concat!(
            "SELECT user_id, id, make_good_id, kind, state, request_id, received_at, period, slot, awards, reasons_before, \
             reasons_now, skipped, updated_at FROM make_good_entries ",
            $tail
        )
    };
}

pub(in crate::make_goods) async fn insert(tx: &mut Tx, row: EntryRow) -> Result<()> {
    const SQL: &str = "INSERT INTO make_good_entries (user_id, id, make_good_id, kind, state, request_id, received_at, \
        period, slot, awards, reasons_before, reasons_now, skipped, updated_at) \
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14) ON CONFLICT DO NOTHING";
    let query = tx.query(SQL).bind(row.user_id).bind(row.id).bind(row.make_good_id);
    let query = query
        .bind(row.kind)
        .bind(row.state)
        .bind(row.request_id)
        .bind(row.received_at);
    let query = query.bind(row.period).bind(row.slot).bind(row.awards);
    let query = query.bind(row.reasons_before).bind(row.reasons_now).bind(row.skipped);
    query.bind(row.updated_at).execute(tx).await.map(drop)
}

/// In the order of their ids: grants by the arrival of their claims, then reversals.
pub(in crate::make_goods) async fn page(
    on: impl Executor,
    make_good_id: Uuid,
    after: Uuid,
    limit: i64,
) -> Result<Vec<EntryRow>> {
    const SQL: &str = select_entries!("WHERE make_good_id = $1 AND id > $2 ORDER BY id LIMIT $3");
    let query = on.statement(SQL).bind(make_good_id).bind(after).bind(limit);
    query.fetch_all(on).await
}

/// The same in one state.
pub(in crate::make_goods) async fn in_state(
    db: &Db,
    make_good_id: Uuid,
    state: EntryState,
    after: Uuid,
    limit: i64,
) -> Result<Vec<EntryRow>> {
    const SQL: &str = select_entries!("WHERE make_good_id = $1 AND state = $2 AND id > $3 ORDER BY id LIMIT $4");
    let query = db.query(SQL).bind(make_good_id).bind(state).bind(after).bind(limit);
    query.fetch_all(db).await
}

/// What a make-good proposes about a user.
pub(in crate::make_goods) async fn about(
    on: impl Executor,
    user_id: Uuid,
    make_good_id: Uuid,
) -> Result<Vec<EntryRow>> {
    const SQL: &str = select_entries!("WHERE user_id = $1 AND make_good_id = $2 ORDER BY id LIMIT 1000");
    on.statement(SQL).bind(user_id).bind(make_good_id).fetch_all(on).await
}

/// Whether an earlier make-good granted this claim.
pub(in crate::make_goods) async fn was_made_good(db: &Db, user_id: Uuid, request_id: Uuid) -> Result<bool> {
    const SQL: &str = "SELECT id FROM make_good_entries WHERE user_id = $1 AND request_id = $2 \
        AND COALESCE(kind = 'GRANT' AND state = 'APPLIED', FALSE) LIMIT 1";
    let found: Option<(Uuid,)> = db.query(SQL).bind(user_id).bind(request_id).fetch_optional(db).await?;
    Ok(found.is_some())
}

pub(in crate::make_goods) async fn delete(tx: &mut Tx, user_id: Uuid, id: Uuid) -> Result<()> {
    const SQL: &str = "DELETE FROM make_good_entries WHERE user_id = $1 AND id = $2";
    tx.query(SQL).bind(user_id).bind(id).execute(tx).await.map(drop)
}

/// The entry of this make-good; there is at most one.
pub(in crate::make_goods) async fn find(tx: &mut Tx, make_good_id: Uuid, id: Uuid) -> Result<Option<EntryRow>> {
    const SQL: &str = select_entries!("WHERE make_good_id = $1 AND id = $2");
    tx.query(SQL).bind(make_good_id).bind(id).fetch_optional(tx).await
}

/// Ends a PENDING entry. `false`: it was ended already, or erased.
pub(in crate::make_goods) async fn end(
    tx: &mut Tx,
    (user_id, id): (Uuid, Uuid),
    state: EntryState,
    skipped: Option<String>,
    now: Timestamp,
) -> Result<bool> {
    const SQL: &str = "UPDATE make_good_entries SET state = $3, skipped = $4, updated_at = $5 \
        WHERE user_id = $1 AND id = $2 AND COALESCE(state = 'PENDING', FALSE)";
    let query = tx.query(SQL).bind(user_id).bind(id).bind(state).bind(skipped);
    Ok(query.bind(now).execute(tx).await? == 1)
}

pub(in crate::make_goods) async fn of_user(db: &Db, user_id: Uuid, after: Uuid, limit: i64) -> Result<Vec<EntryRow>> {
    const SQL: &str = select_entries!("WHERE user_id = $1 AND id > $2 ORDER BY id LIMIT $3");
    db.query(SQL).bind(user_id).bind(after).bind(limit).fetch_all(db).await
}

pub(in crate::make_goods) async fn erase(tx: &mut Tx, user_id: Uuid, limit: i64) -> Result<u64> {
    const SQL: &str = "DELETE FROM make_good_entries WHERE user_id = $1 \
        AND id IN (SELECT id FROM make_good_entries WHERE user_id = $1 LIMIT $2)";
    tx.query(SQL).bind(user_id).bind(limit).execute(tx).await
}
