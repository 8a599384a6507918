//! Events that run now, for clients that claim from processes of their own.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{TestApp, bundled, with};

const DAY: Duration = Duration::from_hours(24);

/// A reward of which there are so many.
pub async fn limited(stage: &TestApp, stock: usize) -> Value {
    stage.reward(json!({"type": "ITEM", "stock": stock})).await
}

/// An event for everybody that runs since yesterday.
pub async fn event(stage: &TestApp, rewards: &[&Value], changes: Value) -> Value {
    let now = stage.clock.now();
    let rewards: Vec<_> = rewards.iter().map(|reward| &reward["id"]).collect();
    let dated = json!({"startDate": now.minus(DAY), "endDate": now.plus(30 * DAY), "rewardIds": rewards});
    let plugin = stage.install(bundled("first-come")).await;
    stage.event_on(&plugin, json!({}), with(dated, changes)).await
}

/// An event that grants every user so often a day.
pub async fn daily(stage: &TestApp, rewards: &[&Value], count: usize) -> Value {
    let recurrence = json!({"recurrence": {"period": "DAILY", "count": count}});
    event(stage, rewards, recurrence).await
}

/// A reward of which there is no end, worth so much.
pub async fn points(stage: &TestApp, value: i64) -> Value {
    stage.reward(json!({"type": "POINT", "value": value})).await
}
