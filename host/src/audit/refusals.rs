//! Counts refused attempts, so that a flood of them writes a bounded number of rows: one per actor, address, action and
//! reason in a minute, and at most [`MOST_ROWS`] in a minute. Must not know: the database.

use std::collections::HashMap;

use uuid::Uuid;

use super::context::Actor;
use super::entry::Outcome;
use crate::clock::Timestamp;

/// Rows that one process writes in a minute. Further kinds of refusals share one row.
const MOST_ROWS: usize = 1_000;

/// What is counted together.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub actor: Actor,
    /// The network of the client: an IPv6 client has many addresses.
    pub network: Option<String>,
    pub action: String,
    pub outcome: Outcome,
    pub reason: Option<&'static str>,
}

#[derive(Debug)]
struct Count {
    id: Uuid,
    occurrences: i64,
    written: i64,
}

/// What to do with a refusal.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Counted {
    /// Write a row with this id.
    First(Uuid),
    /// As `First`, for everything beyond the maximum of this minute.
    FirstOfTheRest(Uuid),
    /// The row of an earlier one will show it.
    Again,
}

/// The refusals of the current minute.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    minute: i64,
    counts: HashMap<Key, Count>,
    rest: Option<Count>,
    /// Counts of earlier minutes that are not written yet.
    ended: Vec<Count>,
}

impl Refusals {
    pub(super) fn count(&mut self, key: Key, now: Timestamp, new_id: impl FnOnce() -> Uuid) -> Counted {
        let minute = now.as_millis().div_euclid(60_000);
        if minute != self.minute {
            self.minute = minute;
            let ended = self.counts.drain().map(|(_, count)| count).chain(self.rest.take());
            self.ended.extend(ended.filter(Count::is_unwritten));
        }
        if let Some(count) = self.counts.get_mut(&key) {
            count.occurrences += 1;
            return Counted::Again;
        }
        if self.counts.len() < MOST_ROWS {
            let id = new_id();
            self.counts.insert(key, Count::first(id));
            return Counted::First(id);
        }
        if let Some(rest) = &mut self.rest {
            rest.occurrences += 1;
            return Counted::Again;
        }
        let id = new_id();
        self.rest = Some(Count::first(id));
        Counted::FirstOfTheRest(id)
    }

    /// The rows whose number of occurrences is outdated, with the right number. Assumes that they will be written.
    pub(super) fn take_unwritten(&mut self) -> Vec<(Uuid, i64)> {
        let mut ended = std::mem::take(&mut self.ended);
        let open = self.counts.values_mut().chain(&mut self.rest).chain(&mut ended);
        open.filter(|count| count.is_unwritten())
            .map(|count| {
                count.written = count.occurrences;
                (count.id, count.occurrences)
            })
            .collect()
    }
}

impl Count {
    fn first(id: Uuid) -> Self {
        Self {
            id,
            occurrences: 1,
            written: 1,
        }
    }

    fn is_unwritten(&self) -> bool {
        self.occurrences > self.written
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(network: usize) -> Key {
        Key {
            actor: Actor::SYSTEM,
            network: Some(network.to_string()),
            action: "POST /auth/login".to_owned(),
            outcome: Outcome::Refused,
            reason: Some("wrong-credentials"),
        }
    }

    #[test]
    fn equal_refusals_of_a_minute_share_a_row() {
        let (mut refusals, now) = (Refusals::default(), Timestamp::EPOCH);
        let (first, second) = (Uuid::from_u128(1), Uuid::from_u128(2));
        assert_eq!(refusals.count(key(1), now, || first), Counted::First(first));
        assert_eq!(refusals.count(key(1), now, Uuid::nil), Counted::Again);
        assert_eq!(refusals.count(key(2), now, || second), Counted::First(second));
        assert_eq!(refusals.take_unwritten(), [(first, 2)]);
        assert_eq!(refusals.take_unwritten(), []);
        assert_eq!(refusals.count(key(1), now, Uuid::nil), Counted::Again);
        let later = now.plus(std::time::Duration::from_mins(1));
        assert_eq!(refusals.count(key(1), later, || second), Counted::First(second));
        assert_eq!(refusals.take_unwritten(), [(first, 3)]);
    }

    #[test]
    fn a_flood_from_many_networks_writes_a_bounded_number_of_rows() {
        let (mut refusals, now) = (Refusals::default(), Timestamp::EPOCH);
        let mut rows = 0;
        for network in 0..5_000 {
            rows += usize::from(refusals.count(key(network), now, Uuid::nil) != Counted::Again);
        }
        assert_eq!(rows, MOST_ROWS + 1);
        assert_eq!(refusals.take_unwritten(), [(Uuid::nil(), 4_000)]);
    }
}
