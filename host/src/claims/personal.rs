//! What this feature holds about a user: requests with their receipts and grants, pending claims and stored responses.

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use serde_json::{Value, json};
use uuid::Uuid;

use super::error::ClaimError;
use super::service::Claims;
use super::store::{Filter, erasure};
use crate::personal_data::{AT_ONCE, Erased, Item, PersonalData, Shown};

/// Requests that one part of an export shows: each has a receipt, which is read by itself.
const SHOWN_AT_ONCE: u32 = 50;

impl PersonalData for Claims {
    fn show(&self, user: Uuid, after: Option<Value>) -> BoxFuture<'_, anyhow::Result<Shown>> {
        async move {
            let after: Option<Uuid> = after.map(serde_json::from_value).transpose()?;
            let filter = Filter {
                user_id: Some(user),
                ..Filter::default()
            };
            let mut requests = self.requests.list(filter, after, SHOWN_AT_ONCE).await?;
            let is_last = requests.len() <= SHOWN_AT_ONCE as usize;
            requests.truncate(SHOWN_AT_ONCE as usize);
            let next = requests.last().filter(|_| !is_last).map(|request| json!(request.id));
            let mut items = Vec::new();
            for request in requests {
                let receipt = match self.requests.receipt(request.id).await {
                    Ok((_, receipt)) => Some(receipt),
                    Err(ClaimError::NotDecided { .. } | ClaimError::NotFound(_)) => None,
                    Err(error) => return Err(error.into()),
                };
                items.push(Item {
                    kind: "rewardRequest",
                    data: json!({"request": request, "receipt": receipt}),
                });
            }
            Ok(Shown { items, next })
        }
        .boxed()
    }

    fn erase(&self, user: Uuid, after: Option<Value>) -> BoxFuture<'_, anyhow::Result<Erased>> {
        async move {
            let db = &self.requests.db;
            let mut tx = db.begin().await?;
            let after: Option<Uuid> = after.map(serde_json::from_value).transpose()?;
            let Some(after) = after else {
                // Responses refer to requests, and a pending claim must not become one.
                let rows = erasure::erase_open(&mut tx, user, AT_ONCE).await?;
                // The task `review-expiry` rejects them, with a receipt; a later run erases that.
                let held = erasure::end_reviews(&mut tx, user, self.now()).await?;
                tx.commit().await?;
                let again = i64::try_from(rows)? >= AT_ONCE;
                return Ok(Erased {
                    rows: rows + held,
                    next: Some(if again { Value::Null } else { json!(Uuid::nil()) }),
                });
            };
            let (rows, last) = erasure::erase_content(&mut tx, user, after, AT_ONCE).await?;
            tx.commit().await?;
            Ok(Erased {
                rows,
                next: last.map(|last| json!(last)),
            })
        }
        .boxed()
    }
}
