//! `fulfilments`.

use uuid::Uuid;

use super::model::{Fulfilment, FulfilmentState, ReportedFulfilment};
use crate::clock::Timestamp;
use crate::db::{Db, Query, Result, Run, Tx, places, row};

row! {
    #[derive(Clone, Debug)]
    pub(super) struct Row {
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
        "grant_id, state, changed_at, acknowledged_by, endpoint_id, reason, reference, error"
    };
}

/// How many rows one statement takes: a power of two, and fewer parameters than either engine has.
const AT_ONCE: usize = 512;

/// Inserts the fulfilments of grants that have none yet; returns the states of those that were inserted.
pub(super) async fn insert(db: &Db, tx: &mut Tx, rows: &[Row]) -> Result<Vec<FulfilmentState>> {
    let mut inserted = Vec::new();
    for rows in rows.chunks(AT_ONCE) {
        let rows = places::padded(rows.iter().cloned());
        let sql = format!(
            concat!(
                "INSERT INTO fulfilments (",
                columns!(),
                ") VALUES {} ON CONFLICT DO NOTHING RETURNING state"
            ),
            places::rows(rows.len(), 8)
        );
        let query = rows.into_iter().fold(db.query_assembled(sql), bind);
        let states: Vec<(FulfilmentState,)> = query.fetch_all(&mut *tx).await?;
        inserted.extend(states.into_iter().map(|(state,)| state));
    }
    Ok(inserted)
}

fn bind(query: Query, row: Row) -> Query {
    query
        .bind(row.grant_id)
        .bind(row.state)
        .bind(row.changed_at)
        .bind(row.acknowledged_by)
        .bind(row.endpoint_id)
        .bind(row.reason)
        .bind(row.reference)
        .bind(row.error)
}

/// Makes FAILED fulfilments DELIVERED, unless they were acknowledged: another endpoint, or the same one after a redrive, has
/// accepted the message. Returns how many changed.
pub(super) async fn deliver_failed(
    db: &Db,
    tx: &mut Tx,
    grant_ids: &[Uuid],
    endpoint_id: Uuid,
    now: Timestamp,
) -> Result<u64> {
    let mut changed = 0;
    for ids in grant_ids.chunks(AT_ONCE) {
        let ids = places::padded(ids.iter().copied());
        let sql = format!(
            "UPDATE fulfilments SET state = 'DELIVERED', changed_at = $1, endpoint_id = $2, error = NULL \
             WHERE state = 'FAILED' AND acknowledged_by IS NULL AND grant_id IN ({})",
            places::list(3, ids.len())
        );
        let query = db.query_assembled(sql).bind(now).bind(endpoint_id);
        changed += ids.into_iter().fold(query, Query::bind).execute(tx).await?;
    }
    Ok(changed)
}

/// `false`: nothing changed, because the same was acknowledged before.
pub(super) async fn acknowledge(tx: &mut Tx, row: &Row) -> Result<bool> {
    const SQL: &str = concat!(
        "INSERT INTO fulfilments AS f (",
        columns!(),
        ") VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (grant_id) DO UPDATE SET state = excluded.state, \
         changed_at = excluded.changed_at, acknowledged_by = excluded.acknowledged_by, endpoint_id = NULL, \
         reason = excluded.reason, reference = excluded.reference, error = NULL \
         WHERE f.acknowledged_by IS NULL OR f.state <> excluded.state \
            OR f.reason IS DISTINCT FROM excluded.reason OR f.reference IS DISTINCT FROM excluded.reference"
    );
    Ok(bind(tx.query(SQL), row.clone()).execute(tx).await? == 1)
}

pub(super) async fn find(tx: &mut Tx, grant_id: Uuid) -> Result<Option<Row>> {
    const SQL: &str = concat!("SELECT ", columns!(), " FROM fulfilments WHERE grant_id = $1");
    tx.query(SQL).bind(grant_id).fetch_optional(tx).await
}

pub(super) async fn of(db: &Db, on: impl Run, grant_ids: &[Uuid]) -> Result<Vec<Row>> {
    if grant_ids.is_empty() {
        return Ok(Vec::new());
    }
    let ids = places::padded(grant_ids.iter().copied());
    let sql = format!(
        concat!("SELECT ", columns!(), " FROM fulfilments WHERE grant_id IN ({})"),
        places::list(1, ids.len())
    );
    let query = db.query_assembled(sql);
    ids.into_iter().fold(query, Query::bind).fetch_all(on).await
}
