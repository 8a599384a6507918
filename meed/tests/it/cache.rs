//! The cache that replicas share in Redis, and each use of it when Redis is slow, forged, flushed or down.
//! `faults::redis` tests claims under these faults.

mod cluster;
mod granted;
mod invalidations;
mod limits;
mod popular;
mod sessions;
mod tls;

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::{RedisServer, Reply, TestApp, text};

/// Two processes that share a Redis server.
async fn two(app: &TestApp, settings: &[(&str, &str)]) -> (RedisServer, TestApp, TestApp) {
    let redis = RedisServer::start().await;
    let (here, there) = (redis.replica(app, settings).await, redis.replica(app, settings).await);
    (redis, here, there)
}

async fn me(app: &TestApp, token: &str) -> u16 {
    app.get("/users/me").bearer(token).send().await.status.as_u16()
}

async fn progress(app: &TestApp, token: &str, event: &Value) -> Reply {
    let path = format!("/events/{}/progress", text(event, "id"));
    app.get(&path).bearer(token).send().await
}

/// Waits until the condition is true.
async fn soon(what: &str, mut is_true: impl AsyncFnMut() -> bool) {
    let started = Instant::now();
    while !is_true().await {
        assert!(started.elapsed() < Duration::from_secs(20), "not yet: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
