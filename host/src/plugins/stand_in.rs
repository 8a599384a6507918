//! Values for what a simulation or a case leaves out. They have the shape of those of a claim, and differ from one to the
//! next, so that a plugin cannot tell a simulation or a case from a claim.
//!
//! Must not know: what is simulated.

use std::time::Duration;

use uuid::Uuid;

use crate::clock::Timestamp;
use crate::sandbox::Digest;

const BEGINNINGS: [&str; 16] = [
    "Spring",
    "Summer",
    "Autumn",
    "Winter",
    "Weekend",
    "Anniversary",
    "Launch",
    "Daily",
    "Weekly",
    "Golden",
    "Lucky",
    "Grand",
    "Festival",
    "Holiday",
    "Midnight",
    "Welcome",
];
const ENDINGS: [&str; 16] = [
    "gift",
    "bonus",
    "challenge",
    "quest",
    "reward",
    "check-in",
    "party",
    "sale",
    "hunt",
    "streak",
    "league",
    "season",
    "mission",
    "festival",
    "coupon",
    "celebration",
];
const HOUR: i64 = 3_600_000;

/// A source of stand-ins. Equal seeds give equal values.
#[derive(Clone, Copy, Debug)]
pub(super) struct StandIn([u8; 32]);

impl StandIn {
    pub(super) fn new(seed: [u8; 32]) -> Self {
        Self(seed)
    }

    /// For a text, always the same.
    pub(super) fn of(text: &str) -> Self {
        Self(*Digest::of(text.as_bytes()).as_bytes())
    }

    fn bytes(self, label: &str) -> [u8; 32] {
        *Digest::of(&[self.0.as_slice(), label.as_bytes()].concat()).as_bytes()
    }

    fn below(self, label: &str, bound: u64) -> u64 {
        let bytes = self.bytes(label);
        let number = u64::from_le_bytes([
            bytes[0], bytes[1], bytes[2], bytes[3], bytes[4], bytes[5], bytes[6], bytes[7],
        ]);
        number % bound
    }

    /// An id as the server made it at this instant.
    pub(super) fn id(self, label: &str, at: Timestamp) -> Uuid {
        let bytes = self.bytes(label);
        let mut random = [0; 10];
        random.copy_from_slice(&bytes[..10]);
        let millis = u64::try_from(at.as_millis()).unwrap_or_default();
        uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid()
    }

    pub(super) fn title(self) -> String {
        let [first, second, ..] = self.bytes("title");
        let (beginning, ending) = (first % 16, second % 16);
        format!(
            "{} {}",
            BEGINNINGS[usize::from(beginning)],
            ENDINGS[usize::from(ending)]
        )
    }

    pub(super) fn seed(self) -> [u8; 32] {
        self.bytes("seed")
    }

    /// A full hour up to two days before this instant, as dates of events are.
    pub(super) fn hour_before(self, label: &str, at: Timestamp) -> Timestamp {
        let hours = self.below(label, 48);
        let at = at.minus(Duration::from_hours(hours));
        let millis = at.as_millis();
        Timestamp::from_millis(millis - millis.rem_euclid(HOUR)).unwrap_or(at)
    }

    /// An instant up to a year before this one.
    pub(super) fn registered_before(self, at: Timestamp) -> Timestamp {
        at.minus(Duration::from_millis(self.below("registered", 365 * 24 * 3_600_000)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stand_ins_look_like_values_of_the_server_and_differ() {
        let at: Timestamp = "2026-03-01T12:34:56.789Z".parse().unwrap();
        let (one, other) = (StandIn::of("one"), StandIn::of("other"));
        let id = one.id("event", at);
        assert_eq!((id.get_version_num(), id), (7, StandIn::of("one").id("event", at)));
        assert_ne!(id, one.id("user", at));
        assert_ne!(id, other.id("event", at));
        assert_ne!(one.seed(), other.seed());
        assert_eq!(one.hour_before("starts", at).as_millis() % HOUR, 0);
        assert!(one.registered_before(at) < at);
        let titles: std::collections::BTreeSet<String> = (0..100)
            .map(|number| StandIn::of(&number.to_string()).title())
            .collect();
        assert!(titles.len() > 50, "{titles:?}");
    }
}
