//! What a claim reads of a user with a hundred thousand activities, and of one whose invitees have as many: marks, and few
//! activities after them.

use std::collections::BTreeSet;

use meed_host::auth::Role;
use meed_host::contract::{Filter, Query, Selection, Subject, Window};
use meed_host::db::Db;
use reqwest::Method;
use serde_json::json;

use super::{Driver, analyze, explain, observed, run, statements};
use crate::faults::fleet::{Fleet, client};
use crate::support::{TestApp, TestUser, guest, text, with};

const MANY: u64 = 100_000;

fn queries(subject: Subject) -> Vec<Query> {
    let hats = Filter {
        attribute: "category".to_owned(),
        equals: "hats".to_owned(),
    };
    let mut queries = Vec::new();
    for window in [Window::AllTime, Window::LastDays(30)] {
        for filters in [Vec::new(), vec![hats.clone()]] {
            let selection = Selection {
                kind: "shop.purchase".to_owned(),
                subject,
                window,
                filters,
            };
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
    queries
}

/// Activities of the user `{by}` that belong to `{owner}`, spread over a year until now. Hats are rare.
fn activities(app: &TestApp, by: &str, inviter: Option<&str>) -> String {
    let (rows, id, hats) = match app.app.db {
        Db::Postgres { .. } => (
            format!("generate_series(1::BIGINT, {MANY}) AS s (n)"),
            "('00000000-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))::UUID",
            "jsonb_build_object('category', CASE WHEN n % 20000 = 0 THEN 'hats' ELSE 'shoes' END)",
        ),
        Db::Sqlite { .. } => (
            format!(
                "(WITH RECURSIVE s (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < {MANY}) SELECT n FROM s) AS s"
            ),
            "unhex(printf('0000000000007000800%013x', n))",
            "json_object('category', iif(n % 20000 = 0, 'hats', 'shoes'))",
        ),
    };
    let user = |id: &str| match app.app.db {
        Db::Postgres { .. } => format!("'{id}'::UUID"),
        Db::Sqlite { .. } => format!("unhex('{}')", id.replace('-', "")),
    };
    let now = app.clock.now().as_millis();
    let step = 365 * 86_400_000 / MANY;
    format!(
        "INSERT INTO activities (user_id, source, source_id, id, kind, amount, attributes, occurred_at, recorded_at, \
            inviter_id) \
         SELECT {}, 'fill', 'a' || n, {id}, 'shop.purchase', n % 1000, {hats}, {now} - ({MANY} - n) * {step}, {now}, {} \
         FROM {rows} WHERE TRUE",
        user(by),
        inviter.map_or("NULL".to_owned(), user)
    )
}

struct Busy {
    driver: Driver,
    user: TestUser,
    events: Vec<String>,
}

async fn busy(app: &TestApp) -> Busy {
    let user = app.user(Role::User).await;
    let id = user.id.parse().expect("an id");
    let invitee = app.insert_user(app.clock.now(), Some(id)).await.to_string();
    run(
        app,
        vec![
            activities(app, &user.id, None),
            activities(app, &invitee, Some(&user.id)),
        ],
    )
    .await;
    let ranges = json!({"startDate": "2026-01-01T00:00:00Z", "endDate": "2035-01-01T00:00:00Z"});
    let mut events = Vec::new();
    for (name, subject) in [("about-own", Subject::Claimant), ("about-invitees", Subject::Invitees)] {
        let mut plugin = guest(name);
        plugin.binding.as_mut().expect("a binding").queries = queries(subject);
        let plugin = app.install(plugin.module()).await;
        let body = app.event_body(&plugin, json!({}), ranges.clone()).await;
        let body = with(body, json!({"acceptSlowReads": true}));
        events.push(text(&app.create_event(&body).await.expect(201), "id").to_owned());
    }
    app.app.facts.finish().await.expect("built");
    analyze(app).await;
    let is_postgres = matches!(app.app.db, Db::Postgres { .. });
    if is_postgres {
        observed::tell_plans(app).await;
    }
    let [format, filter] = statements::LOGGED;
    let log = format!("{},{}", filter.1, observed::TOLD);
    let driver = Driver {
        fleet: Fleet::start_on(app, &app.database_url(), 1, &[format, (filter.0, &log)]).await,
        http: client(),
    };
    Busy { driver, user, events }
}

/// How many lower bounds of the instant of activities a query has. A plus before the column keeps it out of the search.
fn lower_bounds(sql: &str) -> usize {
    let bounds = [" a.occurred_at BETWEEN", " a.occurred_at >", "(a.occurred_at, a.id) >"];
    bounds.iter().map(|bound| sql.matches(bound).count()).sum()
}

/// Asks for the progress in every event, which reads what a claim reads.
async fn ask(busy: &Busy) {
    for event in &busy.events {
        for _ in 0..7 {
            let path = format!("/events/{event}/progress");
            busy.driver.call(Method::GET, &path, &busy.user.token, None).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn facts_of_many_activities_scan_no_table_on_sqlite() {
    let app = TestApp::on_sqlite().await.in_real_time();
    let busy = busy(&app).await;
    ask(&busy).await;
    let statements: BTreeSet<String> = statements::of(&busy.driver.fleet).into_iter().collect();
    let facts: Vec<&String> = statements.iter().filter(|sql| sql.contains("fact_marks m")).collect();
    let maintained: Vec<&String> = statements.iter().filter(|sql| sql.contains("fact_days d")).collect();
    assert!(maintained.len() >= 2, "{statements:#?}");
    // The plan of a search shows one bound, and not that rows up to another one are read.
    let parts = maintained.iter().flat_map(|sql| sql.split("UNION ALL"));
    let double: Vec<&str> = parts.filter(|part| lower_bounds(part) > 1).collect();
    assert!(double.is_empty(), "{double:#?}");
    let faults = explain::faults(&app.app.db, facts.into_iter().chain(maintained)).await;
    // The spans of an edge are grouped.
    let scans: Vec<&String> = faults.iter().filter(|fault| fault.starts_with("SCAN ")).collect();
    assert!(scans.is_empty(), "{scans:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn facts_of_many_activities_read_few_on_postgres() {
    let app = TestApp::on_postgres().await.in_real_time();
    let busy = busy(&app).await;
    ask(&busy).await;
    let log = busy.driver.fleet.log(0);
    let is_about_facts = |sql: &str| sql.contains("fact_days d");
    let (faults, statements) = observed::faults(&log, |sql| !is_about_facts(sql));
    assert!(statements > 2);
    assert!(log.contains("fact_days d"), "no maintained facts were read");
    let report: Vec<String> = faults.iter().map(|(sql, fault)| format!("{sql}\n{fault}")).collect();
    assert!(report.is_empty(), "{}", report.join("\n\n"));
}
