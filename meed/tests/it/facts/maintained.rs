//! What is maintained for users with many activities: it answers as the log does, whatever happens while it is built.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use meed_host::clock::Timestamp;
use meed_host::contract::{Query, Subject, Window};
use meed_host::facts::{FactContext, NeededBy, Plan, Which, Zone, need, release};
use meed_host::personal_data::PersonalData as _;
use rstest_reuse::apply;
use serde_json::json;
use uuid::Uuid;

use super::{Did, at, context, filter, purchase, record, selection, texts, zone};
use crate::support::{TestApp, bundled, on_both_engines, with};

/// Knuth's generator: varied, but the same in every run.
pub(super) struct Random(pub u64);

impl Random {
    pub(super) fn below(&mut self, bound: i64) -> i64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        i64::try_from((self.0 >> 16) % bound.unsigned_abs()).expect("a number")
    }
}

pub(super) fn instant(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis).expect("an instant")
}

fn queries(subject: Subject, window: Window) -> Vec<Query> {
    let hats = [filter("category", "hats")];
    let both = [filter("category", "hats"), filter("gift", "true")];
    let mut queries = Vec::new();
    for filters in [[].as_slice(), hats.as_slice(), both.as_slice()] {
        let selection = selection("shop.purchase", subject, window, filters);
        queries.extend([
            Query::Count(selection.clone()),
            Query::Sum(selection.clone()),
            Query::DistinctDays(selection.clone()),
            Query::Streak(selection.clone()),
            Query::First(selection.clone()),
            Query::Last(selection),
        ]);
    }
    queries
}

fn plan(subject: Subject, window: Window) -> Plan {
    Plan::try_from(queries(subject, window)).expect("a plan within its limits")
}

/// An event needs the facts of [`queries`] in the zone.
async fn event(app: &TestApp, zone: &Zone) -> (Uuid, usize) {
    event_about(app, zone, Subject::Claimant).await
}

async fn event_about(app: &TestApp, zone: &Zone, subject: Subject) -> (Uuid, usize) {
    let id = app.clock.new_id();
    let mut tx = app.begin().await;
    let (plan, until) = (plan(subject, Window::AllTime), at("2035-01-01T00:00:00Z"));
    let by = NeededBy {
        event_id: id,
        event_starts: at("2024-01-01T00:00:00Z"),
        until,
        zone,
        now: app.clock.now(),
    };
    let building = need(&mut tx, &by, &plan).await.expect("series");
    tx.commit().await.expect("a commit");
    (id, building)
}

/// The answers of what is maintained, which must be those of the log.
async fn check(app: &TestApp, context: &FactContext<'_>, window: Window) {
    check_about(app, context, Subject::Claimant, window).await;
}

async fn check_about(app: &TestApp, context: &FactContext<'_>, subject: Subject, window: Window) {
    let plan = plan(subject, window);
    let maintained = app.app.fact_reader.gather(context, &plan).await.expect("facts").facts;
    let log = app
        .app
        .fact_reader
        .gather_from_log(context, &plan)
        .await
        .expect("facts")
        .facts;
    for ((query, maintained), log) in plan.queries().iter().zip(&maintained).zip(&log) {
        assert_eq!(
            maintained, log,
            "{query:?} as of {} in {}",
            context.instants.as_of, context.zone
        );
    }
}

pub(super) async fn assert_verified(app: &TestApp) -> u64 {
    let checked = app.app.facts.verify(Which::default()).await.expect("a comparison");
    assert!(checked.differences.is_empty(), "{:#?}", checked.differences);
    checked.heads
}

pub(super) async fn count(app: &TestApp, table: &str) -> i64 {
    let query = app.app.db.query_assembled(format!("SELECT COUNT(*) FROM {table}"));
    let (count,): (i64,) = query.fetch_one(&app.app.db).await.expect("a count");
    count
}

/// Some activities of the user within the days from the instant: with ties, without an order, of a few categories.
pub(super) fn some(random: &mut Random, user_id: Uuid, from: Timestamp, days: i64, number: usize) -> Vec<Did> {
    let categories = ["hats", "shoes", ""];
    (0..number)
        .map(|_| {
            // A thousand instants of a day, so that many have the same.
            let at = from.as_millis() + random.below(days * 1000) * 86_400;
            let amount = (random.below(5) > 0).then(|| random.below(2_000_000_000_000) - 1_000_000_000_000);
            let category = categories[usize::try_from(random.below(3)).expect("an index")];
            let gift = (random.below(2) == 0).to_string();
            Did {
                attributes: texts(&[("category", category), ("gift", &gift)]),
                ..purchase(user_id, instant(at), amount)
            }
        })
        .collect()
}

#[apply(on_both_engines)]
async fn maintained_facts_are_those_of_the_log_while_activities_arrive(app: TestApp) {
    let begin = at("2024-01-01T00:00:00Z");
    let users: Vec<Uuid> = [
        app.insert_user(begin, None).await,
        app.insert_user(begin, None).await,
        app.insert_user(begin, None).await,
    ]
    .into();
    let zones = ["UTC", "Asia/Seoul", "America/Sao_Paulo"].map(zone);
    for zone in &zones {
        event(&app, zone).await;
    }
    // Two writers and a builder at the same time.
    let is_over = AtomicBool::new(false);
    let build = async {
        while !is_over.load(Ordering::SeqCst) {
            app.app.facts.run().await.expect("a run");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let write = async |seed| {
        let mut random = Random(seed);
        for round in 0..16 {
            let mut batch = Vec::new();
            // The first user is in order, the second one is always late, the third one has few.
            let today = instant(begin.as_millis() + round * 10 * 86_400_000);
            batch.extend(some(&mut random, users[0], today, 10, 120));
            batch.extend(some(&mut random, users[1], begin, 400, 80));
            batch.extend(some(&mut random, users[2], begin, 400, 3));
            record(&app, &batch).await;
        }
    };
    let write = async {
        tokio::join!(write(1), write(2));
        is_over.store(true, Ordering::SeqCst);
    };
    tokio::join!(write, build);
    assert_verified(&app).await;
    let mut random = Random(3);
    for round in 0..3 {
        // Half built, built, and with more that is late.
        if round == 1 {
            app.app.facts.finish().await.expect("built");
        }
        if round == 2 {
            record(&app, &some(&mut random, users[0], begin, 160, 300)).await;
        }
        for user in &users {
            for zone in &zones {
                let all = context(*user, zone, at("2025-06-01T00:00:00Z"));
                check(&app, &all, Window::AllTime).await;
                for _ in 0..6 {
                    let now = instant(begin.as_millis() + random.below(430 * 86_400_000));
                    let since = instant(begin.as_millis() + random.below(430 * 86_400_000));
                    let mut context = context(*user, zone, now);
                    context.event_starts = instant(begin.as_millis() + random.below(1000) * 43_200_000);
                    let days = u32::try_from(1 + random.below(90)).expect("days");
                    for window in [
                        Window::AllTime,
                        Window::EventPeriod,
                        Window::LastDays(days),
                        Window::Since(since),
                    ] {
                        check(&app, &context, window).await;
                    }
                }
            }
        }
    }
    // Of both users with many activities: three series of numbers, and three of days in each zone.
    assert_eq!(assert_verified(&app).await, 2 * 12);
    assert!(count(&app, "fact_marks").await >= 24);
    assert!(count(&app, "fact_days").await > 0);
}

#[apply(on_both_engines)]
async fn a_user_with_few_activities_has_nothing_maintained(app: TestApp) {
    let begin = at("2026-01-01T00:00:00Z");
    let user = app.insert_user(begin, None).await;
    let utc = zone("UTC");
    let (_, building) = event(&app, &utc).await;
    assert_eq!(
        building, 0,
        "without users with many activities the facts are ready at once"
    );
    record(&app, &some(&mut Random(1), user, begin, 20, 250)).await;
    app.app.facts.finish().await.expect("built");
    for table in ["fact_heads", "fact_marks", "fact_days"] {
        assert_eq!(count(&app, table).await, 0, "{table}");
    }
}

#[apply(on_both_engines)]
async fn a_late_day_of_a_busy_user_gets_marks_of_its_own(app: TestApp) {
    let begin = at("2026-01-01T00:00:00Z");
    let (user, utc) = (app.insert_user(begin, None).await, zone("UTC"));
    event(&app, &utc).await;
    let mut random = Random(7);
    for _ in 0..4 {
        record(&app, &some(&mut random, user, begin, 30, 1000)).await;
    }
    app.app.facts.finish().await.expect("built");
    let before = count(&app, "fact_marks").await;
    // All of one second, so that no instant can divide them.
    for _ in 0..4 {
        let second = at("2026-01-10T12:00:00Z");
        let late: Vec<Did> = (0..1000).map(|_| purchase(user, second, Some(1))).collect();
        record(&app, &late).await;
    }
    app.app.facts.finish().await.expect("built");
    // An activity of 64 looks for crowded intervals, and an interval is crowded from 1024 on.
    let more = count(&app, "fact_marks").await - before;
    assert!(more >= 3 * 2000 / 256, "{more} marks more");
    assert_verified(&app).await;
    for now in [
        "2026-01-10T11:59:59.999Z",
        "2026-01-10T12:00:00Z",
        "2026-01-10T12:00:00.001Z",
    ] {
        check(&app, &context(user, &utc, at(now)), Window::AllTime).await;
    }
}

#[apply(on_both_engines)]
async fn verify_finds_what_differs_and_rebuild_mends_it(app: TestApp) {
    let begin = at("2025-01-01T00:00:00Z");
    let (user, utc) = (app.insert_user(begin, None).await, zone("UTC"));
    event(&app, &utc).await;
    for seed in 0..2 {
        record(&app, &some(&mut Random(seed), user, begin, 200, 1000)).await;
    }
    app.app.facts.finish().await.expect("built");
    assert_eq!(assert_verified(&app).await, 6);
    for sql in [
        "UPDATE fact_marks SET n = n + 1 WHERE n = (SELECT MAX(n) FROM fact_marks)",
        "UPDATE fact_marks SET sum = sum - 1 WHERE n = (SELECT MIN(n) FROM fact_marks)",
        "UPDATE fact_marks SET at = at - 1 WHERE n = (SELECT MAX(n) FROM fact_marks)",
        "DELETE FROM fact_marks WHERE n = (SELECT MAX(n) FROM fact_marks)",
        "UPDATE fact_days SET bits = bits - 1 WHERE bits % 2 = 1",
        "DELETE FROM fact_days WHERE word = (SELECT MAX(word) FROM fact_days)",
    ] {
        let mut tx = app.begin().await;
        let changed = tx.query(sql).execute(&mut tx).await.expect("a change");
        tx.commit().await.expect("a commit");
        assert!(changed > 0, "{sql}");
        let checked = app.app.facts.verify(Which::default()).await.expect("a comparison");
        assert!(!checked.differences.is_empty(), "{sql}");
        let found = &checked.differences[0];
        assert_eq!(found.user_id, user);
        let which = Which {
            user: Some(user),
            series: None,
        };
        assert_eq!(app.app.facts.rebuild(which).await.expect("a restart"), 6);
        // The log answers until then.
        check(&app, &context(user, &utc, at("2026-12-01T00:00:00Z")), Window::AllTime).await;
        app.app.facts.finish().await.expect("built");
        assert_eq!(assert_verified(&app).await, 6);
    }
}

#[apply(on_both_engines)]
async fn an_erasure_leaves_nothing_maintained(app: TestApp) {
    let begin = at("2025-01-01T00:00:00Z");
    let (user, utc) = (app.insert_user(begin, None).await, zone("UTC"));
    event(&app, &utc).await;
    record(&app, &some(&mut Random(1), user, begin, 200, 1000)).await;
    app.app.facts.finish().await.expect("built");
    assert_verified(&app).await;
    let mut next = None;
    loop {
        let erased = app.app.activities.erase(user, next).await.expect("erased");
        // Nothing is wrong in between.
        assert_verified(&app).await;
        next = erased.next;
        if next.is_none() {
            break;
        }
    }
    for table in ["fact_heads", "fact_marks", "fact_days"] {
        assert_eq!(count(&app, table).await, 0, "{table}");
    }
}

#[apply(on_both_engines)]
async fn events_share_a_series_and_the_last_one_drops_it(app: TestApp) {
    let begin = at("2025-01-01T00:00:00Z");
    let (user, utc) = (app.insert_user(begin, None).await, zone("UTC"));
    record(&app, &some(&mut Random(1), user, begin, 200, 1000)).await;
    // The activities were there first.
    let (one, building) = event(&app, &utc).await;
    assert_eq!(building, 6);
    let (other, _) = event(&app, &utc).await;
    assert_eq!(count(&app, "fact_series").await, 6);
    app.app.facts.finish().await.expect("built");
    assert_eq!(assert_verified(&app).await, 6);
    assert_eq!(event(&app, &utc).await.1, 0, "they are ready");
    for (event, left) in [(one, 6), (other, 6)] {
        let mut tx = app.begin().await;
        release(&mut tx, event).await.expect("released");
        tx.commit().await.expect("a commit");
        app.app.facts.finish().await.expect("built");
        assert_eq!(count(&app, "fact_series").await, left);
    }
    // The third event has ended by now.
    app.clock.set(at("2035-01-03T00:00:00Z"));
    app.app.facts.finish().await.expect("built");
    for table in ["fact_needs", "fact_series", "fact_heads", "fact_marks", "fact_days"] {
        assert_eq!(count(&app, table).await, 0, "{table}");
    }
    check(&app, &context(user, &utc, at("2026-12-01T00:00:00Z")), Window::AllTime).await;
}

#[apply(on_both_engines)]
async fn activities_of_a_transaction_that_began_before_the_head_are_not_lost(app: TestApp) {
    let begin = at("2025-01-01T00:00:00Z");
    let (user, utc) = (app.insert_user(begin, None).await, zone("UTC"));
    event(&app, &utc).await;
    if app.app.db.engine() == meed_host::db::Engine::Sqlite {
        // It has one writer.
        return;
    }
    record(&app, &some(&mut Random(1), user, begin, 200, 200)).await;
    // A transaction that has recorded an activity and looked for heads, and waits.
    let mut slow = app.begin().await;
    let early = meed_host::activities::OwnActivity {
        user_id: user,
        kind: "shop.purchase",
        source_id: "slow".to_owned(),
        occurred_at: begin,
        attributes: BTreeMap::new(),
    };
    app.app.activities.record_own(&mut slow, early).await.expect("recorded");
    record(&app, &some(&mut Random(2), user, begin, 200, 1000)).await;
    assert!(count(&app, "fact_heads").await > 0);
    app.app.facts.run().await.expect("a run");
    assert_eq!(
        count(&app, "fact_marks").await,
        0,
        "the builder waits for the transaction"
    );
    slow.commit().await.expect("a commit");
    app.app.facts.finish().await.expect("built");
    assert!(count(&app, "fact_marks").await > 0);
    assert_verified(&app).await;
}

#[apply(on_both_engines)]
async fn an_event_is_active_when_its_facts_are_built_or_the_operator_does_not_wait(app: TestApp) {
    let begin = at("2025-01-01T00:00:00Z");
    let user = app.insert_user(begin, None).await;
    let logins = some(&mut Random(1), user, begin, 200, 300);
    let logins = logins.into_iter().map(|did| Did {
        kind: "shop.order",
        ..did
    });
    record(&app, &logins.collect::<Vec<_>>()).await;
    let plugin = app.install(bundled("activity-count")).await;
    let params = json!({"kind": "shop.order", "count": 3});
    let body = app.event_body(&plugin, params, json!({})).await;
    app.create_event(&body).await.expect_problem(409, "facts-not-ready");
    for changes in [json!({"acceptSlowReads": true}), json!({"isActive": false})] {
        app.create_event(&with(body.clone(), changes)).await.expect(201);
    }
    app.create_event(&body).await.expect_problem(409, "facts-not-ready");
    app.app.facts.finish().await.expect("built");
    app.create_event(&body).await.expect(201);
}

#[apply(on_both_engines)]
async fn activities_of_invitees_are_maintained_for_the_inviter(app: TestApp) {
    let begin = at("2025-01-01T00:00:00Z");
    let (inviter, seoul) = (app.insert_user(begin, None).await, zone("Asia/Seoul"));
    event_about(&app, &seoul, Subject::Invitees).await;
    let mut invitees = Vec::new();
    let mut random = Random(17);
    for _ in 0..3 {
        let invitee = app.insert_user(begin, Some(inviter)).await;
        record(&app, &some(&mut random, invitee, begin, 200, 500)).await;
        invitees.push(invitee);
    }
    // Their own activities are not those of invitees.
    record(&app, &some(&mut random, inviter, begin, 200, 400)).await;
    app.app.facts.finish().await.expect("built");
    assert_eq!(assert_verified(&app).await, 6);
    let compare = async |random: &mut Random| {
        for _ in 0..12 {
            let now = instant(begin.as_millis() + random.below(230 * 86_400_000));
            let since = instant(begin.as_millis() + random.below(230 * 86_400_000));
            let context = context(inviter, &seoul, now);
            let days = u32::try_from(1 + random.below(90)).expect("days");
            for window in [Window::AllTime, Window::LastDays(days), Window::Since(since)] {
                check_about(&app, &context, Subject::Invitees, window).await;
            }
        }
    };
    compare(&mut random).await;
    // Late ones.
    record(&app, &some(&mut random, invitees[0], begin, 200, 300)).await;
    compare(&mut random).await;
    assert_verified(&app).await;
    // Someone who registers later does not count before, not even with activities of an earlier time.
    let later = app.insert_user(at("2025-04-01T00:00:00Z"), Some(inviter)).await;
    record(&app, &some(&mut random, later, begin, 200, 100)).await;
    compare(&mut random).await;
    app.app.facts.finish().await.expect("built");
    // An erasure takes the activities from what the inviter has.
    let mut next = None;
    loop {
        next = app.app.activities.erase(invitees[1], next).await.expect("erased").next;
        compare(&mut random).await;
        if next.is_none() {
            break;
        }
    }
    app.app.facts.finish().await.expect("built");
    assert_verified(&app).await;
    compare(&mut random).await;
}
