//! Where goes what cannot be taken: as it came, with headers that say where it was and what is wrong with it.

use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, Message as _, OwnedHeaders, OwnedMessage};
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::util::Timeout;

use super::client::{self, Told};
use super::intake::Poison;
use crate::config;

/// A reason that is longer is cut off.
const DETAIL_LETTERS: usize = 2_000;

pub(super) struct DeadLetters {
    producer: FutureProducer<Told>,
    topic: String,
}

impl DeadLetters {
    pub(super) fn new(settings: &config::Kafka) -> Result<Self, KafkaError> {
        Ok(Self {
            producer: client::producer(settings)?,
            topic: settings.dead_letter_topic.clone(),
        })
    }

    /// Whether it cannot send anything any more, and must be made anew.
    pub(super) fn is_broken(&self) -> bool {
        use rdkafka::producer::Producer as _;
        self.producer.client().fatal_error().is_some()
    }

    /// Ends when all replicas have it.
    pub(super) async fn put(&self, message: &OwnedMessage, poison: &Poison) -> Result<(), KafkaError> {
        // Not one by one: the names of a stranger's headers may be anything.
        let own = message.headers().cloned().unwrap_or_default();
        let headers = reasons(own, message, poison);
        let bare = reasons(OwnedHeaders::new(), message, poison);
        // With the reasons it is longer than it was. Better without its value, or with the reasons alone, than for ever in
        // the way of all others: it is still where it was.
        let attempts = [
            (message.key(), message.payload(), headers.clone()),
            (message.key(), None, headers),
            (None, None, bare),
        ];
        let mut sent = Ok(());
        for (key, value, headers) in attempts {
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

/// Its own headers, and what is wrong with it.
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
