//! Statements over whole sets of rows, on PostgreSQL: one round trip writes what many are waiting for.
//!
//! Each runs and commits by itself, in lanes that nothing else uses, so that commits never queue behind reads.

use std::borrow::Cow;

use sqlx::postgres::{PgHasArrayType, PgRow};
use sqlx::{AssertSqlSafe, Encode, FromRow, Postgres, Type};

use super::lanes::{Lanes, Statement};
use super::{Db, Result, mutated};

/// How many set statements one process runs at the same time, and how many connections it keeps for them.
///
/// While one waits for the disk another collects its rows; with more, sets get smaller and meet at the same locks.
pub const BULK_CONNECTIONS: u32 = 2;

/// A statement whose parameters are lists.
pub struct BulkStatement {
    lanes: Lanes,
    query: Statement,
}

impl Db {
    /// `None` on SQLite, whose one writer writes row by row.
    #[expect(clippy::disallowed_methods, reason = "as in Query::new")]
    ///
    /// `sql` may be put together from constant pieces; it must hold no value from outside.
    pub fn bulk(&self, sql: impl Into<Cow<'static, str>>) -> Option<BulkStatement> {
        match self {
            Self::Sqlite { .. } => None,
            Self::Postgres { sets, .. } => Some(BulkStatement {
                lanes: sets.clone(),
                query: sqlx::query(mutated(AssertSqlSafe(sql.into().into_owned()))),
            }),
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
        let rows = self.lanes.run(self.query).await?;
        Ok(rows.iter().map(R::from_row).collect::<std::result::Result<_, _>>()?)
    }
}
