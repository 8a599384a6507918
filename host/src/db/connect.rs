//! Opening the pools: what each engine is told before the first statement.

use std::str::FromStr;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgConnection, PgPoolOptions};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{Connection as _, Executor as _, Row as _};
use tokio::time::timeout;

use super::batched_reads::BatchedReads;
use super::bulk::{BULK_CONNECTIONS, Bulk};
use super::dedicated::DedicatedConnections;
use super::{Db, Result};

/// How long a request waits for a free connection before it is told to come back later: an overload is told early, and
/// the client still waits for its answer.
pub(super) const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(2);
/// The same for SQLite, where everybody who writes stands in one line, and where another process may hold the lock.
const SQLITE_TIMEOUT: Duration = Duration::from_secs(5);
/// How many joint reads one process makes at the same time. More would make each for fewer.
const READS_AT_ONCE: u32 = 2;
/// Connections of one process besides its pool.
pub const DEDICATED_CONNECTIONS: u32 = READS_AT_ONCE + BULK_CONNECTIONS;
/// A connection that was used more recently is taken to be alive: asking costs a round trip.
pub(super) const TRUSTED_FOR: Duration = Duration::from_secs(1);
/// How long a connection of the pool may take to say that it is alive: before it is used, so short that another one can
/// still be opened for whoever asked; after it was used, long enough for a statement that nobody waits for any more, such
/// as one that waits for a lock.
const BEFORE_USE: Duration = Duration::from_secs(1);
const AFTER_USE: Duration = Duration::from_secs(3);

impl Db {
    /// `url`: `sqlite:PATH` (created when missing) or `postgres://…`. `max_connections` bounds the PostgreSQL pool and
    /// the SQLite readers.
    pub async fn connect(url: &str, max_connections: u32) -> Result<Self> {
        if url.starts_with("sqlite:") {
            Self::connect_sqlite(url, max_connections).await
        } else if url.starts_with("postgres://") || url.starts_with("postgresql://") {
            Self::connect_postgres(url, max_connections).await
        } else {
            // The URL can contain a password, so the error does not include it.
            Err(sqlx::Error::Configuration("it must begin with sqlite: or postgres://".into()).into())
        }
    }

    async fn connect_sqlite(url: &str, max_connections: u32) -> Result<Self> {
        let options = SqliteConnectOptions::from_str(url)?
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            // An acknowledged grant must survive a power cut, so every commit reaches the disk.
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(SQLITE_TIMEOUT);
        let write = SqlitePoolOptions::new()
            .max_connections(1)
            .acquire_timeout(SQLITE_TIMEOUT)
            // A file does not hang up.
            .test_before_acquire(false)
            // When the disk is full SQLite ends a transaction by itself. The driver does not notice, and could begin none
            // on that connection any more. The ping is answered after the rollback, if one was on its way.
            .after_release(|connection, _| {
                Box::pin(async move {
                    connection.ping().await?;
                    Ok(!connection.is_in_transaction())
                })
            })
            .connect_with(options.clone())
            .await?;
        let read = SqlitePoolOptions::new()
            .max_connections(max_connections)
            .acquire_timeout(SQLITE_TIMEOUT)
            .test_before_acquire(false)
            .connect_with(options.read_only(true))
            .await?;
        Ok(Self::Sqlite { read, write })
    }

    async fn connect_postgres(url: &str, max_connections: u32) -> Result<Self> {
        let options = PgConnectOptions::from_str(url)?.application_name("meed").options([
            ("lock_timeout", "2s"),
            ("statement_timeout", "10s"),
            ("idle_in_transaction_session_timeout", "10s"),
            // The server gives up the connections of a process that vanished, in a minute and not in two hours.
            ("tcp_keepalives_idle", "30"),
            ("tcp_keepalives_interval", "10"),
            ("tcp_keepalives_count", "3"),
        ]);
        // A pool would try again until its time is up, and then say only that.
        PgConnection::connect_with(&options).await?.close().await?;
        let bulk = Bulk::new(DedicatedConnections::new(options.clone(), BULK_CONNECTIONS));
        let reads = BatchedReads::new(DedicatedConnections::new(options.clone(), READS_AT_ONCE), READS_AT_ONCE);
        let pool = postgres_pool(max_connections).connect_with(options).await?;
        Ok(Self::Postgres { pool, bulk, reads })
    }
}

fn postgres_pool(max_connections: u32) -> PgPoolOptions {
    PgPoolOptions::new()
        .max_connections(max_connections)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .test_before_acquire(false)
        .before_acquire(|connection, before| {
            Box::pin(async move {
                // After a restart of the server, its old connections are found out here.
                if before.idle_for > TRUSTED_FOR {
                    heard(BEFORE_USE, connection.ping()).await?;
                }
                Ok(true)
            })
        })
        // The pool asks for a sign of life by itself, too, but waits for it without end, and the place of the connection
        // with it. What comes back after a failover may lead to the server of before, which only reads now.
        .after_release(|connection, _| Box::pin(heard(AFTER_USE, takes_writes(connection))))
}

async fn takes_writes(connection: &mut PgConnection) -> sqlx::Result<bool> {
    let row = connection.fetch_one("SHOW transaction_read_only").await?;
    Ok(row.try_get::<&str, _>(0)? == "off")
}

/// Fails when nothing is heard: whoever hangs up first knows it.
async fn heard<T>(patience: Duration, answer: impl Future<Output = sqlx::Result<T>>) -> sqlx::Result<T> {
    match timeout(patience, answer).await {
        Ok(answer) => answer,
        Err(_) => Err(sqlx::Error::Io(std::io::ErrorKind::TimedOut.into())),
    }
}
