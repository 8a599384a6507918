//! Deletes old refusals: rejected and failed requests that need no proof any more.
//!
//! Granted and reversed requests are never deleted. A request is kept as long as a response under an Idempotency-Key refers
//! to it.

use std::time::Duration;

use super::error::ClaimError;
use super::logged::DELETED_BY_RETENTION;
use super::store;
use crate::clock::Clock;
use crate::db::Db;
use crate::transparency;

/// Rows that one transaction deletes.
const PRUNED_AT_ONCE: i64 = 500;

/// Cheap to clone.
#[derive(Clone)]
pub(super) struct Retention {
    pub db: Db,
    pub clock: Clock,
    /// Zero: refusals are kept.
    pub refusals: Duration,
    /// How long a response is stored under its Idempotency-Key.
    pub responses: Duration,
}

impl Retention {
    /// Deletes old refusals in short transactions, and returns their number.
    pub(super) async fn prune(&self) -> Result<u64, ClaimError> {
        let mut deleted = 0;
        if self.refusals.is_zero() {
            return Ok(deleted);
        }
        let cutoff = self.clock.now().minus(self.refusals.max(self.responses));
        for kind in store::refusals::KINDS {
            // Each request is looked at once, also if a response still refers to it.
            let mut after = uuid::Uuid::nil();
            loop {
                let old = store::refusals::old(&self.db, kind, after, cutoff.first_id(), PRUNED_AT_ONCE).await?;
                let Some((_, last)) = old.last() else { break };
                after = *last;
                let mut tx = self.db.begin().await?;
                let count = store::refusals::delete(&self.db, &mut tx, &old).await?;
                if count > 0 {
                    transparency::removed(&mut tx, &self.clock, DELETED_BY_RETENTION, cutoff.first_id()).await?;
                }
                deleted += count;
                tx.commit().await?;
            }
        }
        Ok(deleted)
    }
}
