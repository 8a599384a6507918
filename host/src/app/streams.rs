//! What runs because of `[kafka]`. A build without the feature has refused such settings when it read them.

use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::clock::Clock;
use crate::config::Config;
use crate::db::Db;

/// What publishes the outbox, until `stopping` becomes true.
#[cfg(feature = "kafka")]
pub fn publish(
    config: &Config,
    db: &Db,
    clock: &Clock,
    stopping: &watch::Receiver<bool>,
    tasks: &mut JoinSet<()>,
) -> anyhow::Result<()> {
    let kafka = &config.kafka;
    if !kafka.brokers.is_empty() && !kafka.messages_topic.is_empty() {
        let source = config.auth.issuer.clone();
        let publisher = crate::kafka::Publisher::new(kafka, source, db.clone(), clock.clone())?;
        tasks.spawn(publisher.run(stopping.clone()));
    }
    Ok(())
}

#[cfg(not(feature = "kafka"))]
pub fn publish(_: &Config, _: &Db, _: &Clock, _: &watch::Receiver<bool>, _: &mut JoinSet<()>) -> anyhow::Result<()> {
    Ok(())
}

impl super::App {
    /// What reads topics, until `stopping` becomes true.
    #[cfg(feature = "kafka")]
    pub fn consume(
        &self,
        config: &Config,
        stopping: &watch::Receiver<bool>,
        tasks: &mut JoinSet<()>,
    ) -> anyhow::Result<()> {
        use crate::kafka::{Consumer, Intake};
        let kafka = &config.kafka;
        // A group each, so that claims which must wait do not hold up activities.
        let sources = [
            (
                &kafka.activities_topic,
                kafka.group.clone(),
                Intake::Activities(self.activities.clone()),
            ),
            (
                &kafka.claims_topic,
                format!("{}.claims", kafka.group),
                Intake::Claims(self.claims.clone()),
            ),
        ];
        let sources = sources.into_iter().filter(|(topic, ..)| !topic.is_empty());
        for (topic, group, intake) in sources.filter(|_| !kafka.brokers.is_empty()) {
            let consumer = Consumer::new(kafka, topic, &group, intake)?;
            tasks.spawn(consumer.run(stopping.clone()));
        }
        Ok(())
    }

    #[cfg(not(feature = "kafka"))]
    pub fn consume(&self, _: &Config, _: &watch::Receiver<bool>, _: &mut JoinSet<()>) -> anyhow::Result<()> {
        Ok(())
    }
}
