//! Facts: the answers to the queries of a plan, for one user as of one timestamp.
//!
//! [`gather`] reads everything with one statement, for every plan; days and streaks are computed here, in the event's
//! time zone. Only `store` reads the database, the other files are pure. Must not know: HTTP, the sandbox, any feature
//! (features know facts).

mod calendar;
mod days;
mod instants;
pub mod kernel;
mod period;
mod plan;
mod snapshot;
mod store;

pub use calendar::{UnknownZone, Zone};
pub use instants::{Instants, NotYetKnown};
pub use kernel::TooLarge;
pub use period::Period;
pub use plan::{InvalidPlan, MAX_QUERIES, Plan, is_kind};
pub use snapshot::{BudgetUsage, GroupUsage, Rejection, Snapshot};

use uuid::Uuid;

use crate::clock::Timestamp;
use crate::db::{Db, DbError};

/// The user, the event and the instants of the facts.
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
    pub instants: Instants,
}

#[derive(Debug, thiserror::Error)]
pub enum FactError {
    #[error("There is no user {0}.")]
    NoSuchUser(Uuid),
    #[error(transparent)]
    TooLarge(#[from] TooLarge),
    #[error(transparent)]
    Db(#[from] DbError),
}

/// Reads the answers to the plan, and what every claim needs besides them, in one round trip.
pub async fn gather(db: &Db, context: &FactContext<'_>, plan: &Plan) -> Result<Snapshot, FactError> {
    let rows = store::read(db, context, plan.queries()).await?;
    Snapshot::from_rows(context, plan.queries(), rows)
}
