//! The outbox goes to a topic: at least once, in the order of its user, and whatever the broker does nobody else waits.

use std::collections::HashMap;
use std::time::Duration;

use meed_host::auth::Role;
use rstest_reuse::apply;
use serde_json::json;
use uuid::Uuid;

use super::{MESSAGES, Running, tell, until};
use crate::faults::proxy::Proxy;
use crate::support::{Broker, Receiver, Record, TestApp, on_both_engines};
use crate::webhook_endpoints::{REQUEST_ID, Relaying, endpoint, grant, relayed};

/// Where nobody listens.
const NOWHERE: &str = "127.0.0.1:1";
const TOPICS: &str = "SELECT COUNT(*) FROM outbox_topics";
const WAITING: &str = "SELECT COUNT(*) FROM outbox_topic_messages WHERE refused IS NULL";
const REFUSED: &str = "SELECT COUNT(*) FROM outbox_topic_messages WHERE refused IS NOT NULL";
const UNSENT: &str = "SELECT COUNT(*) FROM outbox WHERE sent_at IS NULL";

/// Waits until everything is with the broker.
async fn until_published(app: &TestApp) {
    until(app, UNSENT, 0).await;
    until(app, WAITING, 0).await;
}

/// A broker with the topic, and the way to it, which leads nowhere yet: whoever waits for a topic asks for it at once, which
/// makes it, and made by two at the same time it does not keep what is put into it.
async fn out_of_reach() -> (Broker, Proxy) {
    let mut broker = Broker::absent();
    let way = Proxy::start_plain(fastrand::Rng::new(), &broker.address()).await;
    broker.advertise(&way.address);
    broker.begin().await;
    broker.topic(MESSAGES).await;
    way.move_to(NOWHERE);
    (broker, way)
}

/// The numbers that each user was told, in the order in which each came for the first time.
fn numbers(records: &[Record]) -> HashMap<String, Vec<u64>> {
    let mut numbers: HashMap<String, Vec<u64>> = HashMap::new();
    for record in records {
        let number = record.json()["number"].as_u64().expect("a number");
        let of_user = numbers.entry(record.key.clone()).or_default();
        if !of_user.contains(&number) {
            of_user.push(number);
        }
    }
    numbers
}

#[apply(on_both_engines)]
async fn what_happens_is_published_as_a_cloud_event_under_its_user(app: TestApp) {
    let broker = Broker::start().await;
    broker.topic(MESSAGES).await;
    let publisher = Running::publisher(&app, &broker);
    until(&app, TOPICS, 1).await;
    let (app, _relaying) = relayed(&app);
    let receiver = Receiver::start().await;
    endpoint(&app, &receiver, &["reward.granted"]).await;
    let event = app.event("first-come", json!({}), json!({})).await;
    let (user, granted) = grant(&app, &event).await;

    let records = broker.read(MESSAGES, 3).await;
    let kinds: Vec<_> = records.iter().map(|record| record.header("ce_type")).collect();
    assert!(
        ["plugin.uploaded", "event.created", "reward.granted"]
            .iter()
            .all(|kind| kinds.contains(kind)),
        "{kinds:?}"
    );
    let told = records
        .iter()
        .find(|record| record.header("ce_type") == "reward.granted")
        .expect("the grant");
    assert_eq!(
        (told.key.as_str(), told.header("ce_subject")),
        (user.id.as_str(), user.id.as_str())
    );
    assert_eq!(told.json()["requestId"], granted["id"]);
    for (name, value) in [
        ("ce_specversion", "1.0"),
        ("ce_source", "meed"),
        ("ce_time", "2026-03-01T12:00:00.000Z"),
        ("content-type", "application/json"),
        ("ce_requestid", REQUEST_ID),
    ] {
        assert_eq!(told.header(name), value, "{name}");
    }
    // The same message, under the same id, goes to whoever is told by webhook.
    let hooked = receiver.wait_for(1).await;
    assert_eq!(
        (hooked[0].id(), &hooked[0].event["data"]),
        (told.header("ce_id"), &told.json())
    );
    until_published(&app).await;
    publisher.stop().await;
    assert_eq!(broker.read_for(MESSAGES, 4).await.len(), 3);
}

#[apply(on_both_engines)]
async fn what_was_before_the_topic_comes_by_a_replay(app: TestApp) {
    let before = app.clock.now();
    let early = app.user(Role::User).await.id.parse().expect("an id");
    tell(&app.app.db, early, 0, before.minus(Duration::from_secs(1)), json!(null)).await;
    let broker = Broker::start().await;
    broker.topic(MESSAGES).await;
    let _publisher = Running::publisher(&app, &broker);
    until(&app, TOPICS, 1).await;
    let _relaying = Relaying::start(&app);
    until(&app, UNSENT, 0).await;
    assert_eq!(app.count(WAITING).await, 0);
    // Ids of these tests are of today, so the replay begins at any time before.
    let replayed = app.app.webhooks.replay(before).await.expect("a replay");
    assert_eq!((replayed.messages, replayed.endpoints, replayed.topics), (1, 0, 1));
    assert_eq!(broker.read(MESSAGES, 1).await[0].key, early.to_string());
    until(&app, WAITING, 0).await;
    // And once more, under the same id.
    app.app.webhooks.replay(before).await.expect("a replay");
    let records = broker.read(MESSAGES, 2).await;
    assert_eq!(records[0].header("ce_id"), records[1].header("ce_id"));
}

#[apply(on_both_engines)]
async fn while_the_broker_is_away_messages_wait_and_webhooks_do_not(app: TestApp) {
    let (broker, way) = out_of_reach().await;
    let publisher = Running::publisher(&app, &broker);
    until(&app, TOPICS, 1).await;
    let (app, _relaying) = relayed(&app);
    let receiver = Receiver::start().await;
    endpoint(&app, &receiver, &["reward.granted"]).await;
    let users = [Uuid::now_v7(), Uuid::now_v7(), Uuid::now_v7()];
    for number in 0..5 {
        for user in users {
            let at = app.clock.now().plus(Duration::from_millis(number as u64));
            tell(&app.app.db, user, number, at, json!(null)).await;
        }
    }
    receiver.wait_for(15).await;
    assert_eq!(app.count(WAITING).await, 15);
    way.move_to(&broker.address());
    until(&app, WAITING, 0).await;
    let told = numbers(&broker.read(MESSAGES, 15).await);
    for user in users {
        assert_eq!(told[&user.to_string()], [0, 1, 2, 3, 4]);
    }
    publisher.stop().await;
}

#[apply(on_both_engines)]
async fn what_the_broker_never_takes_is_put_aside_and_those_behind_it_go_on(app: TestApp) {
    let broker = Broker::start().await;
    broker.topic(MESSAGES).await;
    let _publisher = Running::publisher(&app, &broker);
    until(&app, TOPICS, 1).await;
    let _relaying = Relaying::start(&app);
    let (user, now) = (Uuid::now_v7(), app.clock.now());
    tell(&app.app.db, user, 0, now, json!("x".repeat(1_100_000))).await;
    tell(&app.app.db, user, 1, now.plus(Duration::from_millis(1)), json!(null)).await;
    assert_eq!(broker.read(MESSAGES, 1).await[0].json()["number"], 1);
    until(&app, WAITING, 0).await;
    assert_eq!(app.count(REFUSED).await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_processes_one_publishes_and_the_other_takes_over() {
    let app = TestApp::on_postgres().await.in_real_time();
    let broker = Broker::start().await;
    broker.topic(MESSAGES).await;
    let (first, second) = (Running::publisher(&app, &broker), Running::publisher(&app, &broker));
    until(&app, TOPICS, 1).await;
    let _relaying = Relaying::start(&app);
    let users: Vec<Uuid> = (0..20).map(|_| Uuid::now_v7()).collect();
    let round = async |number: usize| {
        for user in &users {
            tell(&app.app.db, *user, number, app.clock.now(), json!(null)).await;
        }
    };
    for number in 0..5 {
        round(number).await;
    }
    until_published(&app).await;
    assert_eq!(broker.read_for(MESSAGES, 101).await.len(), 100, "each was sent once");
    first.stop().await;
    round(5).await;
    until_published(&app).await;
    second.stop().await;
    let records = broker.read_for(MESSAGES, 121).await;
    assert_eq!(records.len(), 120);
    for (user, numbers) in numbers(&records) {
        assert_eq!(numbers, [0, 1, 2, 3, 4, 5], "{user}");
    }
}

/// Longer than the client itself tries: it gives the messages back, and nobody else may.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outage_that_is_longer_than_a_delivery_loses_nothing() {
    let app = TestApp::on_sqlite().await;
    let (broker, way) = out_of_reach().await;
    let publisher = Running::publisher(&app, &broker);
    until(&app, TOPICS, 1).await;
    let _relaying = Relaying::start(&app);
    let (user, now) = (Uuid::now_v7(), app.clock.now());
    for number in 0..3 {
        let at = now.plus(Duration::from_millis(number as u64));
        tell(&app.app.db, user, number, at, json!(null)).await;
    }
    until(&app, UNSENT, 0).await;
    tokio::time::sleep(Duration::from_secs(33)).await;
    assert_eq!((app.count(WAITING).await, app.count(REFUSED).await), (3, 0));
    way.move_to(&broker.address());
    until_published(&app).await;
    assert_eq!(numbers(&broker.read(MESSAGES, 3).await)[&user.to_string()], [0, 1, 2]);
    publisher.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_that_nobody_publishes_to_any_more_is_forgotten() {
    let app = TestApp::on_sqlite().await;
    let mut broker = Broker::absent();
    let publisher = Running::publisher(&app, &broker);
    until(&app, TOPICS, 1).await;
    tell(&app.app.db, Uuid::now_v7(), 0, app.clock.now(), json!(null)).await;
    let _relaying = Relaying::start(&app);
    until(&app, WAITING, 1).await;
    publisher.stop().await;
    let start = app.clock.now();
    for (days, left) in [(6, 1), (8, 0)] {
        app.clock.set(start.plus(Duration::from_hours(24 * days)));
        app.app.webhooks.sweep().await.expect("it forgets");
        assert_eq!(
            (app.count(TOPICS).await, app.count(WAITING).await),
            (left, left),
            "{days} days"
        );
    }
    // Whoever publishes again begins anew.
    broker.begin().await;
    broker.topic(MESSAGES).await;
    let _publisher = Running::publisher(&app, &broker);
    until(&app, TOPICS, 1).await;
    let user = Uuid::now_v7();
    tell(&app.app.db, user, 1, app.clock.now(), json!(null)).await;
    let records = broker.read(MESSAGES, 1).await;
    assert_eq!(records[0].key, user.to_string());
}
