//! The keys in use, as each process keeps them, so that a request costs no look into the database.
//!
//! No process trusts a copy that is older than `auth.session_cache_seconds`; a change of a key reaches other processes as an
//! invalidation.

use std::sync::Arc;
use std::time::Duration;

use moka::future::Cache;
use uuid::Uuid;

use super::store::{self, KeyRow};
use crate::cache::{Copies, Invalidation, Topic};
use crate::clock::{Clock, Timestamp};
use crate::db::{Db, Result};

/// Keys that a process keeps; about 1 KiB each.
const CAPACITY: u64 = 10_000;

/// Networks whose failures are counted.
const FAILING_NETWORKS: u64 = 10_000;

/// Unknown keys that a network may send in a minute, before its keys are no longer looked up.
const MAX_FAILURES: u32 = 60;

const MINUTE: Duration = Duration::from_mins(1);

#[derive(Clone)]
pub(super) struct CachedKeys {
    db: Db,
    clock: Clock,
    copies: Copies<Arc<KeyRow>>,
    /// Unknown keys of a network, by the minute.
    failures: Cache<(String, i64), u32>,
}

impl CachedKeys {
    pub(super) fn new(db: Db, clock: Clock, trusted_for: Duration) -> Self {
        Self {
            db,
            clock,
            copies: Copies::new(CAPACITY, trusted_for),
            failures: Cache::builder()
                .max_capacity(FAILING_NETWORKS)
                .time_to_live(2 * MINUTE)
                .build(),
        }
    }

    /// The key with this id. A network that has sent many unknown keys gets no further look into the database for a minute.
    pub(super) async fn find(&self, id: Uuid, network: &str) -> Result<Option<Arc<KeyRow>>> {
        let now = self.clock.now();
        if let Some(row) = self.copies.get(id, now).await {
            return Ok(Some(row));
        }
        let counted = (network.to_owned(), now.as_millis().div_euclid(60_000));
        let failures = self.failures.get(&counted).await.unwrap_or_default();
        if failures >= MAX_FAILURES {
            return Ok(None);
        }
        let Some(row) = store::find(&self.db, id).await? else {
            self.failures.insert(counted, failures + 1).await;
            return Ok(None);
        };
        Ok(Some(self.keep(row, now).await))
    }

    /// The key with this id, which was valid a while ago.
    pub(super) async fn read(&self, id: Uuid) -> Result<Option<Arc<KeyRow>>> {
        let now = self.clock.now();
        if let Some(row) = self.copies.get(id, now).await {
            return Ok(Some(row));
        }
        match store::find(&self.db, id).await? {
            Some(row) => Ok(Some(self.keep(row, now).await)),
            None => Ok(None),
        }
    }

    async fn keep(&self, row: KeyRow, now: Timestamp) -> Arc<KeyRow> {
        let row = Arc::new(row);
        self.copies.keep(row.id, Arc::clone(&row), now).await;
        row
    }

    pub(super) async fn drop_copy(&self, id: Uuid) {
        self.copies.drop_copy(id).await;
    }

    /// Another process changed keys.
    pub(super) async fn on_invalidation(&self, invalidation: &Invalidation) {
        match invalidation {
            Invalidation::Changed(Topic::ServiceKey(id)) => self.drop_copy(*id).await,
            Invalidation::Changed(_) => {}
            Invalidation::All => self.copies.drop_all(),
        }
    }
}
