//! Rate limits by the generic cell rate algorithm (GCRA). A bucket is one number: the time at which it will be full
//! again. Each allowed request moves this time forward by the cost of one request, at most one full window ahead of
//! now.
//!
//! `redis/rate_limit.lua` computes the same in Redis. Times are microseconds, so that the cost of one request stays a
//! whole number at high rates.

use crate::clock::Timestamp;

/// Computes [`Policy::bucket_after`] in Redis, on the bucket that all replicas share.
pub(super) const SCRIPT: &str = include_str!("redis/rate_limit.lua");

/// How many requests a subject may make: so many at once, then so many per minute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// The name of the limit in the `RateLimit` headers.
    pub name: &'static str,
    /// Requests that a full bucket allows at once.
    pub burst: u32,
    /// Microseconds until the bucket has room for one more request.
    pub(super) cost: i64,
}

/// The state of a limit for one subject after a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimit {
    pub allowed: bool,
    /// How many more requests are allowed now.
    pub remaining: u32,
    /// Seconds until the bucket is full.
    pub reset: u32,
    /// Seconds until the next request is allowed; 0 if this one was.
    pub retry_after: u32,
}

impl Policy {
    /// `None`, which means no limit, if `burst` is 0.
    pub fn new(name: &'static str, burst: u32, per_minute: u32) -> Option<Self> {
        (burst > 0).then(|| Self {
            name,
            burst,
            cost: 60_000_000 / i64::from(per_minute.max(1)),
        })
    }

    /// Seconds that an empty bucket takes to fill.
    pub fn window(&self) -> u32 {
        seconds(self.capacity())
    }

    pub(super) fn capacity(&self) -> i64 {
        self.cost * i64::from(self.burst)
    }

    /// Whether one more request is allowed, and how far ahead of now the bucket is after it. A bucket that is further
    /// ahead than a full window (a forged one) counts as empty.
    pub(super) fn bucket_after(&self, full_at: Option<i64>, now: i64) -> (bool, i64) {
        let ahead = full_at.map_or(0, |at| at.saturating_sub(now)).clamp(0, self.capacity());
        if ahead + self.cost <= self.capacity() {
            (true, ahead + self.cost)
        } else {
            (false, ahead)
        }
    }

    pub(super) fn state(&self, allowed: bool, ahead: i64) -> RateLimit {
        let ahead = ahead.clamp(0, self.capacity());
        let wait = ahead + self.cost - self.capacity();
        RateLimit {
            allowed,
            remaining: u32::try_from((self.capacity() - ahead) / self.cost).unwrap_or(0),
            reset: seconds(ahead),
            retry_after: if allowed { 0 } else { seconds(wait).max(1) },
        }
    }
}

impl RateLimit {
    /// Combines the shared state (`self`) with the local one, which allowed the request: the stricter value of each.
    pub(super) fn and(self, other: Self) -> Self {
        Self {
            remaining: self.remaining.min(other.remaining),
            reset: self.reset.max(other.reset),
            ..self
        }
    }
}

pub(super) fn micros(now: Timestamp) -> i64 {
    now.as_millis().saturating_mul(1000)
}

/// Rounded up.
fn seconds(micros: i64) -> u32 {
    u32::try_from(micros.max(0).saturating_add(999_999) / 1_000_000).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Three at once, then one every twenty seconds.
    fn policy() -> Policy {
        Policy::new("test", 3, 3).unwrap()
    }

    const SECOND: i64 = 1_000_000;

    /// Makes a request at each of these seconds; returns the seconds of the allowed ones.
    fn allowed(policy: &Policy, seconds: &[i64]) -> Vec<i64> {
        let mut full_at = None;
        let mut allowed = Vec::new();
        for second in seconds {
            let now = second * SECOND;
            let (is_allowed, ahead) = policy.bucket_after(full_at, now);
            if is_allowed {
                allowed.push(*second);
                full_at = Some(now + ahead);
            }
        }
        allowed
    }

    #[test]
    fn a_burst_is_allowed_and_then_the_rate_per_minute() {
        let every_second: Vec<i64> = (1000..1100).collect();
        assert_eq!(
            allowed(&policy(), &every_second),
            [1000, 1001, 1002, 1020, 1040, 1060, 1080]
        );
        assert_eq!(allowed(&policy(), &[0, 0, 0, 0, 60, 60, 60, 60]), [0, 0, 0, 60, 60, 60]);
    }

    #[test]
    fn a_refused_request_does_not_delay_the_next_allowed_one() {
        let mut often = vec![0; 1000];
        often.push(20);
        assert_eq!(allowed(&policy(), &often), [0, 0, 0, 20]);
    }

    #[test]
    fn an_impossible_bucket_counts_as_empty() {
        let policy = policy();
        for full_at in [i64::MAX, i64::MAX / 2, 61 * SECOND] {
            assert_eq!(policy.bucket_after(Some(full_at), 0), (false, 60 * SECOND));
        }
        for full_at in [None, Some(i64::MIN), Some(-1)] {
            assert_eq!(policy.bucket_after(full_at, 0), (true, 20 * SECOND));
        }
    }

    #[test]
    fn the_state_says_what_remains_and_when_to_retry() {
        let policy = policy();
        let first = policy.state(true, 20 * SECOND);
        assert_eq!((first.remaining, first.reset, first.retry_after), (2, 20, 0));
        let refused = policy.state(false, 60 * SECOND - 1);
        assert_eq!((refused.remaining, refused.reset, refused.retry_after), (0, 60, 20));
        assert_eq!((policy.window(), Policy::new("off", 0, 100)), (60, None));
    }
}
