//! Days and streaks, by examples and by properties.

use jiff::civil::date;
use proptest::prelude::*;

use super::*;

fn zone(name: &str) -> Zone {
    name.parse().unwrap()
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn streak_of(zone: &Zone, instants: &[&str], now: &str) -> (u32, u32) {
    let days = days(zone, instants.iter().map(|text| at(text)));
    let streak = streak(zone, &days, at(now));
    assert_eq!(streak.last_day, days.last().copied());
    (streak.current, streak.longest)
}

#[test]
fn no_activity_is_no_streak() {
    let nothing = streak(&zone("UTC"), &BTreeSet::new(), at("2026-03-01T12:00:00Z"));
    assert_eq!(
        nothing,
        Streak {
            current: 0,
            longest: 0,
            last_day: None
        }
    );
}

#[test]
fn a_streak_ends_after_a_full_day_without_activity() {
    let utc = zone("UTC");
    let three = [
        "2026-02-27T08:00:00Z",
        "2026-02-28T23:59:59.999Z",
        "2026-03-01T00:00:00Z",
    ];
    assert_eq!(streak_of(&utc, &three, "2026-03-01T12:00:00Z"), (3, 3));
    assert_eq!(streak_of(&utc, &three, "2026-03-02T23:59:59Z"), (3, 3));
    assert_eq!(streak_of(&utc, &three, "2026-03-03T00:00:00Z"), (0, 3));
}

#[test]
fn a_gap_restarts_the_streak() {
    let days = ["2026-02-25T08:00:00Z", "2026-02-26T08:00:00Z", "2026-02-28T08:00:00Z"];
    assert_eq!(streak_of(&zone("UTC"), &days, "2026-02-28T12:00:00Z"), (1, 2));
}

#[test]
fn the_zone_determines_the_day() {
    // Two days in New York, three days in Seoul.
    let logins = ["2026-03-01T14:00:00Z", "2026-03-01T16:00:00Z", "2026-03-02T15:30:00Z"];
    assert_eq!(streak_of(&zone("Asia/Seoul"), &logins, "2026-03-02T16:00:00Z"), (3, 3));
    assert_eq!(
        streak_of(&zone("America/New_York"), &logins, "2026-03-02T16:00:00Z"),
        (2, 2)
    );
    // Before and after midnight in Kathmandu, which is 18:15 UTC.
    let logins = ["2026-03-01T18:14:59.999Z", "2026-03-01T18:15:00Z"];
    assert_eq!(
        streak_of(&zone("Asia/Kathmandu"), &logins, "2026-03-01T18:20:00Z"),
        (2, 2)
    );
    assert_eq!(streak_of(&zone("UTC"), &logins, "2026-03-01T18:20:00Z"), (1, 1));
}

#[test]
fn clock_changes_neither_add_nor_drop_a_day() {
    let new_york = zone("America/New_York");
    // 23:30 on the 7th, 00:30 and 23:30 on the 8th (a day of 23 hours), 00:30 on the 9th.
    let spring = [
        "2026-03-08T04:30:00Z",
        "2026-03-08T05:30:00Z",
        "2026-03-09T03:30:00Z",
        "2026-03-09T04:30:00Z",
    ];
    assert_eq!(streak_of(&new_york, &spring, "2026-03-09T05:00:00Z"), (3, 3));
    // 00:30 on the 1st, 01:30 twice, 23:30 (25 hours), 00:30 on the 2nd.
    let autumn = [
        "2026-11-01T04:30:00Z",
        "2026-11-01T05:30:00Z",
        "2026-11-01T06:30:00Z",
        "2026-11-02T04:30:00Z",
        "2026-11-02T05:30:00Z",
    ];
    assert_eq!(streak_of(&new_york, &autumn, "2026-11-02T06:00:00Z"), (2, 2));
}

#[test]
fn a_skipped_day_does_not_break_a_streak() {
    // Noon on the 29th and on the 31st of December 2011 in Apia, which had no 30th.
    let logins = ["2011-12-29T22:00:00Z", "2011-12-30T22:00:00Z"];
    assert_eq!(
        streak_of(&zone("Pacific/Apia"), &logins, "2011-12-30T23:00:00Z"),
        (2, 2)
    );
    assert_eq!(
        streak_of(&zone("Pacific/Apia"), &logins[..1], "2011-12-30T23:00:00Z"),
        (1, 1)
    );
}

#[test]
fn the_leap_day_counts() {
    let utc = zone("UTC");
    let leap = ["2028-02-28T12:00:00Z", "2028-02-29T12:00:00Z", "2028-03-01T12:00:00Z"];
    assert_eq!(streak_of(&utc, &leap, "2028-03-01T12:00:00Z"), (3, 3));
    assert_eq!(streak_of(&utc, &[leap[0], leap[2]], "2028-03-01T12:00:00Z"), (1, 1));
}

fn any_zone() -> impl Strategy<Value = Zone> {
    proptest::sample::select(vec![
        "UTC",
        "Asia/Seoul",
        "Asia/Kathmandu",
        "America/New_York",
        "Europe/Berlin",
        "Australia/Lord_Howe",
        "Pacific/Chatham",
        "Pacific/Apia",
    ])
    .prop_map(zone)
}

/// Timestamps in the sixty days around the end of 2011, when Apia skipped a day.
fn any_instants() -> impl Strategy<Value = Vec<Timestamp>> {
    let millis = 1_322_697_600_000_i64..1_327_881_600_000;
    proptest::collection::vec(millis.prop_map(|millis| Timestamp::from_millis(millis).unwrap()), 0..60)
}

const NOW: &str = "2012-01-30T00:00:00Z";

proptest! {
    #[test]
    fn current_is_at_most_longest_and_longest_at_most_the_number_of_days(zone in any_zone(), instants in any_instants()) {
        let days = days(&zone, instants);
        let streak = streak(&zone, &days, at(NOW));
        prop_assert!(streak.current <= streak.longest);
        prop_assert!(streak.longest as usize <= days.len());
        prop_assert_eq!(streak.longest == 0, days.is_empty());
        prop_assert_eq!(streak.last_day, days.last().copied());
    }

    #[test]
    fn order_and_repetition_do_not_matter(
        zone in any_zone(),
        (instants, shuffled) in any_instants().prop_flat_map(|all| (Just(all.clone()), Just(all).prop_shuffle())),
    ) {
        let once = days(&zone, instants.iter().copied());
        let often = days(&zone, shuffled.into_iter().chain(instants));
        prop_assert_eq!(once, often);
    }

    #[test]
    fn one_more_activity_never_shortens_a_streak(zone in any_zone(), instants in any_instants(), more in 0_usize..60) {
        let Some(&extra) = instants.get(more) else { return Ok(()) };
        let all = days(&zone, instants.iter().copied());
        let without = days(&zone, instants.iter().copied().filter(|&instant| instant != extra));
        let (all, without) = (streak(&zone, &all, at(NOW)), streak(&zone, &without, at(NOW)));
        prop_assert!(all.longest >= without.longest);
        prop_assert!(all.current >= without.current);
        prop_assert!(all.last_day >= without.last_day);
    }

    #[test]
    fn activity_on_every_day_is_one_streak(zone in any_zone(), length in 1_i64..50) {
        let mut day = date(2011, 12, 10);
        let mut all = BTreeSet::from([day]);
        for _ in 1..length {
            day = zone.day_after(day).unwrap();
            all.insert(day);
        }
        let now = zone.start_of(day).unwrap();
        let streak = streak(&zone, &all, now);
        prop_assert_eq!((i64::from(streak.current), i64::from(streak.longest)), (length, length));
    }

    /// A span represents all timestamps in it.
    #[test]
    fn rounding_down_to_a_span_changes_no_day(zone in any_zone(), instants in any_instants()) {
        let first = instants.iter().min().map_or(0, |first| first.as_millis());
        let granule = zone.granule(first);
        let rounded = instants.iter().map(|instant| {
            Timestamp::from_millis(instant.as_millis() / granule * granule).unwrap()
        });
        prop_assert_eq!(days(&zone, rounded), days(&zone, instants.iter().copied()));
    }
}
