//! Fixtures: running events for clients of separate processes.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{TestApp, bundled, with};

const DAY: Duration = Duration::from_hours(24);

/// Creates a reward with this stock.
pub async fn limited(fixtures: &TestApp, stock: usize) -> Value {
    fixtures.reward(json!({"type": "ITEM", "stock": stock})).await
}

/// Creates an event that has been running since yesterday and grants every claim.
pub async fn event(fixtures: &TestApp, rewards: &[&Value], changes: Value) -> Value {
    let now = fixtures.clock.now();
    let rewards: Vec<_> = rewards.iter().map(|reward| &reward["id"]).collect();
    let dated = json!({"startDate": now.minus(DAY), "endDate": now.plus(30 * DAY), "rewardIds": rewards});
    let plugin = fixtures.install(bundled("first-come")).await;
    fixtures.event_on(&plugin, json!({}), with(dated, changes)).await
}

/// Creates an event that grants every user `count` times per day.
pub async fn daily(fixtures: &TestApp, rewards: &[&Value], count: usize) -> Value {
    let recurrence = json!({"recurrence": {"period": "DAILY", "count": count}});
    event(fixtures, rewards, recurrence).await
}

/// Creates an unlimited reward with this value.
pub async fn points(fixtures: &TestApp, value: i64) -> Value {
    fixtures.reward(json!({"type": "POINT", "value": value})).await
}
