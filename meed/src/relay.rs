//! `meed relay`: delivers the outbox without serving the API. `meed outbox replay`: sends messages again.

use anyhow::Context as _;

use super::signals::Signals;
use super::{connect, demo};
use meed_host::app;
use meed_host::background::Supervisor;
use meed_host::clock::{Clock, Timestamp};
use meed_host::config::Config;
use meed_host::http::{admin, metrics};

/// Delivers until a signal stops the process. Running attempts are finished, unless a second signal arrives.
pub(super) async fn run(config: &Config) -> anyhow::Result<()> {
    let mut signals = Signals::listen()?;
    let db = connect(config).await?;
    db.schema().await.context("read the table of the migrations")?.check()?;
    demo::refuse(config, &db).await?;
    let metrics = metrics::install({
        let db = db.clone();
        move || app::pool_gauges(&db)
    })
    .context("start the metrics")?;
    let clock = Clock::System;
    let supervisor = Supervisor::new(clock.clone());
    admin::listen(&config.http, &metrics, &supervisor, None).await?;
    app::supervise_metrics(&metrics, &supervisor);
    let webhooks = app::webhooks(config, &db, &clock)?;
    app::supervise_delivery(config, &db, &clock, &webhooks, &supervisor)?;
    tracing::info!(version = env!("CARGO_PKG_VERSION"), "relay started");
    signals.next().await;
    tracing::info!("shutting down; a second signal ends the process at once");
    tokio::select! {
        () = supervisor.finish_all() => {}
        _ = signals.next() => return Ok(()),
    }
    db.close().await;
    tracing::info!("stopped");
    Ok(())
}

/// Returns a summary for the terminal.
pub(super) async fn replay(config: &Config, from: Timestamp) -> anyhow::Result<String> {
    let db = connect(config).await?;
    db.schema().await.context("read the table of the migrations")?.check()?;
    let replayed = app::webhooks(config, &db, &Clock::System)?.replay(from).await?;
    db.close().await;
    let topics = match replayed.topics {
        0 => String::new(),
        topics => format!(", and published again to {topics} topics"),
    };
    Ok(format!(
        "{} messages since {from} are sent again to the {} endpoints that subscribe to them{topics}.",
        replayed.messages, replayed.endpoints
    ))
}
