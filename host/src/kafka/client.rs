//! What every client of the brokers is told, and what it tells: its log and its figures.

use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::producer::FutureProducer;
use rdkafka::statistics::Statistics;
use rdkafka::topic_partition_list::TopicPartitionList;
use secrecy::ExposeSecret as _;

use crate::config::{Kafka, Sasl};

/// A request without an answer by then is asked again, on a connection of its own.
const ANSWERED_WITHIN_MS: &str = "10000";
/// How long a message is tried before its sender is told that it failed, and tries it anew.
const DELIVERED_WITHIN_MS: &str = "30000";
/// A process that says nothing for so long has left its group. Kafka's own default is longer, and keeps whoever takes over
/// waiting.
const SESSION_MS: &str = "10000";
/// The same when it lives, but takes nothing: its database fails, say. Its partitions then go to others.
const POLLED_WITHIN_MS: &str = "60000";
/// What of a topic is held in memory before it is asked for.
const FETCHED_KIB: &str = "4096";
const FIGURES_EVERY_MS: &str = "5000";

/// What every client says. No client exists before somebody uses what this returns.
fn settings(kafka: &Kafka) -> ClientConfig {
    let mut client = ClientConfig::new();
    let protocol = match (kafka.tls, kafka.sasl) {
        (false, Sasl::Off) => "plaintext",
        (true, Sasl::Off) => "ssl",
        (false, _) => "sasl_plaintext",
        (true, _) => "sasl_ssl",
    };
    client
        .set("bootstrap.servers", &kafka.brokers)
        .set("client.id", "meed")
        .set("security.protocol", protocol)
        // Brokers close what is idle; that is no news.
        .set("log.connection.close", "false")
        .set("socket.keepalive.enable", "true")
        .set("socket.timeout.ms", ANSWERED_WITHIN_MS)
        .set("reconnect.backoff.max.ms", "5000")
        .set_log_level(RDKafkaLogLevel::Info);
    let mechanism = match kafka.sasl {
        Sasl::Off => None,
        Sasl::Plain => Some("PLAIN"),
        Sasl::ScramSha256 => Some("SCRAM-SHA-256"),
        Sasl::ScramSha512 => Some("SCRAM-SHA-512"),
    };
    if let Some(mechanism) = mechanism {
        client
            .set("sasl.mechanism", mechanism)
            .set("sasl.username", &kafka.username)
            .set("sasl.password", kafka.password.expose_secret());
    }
    for (key, file) in [
        ("ssl.ca.location", &kafka.ca_file),
        ("ssl.certificate.location", &kafka.certificate_file),
        ("ssl.key.location", &kafka.key_file),
    ] {
        if let Some(file) = file {
            client.set(key, file.display().to_string());
        }
    }
    client
}

/// One that a broker recognises when it sends a message once more, and that waits for all replicas.
pub(super) fn producer(kafka: &Kafka) -> KafkaResult<FutureProducer<Told>> {
    settings(kafka)
        .set("enable.idempotence", "true")
        .set("acks", "all")
        .set("request.timeout.ms", ANSWERED_WITHIN_MS)
        .set("message.timeout.ms", DELIVERED_WITHIN_MS)
        // As the clients of most languages do it, so that topics with the same keys can be joined.
        .set("partitioner", "murmur2_random")
        .set("compression.type", "lz4")
        .create_with_context(Told)
}

/// The settings of a member of a group that says itself what it is done with.
pub(super) fn member(kafka: &Kafka) -> ClientConfig {
    let mut client = settings(kafka);
    client
        .set("group.id", &kafka.group)
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("auto.offset.reset", "earliest")
        .set("session.timeout.ms", SESSION_MS)
        .set("max.poll.interval.ms", POLLED_WITHIN_MS)
        .set("queued.max.messages.kbytes", FETCHED_KIB)
        .set("statistics.interval.ms", FIGURES_EVERY_MS);
    client
}

/// Passes on what a client tells of itself.
pub(super) struct Told;

impl ClientContext for Told {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        match level {
            RDKafkaLogLevel::Emerg
            | RDKafkaLogLevel::Alert
            | RDKafkaLogLevel::Critical
            | RDKafkaLogLevel::Error
            | RDKafkaLogLevel::Warning => tracing::warn!(facility, message, "the Kafka client complains"),
            RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info | RDKafkaLogLevel::Debug => {
                tracing::debug!(facility, message, "the Kafka client says");
            }
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    fn stats(&self, statistics: Statistics) {
        for (topic, of_topic) in statistics.topics {
            // A negative number stands for those that are not ours, or not anybody's.
            for (partition, figures) in of_topic.partitions.into_iter().filter(|(partition, _)| *partition >= 0) {
                let (topic, partition) = (topic.clone(), partition.to_string());
                let lag = figures.consumer_lag.max(0) as f64;
                metrics::gauge!("meed_kafka_lag", "topic" => topic, "partition" => partition).set(lag);
            }
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        use RDKafkaErrorCode::{AllBrokersDown, BrokerTransportFailure};
        match error {
            // At every attempt to connect, many times in a second. Why is in the log above, which repeats itself less.
            KafkaError::Global(AllBrokersDown | BrokerTransportFailure) => {
                tracing::debug!(%error, reason, "Kafka fails");
            }
            error => tracing::warn!(%error, reason, "Kafka fails"),
        }
    }
}

impl ConsumerContext for Told {
    fn commit_callback(&self, result: KafkaResult<()>, _: &TopicPartitionList) {
        if let Err(error) = result {
            // Whoever has the partition now takes the same messages again, and finds them recorded.
            tracing::info!(%error, "offsets were not committed");
        }
    }
}
