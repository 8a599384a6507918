//! Erasures in the transparency log, from when they begin: rows whose content is gone name one.

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use serde_json::json;
use uuid::Uuid;

use super::store::erasures;
use crate::db::{Db, Result};
use crate::transparency::{ERASURE, Kind, Record, Source};

#[derive(Clone, Debug)]
pub struct LoggedErasures(pub Db);

impl Source for LoggedErasures {
    fn names(&self) -> &'static [&'static str] {
        &[ERASURE]
    }

    fn kinds(&self) -> &'static [Kind] {
        const KINDS: &[Kind] = &[Kind::new(ERASURE)];
        KINDS
    }

    fn read<'a>(&'a self, ids: &'a [Uuid]) -> BoxFuture<'a, Result<Vec<Record>>> {
        async move {
            let rows = erasures::begun(&self.0, ids).await?;
            let records = rows.into_iter().map(|row| {
                let content = json!({
                    "userId": row.user_id, "requestedAt": row.requested_at, "dueAt": row.due_at, "begunAt": row.begun_at,
                });
                Record::of(ERASURE, row.user_id, &content)
            });
            Ok(records.collect())
        }
        .boxed()
    }

    fn ids(&self, after: Uuid, limit: i64) -> BoxFuture<'_, Result<Vec<Uuid>>> {
        async move { erasures::begun_ids(&self.0, after, limit).await }.boxed()
    }
}
