//! Registers the background tasks: all of them in `meed serve`, only delivery in `meed relay`.

use std::time::Duration;

use super::App;
use crate::activities::ActivityNews;
use crate::audit::AuditService;
use crate::background::{Context, Next, POLL_INTERVAL, Spec, Stage, Supervisor, Task};
use crate::backtests::Worker as BacktestWorker;
use crate::clock::Clock;
use crate::config::Config;
use crate::db::{Db, DbError};
use crate::facts::{Compactor, FactBuilder};
use crate::http::metrics::Metrics;
#[cfg(feature = "kafka")]
use crate::keys::Sealing;
use crate::make_goods::Worker as MakeGoodWorker;
use crate::plugins::PluginService;
#[cfg(feature = "kafka")]
use crate::rewards::Codes;
use crate::trials::TrialService;
use crate::webhooks::{DeliveryCount, Relay, WebhookService};

const HEALTH_CHECK: Spec = Spec {
    name: "health-check",
    description: "Checks the database and the clock when no probe asks for /readyz",
    period: Duration::from_secs(5),
    stage: Stage::Upkeep,
};
const STORED_RESPONSE_SWEEP: Spec = Spec {
    name: "stored-response-sweep",
    description: "Deletes expired responses that were stored under an Idempotency-Key",
    period: Duration::from_mins(10),
    stage: Stage::Upkeep,
};
const OUTBOX_SWEEP: Spec = Spec {
    name: "outbox-sweep",
    description: "Deletes messages that were sent longer ago than outbox.retention_seconds",
    period: Duration::from_mins(10),
    stage: Stage::Upkeep,
};
const AUDIT_SWEEP: Spec = Spec {
    name: "audit-sweep",
    description: "Deletes audit entries that are older than audit.retention_days",
    period: Duration::from_hours(1),
    stage: Stage::Upkeep,
};
const AUDIT_WRITER: Spec = Spec {
    name: "audit-writer",
    description: "Adds the repetitions of refusals, counted in memory, to the audit log",
    period: Duration::from_secs(5),
    stage: Stage::Writers,
};
const TRANSPARENCY_LOG: Spec = Spec {
    name: "transparency-log",
    description: "Appends decisions, releases, reports, erasures and audit entries to the transparency log, and signs checkpoints",
    period: Duration::from_secs(1),
    stage: Stage::Writers,
};
const RETENTION: Spec = Spec {
    name: "retention",
    description: "Deletes refused requests, expired sessions and old mails after their retention",
    period: Duration::from_mins(10),
    stage: Stage::Upkeep,
};
const MAIL_SENDER: Spec = Spec {
    name: "mail-sender",
    description: "Sends mails about accounts to mail.server",
    period: Duration::from_secs(1),
    stage: Stage::Publishers,
};
const IDENTITY_PROVIDER_KEYS: Spec = Spec {
    name: "identity-provider-keys",
    description: "Fetches the keys of trusted issuers and of the provider of auth.oidc",
    period: Duration::from_secs(30),
    stage: Stage::Upkeep,
};
const DATABASE_STATISTICS: Spec = Spec {
    name: "database-statistics",
    description: "Updates the statistics by which SQLite chooses indexes",
    period: Duration::from_hours(1),
    stage: Stage::Upkeep,
};
const PENDING_CLAIM_COUNT: Spec = Spec {
    name: "pending-claim-count",
    description: "Counts pending claims for the metrics",
    period: Duration::from_secs(1),
    stage: Stage::Workers,
};
const DELIVERY_COUNT: Spec = Spec {
    name: "webhook-delivery-count",
    description: "Counts webhook deliveries for the metrics",
    period: Duration::from_secs(10),
    stage: Stage::Publishers,
};
#[cfg(feature = "kafka")]
const KAFKA_MESSAGE_COUNT: Spec = Spec {
    name: "kafka-message-count",
    description: "Counts messages that wait for Kafka for the metrics",
    period: Duration::from_secs(10),
    stage: Stage::Publishers,
};
#[cfg(feature = "kafka")]
const ACTIVITY_CONSUMER: Spec = Spec {
    name: "kafka-activity-consumer",
    description: "Consumes kafka.activities_topic and records its activities",
    period: Duration::ZERO,
    stage: Stage::Readers,
};
#[cfg(feature = "kafka")]
const CLAIM_CONSUMER: Spec = Spec {
    name: "kafka-claim-consumer",
    description: "Consumes kafka.claims_topic and queues its claims",
    period: Duration::ZERO,
    stage: Stage::Readers,
};
const INVALIDATION_LISTENER: Spec = Spec {
    name: "invalidation-listener",
    description: "Applies the invalidations of other processes to cached copies",
    period: Duration::ZERO,
    stage: Stage::Listeners,
};
const REWARD_CODE_COUNT: Spec = Spec {
    name: "reward-code-count",
    description: "Counts the rewards whose codes run low for the metrics",
    period: Duration::from_secs(30),
    stage: Stage::Upkeep,
};
const REVIEW_EXPIRY: Spec = Spec {
    name: "review-expiry",
    description: "Rejects held claims that were not reviewed within claims.review_days",
    period: Duration::from_secs(2),
    stage: Stage::Upkeep,
};
const RELEASES: Spec = Spec {
    name: "releases",
    description: "Activates releases at their time, and leads them from step to step",
    period: Duration::from_secs(1),
    stage: Stage::Upkeep,
};
const RELEASE_COUNT: Spec = Spec {
    name: "release-count",
    description: "Counts the releases that wait or run for the metrics",
    period: Duration::from_secs(30),
    stage: Stage::Upkeep,
};
const FACT_BUILDER: Spec = Spec {
    name: "fact-builder",
    description: "Builds the facts of users with many activities, and drops those that no event needs",
    period: Duration::from_secs(1),
    stage: Stage::Upkeep,
};
const ACTIVITY_COMPACTION: Spec = Spec {
    name: "activity-compaction",
    description: "Deletes activities older than activities.compact_after_days that no event asks for one by one",
    period: Duration::from_mins(1),
    stage: Stage::Upkeep,
};
const FACT_SAMPLE: Spec = Spec {
    name: "fact-sample",
    description: "Compares the facts of one user with many activities, chosen by chance, with the log",
    period: Duration::from_mins(1),
    stage: Stage::Upkeep,
};
const USER_ERASURE: Spec = Spec {
    name: "user-erasure",
    description: "Erases users after users.erasure_grace_days",
    period: Duration::from_secs(2),
    stage: Stage::Upkeep,
};
const CLAIM_WORKER: Spec = Spec {
    name: "claim-worker",
    description: "Decides pending claims, event by event",
    period: POLL_INTERVAL,
    stage: Stage::Workers,
};
const BACKTEST_WORKER: Spec = Spec {
    name: "backtest-worker",
    description: "Runs backtests, the oldest first, in shards that all processes share",
    period: Duration::from_secs(1),
    stage: Stage::Upkeep,
};
const BACKTEST_SWEEP: Spec = Spec {
    name: "backtest-sweep",
    description: "Deletes reports after a year, and failed and cancelled backtests after a week",
    period: Duration::from_hours(1),
    stage: Stage::Upkeep,
};
const MAKE_GOOD_WORKER: Spec = Spec {
    name: "make-good-worker",
    description: "Proposes and applies make-goods",
    period: Duration::from_secs(1),
    stage: Stage::Workers,
};
const WEBHOOK_RELAY: Spec = Spec {
    name: "webhook-relay",
    description: "Fans out the outbox and delivers it to webhook endpoints",
    period: POLL_INTERVAL,
    stage: Stage::Publishers,
};
#[cfg(feature = "kafka")]
const KAFKA_PUBLISHER: Spec = Spec {
    name: "kafka-publisher",
    description: "Publishes the outbox to kafka.messages_topic",
    period: POLL_INTERVAL,
    stage: Stage::Publishers,
};
const STREAM_READER: Spec = Spec {
    name: "stream-reader",
    description: "Reads the outbox for the open streams of this process",
    period: POLL_INTERVAL,
    stage: Stage::Listeners,
};
const STREAM_ACTIVITIES: Spec = Spec {
    name: "stream-activities",
    description: "Looks for new activities of the users whose progress is watched",
    period: Duration::from_secs(5),
    stage: Stage::Listeners,
};
const STREAM_PASSES: Spec = Spec {
    name: "stream-passes",
    description: "Ends the streams of principals that may no longer watch",
    period: Duration::from_secs(5),
    stage: Stage::Listeners,
};
const PLUGIN_USAGE_WRITER: Spec = Spec {
    name: "plugin-usage-writer",
    description: "Adds the runs of plugins, counted in memory, to the database",
    period: Duration::from_secs(5),
    stage: Stage::Writers,
};
const TRIAL_WRITER: Spec = Spec {
    name: "trial-writer",
    description: "Adds what the candidates of releases did to claims, counted in memory, to the database",
    period: Duration::from_secs(2),
    stage: Stage::Writers,
};
const TRIAL_SWEEP: Spec = Spec {
    name: "trial-sweep",
    description: "Deletes divergences of releases after 30 days",
    period: Duration::from_hours(1),
    stage: Stage::Upkeep,
};
const METRICS_UPKEEP: Spec = Spec {
    name: "metrics-upkeep",
    description: "Drains the buffers of histograms, so that they do not grow between two scrapes",
    period: Duration::from_secs(5),
    stage: Stage::Writers,
};

impl App {
    /// Starts every background task of `meed serve`.
    #[expect(clippy::too_many_lines, reason = "the list of all tasks")]
    pub fn supervise(&self, config: &Config, supervisor: &Supervisor) -> anyhow::Result<()> {
        supervisor.every(HEALTH_CHECK, self.health.clone(), |health| async move {
            health.observe().await;
            Ok(())
        });
        supervisor.every(STORED_RESPONSE_SWEEP, self.claims.clone(), |claims| async move {
            let deleted = claims.sweep().await?;
            tracing::debug!(deleted, "expired stored responses deleted");
            Ok(())
        });
        supervisor.every(AUDIT_SWEEP, self.audit.clone(), |audit| async move {
            let deleted = audit.sweep().await?;
            tracing::debug!(deleted, "old audit entries deleted");
            Ok(())
        });
        let audit = self.audit.clone();
        supervisor.register(AUDIT_WRITER, move || Ok(AuditWriter(audit.clone())))?;
        let sequencer = self.sequencer.clone();
        supervisor.register(TRANSPARENCY_LOG, move || Ok(sequencer.task()))?;
        let state = (self.claims.clone(), self.auth.clone(), self.mailing.clone());
        supervisor.every(RETENTION, state, |(claims, auth, mailing)| async move {
            let (requests, sessions) = (claims.prune().await?, auth.prune().await?);
            let mails = mailing.prune().await?;
            tracing::debug!(requests, sessions, mails, "old refusals, sessions and mails deleted");
            Ok(())
        });
        if config.mail.server.is_some() {
            supervisor.every(MAIL_SENDER, self.mailing.clone(), |mailing| async move {
                mailing.send_due().await?;
                Ok(())
            });
        }
        if !self.issuers.is_empty() || self.oidc_logins.is_configured() {
            let providers = (self.issuers.clone(), self.oidc_logins.clone());
            supervisor.every(IDENTITY_PROVIDER_KEYS, providers, |(issuers, logins)| async move {
                issuers.refresh_keys().await;
                logins.refresh_keys().await;
                Ok(())
            });
        }
        supervisor.every(REWARD_CODE_COUNT, self.rewards.clone(), |rewards| async move {
            Ok(rewards.count_low_codes().await?)
        });
        supervisor.every(DATABASE_STATISTICS, self.db.clone(), |db| async move {
            Ok(db.update_statistics().await?)
        });
        self.consume(config, supervisor)?;
        supervisor.every(FACT_SAMPLE, self.facts.clone(), |facts| async move {
            Ok(facts.verify_sample().await?)
        });
        let facts = self.facts.clone();
        supervisor.register(FACT_BUILDER, move || Ok(BuildFacts(facts.clone())))?;
        let compactor = self.compactor.clone();
        supervisor.register(ACTIVITY_COMPACTION, move || Ok(CompactActivities(compactor.clone())))?;
        let app = self.clone();
        supervisor.register(INVALIDATION_LISTENER, move || Ok(InvalidationListener(app.clone())))?;
        let claims = self.claims.clone();
        supervisor.register(CLAIM_WORKER, move || Ok(claims.worker()))?;
        supervisor.every(PENDING_CLAIM_COUNT, self.claims.clone(), |claims| async move {
            Ok(claims.count_pending().await?)
        });
        let backtests = self.backtests.clone();
        supervisor.register(BACKTEST_WORKER, move || Ok(BacktestWorker::new(backtests.clone())))?;
        supervisor.every(BACKTEST_SWEEP, self.backtests.clone(), |backtests| async move {
            let deleted = backtests.prune().await?;
            tracing::debug!(deleted, "old backtests deleted");
            Ok(())
        });
        let make_goods = self.make_goods.clone();
        supervisor.register(MAKE_GOOD_WORKER, move || Ok(MakeGoodWorker::new(make_goods.clone())))?;
        supervisor.every(REVIEW_EXPIRY, self.claims.clone(), |claims| async move {
            let expired = claims.expire_held().await?;
            tracing::debug!(expired, "held claims that were not reviewed in time rejected");
            Ok(())
        });
        supervisor.every(RELEASES, self.releases.clone(), |releases| async move {
            let looked_at = releases.run_due().await?;
            tracing::debug!(looked_at, "releases that were due");
            Ok(())
        });
        supervisor.every(RELEASE_COUNT, self.releases.clone(), |releases| async move {
            Ok(releases.count().await?)
        });
        supervisor.every(USER_ERASURE, self.erasures.clone(), |erasures| async move {
            let completed = erasures.run().await?;
            tracing::debug!(completed, "users erased");
            Ok(())
        });
        let (watch, activities) = (self.watch.clone(), self.activities.clone());
        supervisor.register(STREAM_READER, move || Ok(watch.reader()))?;
        supervisor.register(STREAM_ACTIVITIES, move || Ok(ActivityNews::new(activities.clone())))?;
        supervisor.every(STREAM_PASSES, self.clone(), |app| async move {
            Ok(app.check_passes().await?)
        });
        if config.outbox.relay {
            supervise_delivery(config, &self.db, &self.clock, &self.webhooks, supervisor)?;
        }
        supervisor.every(TRIAL_SWEEP, self.trials.clone(), |trials| async move {
            let deleted = trials.sweep().await?;
            tracing::debug!(deleted, "old divergences deleted");
            Ok(())
        });
        let trials = self.trials.clone();
        supervisor.register(TRIAL_WRITER, move || Ok(TrialWriter(trials.clone())))?;
        let plugins = self.plugins.clone();
        supervisor.register(PLUGIN_USAGE_WRITER, move || Ok(PluginUsageWriter(plugins.clone())))
    }

    /// Ends the streams of principals that may no longer watch.
    pub async fn check_passes(&self) -> Result<(), DbError> {
        let keys = |holders| self.service_keys.unchanged(holders);
        self.auth.passes().check(keys).await
    }

    #[cfg(feature = "kafka")]
    fn consume(&self, config: &Config, supervisor: &Supervisor) -> anyhow::Result<()> {
        use crate::kafka::{Consumer, Intake};
        let kafka = &config.kafka;
        // Separate groups, so that retried claims do not delay activities.
        let consumers = [
            (
                ACTIVITY_CONSUMER,
                kafka.activities_topic.clone(),
                kafka.group.clone(),
                Intake::Activities(self.activities.clone()),
            ),
            (
                CLAIM_CONSUMER,
                kafka.claims_topic.clone(),
                format!("{}.claims", kafka.group),
                Intake::Claims(self.claims.external()),
            ),
        ];
        let has_topic = |topic: &str| !kafka.brokers.is_empty() && !topic.is_empty();
        for (spec, topic, group, intake) in consumers.into_iter().filter(|(_, topic, ..)| has_topic(topic)) {
            let settings = kafka.clone();
            supervisor.register(spec, move || {
                Ok(Consumer::new(&settings, &topic, &group, intake.clone())?)
            })?;
        }
        Ok(())
    }

    /// A build without Kafka refuses such settings when it reads them.
    #[cfg(not(feature = "kafka"))]
    #[expect(clippy::unnecessary_wraps, clippy::unused_self, reason = "as with Kafka")]
    fn consume(&self, _: &Config, _: &Supervisor) -> anyhow::Result<()> {
        Ok(())
    }
}

/// Starts the tasks that deliver the outbox.
pub fn supervise_delivery(
    config: &Config,
    db: &Db,
    clock: &Clock,
    webhooks: &WebhookService,
    supervisor: &Supervisor,
) -> anyhow::Result<()> {
    publish(config, db, clock, supervisor)?;
    let service = webhooks.clone();
    supervisor.register(WEBHOOK_RELAY, move || Ok(Relay::new(service.clone())))?;
    let count = (webhooks.clone(), DeliveryCount::default());
    supervisor.every(DELIVERY_COUNT, count, |(webhooks, count)| async move {
        Ok(count.run(&webhooks).await?)
    });
    supervisor.every(OUTBOX_SWEEP, webhooks.clone(), |webhooks| async move {
        let deleted = webhooks.sweep().await?;
        tracing::debug!(deleted, "old messages deleted");
        Ok(())
    });
    Ok(())
}

#[cfg(feature = "kafka")]
fn publish(config: &Config, db: &Db, clock: &Clock, supervisor: &Supervisor) -> anyhow::Result<()> {
    let (kafka, source) = (config.kafka.clone(), config.auth.issuer.clone());
    if kafka.brokers.is_empty() || kafka.messages_topic.is_empty() {
        return Ok(());
    }
    let state = (db.clone(), clock.clone(), kafka.messages_topic.clone());
    supervisor.every(KAFKA_MESSAGE_COUNT, state.clone(), |(db, clock, topic)| async move {
        Ok(crate::kafka::count_messages(&db, &clock, &topic).await?)
    });
    let (db, clock, _) = state;
    let sealing = Sealing::load(&config.keys.directory, clock.clone())?;
    let codes = Codes::new(db.clone(), clock.clone(), sealing);
    supervisor.register(KAFKA_PUBLISHER, move || {
        let state = (db.clone(), clock.clone());
        Ok(crate::kafka::Publisher::new(
            &kafka,
            source.clone(),
            state,
            codes.clone(),
        )?)
    })
}

#[cfg(not(feature = "kafka"))]
#[expect(clippy::unnecessary_wraps, reason = "as with Kafka")]
fn publish(_: &Config, _: &Db, _: &Clock, _: &Supervisor) -> anyhow::Result<()> {
    Ok(())
}

/// Starts the tasks for the metrics of any process.
pub fn supervise_metrics(metrics: &Metrics, supervisor: &Supervisor) {
    supervisor.every(METRICS_UPKEEP, metrics.clone(), |metrics| async move {
        metrics.upkeep();
        Ok(())
    });
}

struct InvalidationListener(App);

impl Task for InvalidationListener {
    async fn run(&mut self, context: &Context) -> anyhow::Result<Next> {
        if let Some(invalidation) = context.wait(self.0.cache.next_invalidation()).await {
            self.0.on_invalidation(&invalidation).await;
        }
        Ok(Next::Now)
    }
}

struct AuditWriter(AuditService);

impl Task for AuditWriter {
    async fn run(&mut self, _: &Context) -> anyhow::Result<Next> {
        self.0.write_repetitions().await?;
        Ok(Next::Period)
    }

    async fn finish(self) -> anyhow::Result<()> {
        self.0.write_repetitions().await?;
        Ok(())
    }
}

struct CompactActivities(Compactor);

impl Task for CompactActivities {
    async fn run(&mut self, context: &Context) -> anyhow::Result<Next> {
        // Each step is a transaction, so the task can stop anywhere.
        let more = tokio::select! {
            more = self.0.run() => more?,
            () = context.stopping() => false,
        };
        Ok(if more { Next::Now } else { Next::Period })
    }
}

struct BuildFacts(FactBuilder);

impl Task for BuildFacts {
    async fn run(&mut self, context: &Context) -> anyhow::Result<Next> {
        // Each step is a transaction, so the task can stop anywhere.
        let more = tokio::select! {
            more = self.0.run() => more?,
            () = context.stopping() => false,
        };
        Ok(if more { Next::Now } else { Next::Period })
    }
}

struct TrialWriter(TrialService);

impl Task for TrialWriter {
    async fn run(&mut self, _: &Context) -> anyhow::Result<Next> {
        self.0.write().await?;
        Ok(Next::Period)
    }

    async fn finish(self) -> anyhow::Result<()> {
        self.0.write().await?;
        Ok(())
    }
}

struct PluginUsageWriter(PluginService);

impl Task for PluginUsageWriter {
    async fn run(&mut self, _: &Context) -> anyhow::Result<Next> {
        self.0.write_usage().await?;
        Ok(Next::Period)
    }

    async fn finish(self) -> anyhow::Result<()> {
        self.0.write_usage().await?;
        Ok(())
    }
}
