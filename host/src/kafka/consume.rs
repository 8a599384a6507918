//! Consumes a topic as a member of a group. Offsets are committed only after the database has committed: a message whose
//! offset was not committed is consumed again, by this process or by the next owner of its partition, and changes nothing.
//!
//! A message that can never be processed goes to the dead-letter topic, and the next one follows. While the database or the
//! brokers fail, the consumer retries: no message is skipped. Must not know: what is done with a message (`intake`).

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use futures_util::FutureExt as _;
use rdkafka::consumer::{CommitMode, Consumer as _, StreamConsumer};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::message::{BorrowedMessage, Headers as _, Message as _, OwnedMessage};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::Unusable;
use super::client::{self, ClientEvents};
use super::dead_letter::DeadLetters;
use super::intake::{self, Intake, Poison};
use crate::background::{Context, Next, Task};
use crate::clock::Timestamp;
use crate::config;
use crate::mutations;

/// The limits of the messages held at the same time. The last one may exceed the bytes.
const BATCH: usize = 256;
const BATCH_BYTES: usize = 1 << 20;
/// How long the last offset commits and leaving the group may take.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(5);

pub struct Consumer {
    settings: config::Kafka,
    topic: String,
    intake: Intake,
    group: StreamConsumer<ClientEvents>,
    dead_letters: DeadLetters,
    /// Received and not processed yet.
    messages: VecDeque<OwnedMessage>,
}

impl Consumer {
    /// Consumes `topic` as a member of `group`.
    pub fn new(settings: &config::Kafka, topic: &str, group: &str, intake: Intake) -> Result<Self, Unusable> {
        let settings = config::Kafka {
            group: group.to_owned(),
            ..settings.clone()
        };
        tracing::info!(topic, group, "consuming a Kafka topic");
        Ok(Self {
            group: join(&settings, topic)?,
            dead_letters: DeadLetters::new(&settings)?,
            settings,
            topic: topic.to_owned(),
            intake,
            messages: VecDeque::new(),
        })
    }

    /// Waits for a message, and takes the others that have arrived. Takes none when the stage stops.
    async fn receive(&mut self, context: &Context) -> anyhow::Result<()> {
        let received = context.wait(async { self.group.recv().await.map(|message| message.detach()) });
        match received.await {
            None => {}
            Some(Ok(first)) => {
                let mut bytes = size(&first);
                self.messages.push_back(first);
                while self.messages.len() < BATCH && bytes < BATCH_BYTES {
                    // The client reports an error again once no message precedes it.
                    let Some(Ok(message)) = self.group.recv().now_or_never() else {
                        break;
                    };
                    let message = BorrowedMessage::detach(&message);
                    bytes += size(&message);
                    self.messages.push_back(message);
                }
            }
            Some(Err(error)) => {
                if matches!(error, KafkaError::MessageConsumptionFatal(_)) {
                    self.group = join(&self.settings, &self.topic)?;
                }
                return Err(anyhow::Error::new(error).context("receive from Kafka"));
            }
        }
        Ok(())
    }

    /// Processes the first messages, as many as the intake accepts in one call.
    async fn process(&mut self) -> anyhow::Result<()> {
        let read: Vec<intake::Message<'_>> = self.messages.iter().map(read).collect();
        if read.is_empty() {
            return Ok(());
        }
        if mutations::active("offsets-before-database") {
            let mut offsets = Offsets::default();
            self.messages.iter().for_each(|message| offsets.add(message));
            self.group.commit(&offsets.list()?, CommitMode::Async)?;
        }
        let results = self.intake.process(&read).await?;
        let mut offsets = Offsets::default();
        let mut outcome = Ok(());
        for result in results {
            let Some(message) = self.messages.front() else { break };
            let label = match result {
                Ok(()) => "PROCESSED",
                Err(poison) => {
                    outcome = dead_letter(&mut self.dead_letters, &self.settings, message, &poison).await;
                    if outcome.is_err() {
                        break;
                    }
                    "DEAD_LETTER"
                }
            };
            metrics::counter!("meed_kafka_consumed_total", "topic" => self.topic.clone(), "outcome" => label)
                .increment(1);
            offsets.add(message);
            self.messages.pop_front();
        }
        self.commit(offsets);
        outcome
    }

    /// Does not wait for the answer: if a commit is lost, messages are consumed again.
    fn commit(&self, offsets: Offsets) {
        if offsets.0.is_empty() {
            return;
        }
        let committed = offsets
            .list()
            .and_then(|list| self.group.commit(&list, CommitMode::Async));
        if let Err(error) = committed {
            tracing::info!(topic = self.topic, %error, "offsets not committed");
        }
    }
}

impl Task for Consumer {
    async fn run(&mut self, context: &Context) -> anyhow::Result<Next> {
        if self.messages.is_empty() {
            self.receive(context).await?;
        }
        self.process().await?;
        Ok(Next::Now)
    }

    /// Processes what was received, unless that fails, and leaves the group.
    async fn finish(mut self) -> anyhow::Result<()> {
        let mut outcome = Ok(());
        while !self.messages.is_empty() && outcome.is_ok() {
            outcome = self.process().await;
        }
        let (left, has_left) = tokio::sync::oneshot::channel();
        let group = self.group;
        // On a separate thread, because dropping the consumer blocks while the brokers are unreachable.
        std::thread::spawn(move || {
            drop(group);
            left.send(()).ok();
        });
        if tokio::time::timeout(LEAVE_TIMEOUT, has_left).await.is_err() {
            tracing::warn!(topic = self.topic, "timed out leaving the consumer group");
        }
        outcome
    }
}

/// Puts a message into the dead-letter topic.
async fn dead_letter(
    dead_letters: &mut DeadLetters,
    settings: &config::Kafka,
    message: &OwnedMessage,
    poison: &Poison,
) -> anyhow::Result<()> {
    if let Err(error) = dead_letters.put(message, poison).await {
        if dead_letters.is_broken() {
            *dead_letters = DeadLetters::new(settings)?;
        }
        return Err(anyhow::Error::new(error).context("publish a dead letter"));
    }
    let topic = message.topic().to_owned();
    metrics::counter!("meed_kafka_dead_letters_total", "topic" => topic, "code" => poison.code).increment(1);
    tracing::warn!(
        topic = message.topic(),
        partition = message.partition(),
        offset = message.offset(),
        code = poison.code,
        detail = poison.detail,
        "message put into the dead-letter topic"
    );
    Ok(())
}

/// Connects to no broker yet.
fn join(settings: &config::Kafka, topic: &str) -> KafkaResult<StreamConsumer<ClientEvents>> {
    let group: StreamConsumer<ClientEvents> = client::member(settings).create_with_context(ClientEvents)?;
    group.subscribe(&[topic])?;
    Ok(group)
}

/// In bytes, of everything that the sender chose.
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

/// The next offset of each partition.
#[derive(Default)]
struct Offsets(HashMap<(String, i32), i64>);

impl Offsets {
    fn add(&mut self, message: &OwnedMessage) {
        let partition = (message.topic().to_owned(), message.partition());
        self.0.insert(partition, message.offset() + 1);
    }

    fn list(self) -> KafkaResult<TopicPartitionList> {
        let mut list = TopicPartitionList::new();
        for ((topic, partition), offset) in self.0 {
            list.add_partition_offset(&topic, partition, Offset::Offset(offset))?;
        }
        Ok(list)
    }
}
