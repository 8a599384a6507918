//! SQL for `live_events`: the revisions at which events were active last.

use serde_json::Value;
use uuid::Uuid;

use super::{EventRow, Tx, select_events};
use crate::clock::Timestamp;
use crate::db::{Json, Result};

/// The event is active at this revision.
pub(in crate::events) async fn note(tx: &mut Tx, id: Uuid, revision: i64) -> Result<()> {
    const SQL: &str = "INSERT INTO live_events (event_id, revision) VALUES ($1, $2) \
        ON CONFLICT (event_id) DO UPDATE SET revision = $2";
    tx.query(SQL).bind(id).bind(revision).execute(tx).await?;
    Ok(())
}

/// The content with which the event was active last.
pub(in crate::events) async fn last(tx: &mut Tx, id: Uuid) -> Result<Option<Value>> {
    const SQL: &str = "SELECT r.snapshot FROM live_events l \
        JOIN event_revisions r ON r.event_id = l.event_id AND r.revision = l.revision WHERE l.event_id = $1";
    let found: Option<(Json<Value>,)> = tx.query(SQL).bind(id).fetch_optional(tx).await?;
    Ok(found.map(|(snapshot,)| snapshot.0))
}

/// The revision at which the event was active last.
pub(in crate::events) async fn revision(tx: &mut Tx, id: Uuid) -> Result<Option<i64>> {
    const SQL: &str = "SELECT revision FROM live_events WHERE event_id = $1";
    let found: Option<(i64,)> = tx.query(SQL).bind(id).fetch_optional(tx).await?;
    Ok(found.map(|(revision,)| revision))
}

/// The content at one revision.
pub(in crate::events) async fn at(tx: &mut Tx, id: Uuid, revision: i64) -> Result<Option<Value>> {
    const SQL: &str = "SELECT snapshot FROM event_revisions WHERE event_id = $1 AND revision = $2";
    let found: Option<(Json<Value>,)> = tx.query(SQL).bind(id).bind(revision).fetch_optional(tx).await?;
    Ok(found.map(|(snapshot,)| snapshot.0))
}

/// The events of a group that are not over, and are or were active.
pub(in crate::events) async fn of_group(tx: &mut Tx, name: &str, now: Timestamp, limit: i64) -> Result<Vec<EventRow>> {
    const SQL: &str = select_events!(
        "WHERE group_name = $1 AND deleted_at IS NULL AND end_at > $2 \
         AND (is_active OR EXISTS (SELECT 1 FROM live_events l WHERE l.event_id = events.id)) LIMIT $3"
    );
    tx.query(SQL)
        .bind(name.to_owned())
        .bind(now)
        .bind(limit)
        .fetch_all(tx)
        .await
}
