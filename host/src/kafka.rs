//! Kafka: publishes the outbox to one topic, and consumes activities and claims from others.
//!
//! `publish` and `event` are outbound, `consume`, `intake` and `dead_letter` inbound; `activities` and `claims` are the
//! kinds of inbound messages; `client` has the settings of both directions. Only this folder uses rdkafka, and a build
//! without the feature `kafka` has none of it. Must not know: what outbox messages are about, how activities are recorded,
//! how claims are decided.

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
pub use publish::{Publisher, count_messages};

/// Unusable settings, such as a certificate file that cannot be read. Unreachable brokers are not an error.
#[derive(Debug, thiserror::Error)]
#[error("the settings in [kafka] are unusable: {0}")]
pub struct Unusable(#[from] rdkafka::error::KafkaError);
