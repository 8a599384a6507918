//! `fulfilments`, and the copy of their states in `grants`.

use uuid::Uuid;

use super::model::{Fulfilment, FulfilmentState, ReportedFulfilment};
use crate::clock::Timestamp;
use crate::db::{Db, Executor, Query, Result, Tx, placeholders, row};

row! {
    #[derive(Clone, Debug)]
    pub(super) struct Row {
        pub user_id: Uuid,
        pub grant_id: Uuid,
        pub state: FulfilmentState,
        pub changed_at: Timestamp,
        pub acknowledged_by: Option<Uuid>,
        pub endpoint_id: Option<Uuid>,
        pub reason: Option<String>,
        pub reference: Option<String>,
        pub error: Option<String>,
    }
}

impl From<Row> for ReportedFulfilment {
    fn from(row: Row) -> Self {
        Self {
            fulfilment: Fulfilment {
                state: row.state,
                changed_at: Some(row.changed_at),
                reason: row.reason,
                reference: row.reference,
            },
            acknowledged_by: row.acknowledged_by,
            webhook_endpoint_id: row.endpoint_id,
            error: row.error,
        }
    }
}

macro_rules! columns {
    () => {
        "user_id, grant_id, state, changed_at, acknowledged_by, endpoint_id, reason, reference, error"
    };
}

/// How many rows one statement takes: a power of two, and fewer parameters than either engine has.
const AT_ONCE: usize = 512;

/// Inserts the fulfilments of grants that have none yet; returns the states of those that were inserted.
pub(super) async fn insert(db: &Db, tx: &mut Tx, rows: &[Row]) -> Result<Vec<FulfilmentState>> {
    let mut inserted = Vec::new();
    for rows in rows.chunks(AT_ONCE) {
        let rows = placeholders::padded(rows.iter().cloned());
        let sql = format!(
            concat!(
                "INSERT INTO fulfilments (",
                columns!(),
                ") VALUES {} ON CONFLICT DO NOTHING RETURNING state"
            ),
            placeholders::rows(1, rows.len(), 9)
        );
        let query = rows.into_iter().fold(db.query_assembled(sql), bind);
        let states: Vec<(FulfilmentState,)> = query.fetch_all(&mut *tx).await?;
        inserted.extend(states.into_iter().map(|(state,)| state));
    }
    Ok(inserted)
}

fn bind(query: Query, row: Row) -> Query {
    query
        .bind(row.user_id)
        .bind(row.grant_id)
        .bind(row.state)
        .bind(row.changed_at)
        .bind(row.acknowledged_by)
        .bind(row.endpoint_id)
        .bind(row.reason)
        .bind(row.reference)
        .bind(row.error)
}

/// A grant: its user and its id.
pub(super) type GrantKey = (Uuid, Uuid);

/// Makes FAILED fulfilments DELIVERED, unless they were acknowledged: another endpoint, or the same one after a redrive, has
/// accepted the message. Returns how many changed.
pub(super) async fn deliver_failed(
    db: &Db,
    tx: &mut Tx,
    grants: &[GrantKey],
    endpoint_id: Uuid,
    now: Timestamp,
) -> Result<u64> {
    let mut changed = 0;
    for grants in grants.chunks(AT_ONCE) {
        let grants = placeholders::padded(grants.iter().copied());
        let sql = format!(
            "UPDATE fulfilments SET state = 'DELIVERED', changed_at = $1, endpoint_id = $2, error = NULL FROM {} \
             WHERE user_id = pair.column1 AND grant_id = pair.column2 AND state = 'FAILED' AND acknowledged_by IS NULL",
            placeholders::pairs(3, grants.len())
        );
        let query = db.query_assembled(sql).bind(now).bind(endpoint_id);
        changed += grants.into_iter().fold(query, bind_key).execute(tx).await?;
    }
    Ok(changed)
}

/// Copies the states to the grants, whose lists are found by them.
pub(super) async fn copy_to_grants(db: &Db, tx: &mut Tx, grants: &[GrantKey]) -> Result<()> {
    for grants in grants.chunks(AT_ONCE) {
        let grants = placeholders::padded(grants.iter().copied());
        let sql = format!(
            "UPDATE grants SET fulfilment = f.state FROM {} \
             JOIN fulfilments f ON f.user_id = pair.column1 AND f.grant_id = pair.column2 \
             WHERE grants.user_id = f.user_id AND grants.id = f.grant_id AND grants.fulfilment <> f.state",
            placeholders::pairs(1, grants.len())
        );
        let query = db.query_assembled(sql);
        grants.into_iter().fold(query, bind_key).execute(&mut *tx).await?;
    }
    Ok(())
}

fn bind_key(query: Query, (user_id, grant_id): GrantKey) -> Query {
    query.bind(user_id).bind(grant_id)
}

/// `false`: nothing changed, because the same was acknowledged before.
pub(super) async fn acknowledge(tx: &mut Tx, row: &Row) -> Result<bool> {
    const SQL: &str = concat!(
        "INSERT INTO fulfilments AS f (",
        columns!(),
        ") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT (user_id, grant_id) DO UPDATE SET state = excluded.state, \
         changed_at = excluded.changed_at, acknowledged_by = excluded.acknowledged_by, endpoint_id = NULL, \
         reason = excluded.reason, reference = excluded.reference, error = NULL \
         WHERE f.acknowledged_by IS NULL OR f.state <> excluded.state \
            OR f.reason IS DISTINCT FROM excluded.reason OR f.reference IS DISTINCT FROM excluded.reference"
    );
    Ok(bind(tx.query(SQL), row.clone()).execute(tx).await? == 1)
}

pub(super) async fn find(tx: &mut Tx, grant: GrantKey) -> Result<Option<Row>> {
    const SQL: &str = concat!(
        "SELECT ",
        columns!(),
        " FROM fulfilments WHERE user_id = $1 AND grant_id = $2"
    );
    bind_key(tx.query(SQL), grant).fetch_optional(tx).await
}

pub(super) async fn of(db: &Db, on: impl Executor, grants: &[GrantKey]) -> Result<Vec<Row>> {
    if grants.is_empty() {
        return Ok(Vec::new());
    }
    let grants = placeholders::padded(grants.iter().copied());
    let sql = format!(
        concat!(
            "SELECT ",
            columns!(),
            " FROM {} JOIN fulfilments ON user_id = pair.column1 AND grant_id = pair.column2"
        ),
        placeholders::pairs(1, grants.len())
    );
    let query = db.query_assembled(sql);
    grants.into_iter().fold(query, bind_key).fetch_all(on).await
}

/// Erases what was said about up to `limit` grants of a user after this one; returns the number of changed rows, and the last
/// grant, if there may be more.
pub(super) async fn erase(tx: &mut Tx, user_id: Uuid, after: Uuid, limit: i64) -> Result<(u64, Option<Uuid>)> {
    const NEXT: &str =
        "SELECT grant_id FROM fulfilments WHERE user_id = $1 AND grant_id > $2 ORDER BY grant_id LIMIT $3";
    const ERASE: &str = "UPDATE fulfilments SET reason = NULL, reference = NULL, error = NULL \
        WHERE user_id = $1 AND grant_id > $2 AND grant_id <= $3 \
        AND (reason IS NOT NULL OR reference IS NOT NULL OR error IS NOT NULL)";
    let next = tx.query(NEXT).bind(user_id).bind(after).bind(limit);
    let grants: Vec<(Uuid,)> = next.fetch_all(&mut *tx).await?;
    let Some((last,)) = grants.last().copied() else {
        return Ok((0, None));
    };
    let erase = tx.query(ERASE).bind(user_id).bind(after).bind(last);
    let rows = erase.execute(tx).await?;
    let more = i64::try_from(grants.len()).is_ok_and(|count| count == limit);
    Ok((rows, more.then_some(last)))
}
