//! A Kafka broker for one test, on a local port. It keeps no data after the test, and tests can make it
//! fail. Also clients with which tests read topics.
//!
//! `cargo xtask test` sets `MEED_TEST_BROKER` to the program. Without it the tests fail; they are not skipped.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use meed_host::clock::Timestamp;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer as _, StreamConsumer};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::message::{Headers as _, Message as _};
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::redis::free_port;

/// The number of partitions of every topic.
pub const PARTITIONS: i32 = 3;

const PATIENCE: Duration = Duration::from_secs(30);

pub struct Broker {
    port: u16,
    advertised: String,
    process: Option<Child>,
}

/// A message in a topic.
#[derive(Clone, Debug)]
pub struct Record {
    pub key: String,
    pub value: Vec<u8>,
    pub headers: Vec<(String, String)>,
}

impl Record {
    pub fn header(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|(key, _)| key == name);
        found.map_or("", |(_, value)| value.as_str())
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.value).expect("JSON")
    }
}

impl Broker {
    pub async fn start() -> Self {
        let mut broker = Self::absent();
        broker.begin().await;
        broker
    }

    /// An address at which a broker will start later.
    pub fn absent() -> Self {
        let port = free_port();
        Self {
            port,
            advertised: format!("127.0.0.1:{port}"),
            process: None,
        }
    }

    /// The address on which it listens, or will listen.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Advertises another address to clients.
    pub fn advertise(&mut self, address: &str) {
        address.clone_into(&mut self.advertised);
    }

    /// The address for clients.
    pub fn brokers(&self) -> &str {
        &self.advertised
    }

    /// Starts the broker without data.
    pub async fn begin(&mut self) {
        let program = std::env::var("MEED_TEST_BROKER").expect(
            "MEED_TEST_BROKER is not set: run the tests with `cargo xtask test`, which installs a broker of the Kafka protocol",
        );
        let process = Command::new(&program)
            .args(["broker", "--silent", "--storage-engine", "memory://tansu/"])
            .args(["--listener-url", &format!("tcp://{}", self.address())])
            .args(["--advertised-listener-url", &format!("tcp://{}", self.advertised)])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("{program} (MEED_TEST_BROKER): {error}"));
        self.process = Some(process);
        let started = std::time::Instant::now();
        while tokio::net::TcpStream::connect(self.address()).await.is_err() {
            assert!(started.elapsed() < PATIENCE, "the broker does not listen");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub async fn topic(&self, name: &str) {
        let admin: AdminClient<DefaultClientContext> = self.client().create().expect("an admin");
        let topic = NewTopic::new(name, PARTITIONS, TopicReplication::Fixed(1));
        let made = admin.create_topics([&topic], &AdminOptions::new()).await;
        // A client may have created the topic by requesting it.
        if let Err((topic, error)) = made.expect("an answer").remove(0) {
            assert_eq!(error, RDKafkaErrorCode::TopicAlreadyExists, "{topic}");
        }
    }

    pub fn client(&self) -> ClientConfig {
        let mut client = ClientConfig::new();
        client.set("bootstrap.servers", &self.advertised);
        client
    }

    /// Produces messages (key and value) to a topic, in this order.
    pub async fn produce(&self, topic: &str, messages: impl IntoIterator<Item = (String, Vec<u8>)>) {
        let messages = messages.into_iter().map(|(key, value)| (None, key, value));
        self.send(topic, messages).await;
    }

    /// The same, with these timestamps.
    pub async fn produce_at(&self, topic: &str, messages: impl IntoIterator<Item = (Timestamp, String, Vec<u8>)>) {
        let messages = messages.into_iter().map(|(at, key, value)| (Some(at), key, value));
        self.send(topic, messages).await;
    }

    async fn send(&self, topic: &str, messages: impl Iterator<Item = (Option<Timestamp>, String, Vec<u8>)>) {
        let mut client = self.client();
        client.set("linger.ms", "0").set("message.max.bytes", "1100000");
        let producer: FutureProducer = client.create().expect("a producer");
        for (at, key, value) in messages {
            let mut record = FutureRecord::to(topic).key(&key).payload(&value);
            record.timestamp = at.map(Timestamp::as_millis);
            producer.send(record, PATIENCE).await.expect("it is taken");
        }
    }

    /// The first `count` messages of a topic, in order within each partition.
    pub async fn read(&self, topic: &str, count: usize) -> Vec<Record> {
        let read = self.gather(topic, count, PATIENCE).await;
        assert!(read.len() >= count, "{} of {count} came: {read:?}", read.len());
        read
    }

    /// The same, or fewer if no more arrive.
    pub async fn read_for(&self, topic: &str, count: usize) -> Vec<Record> {
        self.gather(topic, count, Duration::from_secs(3)).await
    }

    async fn gather(&self, topic: &str, count: usize, patience: Duration) -> Vec<Record> {
        let consumer: StreamConsumer = self.client().set("group.id", "a test").create().expect("a consumer");
        let mut from = TopicPartitionList::new();
        for partition in 0..PARTITIONS {
            from.add_partition_offset(topic, partition, Offset::Beginning)
                .expect("an offset");
        }
        consumer.assign(&from).expect("an assignment");
        let mut records = Vec::new();
        while records.len() < count {
            let received = match tokio::time::timeout(patience, consumer.recv()).await {
                Err(_) => break,
                // The topic may not exist yet.
                Ok(Err(_)) => continue,
                Ok(Ok(message)) => message.detach(),
            };
            let text = |bytes: Option<&[u8]>| String::from_utf8_lossy(bytes.unwrap_or_default()).into_owned();
            let headers = received.headers().into_iter().flat_map(|headers| headers.iter());
            records.push(Record {
                key: text(received.key()),
                value: received.payload().unwrap_or_default().to_vec(),
                headers: headers
                    .map(|header| (header.key.to_owned(), text(header.value)))
                    .collect(),
            });
        }
        records
    }

    /// The sum of a group's committed offsets over all partitions of a topic.
    pub fn committed(&self, group: &str, topic: &str) -> i64 {
        let consumer: BaseConsumer = self.client().set("group.id", group).create().expect("a consumer");
        let mut partitions = TopicPartitionList::new();
        partitions.add_partition_range(topic, 0, PARTITIONS - 1);
        let committed = tokio::task::block_in_place(|| consumer.committed_offsets(partitions, PATIENCE));
        let committed = committed.expect("offsets");
        let offsets = committed
            .elements()
            .into_iter()
            .map(|element| element.offset().to_raw());
        offsets.map(|offset| offset.unwrap_or(0).max(0)).sum()
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().ok();
            process.wait().ok();
        }
    }
}
