//! Whether the process lives (`/livez`) and whether it should get traffic (`/readyz`).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::extract::State;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::problem::{Problem, UNAVAILABLE};
use crate::db::Db;

/// A database that answers later than this is as good as none.
const PATIENCE: Duration = Duration::from_secs(2);

#[derive(Clone, Debug)]
pub struct Health {
    db: Db,
    draining: Arc<AtomicBool>,
}

impl Health {
    pub fn new(db: Db) -> Self {
        Self {
            db,
            draining: Arc::new(AtomicBool::new(false)),
        }
    }

    /// From now on the process is not ready: what runs is finished, nothing new should come.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::SeqCst);
    }

    async fn check(&self) -> Result<(), &'static str> {
        if self.draining.load(Ordering::SeqCst) {
            return Err("The server is shutting down.");
        }
        let ping = tokio::time::timeout(PATIENCE, self.db.ping()).await;
        if !matches!(ping, Ok(Ok(()))) {
            return Err("The database does not answer.");
        }
        if !self.db.is_migrated().await {
            return Err("The database is not migrated to this release; run `meed migrate`.");
        }
        Ok(())
    }
}

pub fn router(health: Health) -> OpenApiRouter {
    OpenApiRouter::new()
        .routes(routes!(livez))
        .routes(routes!(readyz))
        .with_state(health)
}

/// The process lives.
#[utoipa::path(
    get, path = "/livez", tag = "service",
    responses((status = 200, body = String, example = json!("ok"))),
    extensions(("x-roles" = json!(["PUBLIC"]))),
)]
async fn livez() -> &'static str {
    "ok"
}

/// The process is ready for traffic: the database answers and is migrated, and no shutdown has begun.
#[utoipa::path(
    get, path = "/readyz", tag = "service",
    responses((status = 200, body = String, example = json!("ok"))),
    extensions(("x-roles" = json!(["PUBLIC"]))),
)]
async fn readyz(State(health): State<Health>) -> Result<&'static str, Problem> {
    match health.check().await {
        Ok(()) => Ok("ok"),
        Err(reason) => Err(Problem::new(UNAVAILABLE, reason).retry_after(2)),
    }
}
