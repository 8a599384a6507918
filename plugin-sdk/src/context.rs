//! What a rule is told besides its facts. It must not know the contract's wire types beyond the conversion at the end.

use crate::bindings::types as wire;
use crate::{LocalTime, Reward};
use std::ops::{Add, Sub};
use std::time::Duration;

/// The circumstances of one decision.
#[derive(Debug, Clone, PartialEq)]
pub struct Context {
    /// The one clock read of this decision.
    pub now: Timestamp,
    /// The same instant on a wall clock in the event's zone.
    pub local: LocalTime,
    /// The event's zone, an IANA name such as `Asia/Seoul`.
    pub time_zone: String,
    /// The event that is claimed.
    pub event: Event,
    /// Who claims.
    pub user: User,
    /// The rewards of the event.
    pub rewards: Vec<Reward>,
    /// The only source of chance.
    pub seed: Seed,
}

impl Context {
    /// When the local day begins that is so many days after today; 0 is today.
    ///
    /// It counts days of 24 hours at today's offset from UTC, so it is off by the shift when the clocks change in
    /// between. That is good enough to say when a retry is worth it.
    pub fn start_of_day(&self, days_ahead: u32) -> Timestamp {
        let LocalTime {
            hour, minute, second, ..
        } = self.local;
        let since_midnight = u64::from(hour) * 3600 + u64::from(minute) * 60 + u64::from(second);
        let this_second = Timestamp::from_millis(self.now.millis() - self.now.millis().rem_euclid(1000));
        this_second - Duration::from_secs(since_midnight) + Duration::from_secs(u64::from(days_ahead) * 86_400)
    }

    /// The event's reward of this id. Its `max_quantity` is 0 when it is sold out.
    ///
    /// Ids in params may be wrong, and an event may change its rewards: award only what this finds, and no more than
    /// `max_quantity`, because an award that the event does not have fails the claim.
    pub fn reward(&self, id: &str) -> Option<&Reward> {
        self.rewards.iter().find(|reward| reward.id == id)
    }
}

/// Milliseconds since the Unix epoch, UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// From milliseconds since the Unix epoch.
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// Milliseconds since the Unix epoch.
    pub const fn millis(self) -> i64 {
        self.0
    }

    /// How long it is after `earlier`; zero when it is before it.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

impl Add<Duration> for Timestamp {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(millis(duration)))
    }
}

impl Sub<Duration> for Timestamp {
    type Output = Self;

    fn sub(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(millis(duration)))
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// An offer with dates, a condition and rewards. It runs from `starts` until just before `ends`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Its id.
    pub id: String,
    /// What users read.
    pub title: String,
    /// The first instant of the event.
    pub starts: Timestamp,
    /// The first instant after the event.
    pub ends: Timestamp,
}

/// The user who claims.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Their id.
    pub id: String,
    /// When they registered.
    pub registered: Timestamp,
}

/// 32 bytes that the server fixed before the claim and that anybody can verify after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seed(pub [u8; 32]);

impl Seed {
    /// A fair number from 0 to `bound - 1`: the seed read as one big-endian number of 256 bits, modulo `bound`.
    ///
    /// No outcome is likelier than another by more than `bound / 2^256`, and anybody can recompute it, in Python with
    /// `int(seed_hex, 16) % bound`. The same seed always gives the same number: draw once per decision.
    ///
    /// # Panics
    /// When `bound` is 0: there is nothing to draw from.
    pub fn below(&self, bound: u32) -> u32 {
        assert!(bound > 0, "a draw needs at least one outcome");
        u32::try_from(self.modulo(bound.into())).unwrap_or(u32::MAX)
    }

    /// Draws one of these by weight and says which; `None` when all weights are 0.
    ///
    /// It takes the seed modulo the sum of the weights, goes along them and subtracts each until the rest is below the
    /// next one. So the order matters: take the same one for the same draw, and say which it is to whoever verifies it.
    pub fn pick(&self, weights: &[u32]) -> Option<usize> {
        let total = weights.iter().map(|weight| u64::from(*weight)).sum();
        if total == 0 {
            return None;
        }
        let mut rest = self.modulo(total);
        weights
            .iter()
            .position(|weight| match rest.checked_sub(u64::from(*weight)) {
                Some(left) => {
                    rest = left;
                    false
                }
                None => true,
            })
    }

    fn modulo(&self, bound: u64) -> u64 {
        self.0
            .iter()
            .fold(0, |remainder, &byte| (remainder * 256 + u64::from(byte)) % bound)
    }
}

impl TryFrom<wire::Context> for Context {
    type Error = String;

    fn try_from(wire: wire::Context) -> Result<Self, String> {
        let seed = wire.seed.try_into().map_err(|_| "The seed is not 32 bytes long.")?;
        Ok(Self {
            now: Timestamp(wire.now),
            local: wire.local,
            time_zone: wire.time_zone,
            event: Event {
                id: wire.event.id,
                title: wire.event.title,
                starts: Timestamp(wire.event.starts),
                ends: Timestamp(wire.event.ends),
            },
            user: User {
                id: wire.user.id,
                registered: Timestamp(wire.user.registered),
            },
            rewards: wire.rewards,
            seed: Seed(seed),
        })
    }
}
