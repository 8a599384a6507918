//! What waits for somebody in the demo: a plugin in quarantine, a delivery that its receiver refuses, and a release that needs
//! an approval.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};

use super::history::claim;
use super::offers::{Offers, event, reward, streak};
use super::past::{Caller, DAY, Past, id};
use super::people::{APPROVER, CUSTOMERS, OPERATOR, People};
use super::receiver::Receiver;
use meed_host::background::{POLL_INTERVAL, Spec, Stage, Supervisor};
use meed_host::webhooks::Relay;

/// The day before today on which the faulty plugin ran.
pub(super) const FAULT_DAY: u32 = 2;
/// A plugin whose decision always traps. A test makes it again and compares.
const FAULTY: &[u8] = include_bytes!("faulty.wasm");
/// The customer whose messages the shop refuses.
const REFUSED: usize = 3;
/// Customers who want one of the few rewards of the flash sale.
const HURRIED: u32 = 12;
/// How long the deliveries may take. They take a second.
const DELIVERED_WITHIN: Duration = Duration::from_secs(30);

const HOUR: Duration = Duration::from_hours(1);
const RELAY: Spec = Spec {
    name: "demo-relay",
    description: "Delivers the webhooks of the demo data",
    period: POLL_INTERVAL,
    stage: Stage::Publishers,
};

/// An operator uploads a plugin with a fault. It fails for one customer after another, until the server stops it.
pub(super) async fn run_faulty_plugin(past: &Past, shop: &Caller<'_>) -> anyhow::Result<()> {
    let operator = past.log_in(OPERATOR).await?;
    let plugin = operator.upload(FAULTY).await?;
    let (name, version) = (&plugin["name"], &plugin["version"]);
    let trophy = json!({"type": "ITEM", "itemId": "speed-trophy", "description": "Speed trophy"});
    let trophy = reward(&operator, trophy).await?;
    let condition = json!({"plugin": name, "version": version, "params": {}});
    let dates = (past.clock.now(), past.now.plus(DAY * 7));
    let run = id(&operator
        .post("/events", &event("Speed run", dates, trophy, &condition))
        .await?)?;
    for customer in 0..CUSTOMERS / 2 + 3 {
        claim(shop, customer, run).await?;
    }
    let path = format!(
        "/plugins/{}/versions/{}",
        name.as_str().unwrap_or_default(),
        version.as_str().unwrap_or_default()
    );
    let plugin = operator.get(&path).await?;
    ensure!(
        plugin["state"] == "QUARANTINED",
        "the faulty plugin of the demo is {}, not in quarantine; leave plugins.quarantine at its defaults",
        plugin["state"]
    );
    Ok(())
}

/// The shop receives what was granted today, and refuses one message.
pub(super) async fn refuse_delivery(past: &Past, people: &People, offers: &Offers) -> anyhow::Result<()> {
    past.ago(HOUR * 5);
    let refused = people.customers.get(REFUSED).context("the demo has more customers")?;
    let receiver = Receiver::start(refused.to_string()).await?;
    let operator = past.log_in(OPERATOR).await?;
    let endpoint = json!({
        "name": "shop", "url": receiver.url, "description": "The shop\u{2019}s fulfilment", "types": ["reward.granted"],
    });
    let endpoint = id(&operator.post("/webhook-endpoints", &endpoint).await?)?;
    let shop = past.caller(people.shop.clone());
    let mut granted = 0;
    for customer in 0..HURRIED {
        past.ago((HOUR * 4).saturating_sub(Duration::from_mins(customer.into())));
        let status = claim(&shop, customer, offers.flash).await?;
        granted += usize::from(status.as_deref() == Some("GRANTED"));
    }

    let supervisor = Supervisor::new(past.clock.clone());
    let webhooks = past.app.webhooks.clone();
    supervisor.register(RELAY, move || Ok(Relay::new(webhooks.clone())))?;
    let operator = past.log_in(OPERATOR).await?;
    let path = format!("/webhook-endpoints/{endpoint}/deliveries");
    let all_over = async {
        loop {
            let deliveries = operator.get(&path).await?;
            let is_over = |delivery: &&Value| delivery["status"] == "DELIVERED" || delivery["status"] == "PARKED";
            let deliveries = deliveries["items"].as_array().context("a list of deliveries")?;
            if deliveries.iter().filter(is_over).count() == granted {
                return anyhow::Ok(());
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    };
    let outcome = tokio::time::timeout(DELIVERED_WITHIN, all_over).await;
    supervisor.finish_all().await;
    outcome.context("the webhooks of the demo were not delivered in time")?
}

/// The operator wants to make an event easier, shows with a backtest what that would have granted, and asks for an approval.
pub(super) async fn propose_release(past: &Past, offers: &Offers) -> anyhow::Result<()> {
    past.ago(HOUR * 2);
    let operator = past.log_in(OPERATOR).await?;
    let candidate = streak(5);
    let backtest = json!({"eventId": offers.streak, "candidate": candidate});
    let backtest = id(&operator.post("/backtests", &backtest).await?)?;
    while past.app.backtests.advance().await? {}
    let done = operator.get(&format!("/backtests/{backtest}")).await?;
    ensure!(
        done["state"] == "DONE",
        "the backtest of the demo has no report: {done}"
    );

    let event = operator.get(&format!("/events/{}", offers.streak)).await?;
    let release = json!({
        "eventId": offers.streak, "eventRevision": event["revision"], "title": "Five days instead of seven",
        "condition": candidate, "backtestId": backtest,
        "plan": {"steps": [{"permille": 100, "seconds": 3600}, {"permille": 500, "seconds": 3600}]},
    });
    let release = id(&operator.post("/releases", &release).await?)?;
    past.ago(HOUR);
    let approver = past.log_in(APPROVER).await?;
    let comment = json!({"text": "Seven days lose many users on the sixth. How many more swords is that?"});
    approver
        .post(&format!("/releases/{release}/comments"), &comment)
        .await?;
    Ok(())
}
