//! Local times and days of known time zones.

use jiff::civil::date;
use proptest::prelude::*;

use super::*;

fn zone(name: &str) -> Zone {
    name.parse().unwrap()
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// Any zone of the bundled database.
fn any_zone() -> impl Strategy<Value = Zone> {
    let names: Vec<String> = TimeZoneDatabase::bundled()
        .available()
        .map(|name| name.to_string())
        .filter(|name| name != "Factory")
        .collect();
    proptest::sample::select(names).prop_map(|name| zone(&name))
}

/// Timestamps from 1970 to 2069.
fn any_instant() -> impl Strategy<Value = Timestamp> {
    (0..3_124_224_000_000_i64).prop_map(|millis| Timestamp::from_millis(millis).unwrap())
}

#[test]
fn names_are_read_in_any_case_and_spelled_canonically() {
    assert_eq!(zone("asia/seoul").name(), "Asia/Seoul");
    assert_eq!(zone("utc").name(), "UTC");
    assert_eq!(
        zone("America/Argentina/Buenos_Aires").to_string(),
        "America/Argentina/Buenos_Aires"
    );
}

#[test]
fn an_unknown_zone_name_is_rejected() {
    for name in [
        "",
        "+09:00",
        "UTC+9",
        "GMT+9",
        "KST",
        "Asia/Soul",
        "Etc/Unknown",
        "Factory",
        "../etc/passwd",
        " UTC",
    ] {
        let error = name.parse::<Zone>().unwrap_err();
        assert!(error.to_string().starts_with(&format!("{name:?} is not")), "{error}");
    }
}

#[test]
fn a_day_begins_at_local_midnight() {
    let cases = [
        ("Asia/Seoul", "2026-03-01T14:59:59.999Z", "2026-03-01T15:00:00Z"),
        ("Asia/Kathmandu", "2026-03-01T18:14:59.999Z", "2026-03-01T18:15:00Z"),
        // +13:45 in summer
        ("Pacific/Chatham", "2026-03-01T10:14:59.999Z", "2026-03-01T10:15:00Z"),
        ("America/New_York", "2026-03-02T04:59:59.999Z", "2026-03-02T05:00:00Z"),
        ("Europe/Berlin", "2026-03-01T22:59:59.999Z", "2026-03-01T23:00:00Z"),
        // +11:00 in summer, half an hour less in winter
        (
            "Australia/Lord_Howe",
            "2026-03-01T12:59:59.999Z",
            "2026-03-01T13:00:00Z",
        ),
        (
            "Australia/Lord_Howe",
            "2026-07-01T13:29:59.999Z",
            "2026-07-01T13:30:00Z",
        ),
    ];
    for (name, before, after) in cases {
        let zone = zone(name);
        let day = zone.date(at(after));
        assert_eq!(zone.date(at(before)), day.yesterday().unwrap(), "{name}");
        assert_eq!(zone.start_of(day), Some(at(after)), "{name}");
    }
}

#[test]
fn local_time_carries_weekday_and_offset() {
    let local = zone("Asia/Kathmandu").local(at("2026-03-01T18:20:30.999Z"));
    assert_eq!(
        local,
        LocalTime {
            date: date(2026, 3, 2),
            weekday: 1,
            hour: 0,
            minute: 5,
            second: 30,
            utc_offset_seconds: 20_700,
        }
    );
    let local = zone("America/St_Johns").local(at("2026-03-01T12:00:00Z"));
    assert_eq!(
        (local.weekday, local.hour, local.minute, local.utc_offset_seconds),
        (7, 8, 30, -12_600)
    );
}

#[test]
fn days_are_shorter_or_longer_when_the_clocks_change() {
    let minutes = |name: &str, day: Date| {
        let zone = zone(name);
        let start = zone.start_of(day).unwrap();
        let end = zone.start_of(day.tomorrow().unwrap()).unwrap();
        (end.as_millis() - start.as_millis()) / 60_000
    };
    assert_eq!(minutes("America/New_York", date(2026, 3, 8)), 1380);
    assert_eq!(minutes("America/New_York", date(2026, 11, 1)), 1500);
    assert_eq!(minutes("Europe/Berlin", date(2026, 3, 29)), 1380);
    assert_eq!(minutes("Europe/Berlin", date(2026, 10, 25)), 1500);
    assert_eq!(minutes("Australia/Lord_Howe", date(2026, 4, 5)), 1470);
    assert_eq!(minutes("Australia/Lord_Howe", date(2026, 10, 4)), 1410);
    // Beirut's clocks change from 00:00 to 01:00.
    assert_eq!(minutes("Asia/Beirut", date(2026, 3, 29)), 1380);
    // Apia skipped the 30th.
    assert_eq!(minutes("Pacific/Apia", date(2011, 12, 30)), 0);
    assert_eq!(minutes("Asia/Seoul", date(2028, 2, 29)), 1440);
}

#[test]
fn offsets_are_those_of_today_and_the_changes_ahead() {
    let offsets = |name: &str, now: &str| -> Vec<(String, i32)> {
        let offsets = zone(name).offsets(at(now));
        let pair = |offset: ZoneOffset| (offset.starts.to_string(), offset.utc_offset_seconds);
        offsets.into_iter().map(pair).collect()
    };
    let expected = |pairs: &[(&str, i32)]| -> Vec<(String, i32)> {
        pairs
            .iter()
            .map(|(starts, offset)| (at(starts).to_string(), *offset))
            .collect()
    };
    assert_eq!(
        offsets("Asia/Seoul", "2026-03-01T16:00:00Z"),
        expected(&[("2026-03-01T15:00:00Z", 32_400)])
    );
    assert_eq!(
        offsets("America/Santiago", "2026-03-20T12:00:00Z"),
        expected(&[
            ("2026-03-20T03:00:00Z", -10_800),
            ("2026-04-05T03:00:00Z", -14_400),
            ("2026-09-06T04:00:00Z", -10_800),
            ("2027-04-04T03:00:00Z", -14_400),
        ])
    );
    // Today itself has two: the clocks went forward at 02:00.
    assert_eq!(
        offsets("Europe/Berlin", "2026-03-29T12:00:00Z")[..2],
        expected(&[("2026-03-28T23:00:00Z", 3_600), ("2026-03-29T01:00:00Z", 7_200)])
    );
}

#[test]
fn the_day_after_leaves_out_a_skipped_day() {
    let apia = zone("Pacific/Apia");
    assert_eq!(apia.day_after(date(2011, 12, 29)), Some(date(2011, 12, 31)));
    assert_eq!(zone("UTC").day_after(date(2028, 2, 28)), Some(date(2028, 2, 29)));
    assert_eq!(zone("UTC").day_after(date(2026, 2, 28)), Some(date(2026, 3, 1)));
}

#[test]
fn a_window_begins_at_its_documented_start() {
    let seoul = zone("Asia/Seoul");
    let starts = at("2026-01-01T00:00:00Z");
    let now = at("2026-03-01T16:00:00Z");
    let start = |window| seoul.start_of_window(window, starts, now);
    assert_eq!(start(Window::EventPeriod), Some(starts));
    assert_eq!(start(Window::AllTime), None);
    assert_eq!(
        start(Window::Since(at("2026-02-02T02:02:02Z"))),
        Some(at("2026-02-02T02:02:02Z"))
    );
    // In Seoul it is the 2nd.
    assert_eq!(start(Window::LastDays(1)), Some(at("2026-03-01T15:00:00Z")));
    assert_eq!(start(Window::LastDays(3)), Some(at("2026-02-27T15:00:00Z")));
    assert!(start(Window::LastDays(3660)).is_some());
    // The window contains the night on which New York's clocks change.
    let new_york = zone("America/New_York");
    let now = at("2026-03-09T03:59:59Z");
    assert_eq!(
        new_york.start_of_window(Window::LastDays(2), starts, now),
        Some(at("2026-03-07T05:00:00Z"))
    );
}

#[test]
fn the_first_and_last_timestamps_do_not_panic() {
    let first = Timestamp::from_millis(-62_135_596_800_000).unwrap();
    let last = at("9998-12-31T23:59:59Z").plus(std::time::Duration::MAX);
    for name in ["Asia/Seoul", "America/New_York", "Pacific/Apia"] {
        let zone = zone(name);
        for now in [first, last] {
            zone.local(now);
            zone.offsets(now);
            zone.day_after(zone.date(now));
            zone.start_of_window(Window::LastDays(u32::MAX), now, now);
        }
    }
}

/// Each span with an activity is read as one day.
#[test]
fn a_span_lies_within_one_day_in_every_zone_since_1970() {
    let instant = |millis| Timestamp::from_millis(millis).unwrap();
    let end = at("2060-01-01T00:00:00Z").as_millis();
    let (mut zones, mut fine) = (0, 0);
    for name in TimeZoneDatabase::bundled().available() {
        let Ok(zone) = name.as_str().parse::<Zone>() else {
            continue;
        };
        zones += 1;
        fine += usize::from(zone.granule(0) == FINE);
        let coarse_from = zone.coarse_from();
        // Casey Station changed its clocks a minute after midnight until 2023.
        let latest = if zone.name() == "Antarctica/Casey" {
            "2024-01-01T00:00:00Z"
        } else {
            "2012-01-01T00:00:00Z"
        };
        assert!(coarse_from <= at(latest).as_millis(), "{zone}: {coarse_from}");
        let changes: Vec<(i64, i64)> = zone
            .clock_changes()
            .map(|(at, offset)| (at * 1000, i64::from(offset) * 1000))
            .take_while(|(at, _)| *at < end)
            .collect();
        for from in [0, coarse_from] {
            let granule = zone.granule(from);
            for (begin, offset) in changes.iter().filter(|(begin, _)| *begin >= from) {
                assert_eq!(offset % granule, 0, "{zone} is at an odd offset after {begin}");
                let start = begin / granule * granule;
                let (first, last) = (zone.date(instant(start)), zone.date(instant(start + granule - 1)));
                assert_eq!(first, last, "{zone} changes days at {begin}");
            }
        }
    }
    assert!(zones > 500, "only {zones} zones");
    assert!((1..40).contains(&fine), "{fine} zones need finer spans");
}

proptest! {
    #[test]
    fn a_day_starts_at_its_first_timestamp(zone in any_zone(), instant in any_instant()) {
        let day = zone.date(instant);
        let start = zone.start_of(day).unwrap();
        prop_assert!(start <= instant);
        prop_assert_eq!(zone.date(start), day);
        prop_assert!(zone.date(start.minus(std::time::Duration::from_millis(1))) < day);
    }

    #[test]
    fn days_follow_each_other(zone in any_zone(), instant in any_instant()) {
        let day = zone.date(instant);
        let next = zone.day_after(day).unwrap();
        prop_assert!(next > day);
        prop_assert!(zone.start_of(next).unwrap() > instant || zone.date(instant) == day);
        let last = zone.start_of(next).unwrap().minus(std::time::Duration::from_millis(1));
        prop_assert!(zone.date(last) <= day);
    }

    #[test]
    fn local_time_is_the_timestamp_in_the_zone(zone in any_zone(), instant in any_instant()) {
        let local = zone.local(instant);
        prop_assert_eq!(local.date, zone.date(instant));
        prop_assert!((1..=7).contains(&local.weekday));
        let wall = local.date.at(local.hour.cast_signed(), local.minute.cast_signed(), local.second.cast_signed(), 0);
        let utc = wall.to_zoned(TimeZone::UTC).unwrap().timestamp().as_second() - i64::from(local.utc_offset_seconds);
        prop_assert_eq!(utc, instant.as_millis().div_euclid(1000), "{} {:?}", zone, local);
    }

    #[test]
    fn offsets_give_the_local_time_of_13_months(zone in any_zone(), now in any_instant(), ahead in 0_u64..400 * 86_400) {
        let offsets = zone.offsets(now);
        prop_assert!(offsets.len() < MAX_OFFSETS, "{} {:?}", zone, offsets);
        prop_assert!(offsets.is_sorted_by(|one, next| one.starts < next.starts), "{} {:?}", zone, offsets);
        prop_assert_eq!(offsets[0].starts, zone.start_of(zone.date(now)).unwrap());
        let then = now.plus(Duration::from_secs(ahead));
        let offset = offsets.iter().rfind(|offset| offset.starts <= then).unwrap();
        prop_assert_eq!(offset.utc_offset_seconds, zone.local(then).utc_offset_seconds);
    }

    #[test]
    fn a_window_of_more_days_begins_earlier(zone in any_zone(), now in any_instant(), days in 1_u32..3660) {
        let start = |days| zone.start_of_window(Window::LastDays(days), now, now).unwrap();
        prop_assert!(start(days + 1) <= start(days));
        prop_assert!(start(days) <= now);
        prop_assert_eq!(start(1), zone.start_of(zone.date(now)).unwrap());
    }
}
