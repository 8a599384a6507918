//! Batched reads on PostgreSQL: reads with the same text that wait at the same time become one statement over a list.
//!
//! Starting and ending the statement of a frequent read costs the database more than answering it. A read that finds an
//! idle connection runs immediately and alone; reads that arrive meanwhile share a round trip ([`crate::batch`]).
//!
//! There are three lanes, each with its own connections, so that a read whose cost grows with one user's data delays no
//! others. Look-ups by a key have the first lane. Reads about a user have the second one and little time; a read that takes
//! longer is repeated alone, in the third lane, and so are all reads about this user for a while.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use moka::sync::Cache;
use sqlx::postgres::{PgConnectOptions, PgRow};
use sqlx::{AssertSqlSafe, Row as _};
use uuid::Uuid;

use super::connect::{ACQUIRE_TIMEOUT, READS_AT_ONCE};
use super::dedicated::{DedicatedConnections, Statement};
use super::{Db, DbError, Query, Result, Row};
use crate::batch::{Batches, Bounds, Job, Unanswered};

const BOUNDS: Bounds = Bounds {
    // The limit on requests in flight is far lower.
    waiting: 4096,
    // More than some dozens gain nothing, and each read waits for the slowest one.
    jobs: 64,
    bytes: 1 << 20,
    // Longer than one read takes.
    max_delay: Duration::from_millis(10),
};

/// How long a statement of the second lane may take, in the syntax of PostgreSQL. Nearly all take milliseconds.
const LIMIT: &str = "1s";

/// How long the reads about a user stay in the third lane.
const SLOW_FOR: Duration = Duration::from_mins(1);
const SLOW_USERS: u64 = 10_000;

/// A parameter of a batched read.
#[derive(Clone, Debug)]
enum Value {
    Id(Uuid),
    Number(i64),
    Text(String),
}

/// A read that may share a statement with others of the same text. Made by [`Db::batched_read`].
pub struct BatchedRead<'a> {
    db: &'a Db,
    sql: Cow<'static, str>,
    values: Vec<Value>,
    /// The user whose data the cost of the read grows with.
    user: Option<Uuid>,
}

impl Db {
    /// A `SELECT`, or several with `UNION ALL`, assembled from constant pieces. `sql` must not contain external values,
    /// and no `$` except in placeholders; it has at least one placeholder, and uses each of them.
    pub fn batched_read(&self, sql: impl Into<Cow<'static, str>>) -> BatchedRead<'_> {
        BatchedRead {
            db: self,
            sql: sql.into(),
            values: Vec::new(),
            user: None,
        }
    }
}

impl BatchedRead<'_> {
    /// The cost of the read grows with the data of this user, so it must not delay the reads of others.
    #[must_use]
    pub fn about(mut self, user: Uuid) -> Self {
        self.user = Some(user);
        self
    }

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
            return self.unbatched().fetch_all(self.db).await;
        };
        let read = Read {
            sql: self.sql,
            values: self.values,
        };
        let rows = match self.user {
            None => submit(&reads.0.keys, read).await,
            Some(user) => reads.about(user, read).await,
        };
        super::from_rows(&rows?)
    }

    fn unbatched(&self) -> Query {
        let query = self.db.query_assembled(self.sql.clone().into_owned());
        self.values.iter().cloned().fold(query, |query, value| match value {
            Value::Id(id) => query.bind(id),
            Value::Number(number) => query.bind(number),
            Value::Text(text) => query.bind(text),
        })
    }
}

/// The waiting reads and their connections. Cheap to clone.
#[derive(Clone)]
pub struct BatchedReads(Arc<Lanes>);

struct Lanes {
    keys: Batches<Read>,
    users: Batches<Read>,
    /// The connections of each lane.
    connections: [DedicatedConnections; 3],
    /// Users whose reads took too long.
    slow: Cache<Uuid, ()>,
}

impl std::fmt::Debug for BatchedReads {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("BatchedReads").field(&self.0.connections).finish()
    }
}

#[derive(Clone)]
struct Read {
    sql: Cow<'static, str>,
    values: Vec<Value>,
}

impl Job for Read {
    type Answer = Result<Vec<PgRow>>;

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
    pub(super) fn new(options: &PgConnectOptions) -> Self {
        let limited = options.clone().options([("statement_timeout", LIMIT)]);
        let keys = DedicatedConnections::new(options.clone(), 1);
        let users = DedicatedConnections::new(limited, READS_AT_ONCE);
        let batches = |connections: &DedicatedConnections, parallelism| {
            let on = connections.clone();
            Batches::new(parallelism, BOUNDS, move |batch| answer(on.clone(), batch))
        };
        Self(Arc::new(Lanes {
            keys: batches(&keys, 1),
            users: batches(&users, READS_AT_ONCE),
            connections: [keys, users, DedicatedConnections::new(options.clone(), 1)],
            slow: Cache::builder().time_to_live(SLOW_FOR).max_capacity(SLOW_USERS).build(),
        }))
    }

    pub(super) fn waiting(&self) -> usize {
        self.0.keys.waiting() + self.0.users.waiting()
    }

    pub(super) fn connections(&self) -> &[DedicatedConnections; 3] {
        &self.0.connections
    }

    async fn about(&self, user: Uuid, read: Read) -> Result<Vec<PgRow>> {
        if !self.0.slow.contains_key(&user) {
            let answered = submit(&self.0.users, read.clone()).await;
            if !answered.as_ref().is_err_and(DbError::is_statement_timeout) {
                return answered;
            }
            self.0.slow.insert(user, ());
        }
        // Boxed, because all claims carry this future and few need it.
        Box::pin(self.alone(read)).await
    }

    async fn alone(&self, read: Read) -> Result<Vec<PgRow>> {
        let [.., slow] = &self.0.connections;
        let rows = read_all(slow, &[read]).await?;
        Ok(rows.into_iter().flatten().collect())
    }
}

async fn submit(lane: &Batches<Read>, read: Read) -> Result<Vec<PgRow>> {
    lane.submit(read).await.unwrap_or_else(|unanswered| {
        Err(DbError::from(match unanswered {
            Unanswered::Full => sqlx::Error::PoolTimedOut,
            Unanswered::Lost => sqlx::Error::PoolClosed,
        }))
    })
}

async fn answer(connections: DedicatedConnections, batch: Vec<Read>) -> Vec<Result<Vec<PgRow>>> {
    match read_all(&connections, &batch).await {
        Ok(answers) => answers.into_iter().map(Ok).collect(),
        Err(error) if batch.len() > 1 && !error.is_outage() => {
            // One of them cannot be answered, for example because a sum overflows or it takes too long: the others still can.
            let mut answers = Vec::with_capacity(batch.len());
            for read in &batch {
                let alone = read_all(&connections, std::slice::from_ref(read)).await;
                answers.push(alone.map(|answers| answers.into_iter().flatten().collect()));
            }
            answers
        }
        Err(error) => batch.iter().map(|_| Err(error.clone())).collect(),
    }
}

/// The rows of each read. A lost connection is noticed when it is used; a read can be repeated.
async fn read_all(connections: &DedicatedConnections, batch: &[Read]) -> Result<Vec<Vec<PgRow>>> {
    let started = Instant::now();
    let mut rows = connections.run(statement(batch)).await;
    if rows.as_ref().is_err_and(DbError::is_outcome_unknown) && started.elapsed() < ACQUIRE_TIMEOUT {
        rows = connections.run(statement(batch)).await;
    }
    let mut answers: Vec<Vec<PgRow>> = batch.iter().map(|_| Vec::new()).collect();
    for row in rows? {
        let number: i64 = row.try_get(row.len() - 1).map_err(DbError::from)?;
        if let Some(answer) = usize::try_from(number - 1)
            .ok()
            .and_then(|index| answers.get_mut(index))
        {
            answer.push(row);
        }
    }
    Ok(answers)
}

/// A list for each parameter, with one item for each read; each row contains the number of its read.
#[expect(clippy::disallowed_methods, reason = "as in Query::new")]
fn statement(batch: &[Read]) -> Statement {
    let Some(first) = batch.first() else {
        return sqlx::query("SELECT 1 WHERE FALSE");
    };
    let types: Vec<String> = (1..)
        .zip(&first.values)
        .map(|(number, value)| format!("${number}::{}[]", value.type_name()))
        .collect();
    let columns: Vec<String> = (1..=first.values.len()).map(|number| format!("p{number}")).collect();
    let sql = format!(
        "SELECT answer.*, read.number AS read_number \
         FROM UNNEST({}) WITH ORDINALITY AS read ({}, number) CROSS JOIN LATERAL ({}) AS answer",
        types.join(", "),
        columns.join(", "),
        first.sql.replace('$', "read.p"),
    );
    (0..first.values.len()).fold(sqlx::query(AssertSqlSafe(sql)), |query, index| {
        let values = batch.iter().map(|read| &read.values[index]);
        match first.values[index] {
            Value::Id(_) => query.bind(values.filter_map(Value::id).collect::<Vec<Uuid>>()),
            Value::Number(_) => query.bind(values.filter_map(Value::number).collect::<Vec<i64>>()),
            Value::Text(_) => query.bind(
                values
                    .filter_map(Value::text)
                    .map(str::to_owned)
                    .collect::<Vec<String>>(),
            ),
        }
    })
}
