//! What a condition is told: the queries of a plan, answered for one user as of one instant.
//!
//! [`gather`] asks the database once, whatever the plan holds; days and streaks are computed here, in the event's zone.
//! Everything but `store.rs` is pure. Must not know: HTTP, the sandbox, any feature (features know facts).

mod calendar;
mod days;
mod period;
mod plan;
mod snapshot;
mod store;

pub use calendar::{UnknownZone, Zone};
pub use period::Period;
pub use plan::{InvalidPlan, MAX_QUERIES, Plan, is_kind};
pub use snapshot::{Snapshot, Spent};

use uuid::Uuid;

use crate::clock::Timestamp;
use crate::contract::MAX_INTEGER;
use crate::db::{Db, DbError};

/// Who asks, about which event, and when. Nothing that happened after `now` counts, so a past `now` is answered as it
/// would have been answered then, as far as the log knew.
#[derive(Clone, Copy, Debug)]
pub struct Asker<'a> {
    pub user_id: Uuid,
    pub event_id: Uuid,
    pub event_starts: Timestamp,
    pub zone: &'a Zone,
    pub period: Period,
    /// The period of the event's budget, if it has one.
    pub budget: Option<Period>,
    pub now: Timestamp,
}

#[derive(Debug, thiserror::Error)]
pub enum FactError {
    #[error("There is no user {0}.")]
    NoSuchUser(Uuid),
    #[error(
        "The answer to query {query} is {value}, beyond plus or minus {MAX_INTEGER}; narrow its window or filters."
    )]
    TooLarge { query: usize, value: i64 },
    #[error(transparent)]
    Db(#[from] DbError),
}

/// Answers the plan, and what a claim needs besides, in one round trip.
pub async fn gather(db: &Db, asker: &Asker<'_>, plan: &Plan) -> Result<Snapshot, FactError> {
    let answers = store::answers(db, asker, plan.queries()).await?;
    Snapshot::of(asker, plan.queries(), answers)
}
