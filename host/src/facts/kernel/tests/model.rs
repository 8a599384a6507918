//! The model: every question folds the whole log, and the days are those of chrono-tz. Also two logs that look like those of
//! a shop and of a game, the same in every run.

use std::collections::BTreeSet;

use chrono::{NaiveDate, TimeZone as _};
use chrono_tz::Tz;

use super::{DAY, at, moved};
use crate::clock::Timestamp;
use crate::contract::{Fact, Filter, Query, Selection, Streak, Subject, Window};
use crate::facts::kernel::{Activity, AttributeChange, Grant, Invitee, Log};

/// A log in a time zone.
pub(super) struct Model<'a> {
    log: &'a Log,
    zone: Tz,
    event_starts: Timestamp,
    /// The activities of the owner, and of the invitees with their registration, with their local days.
    own: Vec<(i64, &'a Activity)>,
    invited: Vec<(Timestamp, i64, &'a Activity)>,
}

/// The local day, counted from 1970-01-01.
fn day(zone: Tz, at: Timestamp) -> i64 {
    let epoch = NaiveDate::from_ymd_opt(1970, 1, 1).unwrap();
    let local = zone.timestamp_millis_opt(at.as_millis()).unwrap();
    local.date_naive().signed_duration_since(epoch).num_days()
}

impl<'a> Model<'a> {
    pub(super) fn new(log: &'a Log, zone: &str, event_starts: Timestamp) -> Self {
        let zone: Tz = zone.parse().unwrap();
        let invited = log.invitees.iter().flat_map(|invitee| {
            let activities = invitee.activities.iter();
            activities.map(|activity| (invitee.registered, day(zone, activity.occurred_at), activity))
        });
        let own = log.activities.iter();
        Self {
            log,
            zone,
            event_starts,
            own: own
                .map(|activity| (day(zone, activity.occurred_at), activity))
                .collect(),
            invited: invited.collect(),
        }
    }

    pub(super) fn answer(&self, query: &Query, as_of: Timestamp, known_by: Timestamp) -> Fact {
        let at = |instant: Option<Timestamp>| instant.map_or(Fact::Absent, Fact::At);
        let integer = |count: usize| Fact::Integer(i64::try_from(count).unwrap());
        let selected = |selection| self.selected(selection, as_of, known_by);
        let days = |selection| selected(selection).iter().map(|(day, _)| *day).collect::<BTreeSet<_>>();
        let times = |selection| {
            selected(selection)
                .into_iter()
                .map(|(_, activity)| activity.occurred_at)
        };
        match query {
            Query::Count(selection) => integer(selected(selection).len()),
            Query::Sum(selection) => {
                let amounts = selected(selection)
                    .into_iter()
                    .filter_map(|(_, activity)| activity.amount);
                Fact::Integer(amounts.sum())
            }
            Query::DistinctDays(selection) => integer(days(selection).len()),
            Query::First(selection) => at(times(selection).min()),
            Query::Last(selection) => at(times(selection).max()),
            Query::Streak(selection) => {
                let days = days(selection);
                let run_to = |day: i64| (0..10_000).take_while(|back| days.contains(&(day - back))).count();
                let today = day(self.zone, as_of);
                let current = run_to(if days.contains(&today) { today } else { today - 1 });
                let longest = days.iter().map(|day| run_to(*day)).max().unwrap_or(0);
                let epoch = jiff::civil::date(1970, 1, 1);
                Fact::Days(Streak {
                    current: u32::try_from(current).unwrap(),
                    longest: u32::try_from(longest).unwrap(),
                    last_day: days.last().map(|day| epoch + jiff::Span::new().days(*day)),
                })
            }
            Query::Attribute(name) => {
                let changes = self.log.attributes.iter();
                let mut known = changes
                    .filter(|change| change.name == *name && change.set_at <= as_of && change.set_at <= known_by);
                let value = known.next_back().and_then(|change| change.value.clone());
                value.map_or(Fact::Absent, Fact::Text)
            }
            Query::Grants => integer(
                self.log
                    .grants
                    .iter()
                    .filter(|grant| {
                        let is_reversed = grant.reversed_at.is_some_and(|at| at <= as_of && at <= known_by);
                        grant.received_at <= as_of && grant.decided_at <= known_by && !is_reversed
                    })
                    .count(),
            ),
        }
    }

    fn selected(&self, selection: &Selection, as_of: Timestamp, known_by: Timestamp) -> Vec<(i64, &'a Activity)> {
        let today = day(self.zone, as_of);
        let is_selected = |day: i64, activity: &Activity| {
            let at = activity.occurred_at;
            let is_in_window = match selection.window {
                Window::AllTime => true,
                Window::EventPeriod => at >= self.event_starts,
                Window::Since(instant) => at >= instant,
                Window::LastDays(days) => day > today - i64::from(days),
            };
            let has = |filter: &Filter| activity.attributes.get(&filter.attribute) == Some(&filter.equals);
            is_in_window
                && at <= as_of
                && activity.recorded_at <= known_by
                && activity.kind == selection.kind
                && selection.filters.iter().all(has)
        };
        match selection.subject {
            Subject::Claimant => {
                let own = self.own.iter().copied();
                own.filter(|(day, activity)| is_selected(*day, activity)).collect()
            }
            Subject::Invitees => {
                let registered = |at: Timestamp| at <= as_of && at <= known_by;
                let invited = self.invited.iter().copied();
                let invited = invited.filter(|(at, day, activity)| registered(*at) && is_selected(*day, activity));
                invited.map(|(_, day, activity)| (day, activity)).collect()
            }
        }
    }
}

/// Every kind of query, about random selections.
pub(super) fn queries(random: &mut fastrand::Rng) -> Vec<Query> {
    let mut selection = || {
        let window = match random.u8(..6) {
            0 => Window::AllTime,
            1 => Window::EventPeriod,
            2 => Window::Since(at("2024-02-29T13:14:15.678Z")),
            3 => Window::LastDays(1),
            _ => Window::LastDays(random.u32(2..120)),
        };
        let filters: &[(&str, &str)] = match random.u8(..5) {
            0 => &[("category", "hats")],
            1 => &[("category", "hats"), ("gift", "yes")],
            2 => &[("mode", "ranked")],
            _ => &[],
        };
        Selection {
            kind: (*random.choice(&["shop.purchase", "match.played", "match.won"]).unwrap()).to_owned(),
            subject: *random
                .choice(&[Subject::Claimant, Subject::Claimant, Subject::Invitees])
                .unwrap(),
            window,
            filters: filters
                .iter()
                .map(|(attribute, equals)| Filter {
                    attribute: (*attribute).to_owned(),
                    equals: (*equals).to_owned(),
                })
                .collect(),
        }
    };
    let mut queries = vec![Query::Grants, Query::Attribute("level".to_owned())];
    for make in [
        Query::Count,
        Query::Sum,
        Query::DistinctDays,
        Query::Streak,
        Query::First,
        Query::Last,
    ] {
        queries.extend([make(selection()), make(selection())]);
    }
    queries
}

fn texts(pairs: &[(&str, &str)]) -> std::collections::BTreeMap<String, String> {
    let pairs = pairs.iter();
    pairs
        .map(|(name, text)| ((*name).to_owned(), (*text).to_owned()))
        .collect()
}

/// Purchases of about two years: some each week, refunds, nightly imports, and orders that were reported months later.
pub(super) fn shop() -> Log {
    let mut random = fastrand::Rng::with_seed(1047);
    let mut purchases = |count: usize| -> Vec<Activity> {
        let mut occurred_at = at("2023-05-20T08:00:00Z");
        let mut all = Vec::new();
        for _ in 0..count {
            occurred_at = moved(occurred_at, random.i64(DAY / 20..3 * DAY));
            let recorded_at = match random.u8(..20) {
                0 => moved(occurred_at, random.i64(DAY..90 * DAY)),
                1..6 => moved(at("2023-05-20T03:00:00Z"), {
                    let days = (occurred_at.as_millis() - at("2023-05-20T03:00:00Z").as_millis()).div_euclid(DAY);
                    (days + 1) * DAY
                }),
                // A clock that is ahead of the server's.
                6 => moved(occurred_at, -random.i64(1..300_000)),
                _ => moved(occurred_at, random.i64(0..2000)),
            };
            let amount = match random.u8(..12) {
                0 => None,
                1 => Some(-random.i64(500..9000)),
                _ => Some(random.i64(99..20_000)),
            };
            let category = *random.choice(&["hats", "shoes", ""]).unwrap();
            let gift = *random.choice(&["yes", "no"]).unwrap();
            all.push(Activity {
                kind: "shop.purchase".to_owned(),
                occurred_at,
                recorded_at,
                amount,
                attributes: texts(&[("category", category), ("gift", gift)]),
            });
        }
        all
    };
    let mut log = Log {
        activities: purchases(400),
        ..Log::default()
    };
    for day in [0, 100, 250] {
        log.invitees.push(Invitee {
            registered: moved(at("2023-06-15T10:00:00Z"), day * DAY),
            activities: purchases(60),
        });
    }
    add_attributes_and_grants(&mut log);
    log
}

/// Matches of about two years: evenings with some and pauses, ties within a millisecond, and phones that were offline for
/// days.
pub(super) fn game() -> Log {
    let mut random = fastrand::Rng::with_seed(2048);
    let mut matches = |days: i64| -> Vec<Activity> {
        let mut all = Vec::new();
        let mut day = 0;
        while day < days {
            if random.u8(..5) == 0 {
                day += random.i64(1..12);
            }
            let evening = moved(at("2023-05-25T10:00:00Z"), day * DAY + random.i64(0..DAY / 2));
            let offline = if random.u8(..10) == 0 {
                random.i64(0..10 * DAY)
            } else {
                0
            };
            for played in 0..random.i64(1..3) {
                let occurred_at = moved(evening, played * random.i64(0..1_500_000));
                let mode = *random.choice(&["ranked", "casual"]).unwrap();
                let did = |kind: &str, amount| Activity {
                    kind: kind.to_owned(),
                    occurred_at,
                    recorded_at: moved(occurred_at, offline + 40),
                    amount,
                    attributes: texts(&[("mode", mode)]),
                };
                all.push(did("match.played", None));
                if random.bool() {
                    all.push(did("match.won", Some(random.i64(-20..60))));
                }
            }
            day += 1;
        }
        all
    };
    let mut log = Log {
        activities: matches(420),
        ..Log::default()
    };
    for day in [3, 200] {
        log.invitees.push(Invitee {
            registered: moved(at("2023-06-01T00:00:00Z"), day * DAY),
            activities: matches(90),
        });
    }
    add_attributes_and_grants(&mut log);
    log
}

fn add_attributes_and_grants(log: &mut Log) {
    for (day, value) in [
        (5, Some("1")),
        (5, Some("2")),
        (40, None),
        (41, Some("")),
        (300, Some("9")),
    ] {
        log.attributes.push(AttributeChange {
            name: "level".to_owned(),
            set_at: moved(at("2023-06-01T09:00:00Z"), day * DAY),
            value: value.map(str::to_owned),
        });
    }
    for (day, decided, reversed) in [(10, 0, None), (20, 2, Some(30)), (25, 0, Some(25)), (200, 9, None)] {
        let received_at = moved(at("2023-06-01T12:00:00Z"), day * DAY);
        log.grants.push(Grant {
            received_at,
            decided_at: moved(received_at, decided * DAY),
            reversed_at: reversed.map(|days: i64| moved(at("2023-06-02T12:00:00Z"), days * DAY)),
        });
    }
}
