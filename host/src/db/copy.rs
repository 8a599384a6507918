//! Copies one database into another, empty one, of either engine, and proves that everything arrived.
//!
//! The databases' catalogues say which tables and columns there are, so none can be forgotten. The source is read in one
//! snapshot. Everything is written in one transaction and compared row by row before the commit: a copy that is
//! interrupted, or that differs, leaves the target empty. Memory holds one batch of rows.

mod endpoint;
mod table;
mod value;

use futures_util::StreamExt as _;

use self::endpoint::Endpoint;
use self::table::Table;
use self::value::{Digest, Value};
use super::{DbError, Query};

/// The maximum rows in one statement, and their maximum total size in bytes; a single row may be larger.
const BATCH_ROWS: usize = 500;
const BATCH_BYTES: usize = 4 << 20;
/// Parameters in one statement: fewer than either engine accepts.
const BATCH_VALUES: usize = 30_000;

/// Why a copy or a comparison failed. It names no URL, because a URL may hold a password.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    #[error("{0}")]
    Refused(String),
    #[error("table {table}, {key}: {fault}")]
    Different { table: String, key: String, fault: String },
    #[error("{doing}: {error}")]
    Failed { doing: String, error: DbError },
}

type Result<T> = std::result::Result<T, CopyError>;

/// Adds the failed operation to a database error.
trait Doing<T> {
    fn doing(self, what: impl FnOnce() -> String) -> Result<T>;
}

impl<T> Doing<T> for std::result::Result<T, sqlx::Error> {
    fn doing(self, what: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|error| CopyError::Failed {
            doing: what(),
            error: DbError::from(error),
        })
    }
}

/// Progress of a copy or a comparison.
#[derive(Clone, Debug)]
pub enum Progress<'a> {
    /// A table is copied next, or compared if `comparing`. `rows` is approximate.
    Begun {
        table: &'a str,
        rows: u64,
        comparing: bool,
    },
    /// The number of its rows that are done.
    Rows(u64),
    Copied {
        table: &'a str,
        rows: u64,
    },
    /// Both databases hold the same rows; their SHA-256.
    Same {
        table: &'a str,
        rows: u64,
        digest: String,
    },
}

/// Copies everything from the database at one URL into the one at another.
pub async fn copy(from: &str, to: &str, mut report: impl FnMut(Progress<'_>)) -> Result<()> {
    let (mut source, mut target) = (
        Endpoint::open("source", from).await?,
        Endpoint::open("target", to).await?,
    );
    source.begin_read().await?;
    target.begin_write().await?;
    let tables = table::list(&mut source, &mut target).await?;
    target.lock(&tables).await?;
    for table in &tables {
        if target.count(table).await? > 0 {
            return Err(CopyError::Refused(format!(
                "the target has rows in {}; copy into an empty database, fresh from `meed migrate`",
                table.name
            )));
        }
    }
    for table in &tables {
        report(Progress::Begun {
            table: &table.name,
            rows: source.count(table).await?,
            comparing: false,
        });
        let rows = copy_table(&mut source, &mut target, table, &mut report).await?;
        report(Progress::Copied {
            table: &table.name,
            rows,
        });
    }
    compare(&mut source, &mut target, &tables, &mut report).await?;
    target.commit().await?;
    source.close().await;
    target.close().await;
    Ok(())
}

/// Compares two databases row by row.
pub async fn verify(from: &str, to: &str, mut report: impl FnMut(Progress<'_>)) -> Result<()> {
    let (mut source, mut target) = (
        Endpoint::open("source", from).await?,
        Endpoint::open("target", to).await?,
    );
    source.begin_read().await?;
    target.begin_read().await?;
    let tables = table::list(&mut source, &mut target).await?;
    compare(&mut source, &mut target, &tables, &mut report).await?;
    source.close().await;
    target.close().await;
    Ok(())
}

async fn copy_table(
    source: &mut Endpoint,
    target: &mut Endpoint,
    table: &Table,
    report: &mut impl FnMut(Progress<'_>),
) -> Result<u64> {
    let reading = || format!("read {} of the source", table.name);
    let mut copied = 0;
    let mut rows = source.rows(table);
    let mut batch = Batch::default();
    while let Some(row) = rows.next().await {
        let row = row.doing(reading)?;
        copied += 1;
        if let Some(full) = batch.push(row) {
            insert(target, table, full).await?;
            report(Progress::Rows(copied));
        }
    }
    insert(target, table, batch.rows).await?;
    Ok(copied)
}

/// Rows that wait to be written together.
#[derive(Default)]
struct Batch {
    rows: Vec<Vec<Value>>,
    bytes: usize,
}

impl Batch {
    /// Returns the rows once there are enough.
    fn push(&mut self, row: Vec<Value>) -> Option<Vec<Vec<Value>>> {
        self.bytes += row.iter().map(Value::size).sum::<usize>();
        let values = row.len() * (self.rows.len() + 2);
        self.rows.push(row);
        let full = self.rows.len() >= BATCH_ROWS || self.bytes >= BATCH_BYTES || values > BATCH_VALUES;
        full.then(|| std::mem::take(self).rows)
    }
}

async fn insert(target: &mut Endpoint, table: &Table, rows: Vec<Vec<Value>>) -> Result<()> {
    let (Some(first), Some(last)) = (rows.first(), rows.last()) else {
        return Ok(());
    };
    let between = format!(
        "write {} of the target, rows from {} to {}",
        table.name,
        table.key_of(first),
        table.key_of(last)
    );
    let sql = target.insert_sql(table, rows.len());
    write(target, table, sql, rows, between).await
}

async fn write(target: &mut Endpoint, table: &Table, sql: String, rows: Vec<Vec<Value>>, doing: String) -> Result<()> {
    let mut query = Query::new(target.engine(), sqlx::AssertSqlSafe(sql));
    for row in rows {
        for (column, value) in table.columns.iter().zip(row) {
            query = value
                .bind(query, column.target)
                .map_err(|fault| CopyError::Refused(format!("{doing}: a value of {} is {fault}", column.name)))?;
        }
    }
    target.execute(query).await.doing(|| doing)
}

async fn compare(
    source: &mut Endpoint,
    target: &mut Endpoint,
    tables: &[Table],
    report: &mut impl FnMut(Progress<'_>),
) -> Result<()> {
    for table in tables {
        report(Progress::Begun {
            table: &table.name,
            rows: source.count(table).await?,
            comparing: true,
        });
        let (rows, digest) = compare_table(source, target, table, report).await?;
        report(Progress::Same {
            table: &table.name,
            rows,
            digest,
        });
    }
    Ok(())
}

/// Reads both tables in the order of their keys.
async fn compare_table(
    source: &mut Endpoint,
    target: &mut Endpoint,
    table: &Table,
    report: &mut impl FnMut(Progress<'_>),
) -> Result<(u64, String)> {
    let mut there = source.rows(table);
    let mut here = target.rows(table);
    let mut digest = Digest::new();
    let mut count = 0;
    let different = |row: &[Value], fault: String| CopyError::Different {
        table: table.name.clone(),
        key: table.key_of(row),
        fault,
    };
    loop {
        let expected = there
            .next()
            .await
            .transpose()
            .doing(|| format!("read {} of the source", table.name))?;
        let found = here
            .next()
            .await
            .transpose()
            .doing(|| format!("read {} of the target", table.name))?;
        let (expected, found) = match (expected, found) {
            (None, None) => return Ok((count, digest.finish())),
            (Some(expected), None) => return Err(different(&expected, "missing in the target".to_owned())),
            (None, Some(found)) => return Err(different(&found, "in the target only".to_owned())),
            (Some(expected), Some(found)) => (expected, found),
        };
        match table.key_values(&expected).cmp(table.key_values(&found)) {
            std::cmp::Ordering::Less => return Err(different(&expected, "missing in the target".to_owned())),
            std::cmp::Ordering::Greater => return Err(different(&found, "in the target only".to_owned())),
            std::cmp::Ordering::Equal => {}
        }
        let mut wrong = Vec::new();
        for (column, (expected, found)) in table.columns.iter().zip(expected.iter().zip(&found)) {
            let expected_form = expected.canonical(column.is_json());
            if expected_form != found.canonical(column.is_json()) {
                wrong.push(column.name.as_str());
            }
            digest.add(&expected_form);
        }
        if !wrong.is_empty() {
            return Err(different(&expected, format!("not the same in {}", wrong.join(", "))));
        }
        count += 1;
        if count % 1_000 == 0 {
            report(Progress::Rows(count));
        }
    }
}
