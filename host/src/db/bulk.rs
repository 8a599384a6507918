//! Bulk statements on PostgreSQL: their parameters are lists, so that one round trip writes many rows.
//!
//! Each statement runs and commits separately, on connections that nothing else uses, so that commits never queue
//! behind reads. SQLite has one writer, which writes row by row.

use std::borrow::Cow;

use sqlx::postgres::{PgHasArrayType, PgRow};
use sqlx::{AssertSqlSafe, Encode, FromRow, Postgres, Type};

use super::dedicated::{DedicatedConnections, Statement};
use super::{Result, mutated};

/// How many bulk statements one process runs at the same time, and how many connections it keeps for them.
///
/// While one waits for the disk, another collects its rows. With more statements, batches get smaller and wait for the
/// same locks.
pub const BULK_CONNECTIONS: u32 = 2;

/// The connections for bulk statements. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Bulk(DedicatedConnections);

/// A statement whose parameters are lists.
pub struct BulkStatement {
    connections: DedicatedConnections,
    query: Statement,
}

impl Bulk {
    pub(super) fn new(connections: DedicatedConnections) -> Self {
        Self(connections)
    }

    pub(super) fn connections(&self) -> &DedicatedConnections {
        &self.0
    }

    /// `sql` may be assembled from constant pieces. It must not contain external values; bind them.
    #[expect(clippy::disallowed_methods, reason = "as in Query::new")]
    pub fn statement(&self, sql: impl Into<Cow<'static, str>>) -> BulkStatement {
        BulkStatement {
            connections: self.0.clone(),
            query: sqlx::query(mutated(AssertSqlSafe(sql.into().into_owned()))),
        }
    }
}

impl BulkStatement {
    /// Binds a list to the next placeholder.
    #[must_use]
    pub fn each<T>(self, values: impl IntoIterator<Item = T>) -> Self
    where
        T: PgHasArrayType + Encode<'static, Postgres> + Type<Postgres> + Send + 'static,
    {
        let values: Vec<T> = values.into_iter().collect();
        Self {
            query: self.query.bind(values),
            ..self
        }
    }

    pub async fn fetch_all<R: for<'r> FromRow<'r, PgRow>>(self) -> Result<Vec<R>> {
        let rows = self.connections.run(self.query).await?;
        Ok(rows.iter().map(R::from_row).collect::<std::result::Result<_, _>>()?)
    }
}
