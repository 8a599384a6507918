//! The context of a decision. It must not know the contract's wire types beyond the conversion at the end.

use crate::bindings::types as wire;
use crate::{Date, LocalTime, Reward};
use std::ops::{Add, Sub};
use std::time::Duration;

/// Everything besides params and facts that a decision may depend on.
#[derive(Debug, Clone, PartialEq)]
pub struct Context {
    /// The only clock reading of this decision.
    pub now: Timestamp,
    /// The same instant on a wall clock in the event's zone.
    pub local: LocalTime,
    /// The event's zone, an IANA name such as `Asia/Seoul`.
    pub time_zone: String,
    /// The zone's offsets in order of time: the first starts at the first instant of today, the others at each change
    /// within the next 400 days.
    pub offsets: Vec<ZoneOffset>,
    /// The event that is claimed.
    pub event: Event,
    /// The claimant.
    pub user: User,
    /// The rewards of the event.
    pub rewards: Vec<Reward>,
    /// The only source of randomness.
    pub seed: Seed,
}

/// From `starts` on, local time is UTC plus `utc_offset_seconds`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ZoneOffset {
    /// The first instant with this offset.
    pub starts: Timestamp,
    /// Seconds to add to UTC.
    pub utc_offset_seconds: i32,
}

impl Context {
    /// The first instant of a day in the event's zone, counted from today: 0 is today, 1 is tomorrow.
    ///
    /// Exact across clock changes up to 400 days ahead; beyond that, later changes are unknown. A day that the zone
    /// skips starts where the next day starts.
    pub fn start_of_day(&self, days_ahead: u32) -> Timestamp {
        self.start_of_day_number(self.local.date.number() + i64::from(days_ahead))
    }

    /// The first instant of next Monday in the event's zone. Exact like [`start_of_day`](Self::start_of_day).
    pub fn start_of_next_week(&self) -> Timestamp {
        self.start_of_day(8 - u32::from(self.local.weekday))
    }

    /// The first instant of next month in the event's zone. Exact like [`start_of_day`](Self::start_of_day).
    pub fn start_of_next_month(&self) -> Timestamp {
        let Date { year, month, .. } = self.local.date;
        let (year, month) = if month < 12 { (year, month + 1) } else { (year + 1, 1) };
        self.start_of_day_number(Date { year, month, day: 1 }.number())
    }

    /// The first instant at which the local clock shows this day's midnight or a later time.
    fn start_of_day_number(&self, day: i64) -> Timestamp {
        let midnight = Timestamp::from_millis(day * 86_400_000);
        let mut start = midnight;
        for (index, offset) in self.offsets.iter().enumerate() {
            let in_utc = midnight.millis() - i64::from(offset.utc_offset_seconds) * 1000;
            // Where the clock jumps over midnight, the day starts at the jump.
            start = Timestamp::from_millis(in_utc).max(offset.starts);
            if self.offsets.get(index + 1).is_none_or(|next| start < next.starts) {
                break;
            }
        }
        start
    }

    /// The event's reward with this id. Its `max_quantity` is 0 when it is sold out.
    ///
    /// Ids in params may be wrong, and an event may change its rewards: award only rewards that this returns, and no more
    /// than `max_quantity`, because an award that the event does not have fails the claim.
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

/// 32 bytes that the server fixed before the claim. Anyone can verify them after the event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seed(pub [u8; 32]);

impl Seed {
    /// A fair number from 0 to `bound - 1`: the seed read as one big-endian number of 256 bits, modulo `bound`.
    ///
    /// No number is likelier than another by more than `bound / 2^256`, and anyone can recompute it, in Python with
    /// `int(seed_hex, 16) % bound`. The same seed always gives the same number: draw once per decision.
    ///
    /// # Panics
    /// When `bound` is 0: there is nothing to draw from.
    pub fn below(&self, bound: u32) -> u32 {
        assert!(bound > 0, "a draw needs at least one outcome");
        u32::try_from(self.modulo(bound.into())).unwrap_or(u32::MAX)
    }

    /// Draws an index by weight; `None` when all weights are 0.
    ///
    /// It takes the seed modulo the sum of the weights, then subtracts the weights in order until the rest is below the
    /// next one. The order matters: keep it the same for the same draw, and document it for verification.
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
            offsets: wire
                .offsets
                .into_iter()
                .map(|offset| ZoneOffset {
                    starts: Timestamp(offset.starts),
                    utc_offset_seconds: offset.utc_offset_seconds,
                })
                .collect(),
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
