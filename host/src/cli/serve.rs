//! `meed serve` and `meed healthcheck`: from settings to a listening server, and back down in order.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;

use super::{connect, demo};
use crate::app::{self, App};
use crate::claims::Worker;
use crate::clock::Clock;
use crate::config::Config;
use crate::db::{LANES, Unfit};
use crate::http::{metrics, server};
use crate::webhooks::Relay;

/// How often expired answers to Idempotency-Keys are forgotten.
const SWEEP_EVERY: Duration = Duration::from_mins(10);
/// How often the runs of plugins are added up in the database.
const USAGE_EVERY: Duration = Duration::from_secs(5);

/// Serves with real secrets: refuses what a demo left behind.
pub(super) async fn production(config: &Config, migrate: bool) -> anyhow::Result<()> {
    let db = connect(config).await?;
    if migrate {
        db.migrate().await.context("migrate the database")?;
    }
    match db.schema().await.check() {
        Ok(()) => {}
        Err(Unfit::Older) => bail!("{}, or start with --migrate", Unfit::Older),
        Err(unfit) => return Err(unfit.into()),
    }
    let wanted = config.database.max_connections + LANES;
    let allowed = db.connections_allowed().await?;
    if let Some(allowed) = allowed.filter(|allowed| i64::from(wanted) > *allowed) {
        tracing::warn!(
            wanted,
            allowed,
            "one process may open more connections than the database allows to all of them"
        );
    }
    demo::refuse(config, &db).await?;
    let app = App::new(
        config,
        db,
        Clock::System,
        std::env::current_exe().context("find this executable")?,
    )?;
    if let Some(directory) = &config.plugins.bundled_directory {
        app.plugins.install_bundled(directory).await?;
    }
    serve(config, app, |_| ()).await
}

/// Listens until the process is told to stop; `ready` gets the address once it listens.
pub(super) async fn serve(config: &Config, app: App, ready: impl FnOnce(SocketAddr)) -> anyhow::Result<()> {
    // Before anybody can know that it runs: a signal that nobody listens for ends the process.
    let mut terminate = signal(SignalKind::terminate()).context("listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("listen for SIGINT")?;
    let metrics = metrics::install({
        let app = app.clone();
        move || app.gauges()
    })
    .context("start the metrics")?;
    let listener = TcpListener::bind(config.http.listen)
        .await
        .with_context(|| format!("listen on {} (http.listen)", config.http.listen))?;
    if let Some(address) = config.http.admin_listen {
        let listener = TcpListener::bind(address)
            .await
            .with_context(|| format!("listen on {address} (http.admin_listen)"))?;
        let address = listener.local_addr().context("ask for the address")?;
        tokio::spawn(server::serve(listener, metrics.router(), std::future::pending()));
        tracing::info!(%address, "metrics are served");
    }
    let router = app.router().map_err(anyhow::Error::msg)?;
    let (stop_relay, relay_stopping) = tokio::sync::watch::channel(false);
    let (stop_reading, reading_stopping) = tokio::sync::watch::channel(false);
    let (mut publishers, mut readers) = (JoinSet::new(), JoinSet::new());
    if config.outbox.relay {
        app::publish(config, &app.db, &app.clock, &relay_stopping, &mut publishers)?;
    }
    app.consume(config, &reading_stopping, &mut readers)?;
    let address = listener.local_addr().context("ask for the address")?;
    tracing::info!(%address, version = env!("CARGO_PKG_VERSION"), "meed is served");
    ready(address);

    let sweeper = tokio::spawn(sweep(app.clone()));
    let watcher = tokio::spawn(app.health.clone().watch());
    let listening = tokio::spawn({
        let app = app.clone();
        async move { app.listen().await }
    });
    let (stop_usage, usage_stopping) = tokio::sync::oneshot::channel::<()>();
    let usage = tokio::spawn(write_usage(app.clone(), usage_stopping));
    if config.outbox.relay {
        publishers.spawn(Relay::new(app.webhooks.clone(), relay_stopping).run());
    }
    let (stop_worker, worker_stopping) = tokio::sync::watch::channel(false);
    let worker = tokio::spawn(Worker::new(app.claims.clone(), worker_stopping).run());
    let (stop, stopping) = tokio::sync::oneshot::channel::<()>();
    let mut serving = tokio::spawn(server::serve(listener, router, async {
        // A dropped sender stops as well.
        stopping.await.ok();
    }));
    let drain = tokio::select! {
        ended = &mut serving => return ended.context("the server task ended"),
        _ = terminate.recv() => config.http.drain,
        // Somebody at a terminal, who waits.
        _ = interrupt.recv() => Duration::ZERO,
    };
    tracing::info!(
        drain_seconds = drain.as_secs(),
        shutdown_seconds = config.http.shutdown.as_secs(),
        "shutting down; another signal ends it at once"
    );
    app.health.drain();
    // At once, so that other processes have its partitions while this one drains.
    stop_reading.send(true).ok();
    sweeper.abort();
    watcher.abort();
    let wind_down = async {
        // Still accepting, until whoever sends us requests has noticed.
        tokio::time::sleep(drain).await;
        drop(stop);
        if let Ok(ended) = tokio::time::timeout(config.http.shutdown, serving).await {
            return ended.context("the server task ended");
        }
        tracing::warn!("requests were still running");
        Ok(())
    };
    tokio::select! {
        ended = wind_down => ended?,
        _ = terminate.recv() => return Ok(()),
        _ = interrupt.recv() => return Ok(()),
    }
    listening.abort();
    stop_worker.send(true).ok();
    // What it does not begin any more waits for another process, or for the next start.
    tokio::select! {
        ended = worker => ended.context("the worker ended")?,
        _ = terminate.recv() => return Ok(()),
        _ = interrupt.recv() => return Ok(()),
    }
    stop_relay.send(true).ok();
    // Their attempts are bounded in time, and what is cut off is sent or read again by another process.
    tokio::select! {
        () = ended(&mut publishers) => {}
        _ = terminate.recv() => return Ok(()),
        _ = interrupt.recv() => return Ok(()),
    }
    tokio::select! {
        () = ended(&mut readers) => {}
        _ = terminate.recv() => return Ok(()),
        _ = interrupt.recv() => return Ok(()),
    }
    drop(stop_usage);
    usage.await.context("the task that counts runs ended")?;
    app.db.close().await;
    tracing::info!("stopped");
    Ok(())
}

/// Waits until all of them have ended.
pub(super) async fn ended(tasks: &mut JoinSet<()>) {
    while let Some(ended) = tasks.join_next().await {
        if let Err(error) = ended {
            tracing::error!(%error, "a task in the background ended");
        }
    }
}

async fn sweep(app: App) {
    let mut timer = tokio::time::interval(SWEEP_EVERY);
    loop {
        timer.tick().await;
        match app.claims.sweep().await {
            Ok(forgotten) => tracing::debug!(forgotten, "expired answers forgotten"),
            Err(error) => tracing::warn!(%error, "expired answers not forgotten"),
        }
    }
}

/// Until it is told to stop, and once more then.
async fn write_usage(app: App, mut stopping: tokio::sync::oneshot::Receiver<()>) {
    let mut timer = tokio::time::interval(USAGE_EVERY);
    let mut last = false;
    while !last {
        tokio::select! {
            _ = timer.tick() => {}
            _ = &mut stopping => last = true,
        }
        if let Err(error) = app.plugins.write_usage().await {
            tracing::warn!(%error, "runs of plugins not added up yet");
        }
    }
}

/// Asks `/readyz`; small enough to need no HTTP client.
pub(super) async fn healthcheck(address: &str) -> anyhow::Result<()> {
    let ask = async {
        let mut stream = TcpStream::connect(address).await?;
        let request = format!("GET /readyz HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        stream.take(64 << 10).read_to_end(&mut answer).await?;
        std::io::Result::Ok(answer)
    };
    let answer = tokio::time::timeout(Duration::from_secs(5), ask)
        .await
        .with_context(|| format!("{address} does not answer"))?
        .with_context(|| format!("ask {address}"))?;
    let text = String::from_utf8_lossy(&answer);
    let status = text.lines().next().unwrap_or_default();
    if status.split(' ').nth(1) != Some("200") {
        bail!("{address} is not ready: {status}");
    }
    Ok(())
}
