//! What retention may have deleted. Retention records it in the transaction that deletes, and the record is itself a leaf.

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use serde_json::json;
use uuid::Uuid;

use super::source::{Kind, Record, Source};
use super::store::{self, RemovalRow};
use crate::clock::Clock;
use crate::db::{Db, Result, Tx};

/// The name under which they are queued.
pub(super) const QUEUED: &str = "retention";
pub(super) const KIND: Kind = Kind::new("retention");

/// Records that rows whose leaves have this kind, and whose ids are lower, may be gone. Part of the transaction that deletes
/// them.
pub async fn removed(tx: &mut Tx, clock: &Clock, kind: &str, lower_than: Uuid) -> Result<()> {
    let row = RemovalRow {
        id: clock.new_id(),
        kind: kind.to_owned(),
        lower_than,
        removed_at: clock.now(),
    };
    let id = row.id;
    store::insert_removal(tx, row).await?;
    store::enqueue(tx, QUEUED, id).await
}

/// The records of retention, as rows of the log.
#[derive(Clone, Debug)]
pub struct Removals(pub Db);

pub(super) fn record(row: &RemovalRow) -> Record {
    let content = json!({
        "id": row.id, "kind": row.kind, "lowerThan": row.lower_than, "removedAt": row.removed_at,
    });
    Record::of(KIND.name, row.id, &content)
}

impl Source for Removals {
    fn names(&self) -> &'static [&'static str] {
        &[QUEUED]
    }

    fn kinds(&self) -> &'static [Kind] {
        &[KIND]
    }

    fn read<'a>(&'a self, ids: &'a [Uuid]) -> BoxFuture<'a, Result<Vec<Record>>> {
        async move {
            let rows = store::removals(&self.0, ids).await?;
            Ok(rows.iter().map(record).collect())
        }
        .boxed()
    }

    fn ids(&self, after: Uuid, limit: i64) -> BoxFuture<'_, Result<Vec<Uuid>>> {
        async move { store::removal_ids(&self.0, after, limit).await }.boxed()
    }
}
