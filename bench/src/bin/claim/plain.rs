//! The minimal cost of such a server: one axum route that reads a body and returns JSON of the size of a claim.

use axum::Json;
use axum::routing::post;
use meed_host::config::Config;
use meed_host::http::connections::Limits;
use serde_json::{Value, json};

const ADDRESS: &str = "127.0.0.1:0";

pub(crate) fn serve() -> anyhow::Result<()> {
    tokio::runtime::Runtime::new()?.block_on(async {
        let listener = tokio::net::TcpListener::bind(ADDRESS).await?;
        println!("{}", listener.local_addr()?);
        let router = axum::Router::new().route("/reward-requests", post(answer));
        let config = Config::load(None, None, &[])?;
        let limits = Limits::new(&config.http, &config.streams);
        meed_host::http::server::serve(listener, router, limits, std::future::pending()).await;
        Ok(())
    })
}

async fn answer(Json(body): Json<Value>) -> Json<Value> {
    Json(json!({
        "id": "0190a0b0-0000-7000-8000-000000000000",
        "eventId": body["eventId"],
        "eventRevision": 1,
        "userId": "0190a0b0-0000-7000-8000-000000000001",
        "status": "REJECTED",
        "retryable": true,
        "reasons": [{"source": "HOST", "code": "sold-out", "message": "All rewards of the event are gone."}],
        "progress": [],
        "period": "once",
        "grants": [],
        "receivedAt": "2026-03-01T00:00:00.000Z",
        "decidedAt": "2026-03-01T00:00:00.000Z",
        "pluginDigest": "sha256:0000000000000000000000000000000000000000000000000000000000000000",
    }))
}
