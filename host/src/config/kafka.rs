//! `[kafka]`: the brokers, the credentials and the topics. Must not know: the messages of the topics.

use std::collections::HashSet;
use std::path::PathBuf;

use secrecy::SecretString;
use serde::Deserialize;

use super::parse::empty_is_none;

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kafka {
    /// Comma-separated `HOST:PORT`. Empty: no Kafka.
    pub brokers: String,
    pub tls: bool,
    /// Certificate authorities of the brokers, instead of those that the system trusts.
    #[serde(deserialize_with = "empty_is_none")]
    pub ca_file: Option<PathBuf>,
    /// The client certificate, and its key.
    #[serde(deserialize_with = "empty_is_none")]
    pub certificate_file: Option<PathBuf>,
    #[serde(deserialize_with = "empty_is_none")]
    pub key_file: Option<PathBuf>,
    pub sasl: Sasl,
    pub username: String,
    #[serde(deserialize_with = "empty_is_none")]
    pub password_file: Option<PathBuf>,
    /// The content of `password_file`.
    #[serde(skip)]
    pub password: SecretString,
    /// Outbox messages are published here. Empty: none.
    pub messages_topic: String,
    /// Activities are read from here. Empty: none.
    pub activities_topic: String,
    /// Claims are read from here. Empty: none.
    pub claims_topic: String,
    pub dead_letter_topic: String,
    pub group: String,
}

/// The SASL mechanism.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sasl {
    Off,
    Plain,
    #[serde(rename = "scram-sha-256")]
    ScramSha256,
    #[serde(rename = "scram-sha-512")]
    ScramSha512,
}

/// The features of this executable.
#[derive(Clone, Copy, Debug)]
pub(super) struct Built {
    pub kafka: bool,
    pub tls: bool,
}

pub(super) const BUILT: Built = Built {
    kafka: cfg!(feature = "kafka"),
    tls: cfg!(feature = "kafka-tls"),
};

impl Kafka {
    /// Rejects settings that contradict each other or need another build; none is silently ignored.
    pub(super) fn check(&self, built: Built) -> Result<(), String> {
        let topics = [
            ("kafka.messages_topic", &self.messages_topic),
            ("kafka.activities_topic", &self.activities_topic),
            ("kafka.claims_topic", &self.claims_topic),
            ("kafka.dead_letter_topic", &self.dead_letter_topic),
        ];
        if self.brokers.is_empty() {
            return match topics.iter().find(|(_, topic)| !topic.is_empty()) {
                Some((name, topic)) => Err(format!("{name} = {topic:?} needs kafka.brokers; set both or none")),
                None => Ok(()),
            };
        }
        if !built.kafka {
            return Err(format!(
                "kafka.brokers = {:?}: this executable was built without Kafka; build it with `--features kafka`, or leave the setting empty",
                self.brokers
            ));
        }
        let needs_tls = self.tls || matches!(self.sasl, Sasl::ScramSha256 | Sasl::ScramSha512);
        if needs_tls && !built.tls {
            return Err(
                "kafka.tls and SCRAM: this executable was built without TLS for Kafka; build it with `--features kafka-tls`"
                    .to_owned(),
            );
        }
        for (name, topic) in topics {
            if let Some(fault) = fault_of(topic) {
                return Err(format!("{name} = {topic:?}: {fault}"));
            }
        }
        let is_set = |text: &str| !text.is_empty();
        let names: Vec<&String> = topics
            .iter()
            .map(|(_, topic)| *topic)
            .filter(|topic| is_set(topic))
            .collect();
        let reads = is_set(&self.activities_topic) || is_set(&self.claims_topic);
        let must = [
            (
                is_set(&self.messages_topic) || reads,
                "kafka.brokers is set without a topic; set kafka.messages_topic, kafka.activities_topic or kafka.claims_topic",
            ),
            (
                reads == is_set(&self.dead_letter_topic),
                "kafka.dead_letter_topic is required with kafka.activities_topic or kafka.claims_topic, and invalid without them",
            ),
            (
                !reads || is_set(&self.group),
                "kafka.group is empty: the processes that read a topic share it by the name of their group",
            ),
            (
                names.iter().collect::<HashSet<_>>().len() == names.len(),
                "kafka: two topics have the same name, so what is written there would be read as something else; name different ones",
            ),
            (
                self.tls
                    || [&self.ca_file, &self.certificate_file, &self.key_file]
                        .iter()
                        .all(|file| file.is_none()),
                "kafka.ca_file, kafka.certificate_file and kafka.key_file are for kafka.tls = true",
            ),
            (
                self.certificate_file.is_some() == self.key_file.is_some(),
                "kafka.certificate_file and kafka.key_file: set both or none",
            ),
            (
                (self.sasl == Sasl::Off) != (is_set(&self.username) && self.password_file.is_some()),
                "kafka.sasl needs kafka.username and kafka.password_file, and they are for nothing else",
            ),
        ];
        must.into_iter()
            .find(|(holds, _)| !holds)
            .map_or(Ok(()), |(_, fault)| Err(fault.to_owned()))
    }
}

/// What is wrong with the name of a topic, by Kafka's rules.
fn fault_of(topic: &str) -> Option<&'static str> {
    let is_legal = |letter: char| letter.is_ascii_alphanumeric() || ".-_".contains(letter);
    (!topic.chars().all(is_legal) || topic.len() > 249 || [".", ".."].contains(&topic))
        .then_some("a topic is at most 249 letters, digits, dots, hyphens and underscores")
}

#[cfg(test)]
mod tests {
    use super::super::Config;
    use super::*;

    const EVERYTHING: Built = Built { kafka: true, tls: true };

    fn set(changes: &[(&str, &str)]) -> Kafka {
        let mut kafka = serde_json::json!({
            "brokers": "", "tls": false, "ca_file": "", "certificate_file": "", "key_file": "", "sasl": "off",
            "username": "", "password_file": "", "messages_topic": "", "activities_topic": "", "claims_topic": "",
            "dead_letter_topic": "", "group": "meed",
        });
        for (key, value) in changes {
            kafka[key] = match *value {
                "true" => true.into(),
                text => text.into(),
            };
        }
        serde_json::from_value(kafka).expect("settings")
    }

    #[test]
    fn kafka_is_off_by_default() {
        let kafka = Config::load(None, None, &[]).expect("the defaults").kafka;
        assert!(kafka.brokers.is_empty());
        assert_eq!(
            kafka.check(Built {
                kafka: false,
                tls: false
            }),
            Ok(())
        );
    }

    #[test]
    fn a_build_without_kafka_refuses_kafka_settings() {
        let kafka = set(&[("brokers", "a:9092"), ("messages_topic", "meed.messages")]);
        assert_eq!(kafka.check(EVERYTHING), Ok(()));
        let fault = kafka
            .check(Built {
                kafka: false,
                tls: false,
            })
            .expect_err("a refusal");
        assert!(fault.contains("built without Kafka"), "{fault}");
        let tls = set(&[
            ("brokers", "a:9092"),
            ("messages_topic", "meed.messages"),
            ("tls", "true"),
        ]);
        assert_eq!(tls.check(EVERYTHING), Ok(()));
        let fault = tls
            .check(Built {
                kafka: true,
                tls: false,
            })
            .expect_err("a refusal");
        assert!(fault.contains("without TLS for Kafka"), "{fault}");
    }

    #[test]
    fn contradictory_settings_are_named() {
        let reads = [
            ("brokers", "a:9092"),
            ("activities_topic", "in"),
            ("dead_letter_topic", "dead"),
        ];
        assert_eq!(set(&reads).check(EVERYTHING), Ok(()));
        let claims = [
            ("brokers", "a:9092"),
            ("claims_topic", "in"),
            ("dead_letter_topic", "dead"),
        ];
        assert_eq!(set(&claims).check(EVERYTHING), Ok(()));
        for (changes, says) in [
            (vec![("messages_topic", "out")], "needs kafka.brokers"),
            (vec![("brokers", "a:9092")], "without a topic"),
            (
                vec![("brokers", "a:9092"), ("activities_topic", "in")],
                "kafka.dead_letter_topic",
            ),
            (claims[..2].to_vec(), "kafka.dead_letter_topic"),
            (
                vec![
                    ("brokers", "a:9092"),
                    ("messages_topic", "out"),
                    ("dead_letter_topic", "dead"),
                ],
                "invalid without them",
            ),
            (
                vec![("brokers", "a:9092"), ("messages_topic", "so nicht")],
                "\"so nicht\": a topic is",
            ),
            ([reads.to_vec(), vec![("group", "")]].concat(), "kafka.group is empty"),
            (
                [reads.to_vec(), vec![("dead_letter_topic", "in")]].concat(),
                "same name",
            ),
            ([reads.to_vec(), vec![("messages_topic", "in")]].concat(), "same name"),
            ([reads.to_vec(), vec![("claims_topic", "in")]].concat(), "same name"),
            (
                [reads.to_vec(), vec![("ca_file", "ca.pem")]].concat(),
                "kafka.tls = true",
            ),
            (
                [reads.to_vec(), vec![("tls", "true"), ("key_file", "key.pem")]].concat(),
                "set both or none",
            ),
            (
                [reads.to_vec(), vec![("sasl", "plain")]].concat(),
                "kafka.password_file",
            ),
            (
                [reads.to_vec(), vec![("username", "meed"), ("password_file", "p")]].concat(),
                "for nothing else",
            ),
        ] {
            let fault = set(&changes).check(EVERYTHING).expect_err(says);
            assert!(fault.contains(says), "{fault}");
        }
    }
}
