//! The dead-letter topic: messages that can never be processed, unchanged, with headers that say where each was and why.

use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, Message as _, OwnedHeaders, OwnedMessage};
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::util::Timeout;

use super::client::{self, ClientEvents};
use super::intake::Poison;
use crate::config;
use crate::mutations;

/// A longer reason is cut off.
const DETAIL_LETTERS: usize = 2_000;

pub(super) struct DeadLetters {
    producer: FutureProducer<ClientEvents>,
    topic: String,
}

impl DeadLetters {
    pub(super) fn new(settings: &config::Kafka) -> Result<Self, KafkaError> {
        Ok(Self {
            producer: client::producer(settings)?,
            topic: settings.dead_letter_topic.clone(),
        })
    }

    /// The producer has a fatal error and must be replaced.
    pub(super) fn is_broken(&self) -> bool {
        use rdkafka::producer::Producer as _;
        self.producer.client().fatal_error().is_some()
    }

    /// Returns when all replicas have the message.
    pub(super) async fn put(&self, message: &OwnedMessage, poison: &Poison) -> Result<(), KafkaError> {
        // Copied as a whole, because names of foreign headers may be anything.
        let own = message.headers().cloned().unwrap_or_default();
        let headers = reasons(own, message, poison);
        let bare = reasons(OwnedHeaders::new(), message, poison);
        // The reasons make the message longer, perhaps too long. Then it is sent without its value, or with the reasons
        // alone, so that it does not block its partition forever. The original is still in its topic.
        let attempts = [
            (message.key(), message.payload(), headers.clone()),
            (message.key(), None, headers),
            (None, None, bare),
        ];
        let mut sent = Ok(());
        let limit = if mutations::active("dead-letter-with-long-key") {
            2
        } else {
            attempts.len()
        };
        for (key, value, headers) in attempts.into_iter().take(limit) {
            sent = self.send(key, value, headers).await;
            if !sent.as_ref().is_err_and(is_too_long) {
                break;
            }
        }
        sent
    }

    async fn send(&self, key: Option<&[u8]>, value: Option<&[u8]>, headers: OwnedHeaders) -> Result<(), KafkaError> {
        let mut record = FutureRecord::<[u8], [u8]>::to(&self.topic).headers(headers);
        record.key = key;
        record.payload = value;
        let sent = self
            .producer
            .send(record, Timeout::After(std::time::Duration::ZERO))
            .await;
        sent.map(drop).map_err(|(error, _)| error)
    }
}

fn is_too_long(error: &KafkaError) -> bool {
    matches!(
        error,
        KafkaError::MessageProduction(RDKafkaErrorCode::MessageSizeTooLarge | RDKafkaErrorCode::InvalidMessageSize)
    )
}

/// The message's own headers and the reasons.
fn reasons(own: OwnedHeaders, message: &OwnedMessage, poison: &Poison) -> OwnedHeaders {
    let detail: String = poison.detail.chars().take(DETAIL_LETTERS).collect();
    let (partition, offset) = (message.partition().to_string(), message.offset().to_string());
    let reason = [
        ("meed-code", poison.code),
        ("meed-detail", detail.as_str()),
        ("meed-topic", message.topic()),
        ("meed-partition", partition.as_str()),
        ("meed-offset", offset.as_str()),
    ];
    reason.into_iter().fold(own, |headers, (key, value)| {
        headers.insert(Header {
            key,
            value: Some(value),
        })
    })
}
