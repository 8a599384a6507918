//! What a new head begins with for a user whose older activities are compacted.

use uuid::Uuid;

use super::Zone;
use super::store::compactions;
use super::store::heads::{self, HeadRow};
use super::store::marks::{self, MarkRow};
use super::words::until;
use crate::clock::Timestamp;
use crate::db::{Result, Tx};

/// Gives a new head what is kept of compacted activities; `false` if that must be tried again.
pub(super) async fn seed(tx: &mut Tx, held: &mut HeadRow) -> Result<bool> {
    let is_new = (held.through_at, held.through_id) == (marks::ORIGIN.at, marks::ORIGIN.id);
    if held.is_of_invitees || !is_new {
        return Ok(true);
    }
    let Some(compaction) = compactions::find(tx, held.user_id, &held.kind).await? else {
        return Ok(true);
    };
    let end = marks::end_before(compaction.until);
    let horizon = Timestamp::from_millis(compaction.until).unwrap_or(Timestamp::EPOCH);
    let zone = held.zone.as_deref().and_then(|zone| zone.parse::<Zone>().ok());
    let twin = match &zone {
        Some(zone) => compactions::twin(tx, held, end).await?.map(|twin| (twin, zone)),
        None => None,
    };
    match twin {
        None if held.filters.0.is_empty() && held.zone.is_none() => {
            if !compaction.is_done {
                return Ok(false);
            }
            let start = MarkRow {
                next_at: compaction.first_at,
                ..at_end(marks::ORIGIN, marks::end_before(0))
            };
            let base = MarkRow {
                n: compaction.n,
                sum: compaction.sum,
                last_at: compaction.last_at.unwrap_or(marks::ORIGIN.last_at),
                ..at_end(marks::ORIGIN, end)
            };
            marks::insert(tx, held, &[start, base]).await?;
        }
        Some((twin, zone)) => {
            compactions::copy(tx, held, twin, end).await?;
            heads::empty_after(tx, held, compaction.until, Some(until(zone, horizon))).await?;
        }
        // Nothing is known of what is before the horizon, and no event asks about it.
        None => marks::insert(tx, held, &[at_end(marks::ORIGIN, end)]).await?,
    }
    (held.through_at, held.through_id) = end;
    Ok(true)
}

/// The same at the end of an instant.
pub(super) fn at_end(state: MarkRow, (at, id): (i64, Uuid)) -> MarkRow {
    MarkRow {
        at,
        id,
        next_at: None,
        ..state
    }
}
