//! The place in the messages of a user after which a stream continues.
//!
//! Messages do not become visible in the order of their ids, so a last id would lose or repeat some. A cursor is an instant,
//! before which everything was told, and the ids of what was told after it.

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
    /// Messages with earlier ids were told.
    from: Timestamp,
    /// Later ones that were told.
    told: BTreeSet<Uuid>,
}

impl Cursor {
    /// Before every message that could still become visible.
    pub(super) fn before(now: Timestamp) -> Self {
        let from = now.minus(WINDOW);
        let told = BTreeSet::new();
        Self { from, told }
    }

    pub(super) fn from(&self) -> Timestamp {
        self.from
    }

    /// Whether this message was told.
    pub(super) fn has(&self, id: Uuid) -> bool {
        id < self.from.first_id() || self.told.contains(&id)
    }

    pub(super) fn tell(&mut self, id: Uuid) {
        self.told.insert(id);
        // Not from the clock: older messages may still wait to be told.
        self.settle(Timestamp::of_id(id).minus(WINDOW));
        while self.told.len() > MAX_IDS
            && let Some(oldest) = self.told.pop_first()
        {
            self.settle(Timestamp::of_id(oldest).plus(std::time::Duration::from_millis(1)));
        }
    }

    /// Everything with an id before this was told.
    pub(super) fn settle(&mut self, before: Timestamp) {
        if self.from < before {
            self.from = before;
            self.told = self.told.split_off(&before.first_id());
        }
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = self.from.first_id().into_bytes()[..6].to_vec();
        for id in &self.told {
            bytes.extend_from_slice(id.as_bytes());
        }
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
        let (millis, ids) = bytes.split_first_chunk::<6>().ok_or_else(malformed)?;
        let (ids, rest) = ids.as_chunks::<16>();
        if !rest.is_empty() || ids.len() > MAX_IDS {
            return Err(malformed());
        }
        let millis = millis.iter().fold(0, |millis, byte| millis << 8 | i64::from(*byte));
        let from = Timestamp::from_millis(millis).ok_or_else(malformed)?;
        let told = ids.iter().map(|id| Uuid::from_bytes(*id)).collect();
        Ok(Self { from, told })
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
        cursor.tell(id(1, 7));
        cursor.tell(id(2, 8));
        assert_eq!(cursor.to_string().parse(), Ok(cursor.clone()));
        assert!(cursor.has(id(1, 7)) && !cursor.has(id(1, 8)));
    }

    #[test]
    fn a_message_that_becomes_visible_late_is_still_told() {
        let mut cursor = Cursor::before(at(0));
        cursor.tell(id(50, 1));
        assert!(!cursor.has(id(20, 1)));
        cursor.tell(id(20, 1));
        assert!(cursor.has(id(20, 1)) && cursor.has(id(50, 1)));
        // One that is older than any commit takes counts as told.
        cursor.tell(id(200, 1));
        assert!(cursor.has(id(139, 9)) && !cursor.has(id(141, 9)));
    }

    #[test]
    fn a_cursor_stays_short() {
        let mut cursor = Cursor::before(at(0));
        for number in 0..1_000 {
            cursor.tell(id(number / 100, u128::try_from(number).unwrap()));
        }
        assert!(cursor.to_string().len() < 1_400);
        assert_eq!(cursor.to_string().parse(), Ok(cursor));
    }

    #[test]
    fn other_texts_are_refused() {
        let long = URL_SAFE_NO_PAD.encode(vec![0; 6 + 16 * 65]);
        for text in ["", "!", "AAAA", "0199a3b0-5c1e-7a51-8f5e-0d6f2c1b9e77", &long] {
            assert!(text.parse::<Cursor>().is_err(), "{text}");
        }
        let mut cursor = Cursor::before(at(0));
        cursor.settle(at(0).plus(Duration::from_secs(1)));
        assert!(cursor.to_string().parse::<Cursor>().is_ok());
    }
}
