//! Converts timestamps to calendar days, and computes streaks of days.

use std::collections::BTreeSet;

use jiff::civil::Date;

use super::Zone;
use crate::clock::Timestamp;
use crate::contract::Streak;

/// The calendar days of these timestamps.
pub(super) fn days(zone: &Zone, timestamps: impl IntoIterator<Item = Timestamp>) -> BTreeSet<Date> {
    timestamps.into_iter().map(|timestamp| zone.date(timestamp)).collect()
}

/// The current and the longest streak of days in their order. A day that the zone skipped does not break a streak.
pub(super) fn streak<'a>(zone: &Zone, days: impl IntoIterator<Item = &'a Date>, now: Timestamp) -> Streak {
    let follows = |day: Date, next: Date| {
        // Only a missing day needs the slower lookup in the zone.
        day.tomorrow().is_ok_and(|tomorrow| tomorrow == next) || zone.day_after(day) == Some(next)
    };
    let (mut run, mut longest, mut last_day) = (0, 0, None);
    for &day in days {
        run = if last_day.is_some_and(|last| follows(last, day)) {
            run + 1
        } else {
            1
        };
        longest = run.max(longest);
        last_day = Some(day);
    }
    let today = zone.date(now);
    let is_current = last_day.is_some_and(|last| last == today || follows(last, today));
    Streak {
        current: if is_current { run } else { 0 },
        longest,
        last_day,
    }
}

#[cfg(test)]
mod tests;
