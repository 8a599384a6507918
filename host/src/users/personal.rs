//! What this feature holds about a user: the account, and its attributes with their history.

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use serde_json::{Value, json};
use uuid::Uuid;

use super::store::{attributes, erasures};
use super::{UserError, UserService};
use crate::clock::Timestamp;
use crate::personal_data::{AT_ONCE, Erased, Item, PersonalData, Shown};

impl PersonalData for UserService {
    fn show(&self, user: Uuid, after: Option<Value>) -> BoxFuture<'_, anyhow::Result<Shown>> {
        async move {
            let mut items = Vec::new();
            let after: Option<(String, Timestamp, Uuid)> = after.map(serde_json::from_value).transpose()?;
            if after.is_none() {
                let account = self.find(user).await?.ok_or(UserError::NotFound(user.into()))?;
                items.push(Item {
                    kind: "account",
                    data: serde_json::to_value(account)?,
                });
            }
            let rows = attributes::history(&self.db, user, after, AT_ONCE).await?;
            let is_last = i64::try_from(rows.len())? < AT_ONCE;
            let last = rows.last().filter(|_| !is_last);
            let next = last.map(|row| json!((&row.name, row.set_at, row.id)));
            items.extend(rows.into_iter().map(|row| Item {
                kind: "attribute",
                data: json!({"name": row.name, "value": row.value, "setAt": row.set_at}),
            }));
            Ok(Shown { items, next })
        }
        .boxed()
    }

    fn erase(&self, user: Uuid, _: Option<Value>) -> BoxFuture<'_, anyhow::Result<Erased>> {
        async move {
            let mut tx = self.db.begin().await?;
            let rows = erasures::erase_attributes(&mut tx, user, AT_ONCE).await?;
            tx.commit().await?;
            let is_last = i64::try_from(rows)? < AT_ONCE;
            Ok(Erased {
                rows,
                next: (!is_last).then_some(Value::Null),
            })
        }
        .boxed()
    }
}
