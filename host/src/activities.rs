//! What users did: typed, time-stamped, append-only.

use std::collections::BTreeMap;

use uuid::Uuid;

use crate::clock::{Clock, Instant};
use crate::db::{DbError, Json, Tx};
use crate::http::Problem;

/// An activity that Meed itself saw.
#[derive(Clone, Debug)]
pub struct OwnActivity {
    pub user_id: Uuid,
    pub kind: &'static str,
    /// Recording the same id again records nothing.
    pub source_id: String,
    pub occurred_at: Instant,
    pub attributes: BTreeMap<String, String>,
}

#[derive(Debug, thiserror::Error)]
pub enum ActivityError {
    #[error(transparent)]
    Db(#[from] DbError),
}

impl From<ActivityError> for Problem {
    fn from(ActivityError::Db(error): ActivityError) -> Self {
        error.into()
    }
}

#[derive(Clone, Debug)]
pub struct ActivityService {
    clock: Clock,
}

impl ActivityService {
    pub fn new(clock: Clock) -> Self {
        Self { clock }
    }

    /// Records what Meed saw itself. Part of the caller's transaction.
    pub async fn record_own(&self, tx: &mut Tx, activity: OwnActivity) -> Result<(), ActivityError> {
        const SQL: &str = "INSERT INTO activities \
            (id, source, source_id, user_id, kind, amount, attributes, occurred_at, recorded_at) \
            VALUES ($1, 'meed', $2, $3, $4, NULL, $5, $6, $7) ON CONFLICT (source, source_id) DO NOTHING";
        tx.query(SQL)
            .bind(self.clock.new_id())
            .bind(activity.source_id)
            .bind(activity.user_id)
            .bind(activity.kind)
            .bind(Json(activity.attributes))
            .bind(activity.occurred_at)
            .bind(self.clock.now())
            .execute(tx)
            .await?;
        Ok(())
    }
}
