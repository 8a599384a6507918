//! The days of the demo before today: logins, purchases, quests and claims.
//!
//! All follows from the numbers of days and customers, so each demo has the same history, up to the day on which it begins.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, bail};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use uuid::Uuid;

use super::incidents;
use super::offers::{OPENING, Offers, TOUR_DAYS};
use super::past::{Caller, DAY, Past};
use super::people::{CUSTOMERS, OPERATOR, People, external_id};
use meed_host::activities::OwnActivity;

pub(super) const DAYS: u32 = 30;
/// Days before today on which the user of the tour logged in: a gap on the fifth, so that today's login makes a streak of five.
const LOGINS: &[u32] = &[10, 9, 8, 7, 6, 4, 3, 2, 1];
/// Days before today on which the user completed a quest: five of seven.
const QUESTS: &[u32] = &[9, 7, 4, 2, 1];
/// The day on which two customers, who were never granted the first event, were late for it.
const LATE: u32 = 12;
const CATEGORIES: &[&str] = &["hats", "shoes", "games", "books"];

const MINUTE: Duration = Duration::from_mins(1);

/// Lets the days pass, the oldest first.
pub(super) async fn make(past: &Past, people: &People, offers: &Offers) -> anyhow::Result<()> {
    let shop = past.caller(people.shop.clone());
    for day in (1..=DAYS).rev() {
        past.ago(DAY * day);
        log_in_all(past, people, day).await?;
        report(past, &shop, people, day).await?;
        for (minute, (customer, event)) in (1..).zip(claims(offers, day)) {
            past.ago((DAY * day).saturating_sub(MINUTE * minute));
            claim(&shop, customer, event).await?;
        }
        if day == incidents::FAULT_DAY {
            incidents::run_faulty_plugin(past, &shop).await?;
        }
    }
    Ok(())
}

/// Some customers log in nearly every day, others on two days of three.
fn logs_in(customer: u32, day: u32) -> bool {
    !(day * 7 + customer * 3).is_multiple_of(3 + customer % 9)
}

/// Records logins as a login does. A password for each customer would take as long as all the rest.
async fn log_in_all(past: &Past, people: &People, day: u32) -> anyhow::Result<()> {
    let now = past.clock.now();
    let customers = (0..CUSTOMERS).zip(&people.customers);
    let mut users: Vec<(u32, Uuid)> = customers
        .filter(|(customer, _)| logs_in(*customer, day))
        .map(|(customer, id)| (customer, *id))
        .collect();
    if LOGINS.contains(&day) {
        users.push((0, people.user));
    }
    let mut tx = past.app.db.begin().await?;
    for (minutes, user_id) in users {
        let login = OwnActivity {
            user_id,
            kind: "auth.login",
            source_id: format!("demo-login-{user_id}-{day}"),
            occurred_at: now.minus(MINUTE * minutes),
            attributes: BTreeMap::new(),
        };
        past.app.activities.record_own(&mut tx, login).await?;
    }
    Ok(tx.commit().await?)
}

/// The shop reports what was bought on a day, the operator which quest the user of the tour completed.
async fn report(past: &Past, shop: &Caller<'_>, people: &People, day: u32) -> anyhow::Result<()> {
    let buyers = (0..CUSTOMERS).filter(|customer| (day + customer * 2).is_multiple_of(4 + customer % 5));
    let bought = buyers.zip(CATEGORIES.iter().cycle()).map(|(customer, category)| {
        json!({
            "source": "shop", "id": format!("order-{day}-{customer}"), "externalUserId": external_id(customer),
            "kind": "shop.purchase", "occurredAt": past.clock.now(), "amount": 500 + (customer * 37 + day * 91) % 50 * 100,
            "attributes": {"category": category},
        })
    });
    let bought: Vec<Value> = bought.collect();
    if !bought.is_empty() {
        shop.post("/activities", &bought.into()).await?;
    }
    if QUESTS.contains(&day) {
        let quest = json!({
            "source": "demo", "id": format!("quest-{day}"), "userId": people.user, "kind": "quest.completed",
            "occurredAt": past.clock.now(), "attributes": {"chapter": day},
        });
        past.log_in(OPERATOR).await?.post("/activities", &quest).await?;
    }
    Ok(())
}

/// Who claims what on a day, by the number of the customer. Some claim too early, some too late, some again.
fn claims(offers: &Offers, day: u32) -> Vec<(u32, Uuid)> {
    let some = |every: u32, event: Uuid| {
        let chosen = move |customer: &u32| (customer + day).is_multiple_of(every);
        (0..CUSTOMERS).filter(chosen).map(move |customer| (customer, event))
    };
    let mut claims = Vec::new();
    if day > OPENING.1 {
        claims.extend(some(8, offers.opening));
    }
    if day == LATE {
        claims.extend([6, 15].map(|customer| (customer, offers.opening)));
    }
    if day.is_multiple_of(5) {
        claims.extend(some(4, offers.purchases));
    }
    if day < TOUR_DAYS {
        claims.extend(some(6, offers.streak));
        claims.push((day * 3 % CUSTOMERS, offers.coupons));
    }
    if day == 1 {
        claims.push((5, offers.winter));
    }
    claims
}

/// Claims for a customer. Returns the status of the reward request; `None`: the customer was granted the event before.
pub(super) async fn claim(shop: &Caller<'_>, customer: u32, event: Uuid) -> anyhow::Result<Option<String>> {
    let body = json!({"eventId": event, "externalUserId": external_id(customer)});
    let (status, answer) = shop
        .ask(Method::POST, "/reward-requests", |request| request.json(&body))
        .await?;
    if status == StatusCode::CONFLICT && answer["code"] == "already-granted" {
        return Ok(None);
    }
    if !status.is_success() {
        bail!("a claim for the demo data was answered with {status}: {answer}");
    }
    let status = answer["status"].as_str().context("a reward request has a status")?;
    Ok(Some(status.to_owned()))
}
