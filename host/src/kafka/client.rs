//! The settings of Kafka clients, and the events that clients report: log lines, statistics and errors.

use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::producer::FutureProducer;
use rdkafka::statistics::Statistics;
use rdkafka::topic_partition_list::TopicPartitionList;
use secrecy::ExposeSecret as _;

use crate::config::{Kafka, Sasl};

/// Request time-out. The client retries after it, on another connection.
const REQUEST_TIMEOUT_MS: &str = "10000";
/// How long the client tries to deliver a message. The publisher retries after that.
const DELIVERY_TIMEOUT_MS: &str = "30000";
/// A member without a heartbeat for this long loses its partitions. Shorter than Kafka's default, so that another process
/// takes over sooner.
const SESSION_TIMEOUT_MS: &str = "10000";
/// A member that consumes nothing for this long, for example because its database fails, loses its partitions too.
const MAX_POLL_INTERVAL_MS: &str = "60000";
/// The prefetch buffer of a topic.
const PREFETCH_KIB: &str = "4096";
const STATISTICS_INTERVAL_MS: &str = "5000";

/// The settings of all clients. They create no client yet.
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
        // Brokers close idle connections, which is normal.
        .set("log.connection.close", "false")
        .set("socket.keepalive.enable", "true")
        .set("socket.timeout.ms", REQUEST_TIMEOUT_MS)
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

/// An idempotent producer that waits for all replicas.
pub(super) fn producer(kafka: &Kafka) -> KafkaResult<FutureProducer<ClientEvents>> {
    settings(kafka)
        .set("enable.idempotence", "true")
        .set("acks", "all")
        .set("request.timeout.ms", REQUEST_TIMEOUT_MS)
        .set("message.timeout.ms", DELIVERY_TIMEOUT_MS)
        // The default of the Java client, so that topics with the same keys can be joined.
        .set("partitioner", "murmur2_random")
        .set("compression.type", "lz4")
        .create_with_context(ClientEvents)
}

/// The settings of a group member that commits its offsets itself.
pub(super) fn member(kafka: &Kafka) -> ClientConfig {
    let mut client = settings(kafka);
    client
        .set("group.id", &kafka.group)
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("auto.offset.reset", "earliest")
        .set("session.timeout.ms", SESSION_TIMEOUT_MS)
        .set("max.poll.interval.ms", MAX_POLL_INTERVAL_MS)
        .set("queued.max.messages.kbytes", PREFETCH_KIB)
        .set("statistics.interval.ms", STATISTICS_INTERVAL_MS);
    client
}

/// Forwards a client's log, statistics and errors to the log and the metrics.
pub(super) struct ClientEvents;

impl ClientContext for ClientEvents {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        match level {
            RDKafkaLogLevel::Emerg
            | RDKafkaLogLevel::Alert
            | RDKafkaLogLevel::Critical
            | RDKafkaLogLevel::Error
            | RDKafkaLogLevel::Warning => tracing::warn!(facility, message, "Kafka client"),
            RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info | RDKafkaLogLevel::Debug => {
                tracing::debug!(facility, message, "Kafka client");
            }
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    fn stats(&self, statistics: Statistics) {
        for (topic, of_topic) in statistics.topics {
            // Negative numbers are internal partitions of the client.
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
            // Reported at every attempt to connect, many times in a second. The log above has the reason, less often.
            KafkaError::Global(AllBrokersDown | BrokerTransportFailure) => {
                tracing::debug!(%error, reason, "Kafka client error");
            }
            error => tracing::warn!(%error, reason, "Kafka client error"),
        }
    }
}

impl ConsumerContext for ClientEvents {
    fn commit_callback(&self, result: KafkaResult<()>, _: &TopicPartitionList) {
        if let Err(error) = result {
            // The next owner of the partition consumes the same messages again, which changes nothing.
            tracing::info!(%error, "offsets not committed");
        }
    }
}
