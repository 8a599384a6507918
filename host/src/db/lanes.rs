//! Lanes: connections of PostgreSQL that are kept for what claims read and write.
//!
//! The pool asks a connection whether it still lives whenever it is given back, which costs a round trip for each
//! statement; and a connection of it that fell silent keeps its request waiting until that gives up, where a lane is given
//! up after some seconds and another one opened. Each statement commits itself.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use sqlx::postgres::{PgArguments, PgConnectOptions, PgConnection, PgRow};
use sqlx::{Connection as _, Postgres};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;

use super::connect::{ACQUIRE_TIMEOUT, TRUSTED_FOR};
use super::{DbError, Result};

/// The server ends a statement after ten seconds; one that lasts longer is one of which we hear nothing any more.
const SILENCE: Duration = Duration::from_secs(12);

pub(super) type Statement = sqlx::query::Query<'static, Postgres, PgArguments>;

/// Cheap to clone. The connections are opened when they are needed.
#[derive(Clone, Debug)]
pub struct Lanes(Arc<Parts>);

#[derive(Debug)]
struct Parts {
    options: PgConnectOptions,
    count: u32,
    free: Semaphore,
    /// With the instant at which each was used last. At most one for each free place.
    idle: Mutex<Vec<(PgConnection, Instant)>>,
}

impl Lanes {
    pub(super) fn new(options: PgConnectOptions, count: u32) -> Self {
        Self(Arc::new(Parts {
            options: lean(options),
            count,
            free: Semaphore::new(count as usize),
            idle: Mutex::default(),
        }))
    }

    /// A connection of which something unexpected was heard, or nothing, is dropped; so is that of a caller who leaves.
    pub(super) async fn run(&self, statement: Statement) -> Result<Vec<PgRow>> {
        let _place = self.place().await?;
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

    async fn place(&self) -> Result<SemaphorePermit<'_>> {
        match timeout(ACQUIRE_TIMEOUT, self.0.free.acquire()).await {
            Ok(Ok(place)) => Ok(place),
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

/// Each text of a statement is planned once, for whatever it will be given: planning costs more than running.
fn lean(options: PgConnectOptions) -> PgConnectOptions {
    options.options([
        ("plan_cache_mode", "force_generic_plan"),
        // The plan that was made for an empty table is kept while the table grows.
        ("enable_seqscan", "off"),
        // The compiler of queries would be tempted by the estimates of such statements, and takes longer than they do.
        ("jit", "off"),
    ])
}
