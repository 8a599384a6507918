//! Reads a topic as a member of a group, and says how far it is only after the database has committed: what was taken and
//! not told so is taken again, by us or by whoever has the partition then, and changes nothing.
//!
//! A message that can never be taken goes to the dead letters, and the next one comes. A database or a broker that fails is
//! waited for: nothing is passed over. Must not know: what is done with a message (`intake`).

use std::collections::HashMap;
use std::time::Duration;

use futures_util::FutureExt as _;
use rdkafka::consumer::{CommitMode, Consumer as _, StreamConsumer};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::message::{BorrowedMessage, Headers as _, Message as _, OwnedMessage};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use tokio::sync::watch;

use super::Unusable;
use super::client::{self, Told};
use super::dead_letter::DeadLetters;
use super::intake::{self, Intake, Poison};
use crate::clock::Timestamp;
use crate::config;

/// What is in our hands at the same time: so many messages of so many bytes, and one more.
const MESSAGES_AT_ONCE: usize = 256;
const BYTES_AT_ONCE: usize = 1 << 20;
/// How long to wait after a failure: doubled each time, from and to.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// How long the last offsets and the farewell to the group may take.
const FAREWELL: Duration = Duration::from_secs(5);

pub struct Consumer {
    settings: config::Kafka,
    topic: String,
    intake: Intake,
    group: StreamConsumer<Told>,
    dead_letters: DeadLetters,
}

/// There is no more to do, or no time for it.
struct Stopped;

impl Consumer {
    /// Reads `topic` as a member of `group`.
    pub fn new(settings: &config::Kafka, topic: &str, group: &str, intake: Intake) -> Result<Self, Unusable> {
        let settings = &config::Kafka {
            group: group.to_owned(),
            ..settings.clone()
        };
        Ok(Self {
            group: join(settings, topic)?,
            dead_letters: DeadLetters::new(settings)?,
            settings: settings.clone(),
            topic: topic.to_owned(),
            intake,
        })
    }

    /// Until `stopping` becomes true: what is in our hands then is finished first, unless that takes waiting.
    pub async fn run(mut self, mut stopping: watch::Receiver<bool>) {
        tracing::info!(
            topic = self.topic,
            group = self.settings.group,
            "a topic of Kafka is read"
        );
        while let Ok(messages) = self.next(&mut stopping).await {
            if self.take_all(&messages, &mut stopping).await.is_err() {
                break;
            }
        }
        let (said, heard) = tokio::sync::oneshot::channel();
        let group = self.group;
        // A thread that nobody waits for when the brokers are gone.
        std::thread::spawn(move || {
            // Waits for the answers to what was committed, and says farewell.
            drop(group);
            said.send(()).ok();
        });
        if tokio::time::timeout(FAREWELL, heard).await.is_err() {
            tracing::warn!(topic = self.topic, "the group was left without a word");
        }
    }

    /// At least one message, and what else is there already.
    async fn next(&mut self, stopping: &mut watch::Receiver<bool>) -> Result<Vec<OwnedMessage>, Stopped> {
        loop {
            let received = tokio::select! {
                biased;
                _ = stopping.wait_for(|stop| *stop) => return Err(Stopped),
                received = self.group.recv() => received.map(|message| message.detach()),
            };
            match received {
                Ok(first) => return Ok(self.with_those_that_are_there(first)),
                Err(error) => {
                    tracing::warn!(topic = self.topic, %error, "nothing is read from Kafka");
                    if matches!(error, KafkaError::MessageConsumptionFatal(_)) {
                        match join(&self.settings, &self.topic) {
                            Ok(group) => self.group = group,
                            Err(error) => tracing::error!(%error, "no new consumer for Kafka"),
                        }
                    }
                    pause(LOOK_AGAIN, stopping).await?;
                }
            }
        }
    }

    fn with_those_that_are_there(&self, first: OwnedMessage) -> Vec<OwnedMessage> {
        let mut bytes = size(&first);
        let mut messages = vec![first];
        while messages.len() < MESSAGES_AT_ONCE && bytes < BYTES_AT_ONCE {
            // An error comes again when there is nothing before it.
            let Some(Ok(message)) = self.group.recv().now_or_never() else {
                break;
            };
            let message = BorrowedMessage::detach(&message);
            bytes += size(&message);
            messages.push(message);
        }
        messages
    }

    /// Sees to it that each message is taken or among the dead letters, however long that takes.
    async fn take_all(
        &mut self,
        messages: &[OwnedMessage],
        stopping: &mut watch::Receiver<bool>,
    ) -> Result<(), Stopped> {
        let mut patience = FIRST_PAUSE;
        let mut rest = messages;
        while !rest.is_empty() {
            let read: Vec<intake::Message<'_>> = rest.iter().map(read).collect();
            let taken = match self.intake.take(&read).await {
                Ok(taken) => taken,
                Err(error) => {
                    tracing::warn!(topic = self.topic, %error, "messages of Kafka wait");
                    pause(patience, stopping).await?;
                    patience = (patience * 2).min(LONGEST_PAUSE);
                    continue;
                }
            };
            patience = FIRST_PAUSE;
            let (done, others) = rest.split_at(taken.len());
            for (message, taken) in done.iter().zip(taken) {
                let outcome = match taken {
                    Ok(()) => "TAKEN",
                    Err(poison) => {
                        self.bury(message, poison, stopping).await?;
                        "DEAD_LETTER"
                    }
                };
                metrics::counter!("meed_kafka_consumed_total", "topic" => self.topic.clone(), "outcome" => outcome)
                    .increment(1);
            }
            self.commit(done);
            rest = others;
        }
        Ok(())
    }

    async fn bury(
        &mut self,
        message: &OwnedMessage,
        poison: Poison,
        stopping: &mut watch::Receiver<bool>,
    ) -> Result<(), Stopped> {
        let mut patience = FIRST_PAUSE;
        while let Err(error) = self.dead_letters.put(message, &poison).await {
            tracing::warn!(topic = self.topic, %error, "a dead letter waits for Kafka");
            if self.dead_letters.is_broken() {
                match DeadLetters::new(&self.settings) {
                    Ok(dead_letters) => self.dead_letters = dead_letters,
                    Err(error) => tracing::error!(%error, "no new producer for Kafka"),
                }
            }
            pause(patience, stopping).await?;
            patience = (patience * 2).min(LONGEST_PAUSE);
        }
        metrics::counter!("meed_kafka_dead_letters_total", "topic" => self.topic.clone(), "code" => poison.code)
            .increment(1);
        tracing::warn!(
            topic = self.topic,
            partition = message.partition(),
            offset = message.offset(),
            code = poison.code,
            detail = poison.detail,
            "a message of Kafka became a dead letter"
        );
        Ok(())
    }

    /// Says how far we are. Nobody waits for the answer: when it is lost, messages come again.
    fn commit(&self, messages: &[OwnedMessage]) {
        if let Err(error) = next_offsets(messages).and_then(|offsets| self.group.commit(&offsets, CommitMode::Async)) {
            tracing::info!(topic = self.topic, %error, "offsets were not committed");
        }
    }
}

/// After an error of reading.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Asks no broker yet.
fn join(settings: &config::Kafka, topic: &str) -> KafkaResult<StreamConsumer<Told>> {
    let group: StreamConsumer<Told> = client::member(settings).create_with_context(Told)?;
    group.subscribe(&[topic])?;
    Ok(group)
}

/// In bytes, with all that somebody else chose.
fn size(message: &OwnedMessage) -> usize {
    let headers = message.headers().map_or(0, |headers| {
        let each = headers
            .iter()
            .map(|header| header.key.len() + header.value.map_or(0, <[u8]>::len));
        each.sum()
    });
    headers + message.key().map_or(0, <[u8]>::len) + message.payload().map_or(0, <[u8]>::len)
}

fn read(message: &OwnedMessage) -> intake::Message<'_> {
    intake::Message {
        value: message.payload(),
        at: message.timestamp().to_millis().and_then(Timestamp::from_millis),
    }
}

/// Where each partition goes on.
fn next_offsets(messages: &[OwnedMessage]) -> KafkaResult<TopicPartitionList> {
    let mut next: HashMap<(&str, i32), i64> = HashMap::new();
    for message in messages {
        let offset = next.entry((message.topic(), message.partition())).or_default();
        *offset = message.offset() + 1;
    }
    let mut offsets = TopicPartitionList::new();
    for ((topic, partition), offset) in next {
        offsets.add_partition_offset(topic, partition, Offset::Offset(offset))?;
    }
    Ok(offsets)
}

/// Waits, unless it is time to stop.
async fn pause(duration: Duration, stopping: &mut watch::Receiver<bool>) -> Result<(), Stopped> {
    tokio::select! {
        () = tokio::time::sleep(duration) => Ok(()),
        _ = stopping.wait_for(|stop| *stop) => Err(Stopped),
    }
}
