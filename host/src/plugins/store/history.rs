//! SQL for `plugin_history`.

use uuid::Uuid;

use crate::clock::Timestamp;
use crate::db::{Db, Result, Tx, row};
use crate::plugins::lifecycle::Action;
use crate::sandbox::Digest;

row! {
    #[derive(Clone, Debug)]
    pub(in crate::plugins) struct HistoryRow {
        pub number: i64,
        pub action: Action,
        pub changed_by: Option<Uuid>,
        pub at: Timestamp,
        pub detail: Option<String>,
    }
}

/// Appends an entry with the next number. The transaction must have locked the version's row.
pub(in crate::plugins) async fn insert(
    tx: &mut Tx,
    digest: Digest,
    action: Action,
    by: Option<Uuid>,
    at: Timestamp,
    detail: Option<String>,
) -> Result<()> {
    const SQL: &str = "INSERT INTO plugin_history (digest, number, action, changed_by, at, detail) \
        SELECT $1, COALESCE(MAX(number), 0) + 1, $2, $3, $4, $5 FROM plugin_history WHERE digest = $1";
    tx.query(SQL)
        .bind(digest)
        .bind(action)
        .bind(by)
        .bind(at)
        .bind(detail)
        .execute(tx)
        .await?;
    Ok(())
}

/// When the newest entry was written. The transaction must have locked the version's row.
pub(in crate::plugins) async fn latest(tx: &mut Tx, digest: Digest) -> Result<Option<Timestamp>> {
    const SQL: &str = "SELECT at FROM plugin_history WHERE digest = $1 ORDER BY number DESC LIMIT 1";
    let row: Option<(Timestamp,)> = tx.query(SQL).bind(digest).fetch_optional(tx).await?;
    Ok(row.map(|(at,)| at))
}

/// Newest first.
pub(in crate::plugins) async fn list(
    db: &Db,
    digest: Digest,
    before: Option<i64>,
    limit: i64,
) -> Result<Vec<HistoryRow>> {
    db.select("SELECT number, action, changed_by, at, detail FROM plugin_history WHERE TRUE")
        .and("digest = $?", Some(digest))
        .and("number < $?", before)
        .end("ORDER BY number DESC LIMIT $?", limit)
        .fetch_all(db)
        .await
}
