//! Publishes what waits for the topic, in any process that relays; one of them at a time, by a lease.
//!
//! A message is out of the queue when all replicas have it. Within a line the next one is sent only then, so whatever fails,
//! no message overtakes another of its line for the first time. What was sent before a process died is sent again by the
//! next, under the same id. While nobody answers, the queue waits, and nothing else does.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{FutureProducer, FutureRecord, Producer as _};
use rdkafka::util::Timeout;
use tokio::sync::watch;
use uuid::Uuid;

use super::client::{self, Told};
use super::{Unusable, event};
use crate::clock::Clock;
use crate::config;
use crate::db::{Db, DbError};
use crate::outbox::take_turn;
use crate::outbox::topics::{self, Hold, Waiting};

/// How many messages are looked at together.
const AT_ONCE: i64 = 512;
/// How often it is looked whether something waits.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// The same after a failure, and while another process publishes.
const LOOK_SELDOM: Duration = Duration::from_secs(1);
/// How long the right to publish lasts without a word, and how often we say it.
const LEASE: Duration = Duration::from_secs(3);
const RENEW_EVERY: Duration = Duration::from_secs(1);
/// How often we say that we are here while nothing waits, so that the topic is not forgotten.
const GREET_EVERY: Duration = Duration::from_mins(1);
/// How often the queue is counted.
const COUNT_EVERY: Duration = Duration::from_secs(10);
/// What is on its way when the process is told to stop has so long to arrive.
const LAST_PATIENCE: Duration = Duration::from_secs(5);

pub struct Publisher {
    db: Db,
    clock: Clock,
    settings: config::Kafka,
    /// The `source` of all messages.
    source: String,
    /// Who we are among those that could publish.
    id: Uuid,
    producer: FutureProducer<Told>,
    /// When we last heard that the right is ours.
    held: Option<Instant>,
    greeted: Option<Instant>,
    counted: Option<Instant>,
    /// What came of sending and is not written yet.
    came: Came,
}

/// What came of sending.
#[derive(Debug, Default)]
struct Came {
    published: Vec<Waiting>,
    refused: Vec<(Uuid, String)>,
    /// Why the rest waits.
    failed: Option<KafkaError>,
}

impl Publisher {
    /// `source`: what this installation calls itself.
    pub fn new(settings: &config::Kafka, source: String, db: Db, clock: Clock) -> Result<Self, Unusable> {
        Ok(Self {
            id: clock.new_id(),
            producer: client::producer(settings)?,
            settings: settings.clone(),
            source,
            db,
            clock,
            held: None,
            greeted: None,
            counted: None,
            came: Came::default(),
        })
    }

    /// Until `stopping` becomes true; what is on its way then still ends, or is sent again by another process.
    pub async fn run(mut self, mut stopping: watch::Receiver<bool>) {
        while !*stopping.borrow() {
            let pause = match self.look(&mut stopping).await {
                Ok(pause) => pause,
                Err(error) => {
                    tracing::warn!(%error, "what waits for Kafka cannot be read or written");
                    LOOK_SELDOM
                }
            };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                // Whoever could tell it to stop is gone: so it stops.
                changed = stopping.changed() => if changed.is_err() { break },
            }
        }
        if let Err(error) = self.leave().await {
            tracing::warn!(%error, "the right to publish to Kafka is kept until it runs out");
        }
    }

    /// Publishes what waits, if it is our turn; says how long to wait.
    async fn look(&mut self, stopping: &mut watch::Receiver<bool>) -> Result<Duration, DbError> {
        self.settle().await?;
        if is_older(self.greeted, GREET_EVERY) {
            self.hold().await?;
            self.greeted = Some(Instant::now());
        }
        if is_older(self.counted, COUNT_EVERY) {
            self.count().await?;
            self.counted = Some(Instant::now());
        }
        let mut waiting = self.waiting().await?;
        if waiting.is_empty() {
            return Ok(LOOK_EVERY);
        }
        if is_older(self.held, RENEW_EVERY) {
            if !self.hold().await? {
                return Ok(LOOK_SELDOM);
            }
            // Who had the right until now may have published something in between.
            waiting = self.waiting().await?;
        }
        let is_full = i64::try_from(waiting.len()).is_ok_and(|count| count == AT_ONCE);
        self.publish(waiting, stopping).await;
        let failed = self.came.failed.take();
        self.settle().await?;
        let Some(error) = failed else {
            return Ok(if is_full { Duration::ZERO } else { LOOK_EVERY });
        };
        metrics::counter!("meed_kafka_failures_total", "topic" => self.topic()).increment(1);
        tracing::warn!(%error, "not published to Kafka yet");
        if self.producer.client().fatal_error().is_some() {
            // It can do nothing more. Another one does not know what this one sent; receivers know it by its ids.
            match client::producer(&self.settings) {
                Ok(producer) => self.producer = producer,
                Err(error) => tracing::error!(%error, "no new producer for Kafka"),
            }
        }
        Ok(LOOK_SELDOM)
    }

    async fn waiting(&self) -> Result<Vec<Waiting>, DbError> {
        topics::waiting(&self.db, &self.settings.messages_topic, AT_ONCE).await
    }

    fn topic(&self) -> String {
        self.settings.messages_topic.clone()
    }

    /// Takes or keeps the right to publish; `false`: another process has it.
    async fn hold(&mut self) -> Result<bool, DbError> {
        loop {
            let now = self.clock.now();
            let mut tx = self.db.begin().await?;
            let topic = &self.settings.messages_topic;
            let hold = topics::hold(&mut tx, topic, self.id, now, now.plus(LEASE)).await?;
            if hold != Hold::Unknown {
                tx.commit().await?;
                let is_ours = hold == Hold::Ours;
                self.held = is_ours.then(Instant::now);
                return Ok(is_ours);
            }
            // With the turn, so that whatever becomes true from now on is handed on by somebody who knows of the topic.
            if take_turn(&mut tx).await? {
                topics::add(&mut tx, topic, self.clock.now()).await?;
                tx.commit().await?;
                tracing::info!(topic, "what happens from now on is published to Kafka");
            } else {
                drop(tx);
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }

    /// Sends what waits, each line one after the other and all lines at the same time, for as long as the right is ours.
    async fn publish(&mut self, waiting: Vec<Waiting>, stopping: &mut watch::Receiver<bool>) {
        let mut lines: HashMap<Uuid, Vec<Waiting>> = HashMap::new();
        for message in waiting {
            lines.entry(message.line).or_default().push(message);
        }
        let came = Mutex::new(Came::default());
        let (producer, topic, source) = (self.producer.clone(), self.topic(), self.source.clone());
        let sending = join_all(lines.into_values().map(|line| {
            let (came, stopping) = (&came, stopping.clone());
            let (producer, topic, source) = (&producer, topic.as_str(), source.as_str());
            async move {
                for message in line {
                    if *stopping.borrow() || !send(producer, topic, source, message, came).await {
                        break;
                    }
                }
            }
        }));
        tokio::pin!(sending);
        let patience = async {
            let told = stopping.wait_for(|stop| *stop).await.is_ok();
            // Nobody can tell it any more: so it stops, too.
            tracing::debug!(told, "no more is published");
            tokio::time::sleep(LAST_PATIENCE).await;
        };
        tokio::pin!(patience);
        loop {
            tokio::select! {
                _ = &mut sending => break,
                () = &mut patience => break,
                () = tokio::time::sleep(RENEW_EVERY) => match self.hold().await {
                    Ok(true) => {}
                    Ok(false) => {
                        tracing::warn!(topic, "another process publishes to Kafka by now");
                        break;
                    }
                    // As long as it lasts, nobody else can take it either: they ask the same database.
                    Err(error) => tracing::warn!(%error, "the right to publish to Kafka is not renewed"),
                },
            }
        }
        self.came = std::mem::take(&mut *came.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Writes what came of sending. When that fails, it is kept and written later.
    async fn settle(&mut self) -> Result<(), DbError> {
        if self.came.published.is_empty() && self.came.refused.is_empty() {
            return Ok(());
        }
        let topic = &self.settings.messages_topic;
        let mut tx = self.db.begin().await?;
        let published: HashSet<Uuid> = self.came.published.iter().map(|message| message.id).collect();
        topics::published(&self.db, &mut tx, topic, published).await?;
        for (id, because) in &self.came.refused {
            topics::refuse(&mut tx, topic, *id, because.clone()).await?;
        }
        tx.commit().await?;
        let came = std::mem::take(&mut self.came);
        let now = self.clock.now().as_millis();
        let count =
            |outcome| metrics::counter!("meed_kafka_published_total", "topic" => topic.clone(), "outcome" => outcome);
        count("PUBLISHED").increment(came.published.len() as u64);
        for message in came.published {
            let lag = u64::try_from(now - message.created_at.as_millis()).unwrap_or(0);
            metrics::histogram!("meed_kafka_publish_lag_seconds").record(Duration::from_millis(lag).as_secs_f64());
        }
        count("REFUSED").increment(came.refused.len() as u64);
        for (id, because) in came.refused {
            tracing::error!(message.id = %id, topic, because, "Kafka will never take a message");
        }
        Ok(())
    }

    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    async fn count(&self) -> Result<(), DbError> {
        let depth = topics::depth(&self.db, &self.settings.messages_topic).await?;
        let age = depth
            .oldest
            .map_or(0, |oldest| self.clock.now().as_millis() - oldest.as_millis());
        let waiting = |state| metrics::gauge!("meed_kafka_messages", "topic" => self.topic(), "state" => state);
        waiting("WAITING").set(depth.waiting as f64);
        waiting("REFUSED").set(depth.refused as f64);
        metrics::gauge!("meed_kafka_oldest_seconds", "topic" => self.topic()).set(age.max(0) as f64 / 1000.0);
        Ok(())
    }

    async fn leave(&mut self) -> Result<(), DbError> {
        self.settle().await?;
        let mut tx = self.db.begin().await?;
        topics::let_go(&mut tx, &self.settings.messages_topic, self.id, self.clock.now()).await?;
        tx.commit().await
    }
}

/// Sends one message to its end; `false`: it did not arrive, and nothing of its line may go now.
async fn send(
    producer: &FutureProducer<Told>,
    topic: &str,
    source: &str,
    message: Waiting,
    came: &Mutex<Came>,
) -> bool {
    let (key, value) = (message.line.to_string(), message.payload.0.to_string());
    let record = FutureRecord::to(topic)
        .key(&key)
        .payload(&value)
        .headers(event::headers(source, &message));
    let sent = producer.send(record, Timeout::After(Duration::ZERO)).await;
    let mut came = came.lock().unwrap_or_else(PoisonError::into_inner);
    match sent {
        Ok(_) => came.published.push(message),
        Err((error, _)) if is_refusal(&error) => came.refused.push((message.id, error.to_string())),
        Err((error, _)) => {
            came.failed = Some(error);
            return false;
        }
    }
    true
}

/// It is the message, and will be at every try.
fn is_refusal(error: &KafkaError) -> bool {
    use RDKafkaErrorCode::{InvalidMessageSize, InvalidRecord, MessageSizeTooLarge};
    matches!(
        error,
        KafkaError::MessageProduction(MessageSizeTooLarge | InvalidMessageSize | InvalidRecord)
    )
}

fn is_older(at: Option<Instant>, than: Duration) -> bool {
    at.is_none_or(|at| at.elapsed() >= than)
}
