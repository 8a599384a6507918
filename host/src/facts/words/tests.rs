use super::*;

fn zone(name: &str) -> Zone {
    name.parse().unwrap()
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// The days of all hours of the window that the cut finds, with an activity at each full hour.
fn found(zone: &Zone, from: Timestamp, to: Timestamp) -> BTreeSet<Date> {
    let hour = 3_600_000;
    let first = from.as_millis().div_euclid(hour) - 80;
    let last = to.as_millis().div_euclid(hour) + 80;
    let log: Vec<Timestamp> = (first..=last)
        .filter_map(|n| Timestamp::from_millis(n * hour))
        .collect();
    let words = words(log.iter().map(|at| zone.date(*at)));
    let cut = Cut::new(zone, Some(from), to);
    let mut days = BTreeSet::new();
    for edge in &cut.edges {
        let within = log.iter().filter(|at| (edge.from..=edge.to).contains(at));
        let within = within.map(|at| zone.date(*at));
        if edge.is_one_day {
            days.extend(within.take(1));
        } else {
            days.extend(within);
        }
    }
    if let Some((whole, ..)) = cut.whole {
        let (low, high) = whole.words();
        for (word, bits) in words.range(low..=high) {
            days.extend(days_of(*word, *bits, whole));
        }
    }
    days
}

#[test]
fn a_window_cut_at_midnights_has_the_days_of_its_activities() {
    let windows = [
        ("2026-03-01T00:00:00Z", "2026-03-01T00:00:00Z"),
        ("2026-03-01T00:00:00Z", "2026-05-20T13:30:00Z"),
        ("2026-03-01T05:30:00Z", "2026-03-02T04:00:00Z"),
        ("2018-11-03T20:30:00Z", "2018-11-04T05:30:00Z"),
        ("2018-02-17T20:30:00Z", "2018-02-18T02:30:00Z"),
        ("2018-02-17T23:30:00Z", "2018-02-18T01:30:00Z"),
        ("2018-02-10T23:30:00Z", "2018-02-18T01:30:00Z"),
        ("2018-02-18T01:30:00Z", "2018-03-18T02:30:00Z"),
        ("2018-02-18T03:30:00Z", "2018-03-18T02:30:00Z"),
        ("2011-12-28T00:00:00Z", "2012-01-02T12:00:00Z"),
        ("1970-01-01T00:00:00Z", "1970-03-04T12:00:00Z"),
    ];
    for name in [
        "UTC",
        "Asia/Seoul",
        "America/Sao_Paulo",
        "America/Havana",
        "Pacific/Apia",
        "Asia/Kathmandu",
    ] {
        let zone = zone(name);
        for (from, to) in windows {
            let (from, to) = (at(from), at(to));
            for minutes in [0, 30, 60, 90, 180, 600] {
                let to = to.plus(std::time::Duration::from_mins(minutes));
                let hour = 3_600_000;
                let hours = from.as_millis().div_euclid(hour)..=to.as_millis().div_euclid(hour);
                let instants = hours.filter_map(|n| Timestamp::from_millis(n * hour));
                let expected: BTreeSet<Date> = instants
                    .filter(|at| (from..=to).contains(at))
                    .map(|at| zone.date(at))
                    .collect();
                assert_eq!(found(&zone, from, to), expected, "{name} from {from} to {to}");
            }
        }
    }
}

#[test]
fn a_window_of_ten_years_reads_sixty_words() {
    let cut = Cut::of_window(
        &zone("Asia/Seoul"),
        Window::LastDays(3660),
        Timestamp::EPOCH,
        at("2026-03-01T12:00:00Z"),
    );
    let (whole, ..) = cut.whole.unwrap();
    let (low, high) = whole.words();
    assert!((59..=61).contains(&(high - low + 1)), "{low} to {high}");
    assert_eq!(cut.edges.len(), 1);
}

#[test]
fn an_empty_window_reads_nothing() {
    let cut = Cut::new(
        &zone("UTC"),
        Some(at("2026-03-02T00:00:00Z")),
        at("2026-03-01T00:00:00Z"),
    );
    assert_eq!((cut.edges.len(), cut.whole), (0, None));
}
