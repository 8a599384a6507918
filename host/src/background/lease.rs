//! A lease: one process at a time works on something that all processes share, such as an event's queue of claims.
//!
//! A lease is a row with an instant and a **fence**. A process that acquires the lease raises the fence by one. A write
//! under a lease takes effect only while the row has that fence, so a holder that was too slow can no longer change
//! anything. The holder renews the lease in the background. A holder that dies leaves a lease that expires after
//! [`DURATION`]; a holder that releases it sets the instant to 0, which is in the past for every clock. The rows are in
//! their features' tables. Must not know: what a lease is for.

mod set;
mod store;

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

pub use set::LeaseSet;
pub(crate) use store::table;
pub use store::{Key, SetTable, Table};

use crate::clock::Clock;
use crate::db::{Db, DbError};

/// How long a lease lasts without renewal.
pub const DURATION: Duration = Duration::from_secs(4);
pub const RENEW_EVERY: Duration = Duration::from_secs(1);
const _: () = assert!(DURATION.as_millis() > 2 * RENEW_EVERY.as_millis());

/// A lease that this process holds. When it is dropped without [`Lease::release`], it expires.
#[derive(Debug)]
pub struct Lease {
    holder: Arc<Holder>,
    lost: CancellationToken,
    renewing: AbortOnDropHandle<()>,
}

#[derive(Debug)]
struct Holder {
    db: Db,
    clock: Clock,
    table: &'static Table,
    key: Key,
    fence: i64,
}

impl Lease {
    /// `None`: another holder has it, or there is no such row.
    pub async fn acquire(
        db: &Db,
        clock: &Clock,
        table: &'static Table,
        key: impl Into<Key>,
    ) -> Result<Option<Self>, DbError> {
        let (key, now, began) = (key.into(), clock.now(), Instant::now());
        let mut tx = db.begin().await?;
        // A lease that ends later than any holder could have set was taken before the clock stepped back.
        let unreachable = now.plus(2 * DURATION);
        let fence = store::acquire(&mut tx, table, &key, now, now.plus(DURATION), unreachable).await?;
        tx.commit().await?;
        let Some(fence) = fence else { return Ok(None) };
        let holder = Arc::new(Holder {
            db: db.clone(),
            clock: clock.clone(),
            table,
            key,
            fence,
        });
        let lost = CancellationToken::new();
        let renewing = tokio::spawn(Arc::clone(&holder).renew_until_lost(began, lost.clone()));
        Ok(Some(Self {
            holder,
            lost,
            renewing: AbortOnDropHandle::new(renewing),
        }))
    }

    /// Every write under this lease names this fence.
    pub fn fence(&self) -> i64 {
        self.holder.fence
    }

    /// Another process has the lease, or may have it by now because it could not be renewed in time.
    pub fn is_lost(&self) -> bool {
        self.lost.is_cancelled()
    }

    /// Resolves when [`Self::is_lost`].
    pub async fn lost(&self) {
        self.lost.cancelled().await;
    }

    /// Releases the lease, so that the next holder need not wait. A lease that was lost stays with its new holder.
    pub async fn release(self) -> Result<(), DbError> {
        drop(self.renewing);
        let Holder {
            db, table, key, fence, ..
        } = &*self.holder;
        let mut tx = db.begin().await?;
        store::release(&mut tx, table, key, *fence).await?;
        tx.commit().await
    }
}

impl Holder {
    /// The local deadline uses the monotonic clock, so that a step of the wall clock cannot extend it.
    async fn renew_until_lost(self: Arc<Self>, acquired: Instant, lost: CancellationToken) {
        let _lost = lost.drop_guard();
        let mut deadline = acquired + DURATION;
        loop {
            tokio::time::sleep(RENEW_EVERY).await;
            let began = Instant::now();
            match tokio::time::timeout_at(deadline, self.renew()).await {
                Ok(Ok(true)) => deadline = began + DURATION,
                Ok(Ok(false)) => {
                    tracing::warn!(lease = %self.key, fence = self.fence, "lease lost to another holder");
                    return;
                }
                Ok(Err(error)) => tracing::warn!(lease = %self.key, %error, "lease not renewed"),
                Err(_) => {
                    tracing::warn!(lease = %self.key, fence = self.fence, "lease expired before it could be renewed");
                    return;
                }
            }
        }
    }

    async fn renew(&self) -> Result<bool, DbError> {
        let mut tx = self.db.begin().await?;
        let until = self.clock.now().plus(DURATION);
        let is_ours = store::renew(&mut tx, self.table, &self.key, self.fence, until).await?;
        tx.commit().await?;
        Ok(is_ours)
    }
}
