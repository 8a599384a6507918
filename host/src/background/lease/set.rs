//! Leases on many rows of one table. One statement acquires, renews or releases all of them, so their cost does not grow
//! with their number.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;
use uuid::Uuid;

use super::store::{self, SetTable};
use super::{DURATION, RENEW_EVERY};
use crate::clock::Clock;
use crate::db::{Db, DbError};

/// The leases of a table that this process holds. When it is dropped without [`LeaseSet::release`], they expire.
#[derive(Debug)]
pub struct LeaseSet {
    holder: Arc<Holder>,
    _renewing: AbortOnDropHandle<()>,
}

#[derive(Debug)]
struct Holder {
    db: Db,
    clock: Clock,
    table: SetTable,
    held: Mutex<HashMap<Uuid, Held>>,
}

/// The local deadline uses the monotonic clock, so that a step of the wall clock cannot extend it.
#[derive(Clone, Copy, Debug)]
struct Held {
    fence: i64,
    deadline: Instant,
}

impl LeaseSet {
    pub fn new(db: Db, clock: Clock, table: SetTable) -> Self {
        let holder = Arc::new(Holder {
            db,
            clock,
            table,
            held: Mutex::default(),
        });
        Self {
            _renewing: AbortOnDropHandle::new(tokio::spawn(Arc::clone(&holder).renew_forever())),
            holder,
        }
    }

    /// Acquires those of these leases that are free, and returns them with their fences.
    pub async fn acquire(&self, ids: &[Uuid]) -> Result<Vec<(Uuid, i64)>, DbError> {
        let Holder { db, clock, table, held } = &*self.holder;
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let (now, deadline) = (clock.now(), Instant::now() + DURATION);
        let mut tx = db.begin().await?;
        let acquired = store::acquire_all(db, &mut tx, table, ids, now, now.plus(DURATION)).await?;
        tx.commit().await?;
        let mut held = held.lock();
        for (id, fence) in &acquired {
            held.insert(
                *id,
                Held {
                    fence: *fence,
                    deadline,
                },
            );
        }
        Ok(acquired)
    }

    /// Whether this process still has the lease.
    pub fn holds(&self, id: Uuid) -> bool {
        let held = self.holder.held.lock();
        held.get(&id).is_some_and(|held| Instant::now() < held.deadline)
    }

    /// Releases leases, so that the next holder need not wait. A lease that was lost stays with its new holder.
    pub async fn release(&self, ids: &[Uuid]) -> Result<(), DbError> {
        let Holder { db, table, held, .. } = &*self.holder;
        let released: Vec<(Uuid, i64)> = {
            let mut held = held.lock();
            ids.iter()
                .filter_map(|id| Some((*id, held.remove(id)?.fence)))
                .collect()
        };
        if released.is_empty() {
            return Ok(());
        }
        let mut tx = db.begin().await?;
        store::release_all(db, &mut tx, table, &released).await?;
        tx.commit().await
    }
}

impl Holder {
    async fn renew_forever(self: Arc<Self>) {
        loop {
            tokio::time::sleep(RENEW_EVERY).await;
            let held: Vec<(Uuid, i64)> = self.held.lock().iter().map(|(id, held)| (*id, held.fence)).collect();
            if held.is_empty() {
                continue;
            }
            let deadline = Instant::now() + DURATION;
            match self.renew(&held).await {
                Ok(renewed) => self.renewed(&held, &renewed, deadline),
                Err(error) => tracing::warn!(leases = held.len(), %error, "leases not renewed"),
            }
        }
    }

    async fn renew(&self, held: &[(Uuid, i64)]) -> Result<Vec<Uuid>, DbError> {
        let mut tx = self.db.begin().await?;
        let until = self.clock.now().plus(DURATION);
        let renewed = store::renew_all(&self.db, &mut tx, &self.table, held, until).await?;
        tx.commit().await?;
        Ok(renewed)
    }

    fn renewed(&self, tried: &[(Uuid, i64)], renewed: &[Uuid], deadline: Instant) {
        let mut held = self.held.lock();
        for (id, fence) in tried {
            // It may have been released meanwhile, or acquired again.
            let Some(lease) = held.get_mut(id).filter(|lease| lease.fence == *fence) else {
                continue;
            };
            if renewed.contains(id) {
                lease.deadline = deadline;
            } else {
                tracing::warn!(lease = %id, fence, "lease lost to another holder");
                held.remove(id);
            }
        }
    }
}
