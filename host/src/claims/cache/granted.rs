//! Repeats of claims that were granted: answered from memory, as long as they would be answered the same.
//!
//! A entry says that a user has all grants of an event in a period, and which is the newest; it is good for the revision
//! of the event at which it was true. It is never used to grant, and whoever takes a grant back must call
//! [`GrantedCache::invalidate`] just before the commit, whose answer may be lost. What is not told is bounded by time: a process that hears the others trusts an entry
//! for a minute, one that does not for two seconds.

use std::time::Duration;

use moka::future::Cache;
use moka::policy::EvictionPolicy;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::cache::{Cache as Shared, Invalidation, Topic};
use crate::claims::model::{RewardRequest, Status};
use crate::claims::record::ClaimInput;
use crate::claims::service::ClaimError;
use crate::clock::Timestamp;
use crate::events::Offer;

/// While changes are heard from other processes.
const MAX_AGE: Duration = Duration::from_mins(1);
/// While they are not: as long as anything else that a process remembers.
const MAX_AGE_ALONE: Duration = Duration::from_secs(2);
/// A grant that is taken back stays so: whoever reads before that does not put the entry back, also with a clock that is
/// half a minute off, if the commit takes half a minute.
const TOMBSTONE_TTL: Duration = Duration::from_mins(2);
/// About 300 bytes each.
const CAPACITY: u64 = 100_000;

/// Wired by the service; cheap to clone.
#[derive(Clone)]
pub(in crate::claims) struct GrantedCache {
    shared: Shared,
    entries: Cache<String, GrantedEntry>,
    /// Taken back or about to be, here or at another process. It is asked last, as a slow answer from Redis may come late.
    tombstones: Cache<String, ()>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct GrantedEntry {
    event_revision: i64,
    reward_request_id: Uuid,
    grant_ids: Vec<Uuid>,
    /// The database said so then, or later.
    #[serde(skip, default = "long_ago")]
    at: Timestamp,
}

impl GrantedCache {
    pub(in crate::claims) fn new(shared: Shared) -> Self {
        Self {
            shared,
            entries: bounded(MAX_AGE),
            tombstones: bounded(TOMBSTONE_TTL),
        }
    }

    /// The answer to a repeat, if it is known to be one. No database.
    pub(in crate::claims) async fn lookup(&self, claim: &ClaimInput, offer: &Offer) -> Option<ClaimError> {
        let (event, now) = (&offer.event, claim.received_at);
        let name = name(event.id, claim.user_id, &event.recurrence.period.key(now, &offer.zone));
        let entry = self.find(&name, now).await?;
        (entry.event_revision == event.revision).then(|| ClaimError::AlreadyGranted {
            reward_request_id: entry.reward_request_id,
            grant_ids: entry.grant_ids,
            next_at: event
                .recurrence
                .period
                .next_start(now, &offer.zone)
                .filter(|at| *at < event.end_date),
        })
    }

    /// Takes note of what a claim was answered with, if repeats of it will not be granted. `before`: how many grants the
    /// user had in the period.
    pub(in crate::claims) async fn note(
        &self,
        claim: &ClaimInput,
        offer: &Offer,
        before: u32,
        request: &RewardRequest,
    ) {
        if request.status == Status::Granted && before + 1 >= offer.event.recurrence.count {
            // A claim that waited may have been received long ago.
            let waited = claim.queued.and(request.decided_at);
            let entry = GrantedEntry {
                event_revision: offer.event.revision,
                reward_request_id: request.id,
                grant_ids: request.grants.iter().map(|grant| grant.id).collect(),
                at: waited.unwrap_or(claim.received_at),
            };
            let name = name(claim.event_id, claim.user_id, &request.period);
            self.remember(name, entry).await;
        }
    }

    /// Takes note of a repeat that the database answered.
    pub(in crate::claims) async fn note_repeat(
        &self,
        claim: &ClaimInput,
        offer: &Offer,
        period: &str,
        answer: &ClaimError,
    ) {
        if let ClaimError::AlreadyGranted {
            reward_request_id,
            grant_ids,
            ..
        } = answer
        {
            let entry = GrantedEntry {
                event_revision: offer.event.revision,
                reward_request_id: *reward_request_id,
                grant_ids: grant_ids.clone(),
                at: claim.received_at,
            };
            self.remember(name(claim.event_id, claim.user_id, period), entry).await;
        }
    }

    /// A grant of the user in this period is about to be taken back.
    pub(in crate::claims) async fn invalidate(&self, event_id: Uuid, user_id: Uuid, period: &str) {
        let name = name(event_id, user_id, period);
        self.add_tombstone(&name).await;
        self.shared.invalidate(&shared_key(&name), TOMBSTONE_TTL).await;
        self.shared.publish(Topic::Granted(name)).await;
    }

    /// Another process took grants back.
    pub(in crate::claims) async fn on_invalidation(&self, invalidation: &Invalidation) {
        match invalidation {
            Invalidation::Changed(Topic::Granted(name)) => self.add_tombstone(name).await,
            Invalidation::Changed(_) => {}
            Invalidation::All => self.entries.invalidate_all(),
        }
    }

    async fn add_tombstone(&self, name: &str) {
        self.tombstones.insert(name.to_owned(), ()).await;
        self.entries.invalidate(name).await;
    }

    async fn find(&self, name: &str, now: Timestamp) -> Option<GrantedEntry> {
        let trusted = if self.shared.is_shared() {
            MAX_AGE
        } else {
            MAX_AGE_ALONE
        };
        let known = self.entries.get(name).await;
        let entry = if let Some(entry) = known.filter(|entry| entry.at <= now && now < entry.at.plus(trusted)) {
            entry
        } else {
            let (at, value) = self.shared.get(&shared_key(name), now, trusted).await?;
            let entry = serde_json::from_slice::<GrantedEntry>(&value).ok()?;
            let entry = GrantedEntry { at, ..entry };
            self.entries.insert(name.to_owned(), entry.clone()).await;
            entry
        };
        (!self.tombstones.contains_key(name)).then_some(entry)
    }

    async fn remember(&self, name: String, entry: GrantedEntry) {
        if let Ok(value) = serde_json::to_vec(&entry) {
            self.shared.put(&shared_key(&name), entry.at, &value, MAX_AGE);
        }
        self.entries.insert(name, entry).await;
    }
}

fn bounded<T: Clone + Send + Sync + 'static>(lifetime: Duration) -> Cache<String, T> {
    Cache::builder()
        .max_capacity(CAPACITY)
        .eviction_policy(EvictionPolicy::lru())
        .time_to_live(lifetime)
        .build()
}

fn name(event_id: Uuid, user_id: Uuid, period: &str) -> String {
    format!("{event_id}:{user_id}:{period}")
}

fn shared_key(name: &str) -> String {
    format!("hint:{name}")
}

fn long_ago() -> Timestamp {
    Timestamp::EPOCH
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: i64 = 1_772_366_400_000;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(NOON + seconds * 1000).unwrap()
    }

    fn entry(seconds: i64) -> GrantedEntry {
        GrantedEntry {
            event_revision: 1,
            reward_request_id: Uuid::from_u128(1),
            grant_ids: vec![Uuid::from_u128(2)],
            at: at(seconds),
        }
    }

    fn alone() -> GrantedCache {
        GrantedCache::new(Shared::in_process(&[0; 32]))
    }

    #[tokio::test]
    async fn a_process_that_hears_nobody_trusts_a_hint_for_two_seconds() {
        let granted_cache = alone();
        granted_cache.remember("name".to_owned(), entry(0)).await;
        assert_eq!(granted_cache.find("name", at(1)).await, Some(entry(0)));
        assert_eq!(granted_cache.find("name", at(2)).await, None);
        assert_eq!(granted_cache.find("name", at(-1)).await, None, "from the future");
        assert_eq!(granted_cache.find("another", at(1)).await, None);
    }

    #[tokio::test]
    async fn what_was_forgotten_is_not_remembered_by_whoever_is_late() {
        let (event, user) = (Uuid::from_u128(3), Uuid::from_u128(4));
        let granted_cache = alone();
        let name = name(event, user, "once");
        granted_cache.remember(name.clone(), entry(0)).await;
        granted_cache.invalidate(event, user, "once").await;
        assert_eq!(granted_cache.find(&name, at(0)).await, None);
        granted_cache.remember(name.clone(), entry(0)).await;
        assert_eq!(granted_cache.find(&name, at(0)).await, None);
    }

    #[tokio::test]
    async fn what_another_process_tells_is_forgotten_and_what_it_may_have_told_too() {
        let granted_cache = alone();
        for name in ["one", "two"] {
            granted_cache.remember(name.to_owned(), entry(0)).await;
        }
        granted_cache
            .on_invalidation(&Invalidation::Changed(Topic::Granted("one".to_owned())))
            .await;
        assert_eq!(granted_cache.find("one", at(0)).await, None);
        assert_eq!(granted_cache.find("two", at(0)).await, Some(entry(0)));
        granted_cache.on_invalidation(&Invalidation::All).await;
        assert_eq!(granted_cache.find("two", at(0)).await, None);
    }
}
