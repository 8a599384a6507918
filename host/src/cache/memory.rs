//! What one process counts for itself: rate limits, and the events that are claimed most. All of it is bounded.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::ops::RangeInclusive;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use moka::ops::compute::{CompResult, Op};
use moka::policy::EvictionPolicy;
use moka::sync::Cache;
use uuid::Uuid;

use super::HOURS;
use super::gcra::{Policy, Verdict, micros};
use crate::clock::Timestamp;

/// Beyond it the buckets that were asked longest ago are forgotten, and so are full.
const BUCKETS: u64 = 100_000;
/// Longer than any bucket takes to fill.
const BUCKET_IDLE: Duration = Duration::from_hours(1);
/// Of the last hour; beyond it a user may count twice.
const SEEN: u64 = 100_000;
/// Whose claims are counted in one hour; further ones are not.
const EVENTS: usize = 10_000;

pub(super) struct Memory {
    /// When each bucket will be full again.
    buckets: Cache<[u8; 16], i64>,
    seen: Cache<(i64, Uuid, Uuid), ()>,
    hours: Mutex<BTreeMap<i64, HashMap<Uuid, u64>>>,
}

impl Memory {
    pub(super) fn new() -> Self {
        Self {
            buckets: Cache::builder()
                .max_capacity(BUCKETS)
                // The default policy may refuse a newcomer, whose bucket would then stay full for ever.
                .eviction_policy(EvictionPolicy::lru())
                .time_to_idle(BUCKET_IDLE)
                .build(),
            seen: Cache::builder()
                .max_capacity(SEEN)
                .eviction_policy(EvictionPolicy::lru())
                .time_to_live(Duration::from_hours(1))
                .build(),
            hours: Mutex::default(),
        }
    }

    pub(super) fn take(&self, policy: &Policy, bucket: [u8; 16], now: Timestamp) -> Verdict {
        let now = micros(now);
        let mut verdict = None;
        let result = self.buckets.entry(bucket).and_compute_with(|full_at| {
            let (granted, ahead) = policy.bucket_after(full_at.map(moka::Entry::into_value), now);
            verdict = Some(policy.verdict(granted, ahead));
            if granted { Op::Put(now + ahead) } else { Op::Nop }
        });
        drop::<CompResult<_, _>>(result);
        // The closure ran; had it not, no is the safe answer.
        verdict.unwrap_or_else(|| policy.verdict(false, policy.capacity()))
    }

    /// Whether it was counted: not if this user was in this hour.
    pub(super) fn count(&self, event_id: Uuid, user_id: Uuid, hour: i64) -> bool {
        if !self.seen.entry((hour, event_id, user_id)).or_insert(()).is_fresh() {
            return false;
        }
        let mut hours = self.hours();
        hours.retain(|counted, _| *counted > hour - HOURS);
        let events = hours.entry(hour).or_default();
        let has_room = events.len() < EVENTS;
        match events.get_mut(&event_id) {
            Some(count) => *count += 1,
            None if has_room => drop(events.insert(event_id, 1)),
            None => {}
        }
        true
    }

    pub(super) fn top(&self, hours: RangeInclusive<i64>, most: usize) -> Vec<(Uuid, u64)> {
        let mut sums: HashMap<Uuid, u64> = HashMap::new();
        for (event_id, count) in self.hours().range(hours).flat_map(|(_, events)| events) {
            *sums.entry(*event_id).or_default() += count;
        }
        let mut top: Vec<_> = sums.into_iter().collect();
        top.sort_unstable_by_key(|(event_id, count)| Reverse((*count, *event_id)));
        top.truncate(most);
        top
    }

    fn hours(&self) -> MutexGuard<'_, BTreeMap<i64, HashMap<Uuid, u64>>> {
        self.hours.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(number: u128) -> Uuid {
        Uuid::from_u128(number)
    }

    #[test]
    fn of_many_threads_a_burst_is_granted() {
        let (memory, policy) = (Memory::new(), Policy::new("test", 50, 1).unwrap());
        let granted: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|_| {
                    scope.spawn(|| {
                        (0..100)
                            .filter(|_| memory.take(&policy, [0; 16], Timestamp::EPOCH).granted)
                            .count()
                    })
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(granted, 50);
        assert!(
            memory.take(&policy, [1; 16], Timestamp::EPOCH).granted,
            "another bucket"
        );
    }

    #[test]
    fn a_user_counts_once_an_hour_and_a_day_is_counted() {
        let memory = Memory::new();
        for user in 0..3 {
            assert!(memory.count(event(1), event(user), 100));
            assert!(!memory.count(event(1), event(user), 100));
        }
        assert!(memory.count(event(2), event(0), 101));
        assert!(memory.count(event(1), event(0), 101));
        assert_eq!(memory.top(78..=101, 10), [(event(1), 4), (event(2), 1)]);
        assert_eq!(memory.top(78..=101, 1), [(event(1), 4)]);
        assert_eq!(memory.top(101..=124, 10), [(event(2), 1), (event(1), 1)]);
        memory.count(event(3), event(0), 124);
        assert_eq!(memory.hours().keys().copied().collect::<Vec<_>>(), [101, 124]);
    }
}
