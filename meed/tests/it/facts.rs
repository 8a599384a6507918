//! Facts: every query, window, subject and filter, compared with a simple model in Rust.

mod compaction;
mod kernel;
mod maintained;
mod past;

use std::collections::{BTreeMap, BTreeSet};

use meed_host::activities::NewActivity;
use meed_host::attributes::Attributes;
use meed_host::clock::Timestamp;
use meed_host::contract::{Fact, Filter, MAX_INTEGER, Query, Selection, Streak, Subject, Window};
use meed_host::db::Json;
use meed_host::facts::{FactContext, FactError, Instants, Period, Plan, Snapshot, Zone};
use meed_host::rewards::NewReward;
use rstest_reuse::apply;
use uuid::Uuid;

use crate::support::{TestApp, on_both_engines};

fn at(text: &str) -> Timestamp {
    text.parse().expect("an instant")
}

fn zone(name: &str) -> Zone {
    name.parse().expect("a zone")
}

fn texts(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs
        .iter()
        .map(|(name, text)| ((*name).to_owned(), (*text).to_owned()))
        .collect()
}

fn filter(attribute: &str, equals: &str) -> Filter {
    Filter {
        attribute: attribute.to_owned(),
        equals: equals.to_owned(),
    }
}

fn selection(kind: &str, subject: Subject, window: Window, filters: &[Filter]) -> Selection {
    Selection {
        kind: kind.to_owned(),
        subject,
        window,
        filters: filters.to_vec(),
    }
}

fn purchases(window: Window) -> Selection {
    selection("shop.purchase", Subject::Claimant, window, &[])
}

async fn ask(app: &TestApp, context: &FactContext<'_>, queries: Vec<Query>) -> Result<Snapshot, FactError> {
    let plan = Plan::try_from(queries).expect("a plan within its limits");
    app.app.fact_reader.gather(context, &plan).await
}

async fn facts(app: &TestApp, context: &FactContext<'_>, queries: Vec<Query>) -> Vec<Fact> {
    ask(app, context, queries).await.expect("a snapshot").facts
}

fn context(user_id: Uuid, zone: &Zone, now: Timestamp) -> FactContext<'_> {
    FactContext {
        user_id,
        event_id: Uuid::nil(),
        event_starts: at("2026-02-10T09:30:00Z"),
        zone,
        period: Period::Once,
        budget: None,
        group: None,
        instants: Instants::of_claim(now),
    }
}

/// An activity in the model.
#[derive(Clone, Debug)]
struct Did {
    user_id: Uuid,
    kind: &'static str,
    at: Timestamp,
    amount: Option<i64>,
    attributes: BTreeMap<String, String>,
}

async fn record(app: &TestApp, all: &[Did]) {
    let activities = all.iter().map(|did| NewActivity {
        source: "test".to_owned(),
        id: Uuid::now_v7().to_string(),
        user_id: Some(did.user_id),
        external_user_id: None,
        kind: did.kind.to_owned(),
        occurred_at: Some(did.at),
        amount: did.amount,
        attributes: Attributes(did.attributes.clone()),
    });
    let recorded = app
        .app
        .activities
        .record(activities.collect(), None)
        .await
        .expect("recorded");
    assert_eq!(recorded.recorded, all.len());
}

fn purchase(user_id: Uuid, at: Timestamp, amount: Option<i64>) -> Did {
    Did {
        user_id,
        kind: "shop.purchase",
        at,
        amount,
        attributes: BTreeMap::new(),
    }
}

/// Seoul has been nine hours ahead of UTC since 1988, so the model computes its days without a calendar.
const SEOUL_OFFSET: i64 = 9 * 3_600_000;
const DAY: i64 = 86_400_000;

fn seoul_day(at: Timestamp) -> i64 {
    (at.as_millis() + SEOUL_OFFSET).div_euclid(DAY)
}

struct Model {
    log: Vec<Did>,
    claimant: Uuid,
    /// The invitees who had registered by `now`.
    invitees: Vec<Uuid>,
    event_starts: Timestamp,
    now: Timestamp,
}

impl Model {
    fn selected(&self, selection: &Selection) -> Vec<&Did> {
        let from = match selection.window {
            Window::EventPeriod => self.event_starts.as_millis(),
            Window::AllTime => 0,
            Window::LastDays(days) => (seoul_day(self.now) - i64::from(days) + 1) * DAY - SEOUL_OFFSET,
            Window::Since(instant) => instant.as_millis(),
        };
        let chosen = |did: &&Did| {
            let subject = match selection.subject {
                Subject::Claimant => did.user_id == self.claimant,
                Subject::Invitees => self.invitees.contains(&did.user_id),
            };
            let passes = |filter: &Filter| did.attributes.get(&filter.attribute) == Some(&filter.equals);
            subject
                && did.kind == selection.kind
                && (from..=self.now.as_millis()).contains(&did.at.as_millis())
                && selection.filters.iter().all(passes)
        };
        self.log.iter().filter(chosen).collect()
    }

    fn answer(&self, query: &Query) -> Fact {
        let integer = |count: usize| Fact::Integer(i64::try_from(count).expect("a small count"));
        let days = |selection| {
            self.selected(selection)
                .iter()
                .map(|did| seoul_day(did.at))
                .collect::<BTreeSet<_>>()
        };
        let at = |instant: Option<Timestamp>| instant.map_or(Fact::Absent, Fact::At);
        match query {
            Query::Count(selection) => integer(self.selected(selection).len()),
            Query::Sum(selection) => Fact::Integer(self.selected(selection).iter().filter_map(|did| did.amount).sum()),
            Query::DistinctDays(selection) => integer(days(selection).len()),
            Query::First(selection) => at(self.selected(selection).iter().map(|did| did.at).min()),
            Query::Last(selection) => at(self.selected(selection).iter().map(|did| did.at).max()),
            Query::Streak(selection) => {
                let days = days(selection);
                let run_to = |day: i64| (0..3660).take_while(|back| days.contains(&(day - back))).count();
                let today = seoul_day(self.now);
                let current = if days.contains(&today) {
                    run_to(today)
                } else {
                    run_to(today - 1)
                };
                let longest = days.iter().map(|day| run_to(*day)).max().unwrap_or(0);
                let epoch = jiff::civil::date(1970, 1, 1);
                Fact::Days(Streak {
                    current: u32::try_from(current).expect("a short streak"),
                    longest: u32::try_from(longest).expect("a short streak"),
                    last_day: days.last().map(|day| epoch + jiff::Span::new().days(*day)),
                })
            }
            Query::Attribute(_) | Query::Grants => unreachable!("asked elsewhere"),
        }
    }
}

/// 1000 activities of six users between December and the end of February, the same in every run.
fn log(users: &[Uuid]) -> Vec<Did> {
    let begin = at("2025-12-15T00:00:00Z").as_millis();
    // Knuth's generator, because the data must vary but not be random.
    let mut state = 20_260_301_u64;
    let mut next = |bound: u64| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 16) % bound
    };
    let categories = ["hats", "", "모자 \"$.x\" it's"];
    (0..1000)
        .map(|_| {
            let user_id = users[usize::try_from(next(users.len() as u64)).expect("an index")];
            let at = begin + i64::try_from(next(76 * 86_400_000)).expect("a time");
            let mut attributes = BTreeMap::new();
            if next(4) > 0 {
                let category = categories[usize::try_from(next(3)).expect("an index")];
                attributes.insert("category".to_owned(), category.to_owned());
            }
            attributes.insert("gift.wrapped".to_owned(), (next(2) == 0).to_string());
            Did {
                user_id,
                kind: if next(3) == 0 { "match.won" } else { "shop.purchase" },
                at: Timestamp::from_millis(at).expect("an instant"),
                amount: (next(5) > 0).then(|| i64::try_from(next(10_000)).expect("an amount") - 3000),
                attributes,
            }
        })
        .collect()
}

#[apply(on_both_engines)]
async fn every_query_window_subject_and_filter(app: TestApp) {
    let registered = at("2025-12-01T00:00:00Z");
    let now = at("2026-02-20T16:20:00Z");
    let claimant = app.insert_user(registered, None).await;
    let invitees = [
        app.insert_user(registered, Some(claimant)).await,
        app.insert_user(at("2026-02-01T00:00:00Z"), Some(claimant)).await,
    ];
    let invited_later = app.insert_user(at("2026-02-21T00:00:00Z"), Some(claimant)).await;
    let strangers = [
        app.insert_user(registered, None).await,
        app.insert_user(registered, Some(invitees[0])).await,
    ];
    let users = [
        claimant,
        invitees[0],
        invitees[1],
        invited_later,
        strangers[0],
        strangers[1],
    ];
    let log = log(&users);
    record(&app, &log).await;

    let seoul = zone("Asia/Seoul");
    let context = context(claimant, &seoul, now);
    let model = Model {
        log,
        claimant,
        invitees: invitees.to_vec(),
        event_starts: context.event_starts,
        now,
    };
    let windows = [
        Window::EventPeriod,
        Window::AllTime,
        Window::LastDays(1),
        Window::LastDays(7),
        Window::LastDays(3660),
        Window::Since(at("2026-01-31T23:59:59.999Z")),
        Window::Since(now),
        Window::Since(at("2026-03-01T00:00:00Z")),
    ];
    let filters = [
        vec![],
        vec![filter("category", "hats")],
        vec![filter("category", "")],
        vec![filter("category", "모자 \"$.x\" it's"), filter("gift.wrapped", "true")],
        vec![filter("category", "' OR 1=1 --")],
        vec![filter("missing", "")],
    ];
    let mut queries = Vec::new();
    for window in windows {
        for subject in [Subject::Claimant, Subject::Invitees] {
            for filters in &filters {
                for kind in ["shop.purchase", "match.won", "never.happened"] {
                    let selection = selection(kind, subject, window, filters);
                    queries.extend([
                        Query::Count(selection.clone()),
                        Query::Sum(selection.clone()),
                        Query::DistinctDays(selection.clone()),
                        Query::Streak(selection.clone()),
                        Query::First(selection.clone()),
                        Query::Last(selection),
                    ]);
                }
            }
        }
    }
    let mut answered = BTreeSet::new();
    for some in queries.chunks(32) {
        let answers = facts(&app, &context, some.to_vec()).await;
        assert_eq!(answers.len(), some.len());
        for (query, answer) in some.iter().zip(answers) {
            assert_eq!(answer, model.answer(query), "{query:?}");
            answered.insert(format!("{answer:?}"));
        }
    }
    // The data is varied enough that different queries have different answers.
    assert!(answered.len() > 150, "{} different answers", answered.len());
}

#[apply(on_both_engines)]
async fn one_plan_with_every_kind_of_query(app: TestApp) {
    let now = at("2026-03-01T12:00:00Z");
    let admin = app.insert_user(at("2026-01-01T00:00:00Z"), None).await;
    let user = app.insert_user(at("2026-01-02T03:04:05.678Z"), None).await;
    let invitee = app.insert_user(at("2026-02-01T00:00:00Z"), Some(user)).await;
    let reward = NewReward {
        name: None,
        type_: "COUPON".to_owned(),
        item_id: None,
        value: None,
        duration: None,
        description: None,
        codes: false,
        codes_low_water: None,
        codes_return: false,
        applied: false,
        stock: Some(7),
    };
    let limited = app
        .app
        .rewards
        .create(reward.clone(), admin)
        .await
        .expect("a reward")
        .id;
    let unlimited = app
        .app
        .rewards
        .create(NewReward { stock: None, ..reward }, admin)
        .await
        .expect("a reward")
        .id;
    let event_id = app.insert_event(admin, &[unlimited, limited]).await;
    app.insert_request(event_id, user, "GRANTED", ("2026-02-28", 1), at("2026-02-28T10:00:00Z"))
        .await;
    app.insert_request(event_id, user, "GRANTED", ("2026-03-01", 1), at("2026-03-01T10:00:00Z"))
        .await;
    app.insert_request(
        event_id,
        user,
        "REJECTED",
        ("2026-03-01", 1),
        at("2026-03-01T10:00:00Z"),
    )
    .await;
    app.set_attribute(user, "level", Some("12"), at("2026-02-01T00:00:00Z"))
        .await;
    record(
        &app,
        &[
            purchase(user, at("2026-02-26T16:00:00Z"), Some(-300)),
            purchase(user, at("2026-02-28T14:59:59.999Z"), None),
            purchase(user, at("2026-02-28T15:00:00Z"), Some(1_000_000_000_000)),
            purchase(invitee, at("2026-02-28T23:00:00Z"), Some(50)),
        ],
    )
    .await;

    let seoul = zone("Asia/Seoul");
    let context = FactContext {
        event_id,
        period: Period::Daily,
        ..context(user, &seoul, now)
    };
    let window = Window::LastDays(7);
    let invitees = selection("shop.purchase", Subject::Invitees, window, &[]);
    let snapshot = ask(
        &app,
        &context,
        vec![
            Query::Grants,
            Query::Attribute("level".to_owned()),
            Query::Attribute("region".to_owned()),
            Query::Count(purchases(window)),
            Query::Sum(purchases(window)),
            Query::DistinctDays(purchases(window)),
            Query::Streak(purchases(window)),
            Query::First(purchases(window)),
            Query::Last(purchases(window)),
            Query::Count(invitees.clone()),
            Query::Streak(invitees),
            Query::Last(purchases(Window::Since(now))),
        ],
    )
    .await
    .expect("a snapshot");
    let day = |day| {
        jiff::civil::date(2026, 3, 1)
            .checked_add(jiff::Span::new().days(day))
            .ok()
    };
    assert_eq!(
        snapshot,
        Snapshot {
            facts: vec![
                Fact::Integer(2),
                Fact::Text("12".to_owned()),
                Fact::Absent,
                Fact::Integer(3),
                Fact::Integer(999_999_999_700),
                Fact::Integer(3),
                Fact::Days(Streak {
                    current: 3,
                    longest: 3,
                    last_day: day(0)
                }),
                Fact::At(at("2026-02-26T16:00:00Z")),
                Fact::At(at("2026-02-28T15:00:00Z")),
                Fact::Integer(1),
                Fact::Days(Streak {
                    current: 1,
                    longest: 1,
                    last_day: day(0)
                }),
                Fact::Absent,
            ],
            registered: at("2026-01-02T03:04:05.678Z"),
            disabled: false,
            period: "2026-03-01".to_owned(),
            last_reversal: None,
            held_claim: None,
            newest_rejection: None,
            granted_slots: [1].into(),
            stock: BTreeMap::from([(limited, 7)]),
            group: None,
            budget_usage: None,
        }
    );
}

#[apply(on_both_engines)]
async fn a_plan_without_queries_still_returns_the_user(app: TestApp) {
    let user = app.insert_user(at("2026-01-01T00:00:00Z"), None).await;
    let utc = zone("UTC");
    let context = context(user, &utc, at("2026-03-01T12:00:00Z"));
    let snapshot = ask(&app, &context, vec![]).await.expect("a snapshot");
    assert_eq!((snapshot.disabled, snapshot.period.as_str()), (false, "once"));
    assert!(snapshot.stock.is_empty());

    let mut tx = app.begin().await;
    tx.query("UPDATE users SET disabled = $2 WHERE id = $1")
        .bind(user)
        .bind(true)
        .execute(&mut tx)
        .await
        .expect("disabled");
    tx.commit().await.expect("commit");
    assert!(ask(&app, &context, vec![]).await.expect("a snapshot").disabled);

    let unknown = FactContext {
        user_id: Uuid::now_v7(),
        ..context
    };
    assert!(matches!(ask(&app, &unknown, vec![]).await, Err(FactError::NoSuchUser(id)) if id == unknown.user_id));
}

#[apply(on_both_engines)]
async fn attributes_are_as_of_the_given_time(app: TestApp) {
    let user = app.insert_user(at("2026-01-01T00:00:00Z"), None).await;
    let other = app.insert_user(at("2026-01-01T00:00:00Z"), None).await;
    let name = "world.type";
    app.set_attribute(user, name, Some("pvp"), at("2026-02-01T00:00:00Z"))
        .await;
    app.set_attribute(user, name, Some(""), at("2026-02-02T00:00:00Z"))
        .await;
    // Of two changes in one millisecond, the later one is valid.
    app.set_attribute(user, name, Some("pvx"), at("2026-02-02T00:00:00Z"))
        .await;
    app.set_attribute(user, name, None, at("2026-02-03T00:00:00Z")).await;
    app.set_attribute(user, name, Some("pve"), at("2026-02-04T00:00:00Z"))
        .await;
    app.set_attribute(other, name, Some("other"), at("2026-02-01T00:00:00Z"))
        .await;
    let utc = zone("UTC");
    for (now, expected) in [
        ("2026-01-31T23:59:59.999Z", None),
        ("2026-02-01T00:00:00Z", Some("pvp")),
        ("2026-02-03T12:00:00Z", None),
        ("2026-02-04T00:00:00Z", Some("pve")),
    ] {
        let answers = facts(
            &app,
            &context(user, &utc, at(now)),
            vec![Query::Attribute(name.to_owned())],
        )
        .await;
        assert_eq!(
            answers,
            [expected.map_or(Fact::Absent, |text| Fact::Text(text.to_owned()))],
            "{now}"
        );
    }
}

#[apply(on_both_engines)]
async fn an_empty_attribute_is_a_text(app: TestApp) {
    let user = app.insert_user(at("2026-01-01T00:00:00Z"), None).await;
    app.set_attribute(user, "region", Some(""), at("2026-02-01T00:00:00Z"))
        .await;
    let utc = zone("UTC");
    let answers = facts(
        &app,
        &context(user, &utc, at("2026-03-01T00:00:00Z")),
        vec![Query::Attribute("region".to_owned())],
    )
    .await;
    assert_eq!(answers, [Fact::Text(String::new())]);
}

#[apply(on_both_engines)]
async fn grants_count_per_user_event_and_period(app: TestApp) {
    let user = app.insert_user(at("2026-01-01T00:00:00Z"), None).await;
    let other = app.insert_user(at("2026-01-01T00:00:00Z"), None).await;
    let event_id = app.insert_event(user, &[]).await;
    let other_event = app.insert_event(user, &[]).await;
    for (event, who, status, period, received) in [
        (event_id, user, "GRANTED", ("2026-W08", 1), "2026-02-20T00:00:00Z"),
        (event_id, user, "GRANTED", ("2026-W09", 1), "2026-02-24T00:00:00Z"),
        (event_id, user, "GRANTED", ("2026-W09", 3), "2026-02-25T00:00:00Z"),
        (event_id, user, "GRANTED", ("2026-W09", 4), "2026-02-28T00:00:00Z"),
        (event_id, user, "REVERSED", ("2026-W09", 2), "2026-02-24T00:00:01Z"),
        (event_id, user, "FAILED", ("2026-W09", 2), "2026-02-24T00:00:02Z"),
        (event_id, other, "GRANTED", ("2026-W09", 1), "2026-02-24T00:00:00Z"),
        (other_event, user, "GRANTED", ("2026-W09", 1), "2026-02-24T00:00:00Z"),
    ] {
        app.insert_request(event, who, status, period, at(received)).await;
    }
    let utc = zone("UTC");
    let weekly = |now| FactContext {
        event_id,
        period: Period::Weekly,
        ..context(user, &utc, at(now))
    };
    // Facts are as of the given time; the granted slots are current.
    for (now, ever, places, free) in [
        ("2026-02-19T00:00:00Z", 0, vec![1], 2),
        ("2026-02-23T00:00:00Z", 1, vec![1, 3, 4], 2),
        ("2026-02-25T00:00:00Z", 3, vec![1, 3, 4], 2),
        ("2026-03-01T23:59:59Z", 4, vec![1, 3, 4], 2),
        ("2026-03-02T00:00:00Z", 4, vec![], 1),
    ] {
        let snapshot = ask(&app, &weekly(now), vec![Query::Grants]).await.expect("a snapshot");
        assert_eq!(snapshot.free_slot(), free, "{now}");
        assert_eq!(snapshot.granted_slots, places.into_iter().collect(), "{now}");
        assert_eq!(snapshot.facts, [Fact::Integer(ever)]);
    }
}

#[apply(on_both_engines)]
async fn filter_names_and_values_are_not_interpreted(app: TestApp) {
    let user = app.insert_user(at("2026-01-01T00:00:00Z"), None).await;
    let names = [
        "a", "A", "a.b", "a.", ".", "0", "00", "-1", "_", "a_b", "1.0", "1e1", "null", "true", "--", "a-b",
    ];
    let values = [
        "",
        "0",
        "true",
        "\"x\"",
        "it's",
        "서울",
        "😀",
        "two\nlines",
        "\\n",
        "null",
        "{}",
        "[1]",
        "1.0",
    ];
    let mut log = Vec::new();
    for (index, name) in names.iter().enumerate() {
        let value = values[index % values.len()];
        let mut did = purchase(user, at("2026-02-20T00:00:00Z"), Some(1 << index));
        did.attributes = texts(&[(name, value)]);
        log.push(did);
    }
    // One activity has all names, with a value that no other activity has.
    let mut everything = purchase(user, at("2026-02-20T00:00:00Z"), Some(1 << 40));
    everything.attributes = names
        .iter()
        .map(|name| ((*name).to_owned(), "all".to_owned()))
        .collect();
    log.push(everything);
    record(&app, &log).await;
    let utc = zone("UTC");
    let context = context(user, &utc, at("2026-03-01T00:00:00Z"));
    for (index, name) in names.iter().enumerate() {
        for value in values.iter().chain(&["all", "missing"]) {
            let sum = Query::Sum(selection(
                "shop.purchase",
                Subject::Claimant,
                Window::AllTime,
                &[filter(name, value)],
            ));
            let expected = if *value == "all" {
                1 << 40
            } else if *value == values[index % values.len()] {
                1 << index
            } else {
                0
            };
            assert_eq!(
                facts(&app, &context, vec![sum]).await,
                [Fact::Integer(expected)],
                "{name:?} = {value:?}"
            );
        }
    }
}

#[apply(on_both_engines)]
async fn a_sum_beyond_2_to_the_53_is_an_error(app: TestApp) {
    const SQL: &str = "INSERT INTO activities (id, source, source_id, user_id, kind, amount, attributes, occurred_at, recorded_at) \
        VALUES ($1, 'test', $2, $3, 'shop.purchase', $4, $5, 0, 0)";
    let utc = zone("UTC");
    for (amounts, expected) in [
        (&[MAX_INTEGER][..], Some(MAX_INTEGER)),
        (&[MAX_INTEGER, 1], None),
        (&[-MAX_INTEGER], Some(-MAX_INTEGER)),
        (&[-MAX_INTEGER, -1], None),
        (&[i64::MIN], None),
    ] {
        let user = app.insert_user(at("2026-01-01T00:00:00Z"), None).await;
        let mut tx = app.begin().await;
        for amount in amounts {
            let id = Uuid::now_v7();
            tx.query(SQL)
                .bind(id)
                .bind(id.to_string())
                .bind(user)
                .bind(*amount)
                .bind(Json(texts(&[])))
                .execute(&mut tx)
                .await
                .expect("an activity");
        }
        tx.commit().await.expect("commit");
        let sums = vec![
            Query::Count(purchases(Window::AllTime)),
            Query::Sum(purchases(Window::AllTime)),
        ];
        let answer = ask(&app, &context(user, &utc, at("2026-03-01T00:00:00Z")), sums).await;
        match expected {
            Some(sum) => assert_eq!(answer.expect("a snapshot").facts[1], Fact::Integer(sum)),
            None => assert!(
                matches!(answer, Err(FactError::TooLarge(error)) if error.query == 1),
                "{amounts:?}"
            ),
        }
    }
}

#[apply(on_both_engines)]
async fn concurrent_reads_return_their_own_facts(app: TestApp) {
    const SQL: &str = "INSERT INTO activities (id, source, source_id, user_id, kind, amount, attributes, occurred_at, recorded_at) \
        VALUES ($1, 'test', $2, $3, 'shop.purchase', $4, $5, 0, 0)";
    let utc = zone("UTC");
    let mut users = Vec::new();
    for number in 0..100_i64 {
        users.push((number, app.insert_user(at("2026-01-01T00:00:00Z"), None).await));
    }
    let mut tx = app.begin().await;
    for (number, user) in &users {
        // The sum of these amounts overflows in both databases.
        let amounts = if *number == 50 {
            vec![i64::MIN, i64::MIN]
        } else {
            vec![1; usize::try_from(number % 7).expect("a number")]
        };
        for amount in amounts {
            let id = Uuid::now_v7();
            tx.query(SQL)
                .bind(id)
                .bind(id.to_string())
                .bind(*user)
                .bind(amount)
                .bind(Json(texts(&[])))
                .execute(&mut tx)
                .await
                .expect("an activity");
        }
    }
    tx.commit().await.expect("commit");
    let asked = users.iter().map(|(number, user)| {
        // Three shapes of plans, and different windows within one shape.
        let window = Window::LastDays(3650 - u32::try_from(number % 5).expect("a number"));
        let queries = match number % 3 {
            0 => vec![Query::Sum(purchases(Window::AllTime))],
            1 => vec![
                Query::Attribute("none".to_owned()),
                Query::Count(purchases(Window::AllTime)),
            ],
            _ => vec![Query::Sum(purchases(window)), Query::First(purchases(Window::AllTime))],
        };
        let (app, context) = (&app, context(*user, &utc, at("1975-03-01T00:00:00Z")));
        async move { (*number, ask(app, &context, queries).await) }
    });
    for (number, answer) in futures_util::future::join_all(asked).await {
        if number == 50 {
            assert!(matches!(answer, Err(FactError::Overflow)), "{answer:?}");
            continue;
        }
        let facts = answer.expect("a snapshot").facts;
        let count = Fact::Integer(number % 7);
        match number % 3 {
            0 => assert_eq!(facts, [count]),
            1 => assert_eq!(facts, [Fact::Absent, count]),
            _ if number % 7 == 0 => assert_eq!(facts, [count, Fact::Absent]),
            _ => assert_eq!(facts, [count, Fact::At(Timestamp::EPOCH)]),
        }
    }
}

#[apply(on_both_engines)]
async fn days_use_the_time_zone_of_the_event(app: TestApp) {
    let user = app.insert_user(at("2026-01-01T00:00:00Z"), None).await;
    app.at("2026-03-09T04:00:00Z");
    // Around midnight in Kathmandu (18:15 UTC), and on New York's day of 23 hours.
    record(
        &app,
        &[
            purchase(user, at("2026-03-07T18:14:59.999Z"), None),
            purchase(user, at("2026-03-07T18:15:00Z"), None),
            purchase(user, at("2026-03-08T04:59:59.999Z"), None),
            purchase(user, at("2026-03-08T05:00:00Z"), None),
            purchase(user, at("2026-03-09T03:59:59.999Z"), None),
            purchase(user, at("2026-03-09T04:00:00Z"), None),
        ],
    )
    .await;
    for (name, today, days) in [
        ("Asia/Kathmandu", 2, 3),
        ("America/New_York", 1, 3),
        ("Asia/Seoul", 2, 2),
        ("UTC", 2, 3),
    ] {
        let zone = zone(name);
        let context = context(user, &zone, at("2026-03-09T04:00:00Z"));
        let answers = facts(
            &app,
            &context,
            vec![
                Query::Count(purchases(Window::LastDays(1))),
                Query::DistinctDays(purchases(Window::AllTime)),
            ],
        )
        .await;
        assert_eq!(answers, [Fact::Integer(today), Fact::Integer(days)], "{name}");
    }
}
