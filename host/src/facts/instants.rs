//! The two clocks of facts: when something happened, and when it was recorded.

use crate::clock::Timestamp;

/// As of which instant facts are true, and what they may know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instants {
    /// Activities, attributes and grants after this instant do not count.
    pub as_of: Timestamp,
    /// Only what was recorded until this instant counts, and a grant counts until its reversal at that time. `None`:
    /// everything that is recorded, and the grants that stand, which is what a claim needs.
    pub known_by: Option<Timestamp>,
}

/// `knownBy` is in the future.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{known_by} is after the server's clock ({now}), and what will be recorded until then is unknown; send an earlier \
     instant, or omit it"
)]
pub struct NotYetKnown {
    known_by: Timestamp,
    now: Timestamp,
}

impl Instants {
    /// For a claim that arrived at this instant.
    pub fn of_claim(received_at: Timestamp) -> Self {
        Self {
            as_of: received_at,
            known_by: None,
        }
    }

    /// For a question about any instant; without one, as for a claim now.
    pub fn asked(as_of: Option<Timestamp>, known_by: Option<Timestamp>, now: Timestamp) -> Result<Self, NotYetKnown> {
        if as_of.is_none() && known_by.is_none() {
            return Ok(Self::of_claim(now));
        }
        let known_by = known_by.unwrap_or(now);
        if known_by > now {
            return Err(NotYetKnown { known_by, now });
        }
        Ok(Self {
            as_of: as_of.unwrap_or(now),
            known_by: Some(known_by),
        })
    }

    /// Until when that counts which happens when it is recorded, such as a registration; `None` stands for `as_of`.
    pub(super) fn happened_and_known_by(self) -> Option<Timestamp> {
        self.known_by.map(|known_by| known_by.min(self.as_of))
    }
}
