//! The arithmetic of rate limits: the generic cell rate algorithm. A bucket is one number, the instant at which it will
//! be full again; each grant moves it on by what one costs, and never further ahead than a full bucket is worth.
//!
//! `take.lua` does the same in Redis. Microseconds, so that high rates divide well.

use crate::clock::Timestamp;

/// Computes the same as [`Policy::bucket_after`], at one place for all replicas.
pub(super) const TAKE: &str = include_str!("redis/take.lua");

/// How much of something may be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// As the `RateLimit` headers tell it.
    pub name: &'static str,
    /// At once.
    pub burst: u32,
    /// Until one more may be done.
    pub(super) cost: i64,
}

/// What came of asking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    pub granted: bool,
    /// How many more would be granted now.
    pub remaining: u32,
    /// Seconds until a full burst would be.
    pub reset: u32,
    /// Seconds until asking again is worth it; 0 when it was granted.
    pub retry_after: u32,
}

impl Policy {
    /// `None`, which is no limit, when `burst` is 0.
    pub fn new(name: &'static str, burst: u32, per_minute: u32) -> Option<Self> {
        (burst > 0).then(|| Self {
            name,
            burst,
            cost: 60_000_000 / i64::from(per_minute.max(1)),
        })
    }

    /// How many seconds an empty bucket takes to fill.
    pub fn window(&self) -> u32 {
        seconds(self.capacity())
    }

    pub(super) fn capacity(&self) -> i64 {
        self.cost * i64::from(self.burst)
    }

    /// What becomes of a bucket when somebody asks: whether it is granted, and how far ahead of now it stands then. A
    /// bucket that is further ahead than any grant of ours could move it is taken for an empty one.
    pub(super) fn bucket_after(&self, full_at: Option<i64>, now: i64) -> (bool, i64) {
        let ahead = full_at.map_or(0, |at| at.saturating_sub(now)).clamp(0, self.capacity());
        if ahead + self.cost <= self.capacity() {
            (true, ahead + self.cost)
        } else {
            (false, ahead)
        }
    }

    pub(super) fn verdict(&self, granted: bool, ahead: i64) -> Verdict {
        let ahead = ahead.clamp(0, self.capacity());
        let wait = ahead + self.cost - self.capacity();
        Verdict {
            granted,
            remaining: u32::try_from((self.capacity() - ahead) / self.cost).unwrap_or(0),
            reset: seconds(ahead),
            retry_after: if granted { 0 } else { seconds(wait).max(1) },
        }
    }
}

impl Verdict {
    /// Of two verdicts that both granted, or of which the first did not: what holds for both.
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

    /// Asks at these seconds; says when it was granted.
    fn granted(policy: &Policy, seconds: &[i64]) -> Vec<i64> {
        let mut full_at = None;
        let mut granted = Vec::new();
        for second in seconds {
            let now = second * SECOND;
            let (is_granted, ahead) = policy.bucket_after(full_at, now);
            if is_granted {
                granted.push(*second);
                full_at = Some(now + ahead);
            }
        }
        granted
    }

    #[test]
    fn a_burst_is_granted_and_then_so_much_a_minute() {
        let every_second: Vec<i64> = (1000..1100).collect();
        assert_eq!(
            granted(&policy(), &every_second),
            [1000, 1001, 1002, 1020, 1040, 1060, 1080]
        );
        assert_eq!(granted(&policy(), &[0, 0, 0, 0, 60, 60, 60, 60]), [0, 0, 0, 60, 60, 60]);
    }

    #[test]
    fn asking_in_vain_does_not_put_it_off() {
        let mut often = vec![0; 1000];
        often.push(20);
        assert_eq!(granted(&policy(), &often), [0, 0, 0, 20]);
    }

    #[test]
    fn a_bucket_that_cannot_be_is_at_most_empty() {
        let policy = policy();
        for full_at in [i64::MAX, i64::MAX / 2, 61 * SECOND] {
            assert_eq!(policy.bucket_after(Some(full_at), 0), (false, 60 * SECOND));
        }
        for full_at in [None, Some(i64::MIN), Some(-1)] {
            assert_eq!(policy.bucket_after(full_at, 0), (true, 20 * SECOND));
        }
    }

    #[test]
    fn the_verdict_says_what_is_left_and_when_to_come_back() {
        let policy = policy();
        let first = policy.verdict(true, 20 * SECOND);
        assert_eq!((first.remaining, first.reset, first.retry_after), (2, 20, 0));
        let refused = policy.verdict(false, 60 * SECOND - 1);
        assert_eq!((refused.remaining, refused.reset, refused.retry_after), (0, 60, 20));
        assert_eq!((policy.window(), Policy::new("off", 0, 100)), (60, None));
    }
}
