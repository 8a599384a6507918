//! Who may say what became of a grant, and whose word counts.
//!
//! ```text
//!             2xx                       acknowledged
//! PENDING ──────────► DELIVERED       (whatever it was) ──────► DELIVERED or FAILED
//!    │                   ▲            from then on only another acknowledgement changes it
//!    │ parked            │ 2xx
//!    └─────► FAILED ─────┘
//! ```
//!
//! One endpoint that took the grant is enough, however many others failed. Taking a grant back changes nothing here: what
//! has reached its user did so, and must be fetched back or written off.

use std::collections::HashMap;

use serde_json::Value;
use uuid::Uuid;

use super::model::{Acknowledgement, FulfilmentState, Said};
use super::store::{self, Row};
use crate::clock::{Clock, Timestamp};
use crate::db::{Db, DbError, Run, Tx};
use crate::outbox::{self, Told};

/// The last word of a webhook endpoint about a message: it took it, or every try failed.
#[derive(Clone, Copy, Debug)]
pub struct Answer<'a> {
    pub told: &'a Told,
    /// Why the last try failed; `None`: it took the message.
    pub failure: Option<&'a str>,
}

/// How many fulfilments changed to which state: for the metrics, once it is committed.
#[must_use]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Answered {
    pub delivered: u64,
    pub failed: u64,
}

impl Answered {
    pub fn count(self) {
        for (state, count) in [
            (FulfilmentState::Delivered, self.delivered),
            (FulfilmentState::Failed, self.failed),
        ] {
            if count > 0 {
                metrics::counter!("meed_fulfilments_total", "state" => state.as_str()).increment(count);
            }
        }
    }
}

/// Wired by `app`; cheap to clone.
#[derive(Clone)]
pub struct FulfilmentService {
    db: Db,
    clock: Clock,
}

impl FulfilmentService {
    pub fn new(db: Db, clock: Clock) -> Self {
        Self { db, clock }
    }

    /// Takes note of what an endpoint that acknowledges answered. Part of the caller's transaction. Messages that grant
    /// nothing are nothing to it.
    pub async fn answered(
        &self,
        tx: &mut Tx,
        endpoint_id: Uuid,
        answers: &[Answer<'_>],
        now: Timestamp,
    ) -> Result<Answered, DbError> {
        let mut rows: Vec<Row> = answers
            .iter()
            .filter(|answer| answer.told.kind == outbox::REWARD_GRANTED)
            .flat_map(|answer| grant_ids(answer.told).map(|grant_id| row_of(endpoint_id, answer, grant_id, now)))
            .collect();
        // One order for all, so that two endpoints that answer about the same grants do not wait for each other.
        rows.sort_unstable_by_key(|row| row.grant_id);
        let inserted = store::insert(&self.db, tx, &rows).await?;
        let of = |state: FulfilmentState| inserted.iter().filter(|inserted| **inserted == state).count() as u64;
        let mut answered = Answered {
            delivered: of(FulfilmentState::Delivered),
            failed: of(FulfilmentState::Failed),
        };
        rows.retain(|row| row.state == FulfilmentState::Delivered);
        if answered.delivered < rows.len() as u64 {
            let ids: Vec<Uuid> = rows.iter().map(|row| row.grant_id).collect();
            answered.delivered += store::deliver_failed(&self.db, tx, &ids, endpoint_id, now).await?;
        }
        Ok(answered)
    }

    /// Takes somebody's word for what became of a grant. The same again changes nothing, so that it can be repeated.
    pub async fn acknowledge(
        &self,
        grant_id: Uuid,
        acknowledgement: Acknowledgement,
        by: Uuid,
    ) -> Result<Said, DbError> {
        let row = Row {
            grant_id,
            state: acknowledgement.state,
            changed_at: self.clock.now(),
            acknowledged_by: Some(by),
            endpoint_id: None,
            reason: acknowledgement.reason,
            reference: acknowledgement.reference,
            error: None,
        };
        let mut tx = self.db.begin().await?;
        let is_changed = store::acknowledge(&mut tx, &row).await?;
        let said = store::find(&mut tx, grant_id).await?;
        tx.commit().await?;
        if is_changed {
            metrics::counter!("meed_fulfilments_total", "state" => row.state.as_str()).increment(1);
            tracing::info!(
                grant.id = %grant_id, fulfilment.state = %row.state, user.id = %by, "fulfilment acknowledged"
            );
        }
        Ok(said.unwrap_or(row).into())
    }

    /// What was said of these grants; those that are not in it are PENDING.
    pub async fn of(&self, on: impl Run, grant_ids: &[Uuid]) -> Result<HashMap<Uuid, Said>, DbError> {
        let rows = store::of(&self.db, on, grant_ids).await?;
        Ok(rows.into_iter().map(|row| (row.grant_id, row.into())).collect())
    }
}

fn row_of(endpoint_id: Uuid, answer: &Answer<'_>, grant_id: Uuid, now: Timestamp) -> Row {
    Row {
        grant_id,
        state: match answer.failure {
            None => FulfilmentState::Delivered,
            Some(_) => FulfilmentState::Failed,
        },
        changed_at: now,
        acknowledged_by: None,
        endpoint_id: Some(endpoint_id),
        reason: None,
        reference: None,
        error: answer.failure.map(str::to_owned),
    }
}

fn grant_ids(told: &Told) -> impl Iterator<Item = Uuid> + '_ {
    let grants = told.payload.0.get("grants").and_then(Value::as_array);
    grants
        .into_iter()
        .flatten()
        .filter_map(|grant| grant.get("id")?.as_str()?.parse().ok())
}
