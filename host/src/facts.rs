//! Facts: the answers to the queries of a plan, for one user as of one timestamp.
//!
//! [`FactReader::gather`] reads everything with one statement, for every plan; days and streaks are computed here, in the
//! event's time zone. For users with many activities, `series` says what is maintained beside the log, `upkeep` keeps it true
//! and `builder` builds it. `compaction` deletes old activities that nothing asks for one by one. Only `store` reads the database. Must not know: HTTP, the sandbox, any feature (features know
//! facts).

mod builder;
mod calendar;
mod compacted;
mod compaction;
mod days;
mod instants;
pub mod kernel;
mod needs;
mod period;
mod plan;
mod seed;
mod series;
mod snapshot;
mod store;
mod upkeep;
mod verify;
mod words;

pub use builder::{Backlog, FactBuilder};
pub use calendar::{UnknownZone, Zone, time_zones};
pub use compacted::Compacted;
pub use compaction::{CompactedActivities, Compactor, compacted_of};
pub use instants::{Instants, NotYetKnown};
pub use kernel::TooLarge;
pub use needs::{NeedError, NeededBy, need, release};
pub use period::Period;
pub use plan::{InvalidPlan, MAX_QUERIES, Plan, is_kind};
pub use snapshot::{BudgetUsage, GroupUsage, Rejection, Snapshot};
pub use upkeep::{Entry, TooOld, forget};
pub use verify::{Checked, Difference, Which};

use std::sync::Arc;
use std::time::Duration;

use moka::sync::Cache;
use uuid::Uuid;

use self::store::{Horizons, Reading};
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
    #[error(
        "A sum of the plan is beyond the integers of the database. Narrow the window or the filters of its queries."
    )]
    Overflow,
    #[error(transparent)]
    Compacted(#[from] Compacted),
    #[error(transparent)]
    Db(#[from] DbError),
}

/// Reads facts. Cheap to clone; clones remember together which users have many activities.
#[derive(Clone, Debug)]
pub struct FactReader {
    db: Db,
    /// It is a hint: a user who is missing, or about whom it is wrong, costs a second round trip.
    known: Cache<Uuid, Arc<Known>>,
}

/// Why a user's facts are not read from the log alone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Known {
    has_many: bool,
    horizons: Horizons,
}

impl FactReader {
    pub fn new(db: Db) -> Self {
        let known = Cache::builder().time_to_live(Duration::from_mins(10));
        let known = known.max_capacity(100_000).build();
        Self { db, known }
    }

    /// Reads the answers to the plan, and what every claim needs besides them, in one round trip.
    pub async fn gather(&self, context: &FactContext<'_>, plan: &Plan) -> Result<Snapshot, FactError> {
        // What is maintained does not know when it was recorded.
        self.read(context, plan, context.instants.known_by.is_some()).await
    }

    /// As [`Self::gather`], from the log alone, as far as it is not compacted.
    pub async fn gather_from_log(&self, context: &FactContext<'_>, plan: &Plan) -> Result<Snapshot, FactError> {
        self.read(context, plan, true).await
    }

    /// The user may claim soon.
    fn expect_many(&self, user_id: Uuid) {
        let known = self.known.get(&user_id).unwrap_or_default();
        if !known.has_many {
            self.remember(user_id, true, known.horizons.clone());
        }
    }

    fn remember(&self, user_id: Uuid, has_many: bool, horizons: Horizons) -> Arc<Known> {
        let known = Arc::new(Known { has_many, horizons });
        self.known.insert(user_id, Arc::clone(&known));
        known
    }

    async fn read(&self, context: &FactContext<'_>, plan: &Plan, from_log: bool) -> Result<Snapshot, FactError> {
        let (user_id, queries) = (context.user_id, plan.queries());
        let mut known = self.known.get(&user_id).unwrap_or_default();
        let mut from_log = from_log;
        // Each turn knows more than the one before.
        loop {
            let reading = if from_log {
                Reading::Log
            } else if known.has_many || !known.horizons.is_empty() {
                Reading::Maintained
            } else {
                Reading::Bounded
            };
            let read = store::read(&self.db, context, queries, reading, &known.horizons).await;
            let rows = read.map_err(|error| {
                if error.is_out_of_range() {
                    FactError::Overflow
                } else {
                    error.into()
                }
            })?;
            let horizons = store::horizons(&rows);
            if horizons != known.horizons {
                known = self.remember(user_id, known.has_many, horizons);
            } else if reading == Reading::Bounded && store::is_cut_off(queries, &rows) {
                known = self.remember(user_id, true, horizons);
            } else if !from_log && store::has_later_invitee(&rows) {
                from_log = true;
            } else {
                return Snapshot::from_rows(context, queries, rows, &horizons);
            }
        }
    }
}
