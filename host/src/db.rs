//! One SQL text, two engines: SQLite for one process, PostgreSQL for many.
//!
//! `Db` is a pool, `Tx` an open transaction, `Query` a statement with its parameters; all three are closed enums over
//! the two drivers, so a type that only one engine can hold does not compile. Must not know: any feature, HTTP.
//! Only `store.rs` files and this module hold SQL.
//!
//! Portable SQL: `$1` placeholders; ids are UUIDv7 minted by [`crate::clock::Clock`]; instants are milliseconds bound
//! from the clock, never `now()`; amounts are `BIGINT`; `ON CONFLICT`, `RETURNING`, explicit columns, keyset pages.

pub mod backup;
mod batched_reads;
mod bulk;
mod connect;
pub mod copy;
mod dedicated;
mod metadata;
mod migrate;
pub mod placeholders;
mod select;
mod types;

use std::sync::Arc;

use sqlx::postgres::{PgArguments, PgRow};
use sqlx::sqlite::{SqliteArguments, SqliteRow};
use sqlx::{AssertSqlSafe, Encode, FromRow, Postgres, SqlSafeStr, SqlStr, Sqlite, Type};

pub use batched_reads::{BatchedRead, BatchedReads};
pub use bulk::{BULK_CONNECTIONS, Bulk, BulkStatement};
pub use connect::DEDICATED_CONNECTIONS;
pub use dedicated::DedicatedConnections;
pub use migrate::{MigrateError, Schema, Unfit};
pub use select::Select;
pub use sqlx::types::Json;
pub(crate) use types::{row, text_column};

use crate::clock::Timestamp;
use crate::mutations;

pub type Result<T> = std::result::Result<T, DbError>;

/// A failed statement or connection. Its text may hold SQL and values: log it, never send it to a client.
#[derive(Clone, Debug, thiserror::Error)]
#[error(transparent)]
pub struct DbError(Arc<sqlx::Error>);

impl From<sqlx::Error> for DbError {
    fn from(error: sqlx::Error) -> Self {
        Self(Arc::new(error))
    }
}

impl DbError {
    /// A referenced row does not exist, or a row is still referenced.
    pub fn is_foreign_key_violation(&self) -> bool {
        self.0
            .as_database_error()
            .is_some_and(sqlx::error::DatabaseError::is_foreign_key_violation)
    }

    /// A statement names a table that does not exist, or that no schema of the search path contains.
    pub(crate) fn is_undefined_table(&self) -> bool {
        self.0.as_database_error().is_some_and(|error| {
            error.code().is_some_and(|code| code == "42P01") || error.message().starts_with("no such table")
        })
    }

    /// The transaction conflicted with another one and changed nothing. A retry from the start may succeed.
    pub fn is_conflict(&self) -> bool {
        let Some(code) = self.0.as_database_error().and_then(sqlx::error::DatabaseError::code) else {
            return false;
        };
        if mutations::active("conflict-not-retried") && code.len() == 5 {
            return false;
        }
        // PostgreSQL: serialisation failure, deadlock, lock time-out. SQLite: busy (also in recovery, of a snapshot, by
        // time-out), locked.
        matches!(
            code.as_ref(),
            "40001" | "40P01" | "55P03" | "5" | "261" | "517" | "773" | "6" | "262"
        )
    }

    /// The connection was lost while the statement ran, so the commit outcome is unknown; or the server is read-only,
    /// for example because its standby replaced it. In both cases, check the outcome on another connection.
    pub fn is_outcome_unknown(&self) -> bool {
        match &*self.0 {
            sqlx::Error::Io(_) | sqlx::Error::Protocol(_) => true,
            // PostgreSQL: shut down by an administrator, crashed, read-only, connection lost.
            sqlx::Error::Database(error) => error.code().is_some_and(|code| {
                matches!(code.as_ref(), "57P01" | "57P02" | "25006") || (code.len() == 5 && code.starts_with("08"))
            }),
            _ => false,
        }
    }

    /// The statement ran too long and was cancelled, or waited too long for a lock. Only PostgreSQL limits both.
    pub fn is_statement_timeout(&self) -> bool {
        let code = self.0.as_database_error().and_then(sqlx::error::DatabaseError::code);
        code.is_some_and(|code| matches!(code.as_ref(), "57014" | "55P03"))
    }

    /// A number of the result is beyond the integers of the database.
    pub fn is_out_of_range(&self) -> bool {
        self.0.as_database_error().is_some_and(|error| {
            error.code().is_some_and(|code| code == "22003") || error.message().contains("integer overflow")
        })
    }

    /// The database cannot be used now, whatever the statement: it is not reachable, is read-only or has no connection.
    pub fn is_outage(&self) -> bool {
        (self.is_unavailable() || self.is_outcome_unknown()) && !self.is_statement_timeout()
    }

    /// The table whose CHECK rejected a row.
    pub fn violated_check(&self) -> Option<&str> {
        let error = self.0.as_database_error()?;
        error.is_check_violation().then(|| error.table())?
    }

    /// A row with the same key exists.
    pub fn is_unique_violation(&self) -> bool {
        self.0
            .as_database_error()
            .is_some_and(sqlx::error::DatabaseError::is_unique_violation)
    }

    /// The table that already contains the key.
    pub fn violated_unique(&self) -> Option<&str> {
        let error = self.0.as_database_error()?;
        error.is_unique_violation().then(|| error.table())?
    }

    /// The pool had no free connection in time, the database cannot be reached, or its disk is full. A later retry may
    /// succeed.
    pub fn is_unavailable(&self) -> bool {
        match &*self.0 {
            sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed | sqlx::Error::Io(_) | sqlx::Error::Tls(_) => true,
            // PostgreSQL: statement cancelled, idle in a transaction for too long, read-only, shutting down or
            // starting, too many connections, disk full, connection lost. SQLite: disk full.
            sqlx::Error::Database(error) => error.code().is_some_and(|code| {
                matches!(
                    code.as_ref(),
                    "57014" | "25P03" | "25006" | "57P01" | "57P02" | "57P03" | "53300" | "53100" | "13"
                ) || (code.len() == 5 && code.starts_with("08"))
            }),
            _ => false,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    Sqlite,
    Postgres,
}

/// A connection pool. Cheap to clone.
#[derive(Clone, Debug)]
pub enum Db {
    /// One writer, because SQLite has one; readers are opened read-only, so that a misplaced write fails.
    Sqlite {
        read: sqlx::SqlitePool,
        write: sqlx::SqlitePool,
    },
    Postgres {
        pool: sqlx::PgPool,
        bulk: Bulk,
        /// For [`BatchedRead`].
        reads: BatchedReads,
    },
}

/// An open transaction; dropped without `commit` it is rolled back.
#[derive(Debug)]
pub enum Tx {
    Sqlite(sqlx::Transaction<'static, Sqlite>),
    Postgres(sqlx::Transaction<'static, Postgres>),
}

/// A statement and its parameters. Made by [`Db::query`] or [`Tx::query`], run by one of its `fetch` or `execute`.
pub enum Query {
    Sqlite(sqlx::query::Query<'static, Sqlite, SqliteArguments>),
    Postgres(sqlx::query::Query<'static, Postgres, PgArguments>),
}

/// The type of a parameter: one that both engines can store.
pub trait Bind:
    Encode<'static, Postgres> + Type<Postgres> + Encode<'static, Sqlite> + Type<Sqlite> + Send + 'static
{
}
impl<T> Bind for T where
    T: Encode<'static, Postgres> + Type<Postgres> + Encode<'static, Sqlite> + Type<Sqlite> + Send + 'static
{
}

/// The type of a result: a tuple, or a struct made with `row!`.
pub trait Row: for<'r> FromRow<'r, PgRow> + for<'r> FromRow<'r, SqliteRow> + Send + Unpin {}
impl<T> Row for T where T: for<'r> FromRow<'r, PgRow> + for<'r> FromRow<'r, SqliteRow> + Send + Unpin {}

impl Db {
    pub fn engine(&self) -> Engine {
        match self {
            Self::Sqlite { .. } => Engine::Sqlite,
            Self::Postgres { .. } => Engine::Postgres,
        }
    }

    /// Begins a write. On SQLite it takes the write lock immediately (`BEGIN IMMEDIATE`): a transaction that reads
    /// first and then finds the lock taken cannot wait for it.
    pub async fn begin(&self) -> Result<Tx> {
        Ok(match self {
            Self::Sqlite { write, .. } => Tx::Sqlite(write.begin_with("BEGIN IMMEDIATE").await?),
            Self::Postgres { pool, .. } => Tx::Postgres(pool.begin().await?),
        })
    }

    pub fn query(&self, sql: &'static str) -> Query {
        Query::new(self.engine(), sql)
    }

    /// A statement assembled from constant pieces. `sql` must not contain external values; bind them.
    pub fn query_assembled(&self, sql: String) -> Query {
        Query::new(self.engine(), AssertSqlSafe(sql))
    }

    /// The database's clock; `None` for SQLite, which has no clock.
    pub async fn time(&self) -> Result<Option<Timestamp>> {
        const SQL: &str = "SELECT CAST(FLOOR(EXTRACT(EPOCH FROM clock_timestamp()) * 1000) AS BIGINT)";
        match self {
            Self::Sqlite { .. } => self.query("SELECT 1").fetch_one::<(i32,)>(self).await.map(|_| None),
            Self::Postgres { .. } => {
                let (now,): (Timestamp,) = self.query(SQL).fetch_one(self).await?;
                Ok(Some(now))
            }
        }
    }

    /// Whether a new transaction may write: not on a standby, and not while an operator made the server read-only.
    pub async fn takes_writes(&self) -> Result<bool> {
        const SQL: &str = "SELECT current_setting('transaction_read_only') = 'off'";
        match self {
            Self::Sqlite { .. } => Ok(true),
            Self::Postgres { .. } => {
                let (takes_writes,): (bool,) = self.query(SQL).fetch_one(self).await?;
                Ok(takes_writes)
            }
        }
    }

    /// Updates the statistics of SQLite where tables have changed a lot. PostgreSQL does this by itself.
    pub async fn update_statistics(&self) -> Result<()> {
        // Reads a sample of each index, so that the write lock is held for milliseconds.
        const LIMIT: &str = "PRAGMA analysis_limit = 400";
        const SQL: &str = "PRAGMA optimize = 0x10002";
        if self.engine() == Engine::Sqlite {
            let mut tx = self.begin().await?;
            tx.query(LIMIT).execute(&mut tx).await?;
            tx.query(SQL).execute(&mut tx).await?;
            tx.commit().await?;
        }
        Ok(())
    }

    /// How many connections the server allows to all processes together; `None` for SQLite.
    pub async fn connections_allowed(&self) -> Result<Option<i64>> {
        const SQL: &str = "SELECT current_setting('max_connections')::BIGINT \
            - current_setting('superuser_reserved_connections')::BIGINT";
        match self {
            Self::Sqlite { .. } => Ok(None),
            Self::Postgres { .. } => {
                let (allowed,): (i64,) = self.query(SQL).fetch_one(self).await?;
                Ok(Some(allowed))
            }
        }
    }

    /// The number of reads that wait for a batch.
    pub fn reads_waiting(&self) -> usize {
        match self {
            Self::Sqlite { .. } => 0,
            Self::Postgres { reads, .. } => reads.waiting(),
        }
    }

    /// Connections in use and open, over all pools.
    pub fn pool_use(&self) -> (usize, usize) {
        let of = |size: u32, idle: usize| ((size as usize).saturating_sub(idle), size as usize);
        match self {
            Self::Sqlite { read, write } => {
                let (read_busy, read_open) = of(read.size(), read.num_idle());
                let (write_busy, write_open) = of(write.size(), write.num_idle());
                (read_busy + write_busy, read_open + write_open)
            }
            Self::Postgres { pool, bulk, reads } => {
                let mut uses = vec![of(pool.size(), pool.num_idle()), bulk.connections().in_use()];
                uses.extend(reads.connections().iter().map(DedicatedConnections::in_use));
                (
                    uses.iter().map(|(busy, _)| busy).sum(),
                    uses.iter().map(|(_, open)| open).sum(),
                )
            }
        }
    }

    /// Waits for running statements and closes every connection.
    pub async fn close(&self) {
        match self {
            Self::Sqlite { read, write } => {
                read.close().await;
                write.close().await;
            }
            Self::Postgres { pool, bulk, reads } => {
                bulk.connections().close().await;
                for connections in reads.connections() {
                    connections.close().await;
                }
                pool.close().await;
            }
        }
    }
}

impl Tx {
    pub fn engine(&self) -> Engine {
        match self {
            Self::Sqlite(_) => Engine::Sqlite,
            Self::Postgres(_) => Engine::Postgres,
        }
    }

    pub fn query(&self, sql: &'static str) -> Query {
        Query::new(self.engine(), sql)
    }

    /// See [`Db::query_assembled`].
    pub fn query_assembled(&self, sql: String) -> Query {
        Query::new(self.engine(), AssertSqlSafe(sql))
    }

    pub async fn commit(self) -> Result<()> {
        match self {
            Self::Sqlite(tx) => tx.commit().await?,
            Self::Postgres(tx) => tx.commit().await?,
        }
        Ok(())
    }
}

/// Runs statements that read: the pool, or an open transaction.
pub trait Executor {
    fn engine(&self) -> Engine;
    /// A statement for this engine.
    fn statement(&self, sql: &'static str) -> Query;
    fn fetch_all<R: Row>(self, query: Query) -> impl Future<Output = Result<Vec<R>>> + Send;
    fn fetch_optional<R: Row>(self, query: Query) -> impl Future<Output = Result<Option<R>>> + Send;
}

/// A bug in a store: a statement must run on the pool or transaction that made it.
const MIXED: &str = "statement and connection come from different engines";

fn mixed() -> sqlx::Error {
    sqlx::Error::InvalidArgument(MIXED.to_owned())
}

fn from_rows<R: for<'r> FromRow<'r, D>, D: sqlx::Row>(rows: &[D]) -> Result<Vec<R>> {
    rows.iter().map(|row| Ok(R::from_row(row)?)).collect()
}

impl Executor for &Db {
    fn engine(&self) -> Engine {
        Db::engine(self)
    }

    fn statement(&self, sql: &'static str) -> Query {
        self.query(sql)
    }

    async fn fetch_all<R: Row>(self, query: Query) -> Result<Vec<R>> {
        match (self, query) {
            (Db::Sqlite { read, .. }, Query::Sqlite(query)) => from_rows(&query.fetch_all(read).await?),
            (Db::Postgres { pool, .. }, Query::Postgres(query)) => from_rows(&query.fetch_all(pool).await?),
            _ => Err(mixed().into()),
        }
    }

    async fn fetch_optional<R: Row>(self, query: Query) -> Result<Option<R>> {
        match (self, query) {
            (Db::Sqlite { read, .. }, Query::Sqlite(query)) => Ok(query
                .fetch_optional(read)
                .await?
                .map(|row| R::from_row(&row))
                .transpose()?),
            (Db::Postgres { pool, .. }, Query::Postgres(query)) => Ok(query
                .fetch_optional(pool)
                .await?
                .map(|row| R::from_row(&row))
                .transpose()?),
            _ => Err(mixed().into()),
        }
    }
}

impl Executor for &mut Tx {
    fn engine(&self) -> Engine {
        Tx::engine(self)
    }

    fn statement(&self, sql: &'static str) -> Query {
        self.query(sql)
    }

    async fn fetch_all<R: Row>(self, query: Query) -> Result<Vec<R>> {
        match (self, query) {
            (Tx::Sqlite(tx), Query::Sqlite(query)) => from_rows(&query.fetch_all(&mut **tx).await?),
            (Tx::Postgres(tx), Query::Postgres(query)) => from_rows(&query.fetch_all(&mut **tx).await?),
            _ => Err(mixed().into()),
        }
    }

    async fn fetch_optional<R: Row>(self, query: Query) -> Result<Option<R>> {
        match (self, query) {
            (Tx::Sqlite(tx), Query::Sqlite(query)) => Ok(query
                .fetch_optional(&mut **tx)
                .await?
                .map(|row| R::from_row(&row))
                .transpose()?),
            (Tx::Postgres(tx), Query::Postgres(query)) => Ok(query
                .fetch_optional(&mut **tx)
                .await?
                .map(|row| R::from_row(&row))
                .transpose()?),
            _ => Err(mixed().into()),
        }
    }
}

/// The statement itself, except in the builds of `cargo xtask mutations`.
fn mutated(sql: impl SqlSafeStr) -> SqlStr {
    let sql = sql.into_sql_str();
    match mutations::sql(sql.as_str()) {
        Some(mutant) => AssertSqlSafe(mutant).into_sql_str(),
        None => sql,
    }
}

impl Query {
    #[expect(clippy::disallowed_methods, reason = "the lint points callers to this constructor")]
    fn new(engine: Engine, sql: impl SqlSafeStr) -> Self {
        match engine {
            Engine::Sqlite => Self::Sqlite(sqlx::query(mutated(sql))),
            Engine::Postgres => Self::Postgres(sqlx::query(mutated(sql))),
        }
    }

    #[must_use]
    pub fn bind<T: Bind>(self, value: T) -> Self {
        match self {
            Self::Sqlite(query) => Self::Sqlite(query.bind(value)),
            Self::Postgres(query) => Self::Postgres(query.bind(value)),
        }
    }

    pub async fn fetch_all<R: Row>(self, on: impl Executor) -> Result<Vec<R>> {
        on.fetch_all(self).await
    }

    pub async fn fetch_optional<R: Row>(self, on: impl Executor) -> Result<Option<R>> {
        on.fetch_optional(self).await
    }

    pub async fn fetch_one<R: Row>(self, on: impl Executor) -> Result<R> {
        on.fetch_optional(self)
            .await?
            .ok_or_else(|| sqlx::Error::RowNotFound.into())
    }

    /// Executes a write and returns the number of changed rows. Only a transaction can write.
    pub async fn execute(self, on: &mut Tx) -> Result<u64> {
        match (on, self) {
            (Tx::Sqlite(tx), Self::Sqlite(query)) => Ok(query.execute(&mut **tx).await?.rows_affected()),
            (Tx::Postgres(tx), Self::Postgres(query)) => Ok(query.execute(&mut **tx).await?.rows_affected()),
            _ => Err(mixed().into()),
        }
    }
}
