//! The executable with `[kafka]`: what it reports, and that it stops in order when the broker is down.

use std::time::{Duration, Instant};

use meed_host::auth::Role;
use meed_host::clock::Clock;
use rustix::process::Signal;
use serde_json::json;
use uuid::Uuid;

use super::{ACTIVITIES, DEAD, GROUP, MESSAGES, record_message, until};
use crate::cli::life::Replica;
use crate::cli::meed;
use crate::support::{Broker, TestApp};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_without_a_broker_reports_metrics_and_stops_in_order() {
    let app = TestApp::on_postgres().await.in_real_time();
    let broker = Broker::start().await;
    for topic in [MESSAGES, ACTIVITIES, DEAD] {
        broker.topic(topic).await;
    }
    let mut command = meed(app.directory());
    command
        .env("MEED__DATABASE__URL", app.database_url())
        .env("MEED__KEYS__DIRECTORY", app.keys_directory())
        .env("MEED__KAFKA__BROKERS", broker.brokers())
        .env("MEED__KAFKA__GROUP", GROUP)
        .env("MEED__KAFKA__MESSAGES_TOPIC", MESSAGES)
        .env("MEED__KAFKA__ACTIVITIES_TOPIC", ACTIVITIES)
        .env("MEED__KAFKA__DEAD_LETTER_TOPIC", DEAD);
    let replica = Replica::start(&mut command);
    until(&app, "SELECT COUNT(*) FROM outbox_topics", 1).await;
    let user = app.user(Role::User).await.id;
    let activity = json!({"source": "shop", "id": "1", "userId": user, "kind": "shop.purchase"});
    let messages = [activity.to_string(), "{".to_owned()].map(|value| (user.clone(), value.into_bytes()));
    broker.produce(ACTIVITIES, messages).await;
    record_message(&app.app.db, Uuid::now_v7(), 1, Clock::System.now(), json!(null)).await;
    broker.read(MESSAGES, 1).await;
    broker.read(DEAD, 1).await;

    for (series, least) in [
        (
            "meed_kafka_published_total{topic=\"meed.messages\",outcome=\"PUBLISHED\"}",
            1.0,
        ),
        ("meed_kafka_publish_lag_seconds_count", 1.0),
        ("meed_kafka_messages{topic=\"meed.messages\",state=\"WAITING\"}", 0.0),
        ("meed_kafka_oldest_seconds{topic=\"meed.messages\"}", 0.0),
        (
            "meed_kafka_consumed_total{topic=\"shop.activities\",outcome=\"PROCESSED\"}",
            1.0,
        ),
        (
            "meed_kafka_dead_letters_total{topic=\"shop.activities\",code=\"malformed-json\"}",
            1.0,
        ),
        ("meed_kafka_lag{topic=\"shop.activities\",partition=\"", 0.0),
    ] {
        let started = Instant::now();
        while replica.metric(series).await.is_none_or(|value| value < least) {
            assert!(started.elapsed() < Duration::from_secs(30), "{series} does not appear");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    let names = replica.all_tasks_are_healthy().await;
    for name in ["kafka-activity-consumer", "kafka-publisher", "kafka-message-count"] {
        assert!(names.iter().any(|listed| listed == name), "{name}: {names:?}");
    }

    drop(broker);
    record_message(&app.app.db, Uuid::now_v7(), 2, Clock::System.now(), json!(null)).await;
    until(&app, "SELECT COUNT(*) FROM outbox_topic_messages", 1).await;
    assert!(replica.ask("/readyz").await.starts_with("HTTP/1.1 200"));
    let told = Instant::now();
    replica.signal(Signal::TERM);
    assert!(replica.end().await.success());
    // Messages in flight get five seconds, and so does leaving the group.
    assert!(told.elapsed() < Duration::from_secs(20), "{:?}", told.elapsed());
}
