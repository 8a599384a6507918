//! What this feature holds about a user: activities, what is left of those that are compacted, and an invitation that does
//! not count yet.

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use serde_json::{Value, json};
use uuid::Uuid;

use super::service::{Activity, ActivityService};
use super::store::{self, invitations};
use crate::clock::Timestamp;
use crate::facts;
use crate::personal_data::{AT_ONCE, Erased, Item, PersonalData, Shown};

impl PersonalData for ActivityService {
    fn show(&self, user: Uuid, after: Option<Value>) -> BoxFuture<'_, anyhow::Result<Shown>> {
        async move {
            let after: Option<(Timestamp, Uuid)> = after.map(serde_json::from_value).transpose()?;
            let mut items = Vec::new();
            if after.is_none() {
                for compacted in facts::compacted_of(&self.db, user).await? {
                    items.push(Item {
                        kind: "compactedActivities",
                        data: serde_json::to_value(compacted)?,
                    });
                }
            }
            let after = after.unwrap_or((Timestamp::EPOCH, Uuid::nil()));
            let rows = store::by_time(&self.db, user, after, AT_ONCE).await?;
            let is_last = i64::try_from(rows.len())? < AT_ONCE;
            let last = rows.last().filter(|_| !is_last);
            let next = last.map(|row| json!((row.occurred_at, row.id)));
            for row in rows {
                // Users do not see which employee reported an activity.
                let activity = Activity {
                    reported_by: None,
                    ..row.into()
                };
                items.push(Item {
                    kind: "activity",
                    data: serde_json::to_value(activity)?,
                });
            }
            Ok(Shown { items, next })
        }
        .boxed()
    }

    fn erase(&self, user: Uuid, _: Option<Value>) -> BoxFuture<'_, anyhow::Result<Erased>> {
        async move {
            let mut tx = self.db.begin().await?;
            facts::forget(&mut tx, user).await?;
            let mut rows = store::erase(&mut tx, user, AT_ONCE).await?;
            rows += store::erase_compacted(&mut tx, user, AT_ONCE).await?;
            if rows == 0 {
                invitations::take(&mut tx, &[user]).await?;
            }
            tx.commit().await?;
            Ok(Erased {
                rows,
                next: (rows > 0).then_some(Value::Null),
            })
        }
        .boxed()
    }
}
