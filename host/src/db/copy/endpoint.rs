//! A connection to the source or the target, and the SQL that its engine understands. It refuses a database that others
//! use, where the engine can report.

use std::str::FromStr as _;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use sqlx::postgres::{PgConnectOptions, PgRow};
use sqlx::sqlite::{SqliteConnectOptions, SqliteLockingMode, SqliteRow, SqliteSynchronous};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, PgConnection, Row as _, SqliteConnection};
use uuid::Uuid;

use super::table::{CatalogueRow, Kind, ReferenceRow, Table, push_rows};
use super::value::Value;
use super::{CopyError, Doing as _, Result};
use crate::db::migrate::{APPLIED, Schema, judge};
use crate::db::{DbError, Engine, Query, Row};

/// How often, and at which interval, to retry while a server that was just stopped disconnects.
const TRIES: u32 = 20;
const RETRY_INTERVAL: Duration = Duration::from_millis(100);
/// Rows that SQLite reads ahead; a plugin's module may be 32 MiB.
const READ_AHEAD: usize = 4;

pub(super) struct Endpoint {
    /// `source` or `target`, for errors.
    name: &'static str,
    connection: Connection,
    /// Whether its columns are those of the target.
    is_target: bool,
}

enum Connection {
    Sqlite(SqliteConnection),
    Postgres(PgConnection),
}

type Rows<'a> = BoxStream<'a, std::result::Result<Vec<Value>, sqlx::Error>>;

impl Endpoint {
    pub(super) async fn open(name: &'static str, url: &str) -> Result<Self> {
        let mut opened = Self::try_open(name, url).await;
        for _ in 0..TRIES {
            if !matches!(opened, Ok(None)) {
                break;
            }
            tokio::time::sleep(RETRY_INTERVAL).await;
            opened = Self::try_open(name, url).await;
        }
        let mut endpoint = opened?.ok_or_else(|| {
            CopyError::Refused(format!(
                "the {name} is in use; stop every server and command of Meed on it first"
            ))
        })?;
        let applied = match endpoint.fetch::<(i64, String)>(APPLIED).await.map_err(DbError::from) {
            Err(error) if error.is_undefined_table() => Vec::new(),
            Err(error) => {
                let doing = format!("read the table of the migrations of the {name}");
                return Err(CopyError::Failed { doing, error });
            }
            Ok(applied) => applied,
        };
        let fault = match judge(&applied) {
            Schema::Current => return Ok(endpoint),
            Schema::Older | Schema::Elsewhere => "is not migrated to this release; run `meed migrate` on it",
            Schema::Newer | Schema::TooNew => "was migrated by a later release; copy with that release",
            Schema::Unreleased => "was made by an unreleased version of Meed, whose tables this release does not know",
        };
        Err(CopyError::Refused(format!("the {name} {fault}")))
    }

    /// `None`: the database is in use.
    async fn try_open(name: &'static str, url: &str) -> Result<Option<Self>> {
        const USERS: &str = "SELECT COUNT(*) FROM pg_stat_activity \
            WHERE datname = current_database() AND application_name = 'meed'";
        let opening = || format!("open the {name}");
        let connection = if url.starts_with("sqlite:") {
            let options = SqliteConnectOptions::from_str(url)
                .doing(opening)?
                // SQLite then locks the file for this connection, and fails immediately if another connection has the
                // lock.
                .locking_mode(SqliteLockingMode::Exclusive)
                .busy_timeout(Duration::ZERO)
                .synchronous(SqliteSynchronous::Full)
                .row_buffer_size(READ_AHEAD);
            match options.connect().await {
                Ok(connection) => Connection::Sqlite(connection),
                Err(error) => return busy_or(error, opening),
            }
        } else if url.starts_with("postgres://") || url.starts_with("postgresql://") {
            let options = PgConnectOptions::from_str(url)
                .doing(opening)?
                .application_name("meed db copy")
                .options([("lock_timeout", "2s"), ("statement_timeout", "0")]);
            Connection::Postgres(options.connect().await.doing(opening)?)
        } else {
            let fault = format!("the URL of the {name} must begin with sqlite: or postgres://");
            return Err(CopyError::Refused(fault));
        };
        let mut endpoint = Self {
            name,
            connection,
            is_target: name == "target",
        };
        let others = match endpoint.engine() {
            // The first read of the file takes the lock.
            Engine::Sqlite => endpoint.fetch::<(i64,)>("SELECT 0 FROM sqlite_master LIMIT 1").await,
            Engine::Postgres => endpoint.fetch::<(i64,)>(USERS).await,
        };
        match others {
            Ok(rows) if rows.iter().all(|(others,)| *others == 0) => Ok(Some(endpoint)),
            Ok(_) => Ok(None),
            Err(error) => busy_or(error, opening),
        }
    }

    pub(super) fn engine(&self) -> Engine {
        match self.connection {
            Connection::Sqlite(_) => Engine::Sqlite,
            Connection::Postgres(_) => Engine::Postgres,
        }
    }

    /// Begins to read as of this moment.
    pub(super) async fn begin_read(&mut self) -> Result<()> {
        self.run(match self.engine() {
            Engine::Sqlite => "BEGIN",
            Engine::Postgres => "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
        })
        .await
    }

    pub(super) async fn begin_write(&mut self) -> Result<()> {
        self.run(match self.engine() {
            Engine::Sqlite => "BEGIN IMMEDIATE",
            Engine::Postgres => "BEGIN",
        })
        .await
    }

    /// Locks the tables against other writers until the end. On SQLite the lock is held from the beginning.
    pub(super) async fn lock(&mut self, tables: &[Table]) -> Result<()> {
        if self.engine() == Engine::Sqlite {
            return Ok(());
        }
        let names: Vec<_> = tables.iter().map(|table| format!("\"{}\"", table.name)).collect();
        let sql = format!("LOCK TABLE {} IN EXCLUSIVE MODE", names.join(", "));
        let query = Query::new(self.engine(), AssertSqlSafe(sql));
        self.execute(query).await.doing(|| format!("lock the {}", self.name))
    }

    pub(super) async fn commit(&mut self) -> Result<()> {
        self.run("COMMIT").await?;
        if self.engine() == Engine::Postgres {
            // So that the first plans use real statistics.
            self.run("ANALYZE").await?;
        }
        Ok(())
    }

    pub(super) async fn close(self) {
        match self.connection {
            Connection::Sqlite(connection) => connection.close().await.ok(),
            Connection::Postgres(connection) => connection.close().await.ok(),
        };
    }

    async fn run(&mut self, sql: &'static str) -> Result<()> {
        let query = Query::new(self.engine(), sql);
        let name = self.name;
        self.execute(query).await.doing(|| format!("{sql} on the {name}"))
    }

    pub(super) async fn execute(&mut self, query: Query) -> std::result::Result<(), sqlx::Error> {
        match (&mut self.connection, query) {
            (Connection::Sqlite(connection), Query::Sqlite(query)) => query.execute(connection).await.map(|_| ()),
            (Connection::Postgres(connection), Query::Postgres(query)) => query.execute(connection).await.map(|_| ()),
            _ => Err(crate::db::mixed()),
        }
    }

    async fn fetch<R: Row>(&mut self, sql: impl sqlx::SqlSafeStr) -> std::result::Result<Vec<R>, sqlx::Error> {
        match (Query::new(self.engine(), sql), &mut self.connection) {
            (Query::Sqlite(query), Connection::Sqlite(connection)) => {
                query.fetch_all(connection).await?.iter().map(R::from_row).collect()
            }
            (Query::Postgres(query), Connection::Postgres(connection)) => {
                query.fetch_all(connection).await?.iter().map(R::from_row).collect()
            }
            _ => Err(crate::db::mixed()),
        }
    }

    /// Every column of each of our tables.
    pub(super) async fn catalogue(&mut self) -> Result<Vec<CatalogueRow>> {
        const SQLITE: &str = "SELECT m.name, c.name, c.type, c.pk \
            FROM sqlite_master m JOIN pragma_table_info(m.name) c \
            WHERE m.type = 'table' AND m.name NOT LIKE 'sqlite_%' AND m.name <> '_sqlx_migrations'";
        const POSTGRES: &str = "SELECT c.relname::TEXT, a.attname::TEXT, format_type(a.atttypid, NULL), \
                COALESCE((SELECT k.place FROM unnest(i.indkey) WITH ORDINALITY AS k (attnum, place) \
                    WHERE k.attnum = a.attnum), 0) \
            FROM pg_class c \
            JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped \
            LEFT JOIN pg_index i ON i.indrelid = c.oid AND i.indisprimary \
            WHERE c.relnamespace = current_schema()::REGNAMESPACE AND c.relkind IN ('r', 'p') \
                AND c.relname <> '_sqlx_migrations'";
        let sql = match self.engine() {
            Engine::Sqlite => SQLITE,
            Engine::Postgres => POSTGRES,
        };
        let name = self.name;
        self.fetch(sql).await.doing(|| format!("list the tables of the {name}"))
    }

    pub(super) async fn references_between(&mut self) -> Result<Vec<ReferenceRow>> {
        const SQLITE: &str = "SELECT DISTINCT m.name, f.\"table\" \
            FROM sqlite_master m JOIN pragma_foreign_key_list(m.name) f WHERE m.type = 'table'";
        const POSTGRES: &str = "SELECT DISTINCT c.relname::TEXT, r.relname::TEXT FROM pg_constraint k \
            JOIN pg_class c ON c.oid = k.conrelid JOIN pg_class r ON r.oid = k.confrelid \
            WHERE k.contype = 'f' AND c.relnamespace = current_schema()::REGNAMESPACE";
        let sql = match self.engine() {
            Engine::Sqlite => SQLITE,
            Engine::Postgres => POSTGRES,
        };
        let name = self.name;
        self.fetch(sql)
            .await
            .doing(|| format!("list the foreign keys of the {name}"))
    }

    pub(super) async fn count(&mut self, table: &Table) -> Result<u64> {
        let sql = format!("SELECT COUNT(*) FROM \"{}\"", table.name);
        let name = self.name;
        let rows: Vec<(i64,)> = self
            .fetch(AssertSqlSafe(sql))
            .await
            .doing(|| format!("count {} of the {name}", table.name))?;
        Ok(rows
            .first()
            .map_or(0, |(count,)| u64::try_from(*count).unwrap_or_default()))
    }

    /// Every row, all columns in order, by the key in the order that both engines share.
    pub(super) fn rows(&mut self, table: &Table) -> Rows<'_> {
        let kinds: Vec<Kind> = (0..table.columns.len()).map(|index| self.kind(table, index)).collect();
        let postgres = self.engine() == Engine::Postgres;
        let chosen = table.columns.iter().zip(&kinds).map(|(column, kind)| {
            let name = &column.name;
            let cast = if postgres && *kind == Kind::Json { "::TEXT" } else { "" };
            format!("\"{name}\"{cast}")
        });
        let order = table.key.iter().map(|&index| {
            let name = &table.columns[index].name;
            // The order of the bytes, as SQLite has it.
            let collation = if postgres && self.kind(table, index) == Kind::Text {
                " COLLATE \"C\""
            } else {
                ""
            };
            format!("\"{name}\"{collation}")
        });
        let sql = format!(
            "SELECT {} FROM \"{}\" ORDER BY {}",
            chosen.collect::<Vec<_>>().join(", "),
            table.name,
            order.collect::<Vec<_>>().join(", ")
        );
        match (Query::new(self.engine(), AssertSqlSafe(sql)), &mut self.connection) {
            (Query::Sqlite(query), Connection::Sqlite(connection)) => query
                .fetch(connection)
                .map(move |row| from_sqlite(&row?, &kinds))
                .boxed(),
            (Query::Postgres(query), Connection::Postgres(connection)) => query
                .fetch(connection)
                .map(move |row| from_postgres(&row?, &kinds))
                .boxed(),
            _ => futures_util::stream::iter([Err(crate::db::mixed())]).boxed(),
        }
    }

    pub(super) fn insert_sql(&self, table: &Table, rows: usize) -> String {
        let names: Vec<_> = table
            .columns
            .iter()
            .map(|column| format!("\"{}\"", column.name))
            .collect();
        let mut sql = format!("INSERT INTO \"{}\" ({}) VALUES ", table.name, names.join(", "));
        let width = table.columns.len();
        push_rows(&mut sql, rows, width, |place| {
            let cast = match (self.engine(), table.columns[(place - 1) % width].target) {
                (Engine::Postgres, Kind::Json) => "::JSONB",
                _ => "",
            };
            format!("${place}{cast}")
        });
        sql
    }

    fn kind(&self, table: &Table, index: usize) -> Kind {
        let column = &table.columns[index];
        if self.is_target { column.target } else { column.source }
    }
}

fn busy_or<T>(error: sqlx::Error, doing: impl FnOnce() -> String) -> Result<Option<T>> {
    let error = DbError::from(error);
    if error.is_conflict() {
        return Ok(None);
    }
    Err(CopyError::Failed { doing: doing(), error })
}

fn from_sqlite(row: &SqliteRow, kinds: &[Kind]) -> std::result::Result<Vec<Value>, sqlx::Error> {
    let values = kinds.iter().enumerate().map(|(place, kind)| {
        Ok(match kind {
            Kind::Integer | Kind::Truth => row.try_get::<Option<i64>, _>(place)?.map(Value::Integer),
            Kind::Text | Kind::Json => row.try_get::<Option<String>, _>(place)?.map(Value::Text),
            Kind::Bytes | Kind::Id => row.try_get::<Option<Vec<u8>>, _>(place)?.map(Value::Bytes),
        }
        .unwrap_or(Value::Null))
    });
    values.collect()
}

fn from_postgres(row: &PgRow, kinds: &[Kind]) -> std::result::Result<Vec<Value>, sqlx::Error> {
    let values = kinds.iter().enumerate().map(|(place, kind)| {
        Ok(match kind {
            Kind::Integer => row.try_get::<Option<i64>, _>(place)?.map(Value::Integer),
            Kind::Truth => row
                .try_get::<Option<bool>, _>(place)?
                .map(|truth| Value::Integer(truth.into())),
            Kind::Text | Kind::Json => row.try_get::<Option<String>, _>(place)?.map(Value::Text),
            Kind::Bytes => row.try_get::<Option<Vec<u8>>, _>(place)?.map(Value::Bytes),
            Kind::Id => row
                .try_get::<Option<Uuid>, _>(place)?
                .map(|id| Value::Bytes(id.into_bytes().to_vec())),
        }
        .unwrap_or(Value::Null))
    });
    values.collect()
}
