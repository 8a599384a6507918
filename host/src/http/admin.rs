//! The admin listener: `/metrics` and `/tasks`, for operators and their monitoring. It has no authentication, so it listens
//! where only they can reach it. With `http.console = "admin"` it serves the console and the API as well, with their own
//! authentication.

use anyhow::Context as _;
use axum::routing::get;
use axum::{Json, Router};
use serde_json::json;
use tokio::net::TcpListener;

use super::connections::Limits;
use super::metrics::Metrics;
use super::server;
use crate::background::Supervisor;
use crate::config;

/// Listens on `http.admin_listen`, if it is set, until the process ends. `console`: what it serves besides its own routes.
pub async fn listen(
    http: &config::Http,
    metrics: &Metrics,
    supervisor: &Supervisor,
    console: Option<Router>,
) -> anyhow::Result<()> {
    let Some(address) = http.admin_listen else {
        return Ok(());
    };
    let listener = TcpListener::bind(address)
        .await
        .with_context(|| format!("listen on {address} (http.admin_listen)"))?;
    let address = listener.local_addr().context("ask for the address")?;
    tokio::spawn(server::serve(
        listener,
        router(metrics.clone(), supervisor.clone(), console),
        Limits::for_admin(http),
        std::future::pending(),
    ));
    tracing::info!(%address, "admin listener started");
    Ok(())
}

fn router(metrics: Metrics, supervisor: Supervisor, console: Option<Router>) -> Router {
    let router = Router::new()
        .route("/metrics", get(async move || metrics.render()))
        .route("/tasks", get(async move || Json(json!({"tasks": supervisor.status()}))));
    match console {
        Some(console) => router.fallback_service(console),
        None => router,
    }
}
