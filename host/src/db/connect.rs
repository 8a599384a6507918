//! Opens the pools, with the settings of each engine.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgConnection, PgPoolOptions};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{Connection as _, Executor as _, Row as _};
use tokio::time::timeout;

use super::batched_reads::BatchedReads;
use super::bulk::{BULK_CONNECTIONS, Bulk};
use super::dedicated::DedicatedConnections;
use super::{Db, DbError, Result};
use crate::backoff;
use crate::clock::Clock;

/// How long a request waits for a free connection before the server refuses it. The limit is short, so that an overload
/// is reported while the client still waits.
pub(super) const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(2);
/// The same for SQLite, where all writers share one queue and another process may hold the lock.
const SQLITE_TIMEOUT: Duration = Duration::from_secs(5);
/// Together about 3 s: as long as another process may take to create the file.
const SQLITE_OPEN_RETRIES: u32 = 32;
/// Concurrent batched reads about users of one process. With more, each batch would contain fewer reads.
pub(super) const READS_AT_ONCE: u32 = 2;
/// Statement texts that a connection keeps prepared: each plan shape of an event, and each set of filters, is one.
const STATEMENTS: usize = 512;
/// Connections of one process besides its pool: also one for look-ups by key and one for slow reads.
pub const DEDICATED_CONNECTIONS: u32 = READS_AT_ONCE + 2 + BULK_CONNECTIONS;
/// A connection that was used within this time is assumed to be alive: a check costs a round trip.
pub(super) const TRUSTED_FOR: Duration = Duration::from_secs(1);
/// How long the check of a pooled connection may take. Before use the time is short, so that the pool can still open
/// another connection for the caller. After use it is long enough for an abandoned statement to end, such as one that
/// waits for a lock.
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
        let options = SqliteConnectOptions::from_str(url)?;
        create_private(options.get_filename());
        let options = options
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            // An acknowledged grant must survive a power cut, so every commit reaches the disk.
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            // A slow reader, such as a backup, lets the log grow; then it shrinks to this size.
            .pragma("journal_size_limit", "67108864")
            .busy_timeout(SQLITE_TIMEOUT);
        let write = SqlitePoolOptions::new()
            .max_connections(1)
            .acquire_timeout(SQLITE_TIMEOUT)
            // The connection to a file cannot be lost.
            .test_before_acquire(false)
            // When the disk is full, SQLite rolls the transaction back itself. The driver does not notice this and
            // could not begin another transaction on that connection. The ping is answered after a pending rollback.
            .after_release(|connection, _| {
                Box::pin(async move {
                    connection.ping().await?;
                    Ok(!connection.is_in_transaction())
                })
            })
            .connect_lazy_with(options.clone());
        // The first process switches a new file to WAL. SQLite does not wait for that lock, and the busy time-out does not apply.
        let open = || async { write.acquire().await.map_err(DbError::from) };
        drop(backoff::retry(&Clock::System, SQLITE_OPEN_RETRIES, DbError::is_conflict, open).await?);
        let read = SqlitePoolOptions::new()
            .max_connections(max_connections)
            .acquire_timeout(SQLITE_TIMEOUT)
            .test_before_acquire(false)
            .connect_with(options.read_only(true))
            .await?;
        Ok(Self::Sqlite { read, write })
    }

    async fn connect_postgres(url: &str, max_connections: u32) -> Result<Self> {
        let options = PgConnectOptions::from_str(url)?.application_name("meed");
        let options = options.statement_cache_capacity(STATEMENTS).options([
            ("lock_timeout", "2s"),
            ("statement_timeout", "10s"),
            ("idle_in_transaction_session_timeout", "10s"),
            // The server closes the connections of a vanished process after a minute instead of two hours.
            ("tcp_keepalives_idle", "30"),
            ("tcp_keepalives_interval", "10"),
            ("tcp_keepalives_count", "3"),
            // A plan for all parameters does not know how short a page is, and joins whole tables for it.
            ("plan_cache_mode", "force_custom_plan"),
            // A scan or a hash of a table that is not large yet would become slower with it.
            ("enable_seqscan", "off"),
            // The estimates without scans would start the query compiler, which takes longer than the statements.
            ("jit", "off"),
        ]);
        // A pool would retry until its timeout, and then report only the timeout.
        refuse_transaction_pooling(&options).await?;
        let bulk = Bulk::new(DedicatedConnections::new(options.clone(), BULK_CONNECTIONS));
        let reads = BatchedReads::new(&options);
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
                // Detects the connections that a restart of the server closed.
                if before.idle_for > TRUSTED_FOR {
                    answer_within(BEFORE_USE, connection.ping()).await?;
                }
                Ok(true)
            })
        })
        // The pool also pings a released connection, but without a time limit, and the connection's slot stays occupied
        // meanwhile.
        .after_release(|connection, _| Box::pin(answer_within(AFTER_USE, is_reusable(connection))))
}

/// Fails behind a pooler that gives each transaction another connection of the server, such as PgBouncer in transaction
/// mode: prepared statements, time-outs and the migrations' lock last for a session.
async fn refuse_transaction_pooling(options: &PgConnectOptions) -> Result<()> {
    let mut first = PgConnection::connect_with(options).await?;
    let mut second = PgConnection::connect_with(options).await?;
    // Within its transaction, the second client occupies the server's connection that the first one just released.
    let before = process_of(&mut first).await?;
    second.execute("BEGIN").await?;
    let other = process_of(&mut second).await?;
    let after = process_of(&mut first).await?;
    second.execute("ROLLBACK").await?;
    first.close().await?;
    second.close().await?;
    if before == after && before != other {
        return Ok(());
    }
    let reason = "a pooler such as PgBouncer in transaction mode shares the connections of PostgreSQL between \
        transactions; Meed needs a session per connection: use pool_mode = session, or connect to PostgreSQL directly";
    Err(sqlx::Error::Configuration(reason.into()).into())
}

/// The server's process that answers. A text without parameters is not prepared, so poolers pass it on.
async fn process_of(connection: &mut PgConnection) -> sqlx::Result<i32> {
    connection.fetch_one("SELECT pg_backend_pid()").await?.try_get(0)
}

/// After a failover, a released connection may lead to the former primary, which is read-only now. And the driver does not
/// notice a transaction whose beginning was abandoned, for example because the client hung up: then the time of the
/// transaction is not that of the statement.
async fn is_reusable(connection: &mut PgConnection) -> sqlx::Result<bool> {
    const SQL: &str = "SELECT current_setting('transaction_read_only') = 'off' AND now() = statement_timestamp()";
    connection.fetch_one(SQL).await?.try_get(0)
}

/// Fails if there is no answer within `limit`.
async fn answer_within<T>(limit: Duration, answer: impl Future<Output = sqlx::Result<T>>) -> sqlx::Result<T> {
    match timeout(limit, answer).await {
        Ok(answer) => answer,
        Err(_) => Err(sqlx::Error::Io(std::io::ErrorKind::TimedOut.into())),
    }
}

/// Creates a missing file so that only its owner can read it; SQLite gives the same mode to the WAL. An existing file is
/// not opened, because closing it would release SQLite's locks on it. SQLite reports every failure itself.
fn create_private(file: &Path) {
    let is_on_disk = !file.as_os_str().is_empty() && file != Path::new(":memory:");
    if is_on_disk && !file.to_string_lossy().starts_with("file:") {
        let created = OpenOptions::new().write(true).create_new(true).mode(0o600).open(file);
        drop(created);
    }
}
