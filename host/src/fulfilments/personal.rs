//! What this feature holds about a user: texts of acknowledgements and of failed attempts. An export shows them with the
//! grants.

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use serde_json::{Value, json};
use uuid::Uuid;

use super::service::FulfilmentService;
use super::store;
use crate::personal_data::{AT_ONCE, Erased, PersonalData, Shown};

impl PersonalData for FulfilmentService {
    fn show(&self, _: Uuid, _: Option<Value>) -> BoxFuture<'_, anyhow::Result<Shown>> {
        async { Ok(Shown::default()) }.boxed()
    }

    fn erase(&self, user: Uuid, after: Option<Value>) -> BoxFuture<'_, anyhow::Result<Erased>> {
        async move {
            let after: Option<Uuid> = after.map(serde_json::from_value).transpose()?;
            let mut tx = self.db.begin().await?;
            let (rows, last) = store::erase(&mut tx, user, after.unwrap_or_default(), AT_ONCE).await?;
            tx.commit().await?;
            Ok(Erased {
                rows,
                next: last.map(|last| json!(last)),
            })
        }
        .boxed()
    }
}
