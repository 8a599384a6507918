//! Facts: the answers to the queries of a plan, for one user as of one timestamp.
//!
//! [`gather`] reads everything with one statement, for every plan; days and streaks are computed here, in the event's
//! time zone. For users with many activities, `series` says what is maintained beside the log, `upkeep` keeps it true
//! and `builder` builds it. Only `store` reads the database. Must not know: HTTP, the sandbox, any feature (features know
//! facts).

mod builder;
mod calendar;
mod days;
mod instants;
pub mod kernel;
mod needs;
mod period;
mod plan;
mod series;
mod snapshot;
mod store;
mod upkeep;
mod verify;
mod words;

pub use builder::{Backlog, FactBuilder};
pub use calendar::{UnknownZone, Zone, time_zones};
pub use instants::{Instants, NotYetKnown};
pub use kernel::TooLarge;
pub use needs::{need, release};
pub use period::Period;
pub use plan::{InvalidPlan, MAX_QUERIES, Plan, is_kind};
pub use snapshot::{BudgetUsage, GroupUsage, Rejection, Snapshot};
pub use upkeep::{Entry, forget, take_in};
pub use verify::{Checked, Difference, Which};

use std::sync::LazyLock;
use std::time::Duration;

use moka::sync::Cache;
use uuid::Uuid;

use self::store::Reading;
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

/// Users whose facts are not read from the log alone. It is a hint: a user who is missing costs a second round trip.
static LARGE: LazyLock<Cache<Uuid, ()>> = LazyLock::new(|| {
    let cache = Cache::builder().time_to_live(Duration::from_mins(10));
    cache.max_capacity(100_000).build()
});

/// Reads the answers to the plan, and what every claim needs besides them, in one round trip.
pub async fn gather(db: &Db, context: &FactContext<'_>, plan: &Plan) -> Result<Snapshot, FactError> {
    let queries = plan.queries();
    // What is maintained does not know when it was recorded.
    if context.instants.known_by.is_some() {
        return gather_from_log(db, context, plan).await;
    }
    if !LARGE.contains_key(&context.user_id) {
        let rows = store::read(db, context, queries, Reading::Bounded).await?;
        if !store::is_cut_off(queries, &rows) {
            return Snapshot::from_rows(context, queries, rows);
        }
        LARGE.insert(context.user_id, ());
    }
    let rows = store::read(db, context, queries, Reading::Maintained).await?;
    Snapshot::from_rows(context, queries, rows)
}

/// As [`gather`], from the log alone.
pub async fn gather_from_log(db: &Db, context: &FactContext<'_>, plan: &Plan) -> Result<Snapshot, FactError> {
    let rows = store::read(db, context, plan.queries(), Reading::Log).await?;
    Snapshot::from_rows(context, plan.queries(), rows)
}
