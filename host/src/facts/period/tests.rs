//! Keys, starts and ends of periods.

use proptest::prelude::*;

use super::*;

fn zone(name: &str) -> Zone {
    name.parse().unwrap()
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

const ALL: [Period; 4] = [Period::Once, Period::Daily, Period::Weekly, Period::Monthly];

#[test]
fn period_keys_use_the_zone() {
    let instant = at("2026-03-01T14:59:59Z");
    let keys = |zone_name: &str, instant| ALL.map(|period| period.key(instant, &zone(zone_name)));
    assert_eq!(
        keys("Asia/Seoul", instant),
        ["once", "2026-03-01", "2026-W09", "2026-03"]
    );
    assert_eq!(
        keys("Asia/Seoul", at("2026-03-01T15:00:00Z")),
        ["once", "2026-03-02", "2026-W10", "2026-03"]
    );
    assert_eq!(
        keys("America/New_York", at("2026-03-01T04:00:00Z")),
        ["once", "2026-02-28", "2026-W09", "2026-02"]
    );
}

#[test]
fn weeks_belong_to_the_year_of_their_thursday() {
    let week = |instant| Period::Weekly.key(at(instant), &zone("UTC"));
    assert_eq!(week("2027-01-03T12:00:00Z"), "2026-W53");
    assert_eq!(week("2027-01-04T12:00:00Z"), "2027-W01");
    assert_eq!(week("2025-12-29T12:00:00Z"), "2026-W01");
}

#[test]
fn the_next_period_begins_at_local_midnight() {
    let next = |period: Period, zone_name: &str, instant: &str| period.next_start(at(instant), &zone(zone_name));
    assert_eq!(next(Period::Once, "UTC", "2026-03-01T12:00:00Z"), None);
    assert_eq!(
        next(Period::Daily, "Asia/Kathmandu", "2026-03-01T12:00:00Z"),
        Some(at("2026-03-01T18:15:00Z"))
    );
    // A Sunday and the next Monday, on which Berlin is in summer time.
    assert_eq!(
        next(Period::Weekly, "Europe/Berlin", "2026-03-29T12:00:00Z"),
        Some(at("2026-03-29T22:00:00Z"))
    );
    assert_eq!(
        next(Period::Weekly, "Europe/Berlin", "2026-03-29T22:00:00Z"),
        Some(at("2026-04-05T22:00:00Z"))
    );
    assert_eq!(
        next(Period::Monthly, "America/New_York", "2026-03-31T12:00:00Z"),
        Some(at("2026-04-01T04:00:00Z"))
    );
    assert_eq!(
        next(Period::Monthly, "UTC", "2028-01-31T12:00:00Z"),
        Some(at("2028-02-01T00:00:00Z"))
    );
    assert_eq!(
        next(Period::Monthly, "UTC", "2026-12-31T12:00:00Z"),
        Some(at("2027-01-01T00:00:00Z"))
    );
}

#[test]
fn names_survive_a_round_trip() {
    for period in ALL {
        assert_eq!(period.to_string().parse(), Ok(period));
        assert_eq!(serde_json::to_value(period).unwrap(), period.to_string());
    }
    assert!("once".parse::<Period>().is_err());
}

proptest! {
    #[test]
    fn a_period_ends_where_the_next_begins(
        name in proptest::sample::select(vec![
            "UTC", "Asia/Seoul", "Asia/Kathmandu", "America/New_York", "Europe/Berlin", "Australia/Lord_Howe",
            "Pacific/Chatham", "Pacific/Apia", "Asia/Beirut", "America/St_Johns",
        ]),
        period in proptest::sample::select(&ALL[1..]),
        // around the day that Apia skipped, and from 2020 to 2040
        millis in prop_oneof![1_322_697_600_000_i64..1_327_881_600_000, 1_577_836_800_000_i64..2_208_988_800_000],
    ) {
        let zone = zone(name);
        let now = Timestamp::from_millis(millis).unwrap();
        let next = period.next_start(now, &zone).unwrap();
        prop_assert!(next > now);
        let key = period.key(now, &zone);
        prop_assert_eq!(&period.key(next.minus(std::time::Duration::from_millis(1)), &zone), &key);
        prop_assert!(period.key(next, &zone) > key);
    }
}
