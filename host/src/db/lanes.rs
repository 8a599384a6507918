//! Lanes: connections of PostgreSQL that are kept for one kind of statement and run one after the other.
//!
//! What a claim reads and writes goes here. The pool asks a connection whether it still lives whenever it is given back,
//! which costs a round trip for each statement; and it waits without end for a connection that fell silent, where a lane
//! gives up and opens another one. Each statement commits itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use sqlx::postgres::{PgArguments, PgConnectOptions, PgConnection, PgRow};
use sqlx::{Connection as _, Postgres};
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::time::timeout;

use super::connect::{ACQUIRE_TIMEOUT, TRUSTED_FOR};
use super::{DbError, Result};

/// The server ends a statement after ten seconds; one that lasts longer is one of which we hear nothing any more.
const SILENCE: Duration = Duration::from_secs(12);
/// Statements that wait; requests in flight are bounded, so it never gets there.
const WAITING: usize = 4096;

pub(super) type Statement = sqlx::query::Query<'static, Postgres, PgArguments>;

struct Job {
    statement: Statement,
    asked: Instant,
    answer: oneshot::Sender<Result<Vec<PgRow>>>,
}

/// Cheap to clone. The connections are opened when they are needed, and closed when the last clone is dropped.
#[derive(Clone, Debug)]
pub struct Lanes {
    jobs: mpsc::Sender<Job>,
    is_closed: Arc<AtomicBool>,
}

impl Lanes {
    pub(super) fn new(options: &PgConnectOptions, count: u32) -> Self {
        let (jobs, waiting) = mpsc::channel(WAITING);
        let waiting = Arc::new(Mutex::new(waiting));
        for _ in 0..count {
            let lane = Lane {
                options: options.clone(),
                connection: None,
            };
            tokio::spawn(lane.drive(Arc::clone(&waiting)));
        }
        Self {
            jobs,
            is_closed: Arc::default(),
        }
    }

    pub(super) async fn run(&self, statement: Statement) -> Result<Vec<PgRow>> {
        let (answer, answered) = oneshot::channel();
        let job = Job {
            statement,
            asked: Instant::now(),
            answer,
        };
        if self.is_closed.load(Ordering::Relaxed) || self.jobs.try_send(job).is_err() {
            return Err(sqlx::Error::PoolClosed.into());
        }
        answered.await.unwrap_or_else(|_| Err(sqlx::Error::PoolClosed.into()))
    }

    /// Takes no further statements.
    pub(super) fn close(&self) {
        self.is_closed.store(true, Ordering::Relaxed);
    }
}

struct Lane {
    options: PgConnectOptions,
    /// With the instant at which it was used last.
    connection: Option<(PgConnection, Instant)>,
}

impl Lane {
    async fn drive(mut self, waiting: Arc<Mutex<mpsc::Receiver<Job>>>) {
        loop {
            let next = waiting.lock().await.recv().await;
            let Some(job) = next else { break };
            // Whoever asked may have gone meanwhile.
            if job.answer.is_closed() {
                continue;
            }
            let rows = if job.asked.elapsed() > ACQUIRE_TIMEOUT {
                Err(sqlx::Error::PoolTimedOut.into())
            } else {
                self.run(job.statement).await
            };
            job.answer.send(rows).ok();
        }
        if let Some((connection, _)) = self.connection {
            connection.close().await.ok();
        }
    }

    /// A connection of which something unexpected was heard, or nothing, is dropped.
    async fn run(&mut self, statement: Statement) -> Result<Vec<PgRow>> {
        let mut connection = self.connection().await?;
        let rows = timeout(SILENCE, statement.fetch_all(&mut connection)).await;
        let rows = rows.unwrap_or_else(|_| Err(sqlx::Error::Io(std::io::ErrorKind::TimedOut.into())));
        let rows = rows.map_err(DbError::from);
        if !rows.as_ref().is_err_and(DbError::is_outcome_unknown) {
            self.connection = Some((connection, Instant::now()));
        }
        rows
    }

    async fn connection(&mut self) -> Result<PgConnection> {
        if let Some((mut connection, used)) = self.connection.take()
            && (used.elapsed() < TRUSTED_FOR || matches!(timeout(ACQUIRE_TIMEOUT, connection.ping()).await, Ok(Ok(()))))
        {
            return Ok(connection);
        }
        match timeout(ACQUIRE_TIMEOUT, PgConnection::connect_with(&self.options)).await {
            Ok(connection) => Ok(connection?),
            Err(_) => Err(sqlx::Error::PoolTimedOut.into()),
        }
    }
}
