//! How often a user may be granted an event

use meed_host::auth::Role;
use rstest_reuse::apply;
use serde_json::{Value, json};

use crate::support::{Reply, TestApp, TestUser, on_both_engines, text};

async fn event(app: &TestApp, zone: &str, period: &str, count: u32) -> Value {
    let changes = json!({
        "timeZone": zone, "recurrence": {"period": period, "count": count}, "endDate": "2027-01-01T00:00:00Z",
    });
    app.event("first-come", json!({}), changes).await
}

async fn claim_at(app: &TestApp, at: &str, user: &TestUser, event: &Value) -> Reply {
    app.at(at);
    let token = app.log_in(user).await;
    app.claim(&token, event).send().await
}

async fn assert_granted(app: &TestApp, at: &str, user: &TestUser, event: &Value, period: &str) {
    let granted = claim_at(app, at, user, event).await.expect(201);
    assert_eq!(
        (text(&granted, "status"), text(&granted, "period")),
        ("GRANTED", period),
        "{at}"
    );
}

async fn assert_granted_before(app: &TestApp, at: &str, user: &TestUser, event: &Value, next: Option<&str>) {
    let problem = claim_at(app, at, user, event)
        .await
        .expect_problem(409, "already-granted");
    assert_eq!(problem.get("nextAt").and_then(Value::as_str), next, "{at}");
}

#[apply(on_both_engines)]
async fn twice_a_day_until_midnight_in_seoul(app: TestApp) {
    let event = event(&app, "Asia/Seoul", "DAILY", 2).await;
    let (ada, bob) = (app.user(Role::User).await, app.user(Role::User).await);
    let midnight = Some("2026-03-01T15:00:00.000Z");
    assert_granted(&app, "2026-03-01T12:00:00Z", &ada, &event, "2026-03-01").await;
    assert_granted(&app, "2026-03-01T12:00:00Z", &ada, &event, "2026-03-01").await;
    assert_granted_before(&app, "2026-03-01T12:00:00Z", &ada, &event, midnight).await;
    assert_granted(&app, "2026-03-01T14:59:59.999Z", &bob, &event, "2026-03-01").await;
    assert_granted_before(&app, "2026-03-01T14:59:59.999Z", &ada, &event, midnight).await;
    assert_granted(&app, "2026-03-01T15:00:00Z", &ada, &event, "2026-03-02").await;
    assert_granted(&app, "2026-03-02T14:59:59.999Z", &ada, &event, "2026-03-02").await;
    assert_granted_before(
        &app,
        "2026-03-02T14:59:59.999Z",
        &ada,
        &event,
        Some("2026-03-02T15:00:00.000Z"),
    )
    .await;
    // Unused grants are not carried over.
    assert_granted(&app, "2026-03-02T15:00:00Z", &bob, &event, "2026-03-03").await;
    assert_granted(&app, "2026-03-02T15:00:00Z", &bob, &event, "2026-03-03").await;
    assert_granted_before(
        &app,
        "2026-03-02T15:00:00Z",
        &bob,
        &event,
        Some("2026-03-03T15:00:00.000Z"),
    )
    .await;
}

#[apply(on_both_engines)]
async fn once_a_day_when_the_clocks_change(app: TestApp) {
    let event = event(&app, "America/New_York", "DAILY", 1).await;
    let user = app.user(Role::User).await;
    // 8 March has 23 hours,
    assert_granted(&app, "2026-03-08T05:00:00Z", &user, &event, "2026-03-08").await;
    assert_granted_before(
        &app,
        "2026-03-09T03:59:59.999Z",
        &user,
        &event,
        Some("2026-03-09T04:00:00.000Z"),
    )
    .await;
    assert_granted(&app, "2026-03-09T04:00:00Z", &user, &event, "2026-03-09").await;
    // 1 November has 25.
    assert_granted(&app, "2026-11-01T04:00:00Z", &user, &event, "2026-11-01").await;
    assert_granted_before(
        &app,
        "2026-11-02T04:59:59.999Z",
        &user,
        &event,
        Some("2026-11-02T05:00:00.000Z"),
    )
    .await;
    assert_granted(&app, "2026-11-02T05:00:00Z", &user, &event, "2026-11-02").await;
}

#[apply(on_both_engines)]
async fn twice_a_week_from_monday(app: TestApp) {
    let event = event(&app, "Asia/Kathmandu", "WEEKLY", 2).await;
    let user = app.user(Role::User).await;
    // Kathmandu is 5 hours and 45 minutes ahead; 2 March is a Monday.
    let monday = "2026-03-01T18:15:00.000Z";
    assert_granted(&app, "2026-03-01T18:14:59.999Z", &user, &event, "2026-W09").await;
    assert_granted(&app, "2026-03-01T18:14:59.999Z", &user, &event, "2026-W09").await;
    assert_granted_before(&app, "2026-03-01T18:14:59.999Z", &user, &event, Some(monday)).await;
    assert_granted(&app, monday, &user, &event, "2026-W10").await;
    assert_granted(&app, "2026-03-08T18:14:59.999Z", &user, &event, "2026-W10").await;
    assert_granted_before(
        &app,
        "2026-03-08T18:14:59.999Z",
        &user,
        &event,
        Some("2026-03-08T18:15:00.000Z"),
    )
    .await;
}

#[apply(on_both_engines)]
async fn twice_a_month_from_the_first(app: TestApp) {
    let event = event(&app, "Asia/Seoul", "MONTHLY", 2).await;
    let user = app.user(Role::User).await;
    assert_granted(&app, "2026-03-01T12:00:00Z", &user, &event, "2026-03").await;
    assert_granted(&app, "2026-03-31T14:59:59.999Z", &user, &event, "2026-03").await;
    assert_granted_before(
        &app,
        "2026-03-31T14:59:59.999Z",
        &user,
        &event,
        Some("2026-03-31T15:00:00.000Z"),
    )
    .await;
    assert_granted(&app, "2026-03-31T15:00:00Z", &user, &event, "2026-04").await;
    // The event ends before the period after December.
    assert_granted(&app, "2026-12-01T00:00:00Z", &user, &event, "2026-12").await;
    assert_granted(&app, "2026-12-01T00:00:00Z", &user, &event, "2026-12").await;
    assert_granted_before(
        &app,
        "2026-12-01T00:00:00Z",
        &user,
        &event,
        Some("2026-12-31T15:00:00.000Z"),
    )
    .await;
    assert_granted(&app, "2026-12-31T23:59:59.999Z", &user, &event, "2027-01").await;
    assert_granted(&app, "2026-12-31T23:59:59.999Z", &user, &event, "2027-01").await;
    assert_granted_before(&app, "2026-12-31T23:59:59.999Z", &user, &event, None).await;
}

#[apply(on_both_engines)]
async fn a_few_times_in_all(app: TestApp) {
    let event = event(&app, "UTC", "ONCE", 3).await;
    let user = app.user(Role::User).await;
    for day in ["2026-03-01", "2026-06-01", "2026-12-31"] {
        assert_granted(&app, &format!("{day}T12:00:00Z"), &user, &event, "once").await;
    }
    assert_granted_before(&app, "2026-12-31T12:00:00Z", &user, &event, None).await;
}

#[apply(on_both_engines)]
async fn a_process_with_a_slow_clock_sees_the_grant(app: TestApp) {
    let event = event(&app, "UTC", "ONCE", 1).await;
    let user = app.user(Role::User).await;
    assert_granted(&app, "2026-03-01T12:00:01Z", &user, &event, "once").await;
    assert_granted_before(&app, "2026-03-01T12:00:00.900Z", &user, &event, None).await;
}
