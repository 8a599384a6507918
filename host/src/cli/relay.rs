//! `meed relay`: delivers the outbox without serving the API. `meed outbox replay`: tells what happened once more.

use anyhow::Context as _;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;

use super::serve::ended;
use super::{connect, demo};
use crate::app;
use crate::clock::{Clock, Timestamp};
use crate::config::Config;
use crate::http::{metrics, server};
use crate::webhooks::Relay;

/// Until the process is told to stop; attempts that run then still end, unless it is told twice.
pub(super) async fn run(config: &Config) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("listen for SIGINT")?;
    let db = connect(config).await?;
    db.schema().await.check()?;
    demo::refuse(config, &db).await?;
    let metrics = metrics::install({
        let db = db.clone();
        move || app::pool_gauges(&db)
    })
    .context("start the metrics")?;
    if let Some(address) = config.http.admin_listen {
        let listener = TcpListener::bind(address)
            .await
            .with_context(|| format!("listen on {address} (http.admin_listen)"))?;
        tokio::spawn(server::serve(listener, metrics.router(), std::future::pending()));
        tracing::info!(%address, "metrics are served");
    }
    let (stop, stopping) = tokio::sync::watch::channel(false);
    let service = app::webhooks(config, &db, &Clock::System);
    let mut relays = JoinSet::new();
    app::publish(config, &db, &Clock::System, &stopping, &mut relays)?;
    relays.spawn(Relay::new(service, stopping).run());
    tracing::info!(version = env!("CARGO_PKG_VERSION"), "the outbox is delivered");
    tokio::select! {
        ended = relays.join_next() => return ended.unwrap_or(Ok(())).context("a relay ended"),
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("shutting down; another signal ends it at once");
    stop.send(true).ok();
    tokio::select! {
        () = ended(&mut relays) => {}
        _ = terminate.recv() => return Ok(()),
        _ = interrupt.recv() => return Ok(()),
    }
    db.close().await;
    tracing::info!("stopped");
    Ok(())
}

/// Says what came of it.
pub(super) async fn replay(config: &Config, from: Timestamp) -> anyhow::Result<String> {
    let db = connect(config).await?;
    db.schema().await.check()?;
    let replayed = app::webhooks(config, &db, &Clock::System).replay(from).await?;
    db.close().await;
    let topics = match replayed.topics {
        0 => String::new(),
        topics => format!(", and published again to {topics} topics"),
    };
    Ok(format!(
        "{} messages since {from} are sent again, to those of {} endpoints that want them{topics}.",
        replayed.messages, replayed.endpoints
    ))
}
