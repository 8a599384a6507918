//! The place in the messages of a user after which a stream continues.
//!
//! Messages do not become visible in the order of their ids, so a last id would lose or repeat some. A cursor is an id, before
//! which everything was sent, and the later ids that were sent.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use uuid::Uuid;

use super::WINDOW;
use crate::clock::Timestamp;

/// The ids in a cursor. A user who gets more messages within [`WINDOW`] may lose one that became visible very late.
const MAX_IDS: usize = 64;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// Messages with earlier ids were sent.
    from: Uuid,
    /// Later ones that were sent.
    sent: BTreeSet<Uuid>,
}

impl Cursor {
    /// Before every message that could still become visible.
    pub(super) fn before(now: Timestamp) -> Self {
        let from = now.minus(WINDOW).first_id();
        let sent = BTreeSet::new();
        Self { from, sent }
    }

    /// The first id that may not have been sent.
    pub(super) fn from(&self) -> Uuid {
        self.from
    }

    /// Whether this message was sent.
    pub(super) fn has(&self, id: Uuid) -> bool {
        id < self.from || self.sent.contains(&id)
    }

    /// Notes that this message was sent.
    pub(super) fn record(&mut self, id: Uuid) {
        self.sent.insert(id);
        // Not from the clock: older messages may still wait to be sent.
        self.settle(Timestamp::of_id(id).minus(WINDOW));
        while self.sent.len() > MAX_IDS
            && let Some(oldest) = self.sent.pop_first()
        {
            self.from = Uuid::from_u128(oldest.as_u128().saturating_add(1));
        }
    }

    /// Everything from before this time was sent.
    pub(super) fn settle(&mut self, before: Timestamp) {
        let before = before.first_id();
        if self.from < before {
            self.from = before;
            self.sent = self.sent.split_off(&before);
        }
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ids = std::iter::once(&self.from).chain(&self.sent);
        let bytes: Vec<u8> = ids.flat_map(|id| id.into_bytes()).collect();
        f.write_str(&URL_SAFE_NO_PAD.encode(bytes))
    }
}

impl FromStr for Cursor {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let malformed = || {
            let shown: String = text.chars().take(80).collect();
            format!("{shown:?} is not an id of this stream; send the last id that you received, unchanged, or none")
        };
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| malformed())?;
        let (ids, rest) = bytes.as_chunks::<16>();
        let mut ids = ids.iter().map(|id| Uuid::from_bytes(*id));
        let from = ids.next().filter(|_| rest.is_empty()).ok_or_else(malformed)?;
        let sent: BTreeSet<Uuid> = ids.collect();
        if sent.len() > MAX_IDS {
            return Err(malformed());
        }
        Ok(Self { from, sent })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(1_800_000_000_000 + seconds * 1_000).unwrap()
    }

    fn id(seconds: i64, number: u128) -> Uuid {
        Uuid::from_u128(at(seconds).first_id().as_u128() | number)
    }

    #[test]
    fn a_cursor_survives_a_round_trip_through_text() {
        let mut cursor = Cursor::before(at(0));
        assert_eq!(cursor.to_string().parse(), Ok(cursor.clone()));
        cursor.record(id(1, 7));
        cursor.record(id(2, 8));
        assert_eq!(cursor.to_string().parse(), Ok(cursor.clone()));
        assert!(cursor.has(id(1, 7)) && !cursor.has(id(1, 8)));
    }

    #[test]
    fn a_message_that_becomes_visible_late_is_still_told() {
        let mut cursor = Cursor::before(at(0));
        cursor.record(id(50, 1));
        assert!(!cursor.has(id(20, 1)));
        cursor.record(id(20, 1));
        assert!(cursor.has(id(20, 1)) && cursor.has(id(50, 1)));
        // One that is older than any commit takes counts as sent.
        cursor.record(id(200, 1));
        assert!(cursor.has(id(139, 9)) && !cursor.has(id(141, 9)));
    }

    #[test]
    fn a_cursor_stays_short() {
        let mut cursor = Cursor::before(at(0));
        for number in 0..1_000 {
            cursor.record(id(number / 100, u128::try_from(number).unwrap()));
            assert!(cursor.has(id(number / 100, u128::try_from(number).unwrap())));
        }
        assert!(cursor.to_string().len() < 1_500);
        assert_eq!(cursor.to_string().parse(), Ok(cursor));
    }

    #[test]
    fn other_texts_are_refused() {
        let long: Vec<u8> = (0..66).flat_map(|number| [number; 16]).collect();
        let long = URL_SAFE_NO_PAD.encode(long);
        for text in ["", "!", "AAAA", "0199a3b0-5c1e-7a51-8f5e-0d6f2c1b9e77", &long] {
            assert!(text.parse::<Cursor>().is_err(), "{text}");
        }
        let mut cursor = Cursor::before(at(0));
        cursor.settle(at(0).plus(Duration::from_secs(1)));
        assert!(cursor.to_string().parse::<Cursor>().is_ok());
    }
}
