//! Publishes outbox messages to a topic. One process at a time does so, by a lease.
//!
//! A message leaves the queue when all replicas of the broker have it. Only then does the publisher send the next
//! message of the same user, so the first delivery of a message never overtakes an earlier message of its user, even
//! after a failure. After a process died, the next one may send the same messages again, under the same ids. While no
//! broker answers, only this queue waits.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{FutureProducer, FutureRecord, Producer as _};
use rdkafka::util::Timeout;
use uuid::Uuid;

use super::client::{self, ClientEvents};
use super::{Unusable, event};
use crate::background::lease::Lease;
use crate::background::{Context, IDLE_INTERVAL, Next, Task};
use crate::clock::Clock;
use crate::config;
use crate::db::{Db, DbError};
use crate::mutations;
use crate::outbox::topics::{self, Waiting};
use crate::outbox::try_lock_fan_out;
use crate::rewards::{Codes, RewardError};

/// Messages that are read and sent together.
const BATCH: i64 = 512;
/// How often the topic is marked as used, so that the sweep keeps it.
const MARK_USED_EVERY: Duration = Duration::from_mins(1);
/// How long messages in flight may take to arrive when the process stops.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(5);

pub struct Publisher {
    db: Db,
    clock: Clock,
    settings: config::Kafka,
    codes: Codes,
    /// The `source` of all messages.
    source: String,
    producer: FutureProducer<ClientEvents>,
    /// Held while messages wait.
    lease: Option<Lease>,
    marked_used: Option<Instant>,
    /// Results that are not written yet.
    sent: Sent,
}

/// The results of sending.
#[derive(Debug, Default)]
struct Sent {
    published: Vec<Waiting>,
    refused: Vec<(Uuid, String)>,
    /// Why the other messages still wait.
    failed: Option<SendError>,
}

#[derive(Debug, thiserror::Error)]
enum SendError {
    #[error(transparent)]
    Kafka(#[from] KafkaError),
    #[error("the codes of a message cannot be read: {0}")]
    Codes(RewardError),
}

impl Publisher {
    /// `source` names this installation.
    pub fn new(
        settings: &config::Kafka,
        source: String,
        (db, clock): (Db, Clock),
        codes: Codes,
    ) -> Result<Self, Unusable> {
        Ok(Self {
            producer: client::producer(settings)?,
            settings: settings.clone(),
            codes,
            source,
            db,
            clock,
            lease: None,
            marked_used: None,
            sent: Sent::default(),
        })
    }

    fn topic(&self) -> &str {
        &self.settings.messages_topic
    }

    async fn waiting(&self) -> Result<Vec<Waiting>, DbError> {
        topics::waiting(&self.db, self.topic(), BATCH).await
    }

    /// Marks the topic as used; adds it if it does not exist.
    async fn mark_used(&mut self) -> Result<(), DbError> {
        while self.marked_used.is_none_or(|at| at.elapsed() >= MARK_USED_EVERY) {
            let now = self.clock.now();
            let mut tx = self.db.begin().await?;
            let exists = topics::mark_used(&mut tx, self.topic(), now).await?;
            if exists {
                tx.commit().await?;
                self.marked_used = Some(Instant::now());
            } else if try_lock_fan_out(&mut tx).await? {
                // Under the right to fan out, so that every later message is fanned out by a process that sees the
                // topic.
                topics::add(&mut tx, self.topic(), now).await?;
                tx.commit().await?;
                tracing::info!(
                    topic = self.topic(),
                    "topic added; messages from now on are published to it"
                );
            } else {
                drop(tx);
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        Ok(())
    }

    /// `false`: another process has the lease.
    async fn acquire_lease(&mut self) -> Result<bool, DbError> {
        self.lease = Lease::acquire(&self.db, &self.clock, &topics::LEASES, self.topic()).await?;
        Ok(self.lease.is_some())
    }

    async fn release_lease(&mut self) -> Result<(), DbError> {
        match self.lease.take() {
            Some(lease) => lease.release().await,
            None => Ok(()),
        }
    }

    /// Sends messages: those of one user one after the other, those of all users at the same time, while the lease is held.
    async fn send_all(&self, messages: Vec<Waiting>, lease: &Lease, context: &Context) -> Sent {
        let mut users: HashMap<Uuid, Vec<Waiting>> = HashMap::new();
        for message in messages {
            users.entry(message.ordering_key).or_default().push(message);
        }
        let sent = Mutex::new(Sent::default());
        let results = &sent;
        let sending = join_all(users.into_values().map(|messages| async move {
            for message in messages {
                if context.is_stopping() || lease.is_lost() || !self.send(message, results).await {
                    break;
                }
            }
        }));
        let timeout = async {
            context.stopping().await;
            tokio::time::sleep(SHUTDOWN_TIMEOUT).await;
        };
        tokio::select! {
            _ = sending => {}
            () = timeout => {}
            () = lease.lost() => {}
        }
        sent.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    /// `false`: the message was not delivered, so no later message of its user may be sent now.
    async fn send(&self, message: Waiting, results: &Mutex<Sent>) -> bool {
        let mut payload = message.payload.0.clone();
        if let Err(error) = self.codes.add_to(&message.kind, &mut payload).await {
            let mut sent = results.lock().unwrap_or_else(PoisonError::into_inner);
            sent.failed = Some(SendError::Codes(error));
            return false;
        }
        let (key, value) = (message.ordering_key.to_string(), payload.to_string());
        let record = FutureRecord::to(self.topic())
            .key(&key)
            .payload(&value)
            .headers(event::headers(&self.source, &message));
        let result = self.producer.send(record, Timeout::After(Duration::ZERO)).await;
        let mut sent = results.lock().unwrap_or_else(PoisonError::into_inner);
        match result {
            Ok(_) => sent.published.push(message),
            Err((error, _)) if is_refusal(&error) => sent.refused.push((message.id, error.to_string())),
            Err(_) if mutations::active("published-without-acknowledgement") => sent.published.push(message),
            Err((error, _)) => {
                sent.failed = Some(error.into());
                return false;
            }
        }
        true
    }

    /// Writes the results of sending. When that fails they are kept and written by the next run.
    async fn record(&mut self) -> Result<(), DbError> {
        if self.sent.published.is_empty() && self.sent.refused.is_empty() {
            return Ok(());
        }
        let topic = self.topic().to_owned();
        let mut tx = self.db.begin().await?;
        let published: HashSet<Uuid> = self.sent.published.iter().map(|message| message.id).collect();
        topics::published(&self.db, &mut tx, &topic, published).await?;
        for (id, because) in &self.sent.refused {
            topics::refuse(&mut tx, &topic, *id, because.clone()).await?;
        }
        tx.commit().await?;
        let failed = self.sent.failed.take();
        let sent = std::mem::replace(
            &mut self.sent,
            Sent {
                failed,
                ..Sent::default()
            },
        );
        let now = self.clock.now().as_millis();
        let count =
            |outcome| metrics::counter!("meed_kafka_published_total", "topic" => topic.clone(), "outcome" => outcome);
        count("PUBLISHED").increment(sent.published.len() as u64);
        for message in sent.published {
            let lag = u64::try_from(now - message.created_at.as_millis()).unwrap_or(0);
            metrics::histogram!("meed_kafka_publish_lag_seconds").record(Duration::from_millis(lag).as_secs_f64());
        }
        count("REFUSED").increment(sent.refused.len() as u64);
        for (id, because) in sent.refused {
            tracing::error!(message.id = %id, topic, because, "Kafka refused a message for good; it is set aside");
        }
        Ok(())
    }

    /// A producer with a fatal error can send nothing more. Its successor does not know what it sent; consumers recognise
    /// repeated messages by their ids.
    fn replace_broken_producer(&mut self) -> Result<(), Unusable> {
        if self.producer.client().fatal_error().is_some() {
            self.producer = client::producer(&self.settings)?;
        }
        Ok(())
    }
}

impl Task for Publisher {
    /// Publishes a batch of messages, if this process gets the lease.
    async fn run(&mut self, context: &Context) -> anyhow::Result<Next> {
        self.record().await?;
        self.mark_used().await?;
        let mut messages = self.waiting().await?;
        if messages.is_empty() {
            self.release_lease().await?;
            return Ok(Next::Period);
        }
        if self.lease.as_ref().is_none_or(Lease::is_lost) {
            if !self.acquire_lease().await? {
                return Ok(Next::After(IDLE_INTERVAL));
            }
            // The previous holder may have published some of them meanwhile.
            messages = self.waiting().await?;
        }
        let is_full = i64::try_from(messages.len()).is_ok_and(|count| count == BATCH);
        if let Some(lease) = &self.lease {
            self.sent = self.send_all(messages, lease, context).await;
        }
        self.record().await?;
        if let Some(error) = self.sent.failed.take() {
            metrics::counter!("meed_kafka_failures_total", "topic" => self.topic().to_owned()).increment(1);
            self.replace_broken_producer()?;
            return Err(anyhow::Error::new(error).context("publish to Kafka"));
        }
        Ok(if is_full { Next::Now } else { Next::Period })
    }

    async fn finish(mut self) -> anyhow::Result<()> {
        self.record().await?;
        Ok(self.release_lease().await?)
    }
}

/// The message itself is refused, and would be refused at every attempt.
fn is_refusal(error: &KafkaError) -> bool {
    use RDKafkaErrorCode::{InvalidMessageSize, InvalidRecord, MessageSizeTooLarge};
    matches!(
        error,
        KafkaError::MessageProduction(MessageSizeTooLarge | InvalidMessageSize | InvalidRecord)
    )
}

/// Sets the gauges of a topic's queue.
#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
pub async fn count_messages(db: &Db, clock: &Clock, topic: &str) -> Result<(), DbError> {
    let depth = topics::depth(db, topic).await?;
    let age = depth
        .oldest
        .map_or(0, |oldest| clock.now().as_millis() - oldest.as_millis());
    let messages = |state| metrics::gauge!("meed_kafka_messages", "topic" => topic.to_owned(), "state" => state);
    messages("WAITING").set(depth.waiting as f64);
    messages("REFUSED").set(depth.refused as f64);
    metrics::gauge!("meed_kafka_oldest_seconds", "topic" => topic.to_owned()).set(age.max(0) as f64 / 1000.0);
    Ok(())
}
