//! Backtests with a report, for the transparency log. JSON is read as it is, so that a later release of Meed computes the same
//! digests.

use serde_json::Value;
use uuid::Uuid;

use crate::clock::Timestamp;
use crate::db::{Db, Json, Result, row};

row! {
    #[derive(Clone, Debug)]
    pub(in crate::backtests) struct LoggedReportRow {
        pub id: Uuid,
        pub event_id: Uuid,
        pub state: String,
        pub terms: Json<Value>,
        pub report_digest: Option<String>,
        pub created_by: Uuid,
        pub created_at: Timestamp,
        /// When it finished: nothing changes it after that.
        pub updated_at: Timestamp,
    }
}

/// The backtests with these ids.
pub(in crate::backtests) async fn by_ids(db: &Db, ids: &[Uuid]) -> Result<Vec<LoggedReportRow>> {
    const SQL: &str = "SELECT id, event_id, state, terms, report_digest, created_by, created_at, updated_at FROM backtests \
        WHERE TRUE";
    let select = db.select(SQL).and_in("id IN ($?)", ids.iter().copied());
    select.query().fetch_all(db).await
}

/// The ids of backtests with a report, after this one.
pub(in crate::backtests) async fn ids(db: &Db, after: Uuid, limit: i64) -> Result<Vec<Uuid>> {
    const SQL: &str = "SELECT id FROM backtests WHERE id > $1 AND report_digest IS NOT NULL ORDER BY id LIMIT $2";
    let rows: Vec<(Uuid,)> = db.query(SQL).bind(after).bind(limit).fetch_all(db).await?;
    Ok(rows.into_iter().map(|(id,)| id).collect())
}
