//! The start of a day across clock changes, compared with jiff.

use jiff::civil::{Date, Weekday};
use jiff::tz::TimeZone;
use jiff::{ToSpan as _, Zoned};
use meed_plugin_sdk::testing;
use meed_plugin_sdk::{Context, Timestamp};

/// Zones that change by half an hour, at midnight, four times a year, over midnight, by two hours, or never; and one that
/// skipped a day in 2011.
const ZONES: [&str; 14] = [
    "Africa/Cairo",
    "Africa/Casablanca",
    "America/Asuncion",
    "America/Havana",
    "America/New_York",
    "America/Nuuk",
    "America/Santiago",
    "America/St_Johns",
    "Antarctica/Troll",
    "Asia/Beirut",
    "Asia/Seoul",
    "Australia/Lord_Howe",
    "Europe/Berlin",
    "Pacific/Apia",
];

fn context(now: &Zoned) -> Context {
    testing::context(&now.to_string()).into()
}

fn start(day: Date, zone: &TimeZone) -> Timestamp {
    let start = day.to_zoned(zone.clone()).and_then(|day| day.start_of_day());
    Timestamp::from_millis(start.expect("a day").timestamp().as_millisecond())
}

#[test]
fn days_weeks_and_months_start_as_in_jiff() {
    for name in ZONES {
        let zone = TimeZone::get(name).expect("a zone");
        for first in [jiff::civil::date(2011, 10, 1), jiff::civil::date(2026, 1, 1)] {
            for step in 0..44 {
                let day = first + (i64::from(step) * 9).days();
                let now = day.at(step % 24, 7, 0, 0).to_zoned(zone.clone()).expect("a time");
                let context = context(&now);
                let today = now.date();
                for ahead in 0..=399 {
                    let day = today + i64::from(ahead).days();
                    assert_eq!(context.start_of_day(ahead), start(day, &zone), "{now}: {day}");
                }
                let monday = today.nth_weekday(1, Weekday::Monday).expect("a Monday");
                assert_eq!(context.start_of_next_week(), start(monday, &zone), "{now}: {monday}");
                let month = today.last_of_month().tomorrow().expect("a day");
                assert_eq!(context.start_of_next_month(), start(month, &zone), "{now}: {month}");
            }
        }
    }
}

#[test]
fn midnights_moved_by_a_clock_change() {
    for (now, ahead, expected) in [
        // Santiago leaves summer time 17 days later, and 25 days ahead is an hour later in UTC.
        ("2026-03-20T12:00[America/Santiago]", 25, "2026-04-14T04:00:00Z"),
        ("2026-03-20T12:00[America/Santiago]", 10, "2026-03-30T03:00:00Z"),
        // In Santiago the clock jumps from 24:00 to 01:00.
        ("2026-09-01T12:00[America/Santiago]", 5, "2026-09-06T04:00:00Z"),
        // In Cairo, too.
        ("2026-04-20T12:00[Africa/Cairo]", 4, "2026-04-23T22:00:00Z"),
        // Half an hour in Lord Howe.
        ("2026-04-04T12:00[Australia/Lord_Howe]", 1, "2026-04-04T13:00:00Z"),
        ("2026-04-04T12:00[Australia/Lord_Howe]", 2, "2026-04-05T13:30:00Z"),
        // Apia had no December 30.
        ("2011-12-29T12:00[Pacific/Apia]", 1, "2011-12-30T10:00:00Z"),
        ("2011-12-29T12:00[Pacific/Apia]", 2, "2011-12-30T10:00:00Z"),
        // In Havana midnight comes twice: the clock goes from 01:00 back to 00:00.
        ("2026-10-31T12:00[America/Havana]", 1, "2026-11-01T04:00:00Z"),
    ] {
        let context: Context = testing::context(now).into();
        let expected: jiff::Timestamp = expected.parse().expect("a timestamp");
        let expected = Timestamp::from_millis(expected.as_millisecond());
        assert_eq!(context.start_of_day(ahead), expected, "{now} and {ahead} days");
    }
}
