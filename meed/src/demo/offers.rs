//! The events and rewards of the demo: those of the tour, and one of each kind that a list of events shows.

use std::time::Duration;

use serde_json::{Value, json};
use uuid::Uuid;

use super::past::{Caller, DAY, Past, id};
use super::people::OPERATOR;
use meed_host::clock::Timestamp;

/// How many days ago the events of the tour started.
pub(super) const TOUR_DAYS: u32 = 14;
/// On how many days ago the first event started and ended.
pub(super) const OPENING: (u32, u32) = (30, 20);
/// Rewards of the flash sale.
pub(super) const FLASH_STOCK: u32 = 8;

/// The ids of the events.
pub(super) struct Offers {
    pub quests: Uuid,
    pub streak: Uuid,
    pub coupons: Uuid,
    /// It is over.
    pub opening: Uuid,
    pub purchases: Uuid,
    /// Few rewards for many.
    pub flash: Uuid,
    /// It has not started.
    pub winter: Uuid,
}

/// Creates them, as of the clock of the past. Most of them start later.
pub(super) async fn create(past: &Past) -> anyhow::Result<Offers> {
    let operator = past.log_in(OPERATOR).await?;
    let points = json!({"type": "POINT", "value": 1000, "description": "1,000 points"});
    let points = reward(&operator, points).await?;
    let sword = json!({"type": "ITEM", "itemId": "sword-of-dawn", "description": "Sword of Dawn"});
    let sword = reward(&operator, sword).await?;
    let coupon = json!({"type": "COUPON", "itemId": "spring-10", "description": "10 % off", "stock": 10_000});
    let coupon = reward(&operator, coupon).await?;
    let flash = json!({"type": "COUPON", "itemId": "flash-50", "description": "50 % off", "stock": FLASH_STOCK});
    let flash = reward(&operator, flash).await?;

    let days_ago = |days: u32| past.now.minus(DAY * days);
    let in_days = |days: u32| past.now.plus(DAY * days);
    let tour = (days_ago(TOUR_DAYS), in_days(365));
    let month = (days_ago(OPENING.0), in_days(30));
    let first_come = || condition("first-come", &json!({}));
    let create = async |title: &str, dates, reward_id, condition| {
        let event = event(title, dates, reward_id, &condition);
        id(&operator.post("/events", &event).await?)
    };
    let draft = event("Members\u{2019} day", (in_days(40), in_days(41)), points, &first_come());
    operator.post("/events", &inactive(draft)).await?;
    let quests = json!({"kind": "quest.completed", "count": 7});
    let purchases = json!({"kind": "shop.purchase", "count": 5, "lastDays": 30});
    let sale = (past.now.minus(Duration::from_hours(6)), in_days(2));
    let opening = (days_ago(OPENING.0), days_ago(OPENING.1));
    Ok(Offers {
        quests: create("Complete 7 quests", tour, points, condition("activity-count", &quests)).await?,
        streak: create("7-day login streak", tour, sword, streak(7)).await?,
        coupons: create("The first 10,000 get a coupon", tour, coupon, first_come()).await?,
        opening: create("Opening week: three days in a row", opening, points, streak(3)).await?,
        purchases: create(
            "Five purchases in 30 days",
            month,
            points,
            condition("activity-count", &purchases),
        )
        .await?,
        flash: create("Flash sale", sale, flash, first_come()).await?,
        winter: create("Winter festival", (in_days(14), in_days(28)), sword, streak(5)).await?,
    })
}

/// A login streak of so many days.
pub(super) fn streak(days: u32) -> Value {
    condition("login-streak", &json!({"days": days}))
}

fn condition(plugin: &str, params: &Value) -> Value {
    json!({"plugin": plugin, "version": "1.0.0", "params": params})
}

pub(super) fn event(title: &str, (start, end): (Timestamp, Timestamp), reward_id: Uuid, condition: &Value) -> Value {
    json!({
        "title": title, "startDate": start, "endDate": end, "timeZone": "Asia/Seoul", "tags": ["demo"],
        "rewardIds": [reward_id], "condition": condition,
    })
}

fn inactive(mut event: Value) -> Value {
    event["isActive"] = json!(false);
    event
}

pub(super) async fn reward(operator: &Caller<'_>, new: Value) -> anyhow::Result<Uuid> {
    id(&operator.post("/rewards", &new).await?)
}
