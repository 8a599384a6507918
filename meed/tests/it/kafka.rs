//! Messages to and from brokers of the Kafka protocol.

mod claims;
mod consume;
mod life;
mod publish;

use std::time::Duration;

use meed_host::clock::Timestamp;
use meed_host::config::{Config, Kafka};
use meed_host::db::Db;
use meed_host::kafka::{Consumer, Intake, Publisher};
use meed_host::outbox::{self, Message};
use meed_host::rewards::Codes;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::{Background, Broker, TestApp};

pub const MESSAGES: &str = "meed.messages";
pub const ACTIVITIES: &str = "shop.activities";
pub const CLAIMS: &str = "shop.claims";
pub const DEAD: &str = "meed.dead-letters";
pub const GROUP: &str = "meed-test";

/// Settings with this broker and these topics.
pub fn settings(broker: &Broker, topics: &[(&str, &str)]) -> Kafka {
    let mut settings = vec![
        ("kafka.brokers", broker.brokers().to_owned()),
        ("kafka.group", GROUP.to_owned()),
    ];
    settings.extend(topics.iter().map(|(key, topic)| (*key, (*topic).to_owned())));
    Config::load(None, None, &settings).expect("the settings").kafka
}

/// A task of a process, until it is dropped.
pub struct Running(Background);

impl Running {
    pub fn publisher(app: &TestApp, broker: &Broker) -> Self {
        let settings = settings(broker, &[("kafka.messages_topic", MESSAGES)]);
        let (db, clock) = (app.app.db.clone(), app.clock.clone());
        let codes = Codes::new(db.clone(), clock.clone(), app.app.keys.sealing.clone());
        Self(Background::start(&app.clock, move || {
            let state = (db.clone(), clock.clone());
            Publisher::new(&settings, "meed".to_owned(), state, codes.clone()).expect("a publisher")
        }))
    }

    pub fn consumer(app: &TestApp, broker: &Broker) -> Self {
        let intake = Intake::Activities(app.app.activities.clone());
        Self::reader(app, broker, "kafka.activities_topic", ACTIVITIES, intake)
    }

    pub fn claims(app: &TestApp, broker: &Broker) -> Self {
        let intake = Intake::Claims(app.app.claims.external());
        Self::reader(app, broker, "kafka.claims_topic", CLAIMS, intake)
    }

    fn reader(app: &TestApp, broker: &Broker, setting: &str, topic: &'static str, intake: Intake) -> Self {
        let settings = settings(broker, &[(setting, topic), ("kafka.dead_letter_topic", DEAD)]);
        Self(Background::with_period(&app.clock, Duration::ZERO, move || {
            Consumer::new(&settings, topic, GROUP, intake.clone()).expect("a consumer")
        }))
    }

    /// Decides pending claims.
    pub fn worker(app: &TestApp) -> Self {
        let claims = app.app.claims.clone();
        Self(Background::start(&app.clock, move || claims.worker()))
    }

    /// In order, as on SIGTERM.
    pub async fn stop(self) {
        self.0.stop().await;
    }
}

/// Waits until a count has this value.
pub async fn until(app: &TestApp, sql: &'static str, count: i64) {
    until_count(app, sql, |is| is == count, &count.to_string()).await;
}

/// Waits until a count has at least this value, and returns it.
pub async fn until_at_least(app: &TestApp, sql: &'static str, count: i64) -> i64 {
    until_count(app, sql, |is| is >= count, &format!("at least {count}")).await
}

async fn until_count(app: &TestApp, sql: &'static str, is_reached: impl Fn(i64) -> bool, wanted: &str) -> i64 {
    let started = std::time::Instant::now();
    loop {
        let is = app.count(sql).await;
        if is_reached(is) {
            return is;
        }
        assert!(started.elapsed().as_secs() < 40, "{sql}: still {is}, not {wanted}");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

/// Leaves a message in the outbox.
pub async fn record_message(db: &Db, user: Uuid, number: usize, at: Timestamp, payload: Value) -> Uuid {
    let id = Uuid::now_v7();
    let message = Message {
        id,
        kind: outbox::REWARD_GRANTED,
        user_id: Some(user),
        subject_id: None,
        payload: json!({"number": number, "more": payload}),
        http_request_id: None,
        created_at: at,
        once_key: None,
    };
    let mut tx = db.begin().await.expect("a transaction");
    outbox::write(&mut tx, message).await.expect("a message");
    tx.commit().await.expect("a commit");
    id
}

/// Waits until the group has committed this number of messages of a topic.
pub async fn committed(broker: &Broker, topic: &str, count: i64) {
    for _ in 0..1200 {
        if broker.committed(GROUP, topic) == count {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    panic!("{} committed, not {count}", broker.committed(GROUP, topic));
}
