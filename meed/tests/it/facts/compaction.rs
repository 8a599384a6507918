//! Compaction: old activities are deleted, and every event in use still gets the same answers. What cannot be answered any more
//! is refused.
//!
//! The oracle is the kernel with a log from which nothing is ever deleted.

use std::collections::BTreeMap;
use std::time::Duration;

use meed_host::activities::{ActivityError, NewActivity, OwnActivity};
use meed_host::attributes::Attributes;
use meed_host::auth::Role;
use meed_host::clock::Timestamp;
use meed_host::contract::{Query, Subject, Window};
use meed_host::db::Engine;
use meed_host::facts::kernel::{Activity, KnownBy, Log, Scope, answer};
use meed_host::facts::{
    Compactor, FactBuilder, FactContext, FactError, Instants, NeedError, NeededBy, Plan, Which, Zone, need,
};
use meed_host::personal_data::PersonalData as _;
use rstest_reuse::apply;
use serde_json::json;
use uuid::Uuid;

use super::maintained::{Random, assert_verified, count, instant, some};
use super::{Did, at, context, filter, purchase, record, selection, zone};
use crate::support::{TestApp, bundled, on_both_engines};

const DAY: i64 = 86_400_000;
const KEPT: Duration = Duration::from_hours(90 * 24);
const KIND: &str = "shop.purchase";

/// Not at midnight, in any of the zones.
const EVENT_STARTS: &str = "2024-02-10T09:30:00Z";
const SINCE: [&str; 3] = [
    "2024-03-31T13:37:00Z",
    "2024-11-02T23:59:59.999Z",
    "2025-03-05T00:00:00Z",
];
const ZONES: [&str; 4] = ["UTC", "Asia/Seoul", "America/Havana", "Africa/Cairo"];

fn windows() -> Vec<Window> {
    let mut windows = vec![
        Window::AllTime,
        Window::EventPeriod,
        Window::LastDays(1),
        Window::LastDays(30),
    ];
    windows.extend(SINCE.map(|since| Window::Since(at(since))));
    windows
}

/// Every kind of query over these windows, with and without filters.
fn plan(window: Window) -> Plan {
    let mut queries = Vec::new();
    for filters in [&[][..], &[filter("category", "hats")]] {
        let selection = selection(KIND, Subject::Claimant, window, filters);
        queries.extend([
            Query::Count(selection.clone()),
            Query::Sum(selection.clone()),
            Query::DistinctDays(selection.clone()),
            Query::Streak(selection.clone()),
            Query::First(selection.clone()),
            Query::Last(selection),
        ]);
    }
    Plan::try_from(queries).expect("a plan within its limits")
}

async fn need_plan(app: &TestApp, zone: &Zone, plan: &Plan) -> Result<usize, NeedError> {
    let mut tx = app.begin().await;
    let by = NeededBy {
        event_id: app.clock.new_id(),
        event_starts: at(EVENT_STARTS),
        until: at("2035-01-01T00:00:00Z"),
        zone,
        now: app.clock.now(),
    };
    let needed = need(&mut tx, &by, plan).await?;
    tx.commit().await.expect("a commit");
    Ok(needed)
}

/// One event for each zone and window.
async fn need_all(app: &TestApp) {
    for name in ZONES {
        for window in windows() {
            need_plan(app, &zone(name), &plan(window)).await.expect("series");
        }
    }
    app.app.facts.finish().await.expect("built");
}

async fn compact(app: &TestApp) {
    app.app.facts.finish().await.expect("built");
    let compactor = Compactor::new(app.app.db.clone(), app.clock.clone(), Some(KEPT));
    while compactor.run().await.expect("a run") {}
    app.app.facts.finish().await.expect("built");
}

/// The users with everything that they ever did.
#[derive(Default)]
struct Model(BTreeMap<Uuid, Log>);

impl Model {
    async fn record(&mut self, app: &TestApp, all: Vec<Did>) {
        for batch in all.chunks(1000) {
            record(app, batch).await;
        }
        for did in all {
            let log = self.0.entry(did.user_id).or_default();
            log.activities.push(Activity {
                kind: did.kind.to_owned(),
                occurred_at: did.at,
                recorded_at: app.clock.now(),
                amount: did.amount,
                attributes: did.attributes,
            });
        }
    }

    /// Compares the answers of a claim now, and of questions about earlier instants after the horizon.
    async fn check(&self, app: &TestApp, random: &mut Random) {
        let now = app.clock.now();
        for (user, log) in &self.0 {
            for window in windows() {
                let zone = zone(ZONES[usize::try_from(random.below(4)).expect("an index")]);
                let earlier = instant(now.as_millis() - random.below(50 * DAY));
                let asked = |as_of| Instants {
                    as_of,
                    known_by: Some(now),
                };
                let later = instant(now.as_millis() + random.below(20 * DAY));
                for instants in [
                    Instants::of_claim(now),
                    asked(now),
                    asked(earlier),
                    Instants::of_claim(later),
                ] {
                    let mut context = context(*user, &zone, instants.as_of);
                    context.event_starts = at(EVENT_STARTS);
                    context.instants = instants;
                    self.compare(app, &context, log, window).await;
                }
            }
        }
    }

    async fn compare(&self, app: &TestApp, context: &FactContext<'_>, log: &Log, window: Window) {
        let (plan, instants) = (plan(window), context.instants);
        let read = app.app.fact_reader.gather(context, &plan).await.expect("facts").facts;
        let scope = Scope {
            event_starts: context.event_starts,
            zone: context.zone,
        };
        let known_by = KnownBy::Instant(app.clock.now());
        let folded = answer(log, scope, plan.queries(), instants.as_of, known_by).expect("facts");
        for (query, (read, folded)) in plan.queries().iter().zip(read.iter().zip(&folded)) {
            assert_eq!(
                read, folded,
                "{query:?}, {instants:?}, {}; the kernel is right",
                context.zone
            );
        }
    }
}

/// Activities of two years: of a busy user, of one with a hundred, of one with gaps, of one with few.
async fn fill(app: &TestApp, model: &mut Model, random: &mut Random) -> [Uuid; 4] {
    let begin = at("2024-01-05T00:00:00Z");
    let mut users = [Uuid::nil(); 4];
    for (user, (number, days)) in users.iter_mut().zip([(1_500, 700), (100, 650), (60, 720), (10, 600)]) {
        *user = app.insert_user(begin, None).await;
        model.record(app, some(random, *user, begin, days, number)).await;
    }
    // About the beginnings of windows and midnights, to the millisecond.
    let mut edges = Vec::new();
    for since in SINCE.into_iter().chain([EVENT_STARTS]) {
        for offset in [-1, 0, 1, DAY] {
            edges.push(purchase(users[2], instant(at(since).as_millis() + offset), Some(7)));
        }
    }
    model.record(app, edges).await;
    users
}

#[apply(on_both_engines)]
async fn compaction_changes_no_answer_of_an_event(app: TestApp) {
    let mut random = Random(11);
    let mut model = Model::default();
    app.clock.set(at("2026-01-10T10:00:00Z"));
    need_all(&app).await;
    let users = fill(&app, &mut model, &mut random).await;
    let all = count(&app, "activities").await;
    app.app.facts.finish().await.expect("built");
    model.check(&app, &mut random).await;

    compact(&app).await;
    let left = count(&app, "activities").await;
    assert!(left < all / 3, "{left} of {all} activities are left");
    assert_eq!(count(&app, "fact_compactions").await, 3, "the user with few keeps them");
    model.check(&app, &mut random).await;
    assert_verified(&app).await;

    // More arrives, also late, and the next horizon follows.
    for round in 0..3 {
        app.clock.set(instant(app.clock.now().as_millis() + 25 * DAY));
        let since = instant(app.clock.now().as_millis() - 60 * DAY);
        for user in &users {
            model
                .record(&app, some(&mut random, *user, since, 60, 40 + 300 * round))
                .await;
        }
        model.check(&app, &mut random).await;
        compact(&app).await;
        model.check(&app, &mut random).await;
        assert_verified(&app).await;
    }
    // Everything that is maintained is built again, as far as the log has it.
    assert!(app.app.facts.rebuild(Which::default()).await.expect("a restart") > 0);
    model.check(&app, &mut random).await;
    app.app.facts.finish().await.expect("built");
    assert_verified(&app).await;
    model.check(&app, &mut random).await;
}

#[apply(on_both_engines)]
async fn a_compaction_that_was_killed_continues(app: TestApp) {
    let mut random = Random(12);
    let mut model = Model::default();
    app.clock.set(at("2026-01-10T10:00:00Z"));
    need_all(&app).await;
    fill(&app, &mut model, &mut random).await;
    app.app.facts.finish().await.expect("built");
    let compactor = Compactor::new(app.app.db.clone(), app.clock.clone(), Some(KEPT));
    // A run that is dropped is like a process that is killed.
    let mut patience = Duration::from_millis(1);
    loop {
        if let Ok(more) = tokio::time::timeout(patience, compactor.run()).await {
            if !more.expect("a run") {
                break;
            }
        } else {
            model.check_one(&app, &mut random).await;
            patience = patience * 3 / 2;
        }
    }
    model.check(&app, &mut random).await;
    assert_verified(&app).await;
}

impl Model {
    /// One window of one user, by chance.
    async fn check_one(&self, app: &TestApp, random: &mut Random) {
        let zone = zone("Asia/Seoul");
        for (user, log) in &self.0 {
            let windows = windows();
            let window = windows[usize::try_from(random.below(7)).expect("an index")];
            let mut context = context(*user, &zone, app.clock.now());
            context.event_starts = at(EVENT_STARTS);
            self.compare(app, &context, log, window).await;
        }
    }
}

fn reported(id: &str, user: Uuid, at: Timestamp) -> NewActivity {
    NewActivity {
        source: "shop".to_owned(),
        id: id.to_owned(),
        user_id: Some(user),
        external_user_id: None,
        kind: KIND.to_owned(),
        occurred_at: Some(at),
        amount: Some(5),
        attributes: Attributes::default(),
    }
}

#[apply(on_both_engines)]
async fn what_is_compacted_is_not_counted_again_and_takes_nothing_more(app: TestApp) {
    let utc = zone("UTC");
    app.clock.set(at("2025-12-20T10:00:00Z"));
    let user = app.insert_user(at("2024-01-01T00:00:00Z"), None).await;
    need_plan(&app, &utc, &plan(Window::AllTime)).await.expect("series");
    let begin = at("2024-06-01T00:00:00Z").as_millis();
    let old: Vec<NewActivity> = (0..200)
        .map(|n| reported(&format!("o{n}"), user, instant(begin + n * DAY)))
        .collect();
    app.app.activities.record(old.clone(), None).await.expect("recorded");
    compact(&app).await;
    assert!(count(&app, "activities").await < 10);

    // The same reports again are duplicates.
    let again = app.app.activities.record(old, None).await.expect("an answer");
    assert_eq!((again.recorded, again.duplicates), (0, 200));
    // A new one of that time is refused, and names the horizon.
    let late = reported("late", user, instant(begin + 1));
    let refused = app
        .app
        .activities
        .record(vec![late], None)
        .await
        .expect_err("it is too old");
    let ActivityError::Invalid(errors) = &refused else {
        panic!("{refused:?}");
    };
    assert_eq!(errors[0].field, "occurredAt");
    assert!(
        errors[0].message.contains("before 2025-09-21T00:00:00.000Z"),
        "{}",
        errors[0].message
    );
    // A later one counts.
    let new = reported("new", user, at("2025-10-01T00:00:00Z"));
    app.app.activities.record(vec![new], None).await.expect("recorded");
    let context = context(user, &utc, app.clock.now());
    let facts = app
        .app
        .fact_reader
        .gather(&context, &plan(Window::AllTime))
        .await
        .expect("facts");
    assert_eq!(json!(facts.facts[0]), json!({"integer": 201}));
}

#[apply(on_both_engines)]
async fn a_question_about_what_is_compacted_is_refused(app: TestApp) {
    let utc = zone("UTC");
    app.clock.set(at("2025-12-20T10:00:00Z"));
    let user = app.insert_user(at("2024-01-01T00:00:00Z"), None).await;
    need_plan(&app, &utc, &plan(Window::AllTime)).await.expect("series");
    record(&app, &some(&mut Random(5), user, at("2024-01-05T00:00:00Z"), 700, 900)).await;
    app.clock.set(at("2025-12-20T11:00:00Z"));
    let before = app.clock.now();
    app.clock.set(at("2025-12-20T12:00:00Z"));
    compact(&app).await;
    let ask = async |window, instants: Instants, zone: &Zone| {
        let mut context = context(user, zone, instants.as_of);
        context.instants = instants;
        app.app.fact_reader.gather(&context, &plan(window)).await
    };
    let now = app.clock.now();
    let (old, horizon) = (at("2024-08-01T00:00:00Z"), at("2025-09-21T00:00:00Z"));
    let asked = |as_of, known_by| Instants {
        as_of,
        known_by: Some(known_by),
    };
    ask(Window::AllTime, asked(now, now), &utc).await.expect("facts");
    ask(Window::Since(horizon), asked(now, before), &utc)
        .await
        .expect("facts");
    for (window, instants, zone) in [
        // A window that no event had.
        (Window::Since(old), Instants::of_claim(now), utc.clone()),
        (Window::LastDays(300), Instants::of_claim(now), utc.clone()),
        // Days of another zone.
        (Window::AllTime, Instants::of_claim(now), super::zone("Asia/Seoul")),
        // Before the horizon, and what was known before.
        (Window::AllTime, asked(old, now), utc.clone()),
        (Window::AllTime, asked(now, before), utc.clone()),
    ] {
        let refused = ask(window, instants, &zone).await;
        assert!(
            matches!(refused, Err(FactError::Compacted(_))),
            "{window:?} {instants:?}: {refused:?}"
        );
    }
    // A new event that would ask such a question is refused; one like those in use is not.
    for (window, zone, is_refused) in [
        (Window::AllTime, utc.clone(), false),
        (Window::Since(horizon), super::zone("Asia/Seoul"), false),
        (Window::LastDays(60), utc.clone(), false),
        (Window::Since(old), utc.clone(), true),
        (Window::AllTime, super::zone("Asia/Seoul"), true),
        (Window::LastDays(300), utc.clone(), true),
    ] {
        let needed = need_plan(&app, &zone, &plan(window)).await;
        assert_eq!(
            matches!(needed, Err(NeedError::Compacted(_))),
            is_refused,
            "{window:?}: {needed:?}"
        );
    }
}

#[apply(on_both_engines)]
async fn what_an_event_asks_about_is_kept(app: TestApp) {
    let (utc, begin) = (zone("UTC"), at("2024-01-05T00:00:00Z"));
    app.clock.set(at("2025-12-20T10:00:00Z"));
    let inviter = app.insert_user(begin, None).await;
    let invitee = app.insert_user(begin, Some(inviter)).await;
    let of_kind = |kind: &'static str, user| {
        let all = some(&mut Random(5), user, begin, 600, 200).into_iter();
        all.map(move |did| Did { kind, ..did }).collect::<Vec<_>>()
    };
    // A long window that moves; nothing asks; about invitees.
    let long = selection("shop.long", Subject::Claimant, Window::LastDays(3660), &[]);
    let invited = selection("shop.invited", Subject::Invitees, Window::AllTime, &[]);
    let own = selection("shop.invited", Subject::Claimant, Window::AllTime, &[]);
    let queries = vec![Query::Count(long), Query::Count(invited), Query::Count(own)];
    let plan = Plan::try_from(queries).expect("a plan");
    need_plan(&app, &utc, &plan).await.expect("series");
    for kind in ["shop.long", "shop.unasked", "shop.invited"] {
        record(&app, &of_kind(kind, inviter)).await;
        record(&app, &of_kind(kind, invitee)).await;
    }
    let ask = async || {
        let context = context(inviter, &utc, app.clock.now());
        app.app.fact_reader.gather(&context, &plan).await.expect("facts").facts
    };
    let before = ask().await;
    compact(&app).await;
    assert_eq!(ask().await, before);
    let left = |kind| {
        let sql = format!("SELECT COUNT(*) FROM activities WHERE kind = '{kind}'");
        let query = app.app.db.query_assembled(sql);
        async { query.fetch_one::<(i64,)>(&app.app.db).await.expect("a count").0 }
    };
    assert_eq!(
        (
            left("shop.long").await,
            left("shop.unasked").await,
            left("shop.invited").await
        ),
        (400, 400, 200)
    );
}

#[apply(on_both_engines)]
async fn the_export_tells_what_is_compacted_and_an_erasure_removes_it(app: TestApp) {
    let utc = zone("UTC");
    app.clock.set(at("2025-12-20T10:00:00Z"));
    let user = app.insert_user(at("2024-01-01T00:00:00Z"), None).await;
    need_plan(&app, &utc, &plan(Window::AllTime)).await.expect("series");
    let begin = at("2024-06-01T00:00:00Z").as_millis();
    let old = (0..100).map(|n| reported(&format!("o{n}"), user, instant(begin + n * DAY)));
    app.app.activities.record(old.collect(), None).await.expect("recorded");
    compact(&app).await;
    let shown = app.app.activities.show(user, None).await.expect("items");
    let items: Vec<_> = shown.items.iter().map(|item| (item.kind, item.data.clone())).collect();
    let expected = json!({
        "kind": KIND, "until": "2025-09-21T00:00:00.000Z", "count": 100, "sum": 500,
        "firstAt": "2024-06-01T00:00:00.000Z", "lastAt": "2024-09-08T00:00:00.000Z",
    });
    assert_eq!(items, [("compactedActivities", expected)]);
    assert_eq!(count(&app, "activity_directory").await, 100);
    let mut next = None;
    loop {
        next = app.app.activities.erase(user, next).await.expect("erased").next;
        if next.is_none() {
            break;
        }
    }
    for table in [
        "activities",
        "activity_directory",
        "fact_compactions",
        "fact_heads",
        "fact_marks",
        "fact_days",
    ] {
        assert_eq!(count(&app, table).await, 0, "{table}");
    }
}

#[apply(on_both_engines)]
async fn staff_are_told_that_a_question_is_about_what_is_compacted(app: TestApp) {
    app.clock.set(at("2025-12-20T10:00:00Z"));
    let user = app.user(Role::User).await;
    let id = user.id.parse().expect("an id");
    let plugin = app.install(bundled("activity-count")).await;
    let params = json!({"kind": KIND, "count": 3});
    let dates = json!({"startDate": "2024-02-01T00:00:00Z", "endDate": "2026-12-01T00:00:00Z"});
    let body = app.event_body(&plugin, params, dates).await;
    let event = app.create_event(&body).await.expect(201);
    record(&app, &some(&mut Random(5), id, at("2024-01-05T00:00:00Z"), 700, 300)).await;
    compact(&app).await;
    assert!(count(&app, "fact_compactions").await > 0);
    let token = app.operator().await;
    let path = format!(
        "/events/{}/progress?userId={id}&asOf=2024-08-01T00:00:00Z",
        event["id"].as_str().expect("an id")
    );
    app.get(&path)
        .bearer(&token)
        .send()
        .await
        .expect_problem(409, "facts-compacted");
    let other = json!({"startDate": "2024-03-01T00:00:00Z", "endDate": "2026-12-01T00:00:00Z"});
    let params = json!({"kind": KIND, "count": 3});
    let body = app.event_body(&plugin, params, other).await;
    app.create_event(&body).await.expect_problem(409, "facts-compacted");
}

#[apply(on_both_engines)]
async fn a_new_event_counts_what_is_compacted_without_filters(app: TestApp) {
    let utc = zone("UTC");
    app.clock.set(at("2025-12-20T10:00:00Z"));
    let user = app.insert_user(at("2024-01-01T00:00:00Z"), None).await;
    // Only days are asked about at first.
    let of = |window| selection(KIND, Subject::Claimant, window, &[]);
    let days = Plan::try_from(vec![Query::DistinctDays(of(Window::AllTime))]).expect("a plan");
    need_plan(&app, &utc, &days).await.expect("series");
    let mut model = Model::default();
    model
        .record(&app, some(&mut Random(5), user, at("2024-01-05T00:00:00Z"), 700, 900))
        .await;
    compact(&app).await;
    let all = of(Window::AllTime);
    let queries = vec![
        Query::Count(all.clone()),
        Query::Sum(all.clone()),
        Query::First(all.clone()),
        Query::Last(all),
    ];
    let plan = Plan::try_from(queries).expect("a plan");
    need_plan(&app, &utc, &plan).await.expect("series");
    app.app.facts.finish().await.expect("built");
    let now = app.clock.now();
    let log = &model.0[&user];
    let scope = Scope {
        event_starts: at(EVENT_STARTS),
        zone: &utc,
    };
    let folded = answer(log, scope, plan.queries(), now, KnownBy::Instant(now)).expect("facts");
    let mut context = context(user, &utc, now);
    context.event_starts = at(EVENT_STARTS);
    let read = app.app.fact_reader.gather(&context, &plan).await.expect("facts").facts;
    assert_eq!(read, folded);
    assert_verified(&app).await;
    // The next compaction goes on from there.
    app.clock.set(instant(now.as_millis() + 40 * DAY));
    compact(&app).await;
    context.instants = Instants::of_claim(app.clock.now());
    let read = app.app.fact_reader.gather(&context, &plan).await.expect("facts").facts;
    assert_eq!(read, folded);
    assert_verified(&app).await;
}

#[apply(on_both_engines)]
async fn days_survive_a_change_of_the_zone_data(app: TestApp) {
    let mut random = Random(13);
    let mut model = Model::default();
    app.clock.set(at("2026-01-10T10:00:00Z"));
    need_all(&app).await;
    fill(&app, &mut model, &mut random).await;
    compact(&app).await;
    let series = count(&app, "fact_series").await;
    // As an older release left it: the ids of the series of days contain other rules.
    let mut tx = app.begin().await;
    for sql in [
        "INSERT INTO fact_series (id, kind, filters, zone, is_of_invitees, state, scanned, zone_data) \
            SELECT id - 1, kind, filters, zone, is_of_invitees, state, scanned, '1999a' FROM fact_series \
            WHERE zone IS NOT NULL",
        "UPDATE fact_needs SET series = series - 1 WHERE series IN (SELECT id FROM fact_series WHERE zone_data > '2000' \
            AND zone IS NOT NULL)",
        "UPDATE fact_heads SET series = series - 1 WHERE series IN (SELECT id FROM fact_series WHERE zone_data > '2000' \
            AND zone IS NOT NULL)",
        "UPDATE fact_marks SET series = series - 1 WHERE series IN (SELECT id FROM fact_series WHERE zone_data > '2000' \
            AND zone IS NOT NULL)",
        "UPDATE fact_days SET series = series - 1 WHERE series IN (SELECT id FROM fact_series WHERE zone_data > '2000' \
            AND zone IS NOT NULL)",
        "DELETE FROM fact_series WHERE zone_data > '2000' AND zone IS NOT NULL",
    ] {
        tx.query(sql).execute(&mut tx).await.expect("a change");
    }
    tx.commit().await.expect("a commit");
    let builder = FactBuilder::new(app.app.db.clone(), app.clock.clone());
    for _ in 0..3 {
        builder.finish().await.expect("built");
    }
    model.check(&app, &mut random).await;
    assert_verified(&app).await;
    assert_eq!(count(&app, "fact_series").await, series, "the old series are gone");
}

#[apply(on_both_engines)]
async fn an_old_activity_of_a_running_transaction_is_not_lost(app: TestApp) {
    if app.app.db.engine() == Engine::Sqlite {
        // It has one writer.
        return;
    }
    let utc = zone("UTC");
    app.clock.set(at("2025-12-20T10:00:00Z"));
    let user = app.insert_user(at("2024-01-01T00:00:00Z"), None).await;
    need_plan(&app, &utc, &plan(Window::AllTime)).await.expect("series");
    record(&app, &some(&mut Random(5), user, at("2024-01-05T00:00:00Z"), 700, 100)).await;
    app.app.facts.finish().await.expect("built");
    // It has recorded an old activity before there is a horizon, and waits.
    let mut slow = app.begin().await;
    let early = OwnActivity {
        user_id: user,
        kind: KIND,
        source_id: "slow".to_owned(),
        occurred_at: at("2024-06-01T00:00:00Z"),
        attributes: BTreeMap::new(),
    };
    app.app.activities.record_own(&mut slow, early).await.expect("recorded");
    let compactor = Compactor::new(app.app.db.clone(), app.clock.clone(), Some(KEPT));
    compactor.run().await.expect("a run");
    assert_eq!(count(&app, "fact_compactions").await, 0, "the compaction waits");
    slow.commit().await.expect("a commit");
    compact(&app).await;
    let context = context(user, &utc, app.clock.now());
    let facts = app
        .app
        .fact_reader
        .gather(&context, &plan(Window::AllTime))
        .await
        .expect("facts");
    assert_eq!(json!(facts.facts[0]), json!({"integer": 101}));
}
