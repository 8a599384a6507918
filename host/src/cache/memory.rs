//! The in-process counts that replace Redis: rate limits and popular events. All of it has a fixed maximum size.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::ops::RangeInclusive;
use std::time::Duration;

use moka::ops::compute::{CompResult, Op};
use moka::policy::EvictionPolicy;
use moka::sync::Cache;
use parking_lot::Mutex;
use uuid::Uuid;

use super::HOURS;
use super::gcra::{Policy, RateLimit, micros};
use crate::clock::Timestamp;

/// The maximum number of buckets. Beyond it the least recently used bucket is evicted, and so counts as full again.
const BUCKETS: u64 = 100_000;
/// How long an unused bucket is kept: longer than any bucket takes to fill.
const BUCKET_IDLE: Duration = Duration::from_hours(1);
/// The maximum number of users and events seen in the last hour. Beyond it a user may be counted twice.
const SEEN: u64 = 100_000;
/// The maximum number of events per hour; further events are not counted.
const EVENTS: usize = 10_000;

pub(super) struct Memory {
    /// The time at which each bucket will be full again, in microseconds.
    buckets: Cache<[u8; 16], i64>,
    seen: Cache<(i64, Uuid, Uuid), ()>,
    hours: Mutex<BTreeMap<i64, HashMap<Uuid, u64>>>,
}

impl Memory {
    pub(super) fn new() -> Self {
        Self {
            buckets: Cache::builder()
                .max_capacity(BUCKETS)
                // The default policy may reject a new key; its bucket would then stay full and never limit anything.
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

    pub(super) fn check(&self, policy: &Policy, bucket: [u8; 16], now: Timestamp) -> RateLimit {
        let now = micros(now);
        let mut state = None;
        let result = self.buckets.entry(bucket).and_compute_with(|full_at| {
            let (allowed, ahead) = policy.bucket_after(full_at.map(moka::Entry::into_value), now);
            state = Some(policy.state(allowed, ahead));
            if allowed { Op::Put(now + ahead) } else { Op::Nop }
        });
        drop::<CompResult<_, _>>(result);
        // The closure always runs; if it had not, refusing is the safe answer.
        state.unwrap_or_else(|| policy.state(false, policy.capacity()))
    }

    /// Whether the user was counted: `false` if this user was counted in this hour already.
    pub(super) fn count(&self, event_id: Uuid, user_id: Uuid, hour: i64) -> bool {
        if !self.seen.entry((hour, event_id, user_id)).or_insert(()).is_fresh() {
            return false;
        }
        let mut hours = self.hours.lock();
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
        for (event_id, count) in self.hours.lock().range(hours).flat_map(|(_, events)| events) {
            *sums.entry(*event_id).or_default() += count;
        }
        let mut top: Vec<_> = sums.into_iter().collect();
        top.sort_unstable_by_key(|(event_id, count)| Reverse((*count, *event_id)));
        top.truncate(most);
        top
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(number: u128) -> Uuid {
        Uuid::from_u128(number)
    }

    #[test]
    fn many_threads_together_get_one_burst() {
        let (memory, policy) = (Memory::new(), Policy::new("test", 50, 1).unwrap());
        let allowed: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|_| {
                    scope.spawn(|| {
                        (0..100)
                            .filter(|_| memory.check(&policy, [0; 16], Timestamp::EPOCH).allowed)
                            .count()
                    })
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(allowed, 50);
        assert!(
            memory.check(&policy, [1; 16], Timestamp::EPOCH).allowed,
            "another bucket"
        );
    }

    #[test]
    fn a_user_counts_once_per_hour_and_counts_last_a_day() {
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
        assert_eq!(memory.hours.lock().keys().copied().collect::<Vec<_>>(), [101, 124]);
    }
}
