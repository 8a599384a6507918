//! What this feature holds about a user: sessions and their tokens.

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use serde_json::{Value, json};
use uuid::Uuid;

use super::AuthService;
use super::store;
use crate::personal_data::{AT_ONCE, Erased, Item, PersonalData, Shown};

impl PersonalData for AuthService {
    fn show(&self, user: Uuid, after: Option<Value>) -> BoxFuture<'_, anyhow::Result<Shown>> {
        async move {
            let after: Option<Uuid> = after.map(serde_json::from_value).transpose()?;
            let rows = store::all_sessions(self.db(), user, after.unwrap_or_default(), AT_ONCE).await?;
            let is_last = i64::try_from(rows.len())? < AT_ONCE;
            let next = rows.last().filter(|_| !is_last).map(|row| json!(row.id));
            let items = rows.into_iter().map(|row| Item {
                kind: "session",
                data: json!({
                    "id": row.id, "createdAt": row.created_at, "expiresAt": row.expires_at, "endedAt": row.ended_at,
                }),
            });
            Ok(Shown {
                items: items.collect(),
                next,
            })
        }
        .boxed()
    }

    fn erase(&self, user: Uuid, _: Option<Value>) -> BoxFuture<'_, anyhow::Result<Erased>> {
        async move {
            let mut tx = self.db().begin().await?;
            let rows = store::erase(&mut tx, user, AT_ONCE).await?;
            tx.commit().await?;
            Ok(Erased {
                rows,
                next: (rows > 0).then_some(Value::Null),
            })
        }
        .boxed()
    }
}
