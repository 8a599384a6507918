//! The kernel against a model that folds the whole log for each question, with another implementation of the time zones.

mod model;

use jiff::civil::date;

use self::model::{Model, game, queries, shop};
use super::*;
use crate::clock::Timestamp;
use crate::contract::{Fact, Filter, Query, Selection, Streak, Subject, Window};
use crate::facts::Zone;

/// Zones of whole, half and quarter hours; with clock changes of half an hour, at midnight, and of Ramadan.
const ZONES: [&str; 12] = [
    "UTC",
    "Asia/Seoul",
    "Asia/Kolkata",
    "Asia/Kathmandu",
    "America/New_York",
    "America/Havana",
    "America/Sao_Paulo",
    "Africa/Casablanca",
    "Asia/Beirut",
    "Australia/Lord_Howe",
    "Pacific/Chatham",
    "Pacific/Kiritimati",
];

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn zone(name: &str) -> Zone {
    name.parse().unwrap()
}

fn moved(instant: Timestamp, millis: i64) -> Timestamp {
    Timestamp::from_millis(instant.as_millis() + millis).unwrap()
}

const DAY: i64 = 86_400_000;

fn scope(zone: &Zone) -> Scope<'_> {
    Scope {
        event_starts: at("2023-06-01T22:30:00Z"),
        zone,
    }
}

fn purchases(window: Window) -> Selection {
    Selection {
        kind: "shop.purchase".to_owned(),
        subject: Subject::Claimant,
        window,
        filters: Vec::new(),
    }
}

fn purchase(occurred_at: &str, recorded_at: &str, amount: i64) -> Activity {
    Activity {
        kind: "shop.purchase".to_owned(),
        occurred_at: at(occurred_at),
        recorded_at: at(recorded_at),
        amount: Some(amount),
        attributes: [("category".to_owned(), "hats".to_owned())].into(),
    }
}

/// An instant at which something is likely to change: that of an entry, a midnight, or any.
fn instant(random: &mut fastrand::Rng, log: &Log, zone: &Zone) -> Timestamp {
    let any = log.activities[random.usize(..log.activities.len())].occurred_at;
    let near = match random.u8(..4) {
        0 => any,
        1 => log.activities[random.usize(..log.activities.len())].recorded_at,
        2 => zone.start_of(zone.date(any)).unwrap(),
        _ => moved(any, random.i64(-40 * DAY..40 * DAY)),
    };
    moved(near, random.i64(-1..=1))
}

#[test]
fn the_answers_are_those_of_the_model_at_thousands_of_instants() {
    let mut random = fastrand::Rng::with_seed(20_261_130);
    for log in [shop(), game()] {
        for name in ZONES {
            let zone = zone(name);
            let scope = scope(&zone);
            let model = Model::new(&log, name, scope.event_starts);
            for _ in 0..170 {
                let as_of = instant(&mut random, &log, &zone);
                let known_by = match random.u8(..4) {
                    0 => as_of,
                    1 => at("2100-01-01T00:00:00Z"),
                    _ => instant(&mut random, &log, &zone),
                };
                let queries = queries(&mut random);
                let facts = answer(&log, scope, &queries, as_of, KnownBy::Instant(known_by)).unwrap();
                for (query, fact) in queries.iter().zip(facts) {
                    let expected = model.answer(query, as_of, known_by);
                    assert_eq!(fact, expected, "{name}, as of {as_of}, known by {known_by}: {query:?}");
                }
            }
        }
    }
}

#[test]
fn a_cursor_that_moves_answers_as_a_new_one() {
    let mut random = fastrand::Rng::with_seed(7);
    for log in [shop(), game()] {
        for name in ZONES {
            let zone = zone(name);
            let scope = scope(&zone);
            let queries = queries(&mut random);
            let known_by = match random.u8(..3) {
                0 => KnownBy::Instant(instant(&mut random, &log, &zone)),
                _ => KnownBy::AsOf,
            };
            let mut instants: Vec<Timestamp> = (0..60).map(|_| instant(&mut random, &log, &zone)).collect();
            instants.sort();
            // Back once, too.
            instants.push(instants[20]);
            let mut cursor = Cursor::new(&log, scope, &queries, known_by);
            for as_of in instants {
                cursor.seek(as_of);
                let known_by = match known_by {
                    KnownBy::AsOf => as_of,
                    KnownBy::Instant(known_by) => known_by,
                };
                let fresh = answer(&log, scope, &queries, as_of, KnownBy::Instant(known_by));
                assert_eq!(cursor.facts(), fresh, "{name}, as of {as_of}, known by {known_by}");
            }
        }
    }
}

#[test]
fn between_two_changes_no_answer_changes() {
    let mut random = fastrand::Rng::with_seed(11);
    for log in [shop(), game()] {
        for name in ZONES {
            let zone = zone(name);
            let scope = scope(&zone);
            let queries = queries(&mut random);
            let mut cursor = Cursor::new(&log, scope, &queries, KnownBy::AsOf);
            let mut probe = Cursor::new(&log, scope, &queries, KnownBy::AsOf);
            cursor.seek(at("2023-05-01T00:00:00Z"));
            let mut steps = 0;
            while let Some(next) = cursor.next_change() {
                let (now, facts) = (cursor.as_of(), cursor.facts());
                assert!(next > now, "{name}: {next} after {now}");
                for between in [random.i64(now.as_millis()..next.as_millis()), next.as_millis() - 1] {
                    let between = Timestamp::from_millis(between).unwrap();
                    probe.seek(between);
                    assert_eq!(probe.facts(), facts, "{name}: {between} is between {now} and {next}");
                }
                cursor.seek(next);
                steps += 1;
            }
            // The last change was the last one.
            let facts = cursor.facts();
            cursor.seek(at("2033-01-01T00:00:00Z"));
            assert_eq!(cursor.facts(), facts, "{name}");
            assert!(steps > 100, "{name}: {steps} steps");
        }
    }
}

#[test]
fn an_activity_counts_once_it_is_known() {
    let log = Log {
        activities: vec![
            purchase("2026-03-01T10:00:00Z", "2026-03-01T10:00:00Z", 5),
            purchase("2026-03-01T11:00:00Z", "2026-03-05T00:00:00Z", 7),
        ],
        ..Log::default()
    };
    let utc = zone("UTC");
    let queries = [
        Query::Sum(purchases(Window::AllTime)),
        Query::Last(purchases(Window::AllTime)),
    ];
    let ask = |as_of, known_by| answer(&log, scope(&utc), &queries, at(as_of), known_by).unwrap();
    let both = vec![Fact::Integer(12), Fact::At(at("2026-03-01T11:00:00Z"))];
    let first = vec![Fact::Integer(5), Fact::At(at("2026-03-01T10:00:00Z"))];
    let nothing = vec![Fact::Integer(0), Fact::Absent];
    let by = |text| KnownBy::Instant(at(text));
    assert_eq!(ask("2026-03-02T00:00:00Z", by("2026-03-05T00:00:00Z")), both);
    assert_eq!(ask("2026-03-02T00:00:00Z", by("2026-03-04T23:59:59.999Z")), first);
    assert_eq!(ask("2026-03-01T10:59:59.999Z", by("2026-03-05T00:00:00Z")), first);
    assert_eq!(ask("2026-03-02T00:00:00Z", KnownBy::AsOf), first);
    assert_eq!(ask("2026-03-05T00:00:00Z", KnownBy::AsOf), both);
    assert_eq!(ask("2026-03-02T00:00:00Z", by("2026-02-01T00:00:00Z")), nothing);
}

#[test]
fn invitees_count_from_their_registration_on() {
    let log = Log {
        invitees: vec![Invitee {
            registered: at("2026-03-03T00:00:00Z"),
            activities: vec![purchase("2026-03-01T10:00:00Z", "2026-03-01T10:00:00Z", 5)],
        }],
        ..Log::default()
    };
    let utc = zone("UTC");
    let invitees = Selection {
        subject: Subject::Invitees,
        ..purchases(Window::AllTime)
    };
    let queries = [Query::Count(invitees), Query::Count(purchases(Window::AllTime))];
    let count = |as_of, known_by| {
        let facts = answer(&log, scope(&utc), &queries, at(as_of), known_by).unwrap();
        assert_eq!(facts[1], Fact::Integer(0));
        facts[0].clone()
    };
    let later = KnownBy::Instant(at("2026-04-01T00:00:00Z"));
    assert_eq!(count("2026-03-02T23:59:59.999Z", later), Fact::Integer(0));
    assert_eq!(count("2026-03-03T00:00:00Z", later), Fact::Integer(1));
    let unknown = KnownBy::Instant(at("2026-03-02T00:00:00Z"));
    assert_eq!(count("2026-03-04T00:00:00Z", unknown), Fact::Integer(0));
    assert_eq!(count("2026-03-03T00:00:00Z", KnownBy::AsOf), Fact::Integer(1));
}

#[test]
fn a_grant_stands_from_its_claim_to_its_reversal() {
    let log = Log {
        grants: vec![
            Grant {
                received_at: at("2026-03-01T00:00:00Z"),
                decided_at: at("2026-03-02T00:00:00Z"),
                reversed_at: Some(at("2026-03-05T00:00:00Z")),
            },
            Grant {
                received_at: at("2026-03-03T00:00:00Z"),
                decided_at: at("2026-03-03T00:00:00Z"),
                reversed_at: None,
            },
        ],
        ..Log::default()
    };
    let utc = zone("UTC");
    let count = |as_of: &str, known_by| {
        let facts = answer(&log, scope(&utc), &[Query::Grants], at(as_of), known_by).unwrap();
        facts[0].clone()
    };
    let now = KnownBy::Instant(at("2026-04-01T00:00:00Z"));
    let counts = |known_by| {
        let days = ["02-28", "03-01", "03-02", "03-03", "03-05"];
        days.map(|day| match count(&format!("2026-{day}T00:00:00Z"), known_by) {
            Fact::Integer(count) => count,
            other => panic!("{other:?}"),
        })
    };
    assert_eq!(counts(now), [0, 1, 1, 2, 1]);
    // The decision came a day after the claim.
    assert_eq!(counts(KnownBy::AsOf), [0, 0, 1, 2, 1]);
    // The reversal was not known yet.
    assert_eq!(counts(KnownBy::Instant(at("2026-03-04T00:00:00Z"))), [0, 1, 1, 2, 2]);
}

#[test]
fn a_sum_is_exact_up_to_2_to_the_53() {
    let utc = zone("UTC");
    let largest = crate::contract::MAX_INTEGER;
    let sum_of = |amounts: &[i64]| {
        let purchases_of = amounts.iter().map(|amount| {
            let text = "2026-03-01T10:00:00Z";
            purchase(text, text, *amount)
        });
        let log = Log {
            activities: purchases_of.collect(),
            ..Log::default()
        };
        let queries = [Query::Grants, Query::Sum(purchases(Window::AllTime))];
        let known_by = KnownBy::AsOf;
        answer(&log, scope(&utc), &queries, at("2026-03-02T00:00:00Z"), known_by).map(|facts| facts[1].clone())
    };
    assert_eq!(sum_of(&[largest]), Ok(Fact::Integer(largest)));
    assert_eq!(sum_of(&[largest, i64::MAX, -i64::MAX]), Ok(Fact::Integer(largest)));
    let beyond = |value| Err(TooLarge { query: 1, value });
    assert_eq!(sum_of(&[largest, 1]), beyond(i128::from(largest) + 1));
    assert_eq!(sum_of(&[i64::MIN, i64::MIN]), beyond(2 * i128::from(i64::MIN)));
}

#[test]
fn filters_compare_texts_and_nothing_else() {
    let text = "2026-03-01T10:00:00Z";
    let log = Log {
        activities: vec![purchase(text, text, 1)],
        ..Log::default()
    };
    let utc = zone("UTC");
    let count = |filters: &[(&str, &str)]| {
        let filters = filters.iter().map(|(attribute, equals)| Filter {
            attribute: (*attribute).to_owned(),
            equals: (*equals).to_owned(),
        });
        let selection = Selection {
            filters: filters.collect(),
            ..purchases(Window::AllTime)
        };
        let queries = [Query::Count(selection)];
        answer(&log, scope(&utc), &queries, at("2026-03-02T00:00:00Z"), KnownBy::AsOf).unwrap()
    };
    assert_eq!(count(&[("category", "hats")]), [Fact::Integer(1)]);
    for none in [
        &[("category", "Hats")][..],
        &[("Category", "hats")],
        &[("size", "")],
        &[("category", "hats"), ("size", "")],
    ] {
        assert_eq!(count(none), [Fact::Integer(0)], "{none:?}");
    }
}

#[test]
fn a_streak_is_over_the_skipped_day_of_samoa() {
    // There was no 30 December 2011 in Apia.
    let days = ["2011-12-29T20:00:00Z", "2011-12-30T20:00:00Z"];
    let log = Log {
        activities: days.iter().map(|day| purchase(day, day, 1)).collect(),
        ..Log::default()
    };
    let apia = zone("Pacific/Apia");
    let queries = [Query::Streak(purchases(Window::AllTime))];
    let mut cursor = Cursor::new(&log, scope(&apia), &queries, KnownBy::AsOf);
    cursor.seek(at("2011-12-30T21:00:00Z"));
    let streak = |current| {
        Ok(vec![Fact::Days(Streak {
            current,
            longest: 2,
            last_day: Some(date(2011, 12, 31)),
        })])
    };
    assert_eq!(cursor.facts(), streak(2));
    let ends = cursor.next_edge().unwrap();
    assert_eq!(ends, at("2012-01-01T10:00:00Z"));
    cursor.seek(moved(ends, -1));
    assert_eq!(cursor.facts(), streak(2));
    cursor.seek(ends);
    assert_eq!((cursor.facts(), cursor.next_edge()), (streak(0), None));
}

#[test]
fn a_clock_change_after_midnight_repeats_the_day_before() {
    // In St. John's, one minute past midnight became one minute past eleven of the evening before.
    let text = "2010-11-06T12:00:00Z";
    let log = Log {
        activities: vec![purchase(text, text, 1)],
        ..Log::default()
    };
    let st_johns = zone("America/St_Johns");
    let queries = [Query::Count(purchases(Window::LastDays(1)))];
    let mut cursor = Cursor::new(&log, scope(&st_johns), &queries, KnownBy::AsOf);
    cursor.seek(at(text));
    let mut counts = Vec::new();
    while let Some(next) = cursor.next_edge() {
        cursor.seek(next);
        counts.push((next.to_string(), cursor.facts().unwrap().pop().unwrap()));
        assert_eq!(
            cursor.facts(),
            answer(&log, scope(&st_johns), &queries, next, KnownBy::AsOf)
        );
    }
    let expected = [
        ("2010-11-07T02:30:00.000Z", 0),
        ("2010-11-07T02:31:00.000Z", 1),
        ("2010-11-07T03:30:00.000Z", 0),
    ];
    assert_eq!(
        counts,
        expected.map(|(at, count)| (at.to_owned(), Fact::Integer(count)))
    );
}
