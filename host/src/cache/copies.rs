//! Copies of rows that every request checks: sessions, accounts, service keys. A process keeps a copy in memory and trusts it
//! for a bounded time. A dropped copy cannot return through a slow read that began before the change.
//!
//! Must not know: what a row means, Redis.

use std::time::Duration;

use moka::future::Cache;
use moka::policy::EvictionPolicy;
use uuid::Uuid;

use crate::clock::Timestamp;

/// Longer than any read of the database takes.
pub const SLOWEST_READ: Duration = Duration::from_mins(1);

#[derive(Clone, Debug)]
pub struct Copies<V: Clone + Send + Sync + 'static> {
    trusted_for: Duration,
    kept: Cache<Uuid, (V, Timestamp)>,
    /// Rows that changed a moment ago.
    dropped: Cache<Uuid, ()>,
}

impl<V: Clone + Send + Sync + 'static> Copies<V> {
    /// Keeps at most `capacity` copies.
    pub fn new(capacity: u64, trusted_for: Duration) -> Self {
        Self {
            trusted_for,
            kept: Cache::builder()
                .max_capacity(capacity)
                .time_to_live(trusted_for)
                .build(),
            dropped: Cache::builder()
                .max_capacity(capacity)
                .eviction_policy(EvictionPolicy::lru())
                .time_to_live(trusted_for + SLOWEST_READ)
                .build(),
        }
    }

    /// The copy, unless it is too old or was dropped.
    pub async fn get(&self, id: Uuid, now: Timestamp) -> Option<V> {
        let (value, read_at) = self.kept.get(&id).await?;
        (now < read_at.plus(self.trusted_for) && !self.was_dropped(id)).then_some(value)
    }

    /// `read_at`: a time before the read began.
    pub async fn keep(&self, id: Uuid, value: V, read_at: Timestamp) {
        if !self.was_dropped(id) {
            self.kept.insert(id, (value, read_at)).await;
        }
    }

    /// The row changed: no copy that was read so far is trusted.
    pub async fn drop_copy(&self, id: Uuid) {
        self.dropped.insert(id, ()).await;
        self.kept.invalidate(&id).await;
    }

    /// Whether the row changed a moment ago.
    pub fn was_dropped(&self, id: Uuid) -> bool {
        self.dropped.contains_key(&id)
    }

    /// Reads the row again at its next use. A slow read may bring an older copy back, for as long as copies are trusted.
    pub async fn refresh(&self, id: Uuid) {
        self.kept.invalidate(&id).await;
    }

    pub fn drop_all(&self) {
        self.kept.invalidate_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: Uuid = Uuid::from_u128(1);

    fn at(second: u64) -> Timestamp {
        Timestamp::EPOCH.plus(Duration::from_secs(second))
    }

    #[tokio::test]
    async fn a_copy_is_trusted_for_its_time() {
        let copies = Copies::new(10, Duration::from_secs(2));
        copies.keep(ID, "row", at(5)).await;
        assert_eq!(copies.get(ID, at(6)).await, Some("row"));
        assert_eq!(copies.get(ID, at(7)).await, None);
    }

    #[tokio::test]
    async fn a_slow_read_does_not_bring_a_dropped_copy_back() {
        let copies = Copies::new(10, Duration::from_secs(2));
        copies.keep(ID, "old", at(5)).await;
        copies.drop_copy(ID).await;
        copies.keep(ID, "old", at(5)).await;
        assert_eq!(copies.get(ID, at(5)).await, None);
    }
}
