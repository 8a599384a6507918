//! Reads that wait together are made together: on PostgreSQL, statements of one text become one statement over a list.
//!
//! What everybody asks of the database costs it more to begin and to end than to answer. So a read that finds a lane idle
//! runs at once and alone, and those that arrive meanwhile share a round trip ([`crate::batch`]).

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, Row as _};
use tokio::sync::oneshot;
use uuid::Uuid;

use super::connect::ACQUIRE_TIMEOUT;
use super::lanes::{Lanes, Statement};
use super::{Db, DbError, Query, Result, Row};
use crate::batch::{Batches, Bounds, Job};

const BOUNDS: Bounds = Bounds {
    // Requests in flight are bounded, so it never gets there.
    waiting: 4096,
    // Beyond some dozens nothing is gained, and everyone waits for the slowest.
    jobs: 64,
    bytes: 1 << 20,
    // Longer than one takes.
    max_delay: Duration::from_millis(10),
};

/// A value that a joint read is given.
#[derive(Clone, Debug)]
enum Value {
    Id(Uuid),
    Number(i64),
    Text(String),
}

/// A read that may be made together with others of the same text. Made by [`Db::joint`].
pub struct BatchedRead<'a> {
    db: &'a Db,
    sql: Cow<'static, str>,
    values: Vec<Value>,
}

impl Db {
    /// A `SELECT`, or several with `UNION ALL`, put together from constant pieces: `sql` must hold no value from outside,
    /// and no `$` that is no placeholder. It has at least one parameter, and each has a place in it.
    pub fn batched_read(&self, sql: impl Into<Cow<'static, str>>) -> BatchedRead<'_> {
        BatchedRead {
            db: self,
            sql: sql.into(),
            values: Vec::new(),
        }
    }
}

impl BatchedRead<'_> {
    #[must_use]
    pub fn id(mut self, id: Uuid) -> Self {
        self.values.push(Value::Id(id));
        self
    }

    #[must_use]
    pub fn number(mut self, number: i64) -> Self {
        self.values.push(Value::Number(number));
        self
    }

    #[must_use]
    pub fn text(mut self, text: String) -> Self {
        self.values.push(Value::Text(text));
        self
    }

    pub async fn fetch_optional<R: Row>(self) -> Result<Option<R>> {
        Ok(self.fetch_all().await?.into_iter().next())
    }

    pub async fn fetch_all<R: Row>(self) -> Result<Vec<R>> {
        let Db::Postgres { reads, .. } = self.db else {
            return self.alone().fetch_all(self.db).await;
        };
        let rows = reads.ask(self.sql, self.values).await?;
        super::from_rows(&rows)
    }

    fn alone(&self) -> Query {
        let query = self.db.query_assembled(self.sql.clone().into_owned());
        self.values.iter().cloned().fold(query, |query, value| match value {
            Value::Id(id) => query.bind(id),
            Value::Number(number) => query.bind(number),
            Value::Text(text) => query.bind(text),
        })
    }
}

/// Where reads wait. Cheap to clone.
#[derive(Clone)]
pub struct BatchedReads {
    asked: Arc<Batches<Asked>>,
    lanes: Lanes,
}

impl std::fmt::Debug for BatchedReads {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("BatchedReads").field(&self.lanes).finish()
    }
}

struct Asked {
    sql: Cow<'static, str>,
    values: Vec<Value>,
    answer: oneshot::Sender<Result<Vec<PgRow>>>,
}

impl Job for Asked {
    fn is_compatible(&self, first: &Self) -> bool {
        self.sql == first.sql && std::iter::zip(&self.values, &first.values).all(|(a, b)| a.is_like(b))
    }

    fn bytes(&self) -> usize {
        self.values.iter().map(Value::bytes).sum()
    }
}

impl Value {
    fn is_like(&self, other: &Self) -> bool {
        std::mem::discriminant(self) == std::mem::discriminant(other)
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Id(_) | Self::Number(_) => 16,
            Self::Text(text) => text.len(),
        }
    }

    fn type_name(&self) -> &'static str {
        match self {
            Self::Id(_) => "UUID",
            Self::Number(_) => "BIGINT",
            Self::Text(_) => "TEXT",
        }
    }

    fn id(&self) -> Option<Uuid> {
        match self {
            Self::Id(id) => Some(*id),
            _ => None,
        }
    }

    fn number(&self) -> Option<i64> {
        match self {
            Self::Number(number) => Some(*number),
            _ => None,
        }
    }

    fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }
}

impl BatchedReads {
    pub(super) fn new(lanes: Lanes, at_once: u32) -> Self {
        let on = lanes.clone();
        let asked = Batches::new(at_once, BOUNDS, move |batch| answer(on.clone(), batch));
        Self {
            asked: Arc::new(asked),
            lanes,
        }
    }

    pub(super) fn waiting(&self) -> usize {
        self.asked.waiting()
    }

    pub(super) fn lanes(&self) -> &Lanes {
        &self.lanes
    }

    async fn ask(&self, sql: Cow<'static, str>, values: Vec<Value>) -> Result<Vec<PgRow>> {
        let (answer, answered) = oneshot::channel();
        let asked = Asked { sql, values, answer };
        if self.asked.push(asked).is_err() {
            return Err(sqlx::Error::PoolTimedOut.into());
        }
        answered.await.unwrap_or_else(|_| Err(sqlx::Error::PoolClosed.into()))
    }
}

async fn answer(lanes: Lanes, mut batch: Vec<Asked>) {
    // Whoever asked may have gone meanwhile.
    batch.retain(|asked| !asked.answer.is_closed());
    if batch.is_empty() {
        return;
    }
    match ask_for_all(&lanes, &batch).await {
        Ok(shares) => {
            for (asked, rows) in batch.into_iter().zip(shares) {
                asked.answer.send(Ok(rows)).ok();
            }
        }
        Err(error) if batch.len() > 1 && !error.is_unavailable() => {
            // One of them cannot be answered, for example because a sum is too large: that is no fault of the others.
            for asked in batch {
                let shares = ask_for_all(&lanes, std::slice::from_ref(&asked)).await;
                asked
                    .answer
                    .send(shares.map(|shares| shares.into_iter().flatten().collect()))
                    .ok();
            }
        }
        Err(error) => {
            for asked in batch {
                asked.answer.send(Err(error.clone())).ok();
            }
        }
    }
}

/// The rows of each. A connection that was lost is found out when it is used, and reading again harms nobody.
async fn ask_for_all(lanes: &Lanes, batch: &[Asked]) -> Result<Vec<Vec<PgRow>>> {
    let began = Instant::now();
    let mut rows = lanes.run(statement(batch)).await;
    if rows.as_ref().is_err_and(DbError::is_outcome_unknown) && began.elapsed() < ACQUIRE_TIMEOUT {
        rows = lanes.run(statement(batch)).await;
    }
    let mut shares: Vec<Vec<PgRow>> = batch.iter().map(|_| Vec::new()).collect();
    for row in rows? {
        let asker: i64 = row.try_get(row.len() - 1).map_err(DbError::from)?;
        if let Some(share) = usize::try_from(asker - 1).ok().and_then(|asker| shares.get_mut(asker)) {
            share.push(row);
        }
    }
    Ok(shares)
}

/// One column for each parameter and one row for each asker, whose number comes back with the rows of the answer.
#[expect(clippy::disallowed_methods, reason = "as in Query::new")]
fn statement(batch: &[Asked]) -> Statement {
    let Some(first) = batch.first() else {
        return sqlx::query("SELECT 1 WHERE FALSE");
    };
    let types: Vec<String> = (1..)
        .zip(&first.values)
        .map(|(place, value)| format!("${place}::{}[]", value.type_name()))
        .collect();
    let columns: Vec<String> = (1..=first.values.len()).map(|place| format!("p{place}")).collect();
    let sql = format!(
        "SELECT answer.*, asker.number AS asker_number \
         FROM UNNEST({}) WITH ORDINALITY AS asker ({}, number) CROSS JOIN LATERAL ({}) AS answer",
        types.join(", "),
        columns.join(", "),
        first.sql.replace('$', "asker.p"),
    );
    (0..first.values.len()).fold(sqlx::query(AssertSqlSafe(sql)), |query, place| {
        let column = batch.iter().map(|asked| &asked.values[place]);
        match first.values[place] {
            Value::Id(_) => query.bind(column.filter_map(Value::id).collect::<Vec<Uuid>>()),
            Value::Number(_) => query.bind(column.filter_map(Value::number).collect::<Vec<i64>>()),
            Value::Text(_) => query.bind(
                column
                    .filter_map(Value::text)
                    .map(str::to_owned)
                    .collect::<Vec<String>>(),
            ),
        }
    })
}
