//! Calendar days out of instants, and the streaks they form.

use std::collections::BTreeSet;

use jiff::civil::Date;

use super::Zone;
use crate::clock::Timestamp;
use crate::contract::Streak;

/// The calendar days on which these instants fall.
pub(super) fn days(zone: &Zone, instants: impl IntoIterator<Item = Timestamp>) -> BTreeSet<Date> {
    instants.into_iter().map(|instant| zone.date(instant)).collect()
}

/// A day that the zone skipped breaks no streak: nobody could have been there.
pub(super) fn streak(zone: &Zone, days: &BTreeSet<Date>, now: Timestamp) -> Streak {
    let follows = |day: Date, next: Date| {
        // Asking the zone is the slow way, needed only where a day is missing.
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
    let lives = last_day.is_some_and(|last| last == today || follows(last, today));
    Streak {
        current: if lives { run } else { 0 },
        longest,
        last_day,
    }
}

#[cfg(test)]
mod tests;
