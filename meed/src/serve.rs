//! `meed serve`: from settings to a listening server, and the orderly shutdown. `meed healthcheck`.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use super::signals::{Signal, Signals};
use super::{connect, console, demo};
use meed_host::app::{self, App};
use meed_host::background::{Stage, Supervisor};
use meed_host::clock::Clock;
use meed_host::config::Config;
use meed_host::db::{DEDICATED_CONNECTIONS, Unfit};
use meed_host::http::connections::Limits;
use meed_host::http::{admin, metrics, server};

/// Serves in production: refuses keys and databases of a demo.
pub(super) async fn production(config: &Config, migrate: bool) -> anyhow::Result<()> {
    let db = connect(config).await?;
    if migrate {
        db.migrate().await.context("migrate the database")?;
    }
    match db.schema().await.context("read the table of the migrations")?.check() {
        Ok(()) => {}
        Err(Unfit::Older) => bail!("{}, or start with --migrate", Unfit::Older),
        Err(unfit) => return Err(unfit.into()),
    }
    let wanted = config.database.max_connections + DEDICATED_CONNECTIONS;
    let allowed = db.connections_allowed().await?;
    if let Some(allowed) = allowed.filter(|allowed| i64::from(wanted) > *allowed) {
        tracing::warn!(
            wanted,
            allowed,
            "this process may open more connections than the database allows to all processes"
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
    Box::pin(serve(config, app, |_| ())).await
}

/// Serves until a signal stops the process, then shuts down in order; `ready` gets the address once it listens.
pub(super) async fn serve(config: &Config, app: App, ready: impl FnOnce(SocketAddr)) -> anyhow::Result<()> {
    // First, because a signal without a listener ends the process immediately.
    let mut signals = Signals::listen()?;
    let metrics = metrics::install({
        let app = app.clone();
        move || app.gauges()
    })
    .context("start the metrics")?;
    let listener = TcpListener::bind(config.http.listen)
        .await
        .with_context(|| format!("listen on {} (http.listen)", config.http.listen))?;
    let address = listener.local_addr().context("ask for the address")?;
    let app = app.with_console(console::files());
    let router = app.router();
    let supervisor = Supervisor::new(app.clock.clone());
    admin::listen(&config.http, &metrics, &supervisor, app.admin_router()).await?;
    app::supervise_metrics(&metrics, &supervisor);
    app.supervise(config, &supervisor)?;
    let stop = CancellationToken::new();
    let limits = Limits::new(&config.http, &config.streams);
    let mut server = tokio::spawn(server::serve(listener, router, limits, stop.clone().cancelled_owned()));
    tracing::info!(%address, version = env!("CARGO_PKG_VERSION"), "server started");
    ready(address);

    let signal = tokio::select! {
        ended = &mut server => return ended.context("the server task ended"),
        signal = signals.next() => signal,
    };
    let drain = match signal {
        Signal::Terminate => config.http.drain,
        Signal::Interrupt => Duration::ZERO,
    };
    tracing::info!(
        drain_seconds = drain.as_secs(),
        shutdown_seconds = config.http.shutdown.as_secs(),
        "shutting down; a second signal ends the process at once"
    );
    let shut_down = async {
        app.health.drain();
        // Stopped now and awaited below, so that other processes take over while this one drains.
        supervisor.stop(Stage::Readers);
        supervisor.stop(Stage::Upkeep);
        // Requests are still accepted, until load balancers have noticed.
        tokio::time::sleep(drain).await;
        app.watch.shut_down();
        stop.cancel();
        if let Ok(ended) = tokio::time::timeout(config.http.shutdown, server).await {
            ended.context("the server task ended")?;
        } else {
            tracing::warn!("http.shutdown_seconds elapsed; running requests were aborted");
        }
        supervisor.finish_all().await;
        app.db.close().await;
        tracing::info!("stopped");
        Ok(())
    };
    tokio::select! {
        outcome = shut_down => outcome,
        _ = signals.next() => Ok(()),
    }
}

/// Requests `/readyz`, without an HTTP client.
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
        .with_context(|| format!("no response from {address}"))?
        .with_context(|| format!("ask {address}"))?;
    let text = String::from_utf8_lossy(&answer);
    let status = text.lines().next().unwrap_or_default();
    if status.split(' ').nth(1) != Some("200") {
        bail!("{address} is not ready: {status}");
    }
    Ok(())
}
