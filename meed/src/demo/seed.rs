//! The demo data: four accounts, ten days of activities and three events.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::user;
use meed_host::activities::{ActivityService, NewActivity, OwnActivity};
use meed_host::app::{self, App};
use meed_host::auth::Role;
use meed_host::clock::{Clock, Timestamp};
use meed_host::config::Config;
use meed_host::events::NewEvent;
use meed_host::rewards::NewReward;

const DAY: Duration = Duration::from_hours(24);
/// Days before today on which the user logged in: a gap on the fifth, so that today's login makes a streak of five.
const LOGINS: &[u32] = &[10, 9, 8, 7, 6, 4, 3, 2, 1];
/// Days before today on which the user completed a quest: five of seven.
const QUESTS: &[u32] = &[9, 7, 4, 2, 1];

pub(super) const ACCOUNTS: &[(Role, &str, &str)] = &[
    (Role::User, "user@meed.example", "user-demo-password"),
    (Role::Operator, "operator@meed.example", "operator-demo-password"),
    (Role::Auditor, "auditor@meed.example", "auditor-demo-password"),
    (Role::Admin, "admin@meed.example", "admin-demo-password"),
];

/// The ids of the tour.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Demo {
    pub user_id: Uuid,
    pub quests: Uuid,
    pub streak: Uuid,
    pub coupons: Uuid,
}

pub(super) async fn fill(config: &Config, app: &App) -> anyhow::Result<Demo> {
    let now = app.clock.now();
    let days_ago = |days: u32| now.minus(DAY * days);
    // The accounts are older than the first activity.
    let past = Clock::fixed(days_ago(11));
    let users = app::users(config, &app.db, &past)?;
    let mut ids = Vec::new();
    for (role, email, password) in ACCOUNTS {
        let account = user::create(&users, email, (*password).into(), *role)
            .await
            .with_context(|| format!("create the account {email}; a demo requires an empty database"))?;
        ids.push(account.id);
    }
    let [user_id, operator_id, ..] = ids[..] else {
        anyhow::bail!("the demo lost its accounts")
    };
    app.users
        .set_attributes(
            user_id,
            serde_json::from_value(json!({"level": 12, "region": "KR"}))?,
            operator_id,
        )
        .await?;
    act(app, user_id, &days_ago).await?;

    let points = reward(
        app,
        operator_id,
        json!({"type": "POINT", "value": 1000, "description": "1,000 points"}),
    )
    .await?;
    let sword = reward(
        app,
        operator_id,
        json!({"type": "ITEM", "itemId": "sword-of-dawn", "description": "Sword of Dawn"}),
    );
    let sword = sword.await?;
    let coupon = json!({"type": "COUPON", "itemId": "spring-10", "description": "10 % off", "stock": 10_000});
    let coupon = reward(app, operator_id, coupon).await?;

    let quests = json!({"plugin": "activity-count", "version": "1.0.0",
        "params": {"kind": "quest.completed", "count": 7}});
    let streak = json!({"plugin": "login-streak", "version": "1.0.0", "params": {"days": 7}});
    let first_come = json!({"plugin": "first-come", "version": "1.0.0", "params": {}});
    let dates = (days_ago(14), now.plus(DAY * 365));
    Ok(Demo {
        user_id,
        quests: event(app, operator_id, "Complete 7 quests", dates, points, quests).await?,
        streak: event(app, operator_id, "7-day login streak", dates, sword, streak).await?,
        coupons: event(
            app,
            operator_id,
            "The first 10,000 get a coupon",
            dates,
            coupon,
            first_come,
        )
        .await?,
    })
}

async fn act(app: &App, user_id: Uuid, days_ago: &impl Fn(u32) -> Timestamp) -> anyhow::Result<()> {
    let activities: &ActivityService = &app.activities;
    let mut tx = app.db.begin().await?;
    for day in LOGINS {
        let login = OwnActivity {
            user_id,
            kind: "auth.login",
            source_id: format!("demo-login-{day}"),
            occurred_at: days_ago(*day),
            attributes: BTreeMap::new(),
        };
        activities.record_own(&mut tx, login).await?;
    }
    tx.commit().await?;
    let quests: Vec<NewActivity> = QUESTS
        .iter()
        .map(|day| {
            serde_json::from_value(json!({
                "source": "demo", "id": format!("quest-{day}"), "userId": user_id, "kind": "quest.completed",
                "occurredAt": days_ago(*day), "attributes": {"chapter": day},
            }))
        })
        .collect::<Result<_, _>>()?;
    let recorded = activities.record(quests, None).await?;
    ensure!(recorded.recorded == QUESTS.len(), "the demo's quests already exist");
    Ok(())
}

async fn reward(app: &App, by: Uuid, new: Value) -> anyhow::Result<Uuid> {
    let new: NewReward = serde_json::from_value(new)?;
    Ok(app.rewards.create(new, by).await?.id)
}

async fn event(
    app: &App,
    by: Uuid,
    title: &str,
    (start, end): (Timestamp, Timestamp),
    reward_id: Uuid,
    condition: Value,
) -> anyhow::Result<Uuid> {
    let new: NewEvent = serde_json::from_value(json!({
        "title": title, "startDate": start, "endDate": end, "timeZone": "Asia/Seoul", "tags": ["demo"],
        "rewardIds": [reward_id], "condition": condition,
    }))?;
    Ok(app
        .events
        .create(new, by)
        .await
        .with_context(|| format!("make the event {title:?}"))?
        .id)
}
