//! Connections to PostgreSQL that serve one purpose only, such as the commits of claims.
//!
//! A pooled connection is checked before and after each use, and a request on an unresponsive one waits until the
//! request times out. A dedicated connection is checked only after it was idle. It is dropped and replaced after some
//! seconds without a response. Each statement commits itself.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use sqlx::postgres::{PgArguments, PgConnectOptions, PgConnection, PgRow};
use sqlx::{Connection as _, Postgres};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;

use super::connect::{ACQUIRE_TIMEOUT, TRUSTED_FOR};
use super::{DbError, Result};

/// The server ends a statement after ten seconds, so after this the connection is dead.
const SILENCE: Duration = Duration::from_secs(12);

pub(super) type Statement = sqlx::query::Query<'static, Postgres, PgArguments>;

/// Cheap to clone. The connections are opened when they are needed.
#[derive(Clone, Debug)]
pub struct DedicatedConnections(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    options: PgConnectOptions,
    count: u32,
    free: Semaphore,
    /// With the time of the latest use. At most one for each free permit.
    idle: Mutex<Vec<(PgConnection, Instant)>>,
}

impl DedicatedConnections {
    pub(super) fn new(options: PgConnectOptions, count: u32) -> Self {
        Self(Arc::new(Inner {
            options: lean(options),
            count,
            free: Semaphore::new(count as usize),
            idle: Mutex::default(),
        }))
    }

    /// Drops the connection after an unexpected answer, after no answer, and when the caller is cancelled.
    pub(super) async fn run(&self, statement: Statement) -> Result<Vec<PgRow>> {
        let _permit = self.permit().await?;
        let mut connection = self.connection().await?;
        let rows = timeout(SILENCE, statement.fetch_all(&mut connection)).await;
        let rows = rows.unwrap_or_else(|_| Err(sqlx::Error::Io(std::io::ErrorKind::TimedOut.into())));
        let rows = rows.map_err(DbError::from);
        if !rows.as_ref().is_err_and(DbError::is_outcome_unknown) {
            self.0.idle.lock().push((connection, Instant::now()));
        }
        rows
    }

    /// Connections in use and open.
    pub(super) fn in_use(&self) -> (usize, usize) {
        let busy = (self.0.count as usize).saturating_sub(self.0.free.available_permits());
        (busy, busy + self.0.idle.lock().len())
    }

    /// Waits for running statements, closes every connection, and takes no further statements.
    pub(super) async fn close(&self) {
        let everything = self.0.free.acquire_many(self.0.count).await;
        self.0.free.close();
        drop(everything);
        let idle = std::mem::take(&mut *self.0.idle.lock());
        for (connection, _) in idle {
            connection.close().await.ok();
        }
    }

    async fn permit(&self) -> Result<SemaphorePermit<'_>> {
        match timeout(ACQUIRE_TIMEOUT, self.0.free.acquire()).await {
            Ok(Ok(permit)) => Ok(permit),
            Ok(Err(_)) => Err(sqlx::Error::PoolClosed.into()),
            Err(_) => Err(sqlx::Error::PoolTimedOut.into()),
        }
    }

    async fn connection(&self) -> Result<PgConnection> {
        let kept = self.0.idle.lock().pop();
        if let Some((mut connection, used)) = kept
            && (used.elapsed() < TRUSTED_FOR || matches!(timeout(ACQUIRE_TIMEOUT, connection.ping()).await, Ok(Ok(()))))
        {
            return Ok(connection);
        }
        match timeout(ACQUIRE_TIMEOUT, PgConnection::connect_with(&self.0.options)).await {
            Ok(connection) => Ok(connection?),
            Err(_) => Err(sqlx::Error::PoolTimedOut.into()),
        }
    }
}

/// Plans each statement text once, for all parameters: planning costs more than running.
fn lean(options: PgConnectOptions) -> PgConnectOptions {
    options.options([("plan_cache_mode", "force_generic_plan")])
}
