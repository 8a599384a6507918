//! The Kafka protocol: what is in the outbox is published to one topic; what users did, and what they claim, is read from
//! others.
//!
//! `publish` and `event` are the way out, `consume`, `intake` and `dead_letter` the way in, `activities` and `claims` what
//! may come in, `client` what both ways know of the brokers. The only place that names
//! rdkafka; a build without the feature `kafka` has none of it. Must not know: what
//! messages are about, how activities are recorded and claims settled.

mod activities;
mod claims;
mod client;
mod consume;
mod dead_letter;
mod event;
mod intake;
mod publish;

pub use consume::Consumer;
pub use intake::Intake;
pub use publish::Publisher;

/// The settings cannot be used: a file that cannot be read, a certificate that is none. Never that nobody answers.
#[derive(Debug, thiserror::Error)]
#[error("the settings in [kafka] cannot be used: {0}")]
pub struct Unusable(#[from] rdkafka::error::KafkaError);
