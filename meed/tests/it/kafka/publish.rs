//! The outbox is published to a topic: at least once, in order per user, and a broken broker delays no webhooks.

use std::collections::HashMap;
use std::time::Duration;

use meed_host::auth::Role;
use rstest_reuse::apply;
use serde_json::json;
use uuid::Uuid;

use super::{MESSAGES, Running, record_message, until};
use crate::faults::proxy::Proxy;
use crate::rewards::codes::{codes, coupon};
use crate::support::{Broker, Receiver, Record, TestApp, on_both_engines};
use crate::webhook_endpoints::{REQUEST_ID, Relaying, endpoint, grant, relayed};

/// An address without a listener.
const NOWHERE: &str = "127.0.0.1:1";
const TOPICS: &str = "SELECT COUNT(*) FROM outbox_topics";
const WAITING: &str = "SELECT COUNT(*) FROM outbox_topic_messages WHERE refused IS NULL";
const REFUSED: &str = "SELECT COUNT(*) FROM outbox_topic_messages WHERE refused IS NOT NULL";
const HOLDS_CODES: &str = "SELECT COUNT(*) FROM outbox WHERE CAST(payload AS TEXT) LIKE '%XYZZY%'";
const UNSENT: &str = "SELECT COUNT(*) FROM outbox WHERE sent_at IS NULL";

/// Waits until every message is published.
async fn until_published(app: &TestApp) {
    until(app, UNSENT, 0).await;
    until(app, WAITING, 0).await;
}

/// A broker with the topic, behind a proxy that leads nowhere yet. A client that waits for a topic requests it, which
/// creates it, and the broker loses messages of a topic that two clients create concurrently.
async fn unreachable_broker() -> (Broker, Proxy) {
    let mut broker = Broker::absent();
    let way = Proxy::start_plain(fastrand::Rng::new(), &broker.address()).await;
    broker.advertise(&way.address);
    broker.begin().await;
    broker.topic(MESSAGES).await;
    way.move_to(NOWHERE);
    (broker, way)
}

/// The numbers in the messages of each user, in the order of their first arrival.
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
async fn messages_are_published_as_cloud_events_keyed_by_user(app: TestApp) {
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
    // Webhooks deliver the same message under the same id.
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
async fn a_message_that_fulfils_a_grant_has_its_codes(app: TestApp) {
    let broker = Broker::start().await;
    broker.topic(MESSAGES).await;
    let _publisher = Running::publisher(&app, &broker);
    until(&app, TOPICS, 1).await;
    let (app, _relaying) = relayed(&app);
    let reward = coupon(&app, 1, json!({})).await;
    let changes = json!({"rewardIds": [reward["id"]]});
    let event = app.event("first-come", json!({}), changes).await;
    grant(&app, &event).await;
    let records = broker.read(MESSAGES, 3).await;
    let fulfils = |record: &&Record| record.header("ce_type") == "reward.granted";
    let granted = records.iter().find(fulfils).expect("a message").json();
    assert_eq!(granted["grants"][0]["codes"], json!(codes(1)), "{granted:#}");
    assert_eq!(app.count(HOLDS_CODES).await, 0);
}

#[apply(on_both_engines)]
async fn a_replay_publishes_messages_from_before_the_topic(app: TestApp) {
    let before = app.clock.now();
    let early = app.user(Role::User).await.id.parse().expect("an id");
    record_message(&app.app.db, early, 0, before.minus(Duration::from_secs(1)), json!(null)).await;
    let broker = Broker::start().await;
    broker.topic(MESSAGES).await;
    let _publisher = Running::publisher(&app, &broker);
    until(&app, TOPICS, 1).await;
    let _relaying = Relaying::start(&app);
    until(&app, UNSENT, 0).await;
    assert_eq!(app.count(WAITING).await, 0);
    // The ids in tests are of today, so the replay can begin at any earlier time.
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
async fn without_a_broker_messages_wait_and_webhooks_are_delivered(app: TestApp) {
    let (broker, way) = unreachable_broker().await;
    let publisher = Running::publisher(&app, &broker);
    until(&app, TOPICS, 1).await;
    let (app, _relaying) = relayed(&app);
    let receiver = Receiver::start().await;
    endpoint(&app, &receiver, &["reward.granted"]).await;
    let users = [Uuid::now_v7(), Uuid::now_v7(), Uuid::now_v7()];
    for number in 0..5 {
        for user in users {
            let at = app.clock.now().plus(Duration::from_millis(number as u64));
            record_message(&app.app.db, user, number, at, json!(null)).await;
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
async fn a_message_that_the_broker_rejects_is_parked_and_later_ones_are_published(app: TestApp) {
    let broker = Broker::start().await;
    broker.topic(MESSAGES).await;
    let _publisher = Running::publisher(&app, &broker);
    until(&app, TOPICS, 1).await;
    let _relaying = Relaying::start(&app);
    let (user, now) = (Uuid::now_v7(), app.clock.now());
    record_message(&app.app.db, user, 0, now, json!("x".repeat(1_100_000))).await;
    record_message(&app.app.db, user, 1, now.plus(Duration::from_millis(1)), json!(null)).await;
    assert_eq!(broker.read(MESSAGES, 1).await[0].json()["number"], 1);
    until(&app, WAITING, 0).await;
    assert_eq!(app.count(REFUSED).await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_two_processes_publishes_and_the_other_takes_over() {
    let app = TestApp::on_postgres().await.in_real_time();
    let broker = Broker::start().await;
    broker.topic(MESSAGES).await;
    let (first, second) = (Running::publisher(&app, &broker), Running::publisher(&app, &broker));
    until(&app, TOPICS, 1).await;
    let _relaying = Relaying::start(&app);
    let users: Vec<Uuid> = (0..20).map(|_| Uuid::now_v7()).collect();
    let round = async |number: usize| {
        for user in &users {
            record_message(&app.app.db, *user, number, app.clock.now(), json!(null)).await;
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

/// Longer than the client's own delivery timeout, after which it returns the messages to the publisher.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outage_beyond_the_delivery_timeout_loses_nothing() {
    let app = TestApp::on_sqlite().await;
    let (broker, way) = unreachable_broker().await;
    let publisher = Running::publisher(&app, &broker);
    until(&app, TOPICS, 1).await;
    let _relaying = Relaying::start(&app);
    let (user, now) = (Uuid::now_v7(), app.clock.now());
    for number in 0..3 {
        let at = now.plus(Duration::from_millis(number as u64));
        record_message(&app.app.db, user, number, at, json!(null)).await;
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
async fn a_topic_without_a_publisher_is_deleted() {
    let app = TestApp::on_sqlite().await;
    let mut broker = Broker::absent();
    let publisher = Running::publisher(&app, &broker);
    until(&app, TOPICS, 1).await;
    record_message(&app.app.db, Uuid::now_v7(), 0, app.clock.now(), json!(null)).await;
    let _relaying = Relaying::start(&app);
    until(&app, WAITING, 1).await;
    publisher.stop().await;
    let start = app.clock.now();
    for (days, left) in [(6, 1), (8, 0)] {
        app.clock.set(start.plus(Duration::from_hours(24 * days)));
        app.app.webhooks.sweep().await.expect("a sweep");
        assert_eq!(
            (app.count(TOPICS).await, app.count(WAITING).await),
            (left, left),
            "{days} days"
        );
    }
    // A new publisher starts with a new topic row.
    broker.begin().await;
    broker.topic(MESSAGES).await;
    let _publisher = Running::publisher(&app, &broker);
    until(&app, TOPICS, 1).await;
    let user = Uuid::now_v7();
    record_message(&app.app.db, user, 1, app.clock.now(), json!(null)).await;
    let records = broker.read(MESSAGES, 1).await;
    assert_eq!(records[0].key, user.to_string());
}
