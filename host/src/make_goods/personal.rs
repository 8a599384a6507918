//! What this feature holds about a user: what make-goods propose about their claims.

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use serde_json::{Value, json};
use uuid::Uuid;

use super::model::Entry;
use super::service::MakeGoodService;
use super::store::entries as store;
use crate::personal_data::{AT_ONCE, Erased, Item, PersonalData, Shown};

impl PersonalData for MakeGoodService {
    fn show(&self, user: Uuid, after: Option<Value>) -> BoxFuture<'_, anyhow::Result<Shown>> {
        async move {
            let after: Option<Uuid> = after.map(serde_json::from_value).transpose()?;
            let rows = store::of_user(&self.db, user, after.unwrap_or_default(), AT_ONCE).await?;
            let is_full = i64::try_from(rows.len())? == AT_ONCE;
            let next = rows.last().filter(|_| is_full).map(|row| json!(row.id));
            let item = |row| Item {
                kind: "makeGoodEntry",
                data: json!(Entry::from(row)),
            };
            Ok(Shown {
                items: rows.into_iter().map(item).collect(),
                next,
            })
        }
        .boxed()
    }

    fn erase(&self, user: Uuid, _: Option<Value>) -> BoxFuture<'_, anyhow::Result<Erased>> {
        async move {
            let mut tx = self.db.begin().await?;
            let rows = store::erase(&mut tx, user, AT_ONCE).await?;
            tx.commit().await?;
            let is_full = i64::try_from(rows)? == AT_ONCE;
            Ok(Erased {
                rows,
                next: is_full.then_some(Value::Null),
            })
        }
        .boxed()
    }
}
