//! Facts: the answers to the queries of a plan, for one user as of one timestamp.
//!
//! [`gather`] reads everything with one statement, for every plan; days and streaks are computed here, in the event's
//! time zone. Only `store` reads the database, the other files are pure. Must not know: HTTP, the sandbox, any feature
//! (features know facts).

mod calendar;
mod days;
mod period;
mod plan;
mod snapshot;
mod store;

pub use calendar::{UnknownZone, Zone};
pub use period::Period;
pub use plan::{InvalidPlan, MAX_QUERIES, Plan, is_kind};
pub use snapshot::{BudgetUsage, GroupUsage, Rejection, Snapshot};

use uuid::Uuid;

use crate::clock::Timestamp;
use crate::contract::MAX_INTEGER;
use crate::db::{Db, DbError};

/// The user, the event and the instant of the facts. Activities, attributes and grants after `now` do not count.
#[derive(Clone, Copy, Debug)]
pub struct FactContext<'a> {
    pub user_id: Uuid,
    pub event_id: Uuid,
    pub event_starts: Timestamp,
    pub zone: &'a Zone,
    pub period: Period,
    /// The period of the event's budget, if it has one.
    pub budget: Option<Period>,
    /// The group of the event, if it is in one.
    pub group: Option<&'a str>,
    pub now: Timestamp,
}

#[derive(Debug, thiserror::Error)]
pub enum FactError {
    #[error("There is no user {0}.")]
    NoSuchUser(Uuid),
    #[error(
        "The answer to query {query} is {value}, which is outside -{MAX_INTEGER} to {MAX_INTEGER}. Narrow the window or \
         the filters of the query."
    )]
    TooLarge { query: usize, value: i64 },
    #[error(transparent)]
    Db(#[from] DbError),
}

/// Reads the answers to the plan, and what every claim needs besides them, in one round trip.
pub async fn gather(db: &Db, context: &FactContext<'_>, plan: &Plan) -> Result<Snapshot, FactError> {
    let rows = store::read(db, context, plan.queries()).await?;
    Snapshot::from_rows(context, plan.queries(), rows)
}
