//! What can be asked about a user whose older activities are compacted: which questions have an answer. Computes only.

use std::time::Duration;

use super::FactContext;
use super::store::{FactRow, Horizons, Part, START, by_kind, horizon_within, start};
use crate::clock::Timestamp;
use crate::contract::{Query, Subject};

/// A question is about at least so much after the horizon: its last days are in the log, in every time zone.
const DISTANCE: Duration = Duration::from_hours(3 * 24);

/// Activities that a question needs are compacted, and what is kept of them does not answer it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "Activities of the kind {kind:?} before {until} are compacted, and what is kept of them does not answer a query about \
     them {}. Ask as of a later instant, or use a window that begins at {until} or later.", .lack.as_str()
)]
pub struct Compacted {
    pub kind: String,
    /// They occurred before.
    pub until: Timestamp,
    lack: Lack,
}

/// Why a question has no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lack {
    /// The instant as of which it asks.
    AsOf,
    /// The instant by which it was known.
    KnownBy,
    /// The beginning of its window, or its filters.
    Window,
}

impl Lack {
    fn as_str(self) -> &'static str {
        match self {
            Self::AsOf => "as of an instant that is not three days later",
            Self::KnownBy => "as it was known before they were compacted",
            Self::Window => "with this window, these filters and this time zone",
        }
    }
}

impl Compacted {
    pub(super) fn new(kind: &str, until: i64, lack: Lack) -> Self {
        Self {
            kind: kind.to_owned(),
            until: Timestamp::from_millis(until).unwrap_or(Timestamp::EPOCH),
            lack,
        }
    }
}

/// Whether the rows answer the queries.
pub(super) fn check(
    context: &FactContext<'_>,
    queries: &[Query],
    rows: &[FactRow],
    horizons: &Horizons,
) -> Result<(), Compacted> {
    let of_invitees = by_kind(rows, Part::InvitedHorizon);
    if horizons.is_empty() && of_invitees.is_empty() {
        return Ok(());
    }
    let compacted_at = by_kind(rows, Part::CompactedAt);
    for (index, query) in queries.iter().enumerate() {
        let Some(selection) = query.selection() else {
            continue;
        };
        let kind = &selection.kind;
        if selection.subject == Subject::Invitees {
            if let Some(until) = of_invitees
                .get(kind)
                .filter(|until| start(context, selection) < **until)
            {
                return Err(Compacted::new(kind, *until, Lack::Window));
            }
            continue;
        }
        let Some(until) = horizon_within(context, horizons, selection) else {
            continue;
        };
        let earliest = Timestamp::from_millis(until).map(|until| until.plus(DISTANCE));
        if earliest.is_none_or(|earliest| context.instants.as_of < earliest) {
            return Err(Compacted::new(kind, until, Lack::AsOf));
        }
        let known_by = context.instants.known_by;
        if known_by.is_some_and(|known_by| compacted_at.get(kind).is_none_or(|at| known_by.as_millis() < *at)) {
            return Err(Compacted::new(kind, until, Lack::KnownBy));
        }
        let part = Part::Query(index).number();
        let mut of_query = rows.iter().filter(|row| row.part == part);
        if !of_query.any(|row| row.text.as_deref() == Some(START)) {
            return Err(Compacted::new(kind, until, Lack::Window));
        }
    }
    Ok(())
}
