//! Entries in the transparency log. `occurrences` is not part of a leaf, because it grows within the minute of a refusal.

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use serde_json::{Value, json};
use uuid::Uuid;

use super::leaves::{KIND, QUEUED};
use super::service::AuditRecord;
use super::store;
use crate::db::{Db, Result};
use crate::transparency::{Kind, Record, Source};

#[derive(Clone, Debug)]
pub struct LoggedEntries(pub Db);

impl Source for LoggedEntries {
    fn names(&self) -> &'static [&'static str] {
        &[QUEUED]
    }

    fn kinds(&self) -> &'static [Kind] {
        &[KIND]
    }

    fn read<'a>(&'a self, ids: &'a [Uuid]) -> BoxFuture<'a, Result<Vec<Record>>> {
        async move {
            let rows = store::by_ids(&self.0, ids).await?;
            let records = rows.into_iter().map(|row| {
                let (id, mut content) = (row.id, json!(AuditRecord::from(row)));
                content["occurrences"] = Value::Null;
                Record::of(KIND.name, id, &content)
            });
            Ok(records.collect())
        }
        .boxed()
    }

    fn ids(&self, after: Uuid, limit: i64) -> BoxFuture<'_, Result<Vec<Uuid>>> {
        async move { store::ids(&self.0, after, limit).await }.boxed()
    }
}
