//! The state of a fulfilment: whether a grant has reached its user, and who may report that.
//!
//! ```text
//!             2xx                       acknowledged
//! PENDING ──────────► DELIVERED       (any state) ──────► DELIVERED or FAILED
//!    │                   ▲            only another acknowledgement changes it afterwards
//!    │ parked            │ 2xx
//!    └─────► FAILED ─────┘
//! ```
//!
//! One endpoint that accepted the grant is enough, however many others failed. A reversal changes nothing here: a reward
//! that has reached its user must be recovered or written off elsewhere.

use std::collections::HashMap;

use serde_json::Value;
use uuid::Uuid;

use super::model::{Acknowledgement, FulfilmentState, ReportedFulfilment};
use super::store::{self, GrantKey, Row};
use crate::audit::{self, Entry};
use crate::clock::{Clock, Timestamp};
use crate::db::{Db, DbError, Executor, Tx};
use crate::outbox::{self, OutboxMessage};

/// A webhook endpoint's final answer about a message: it accepted the message, or every attempt failed.
#[derive(Clone, Copy, Debug)]
pub struct Answer<'a> {
    pub message: &'a OutboxMessage,
    /// Why the last attempt failed; `None`: the endpoint accepted the message.
    pub failure: Option<&'a str>,
}

/// How many fulfilments changed to each state. Counted in the metrics after the commit.
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
                metrics::counter!("meed_fulfilments_total", "state" => state.to_string()).increment(count);
            }
        }
    }
}

/// Wired by `app`; cheap to clone.
#[derive(Clone)]
pub struct FulfilmentService {
    pub(super) db: Db,
    clock: Clock,
}

impl FulfilmentService {
    pub fn new(db: Db, clock: Clock) -> Self {
        Self { db, clock }
    }

    /// Records the answers of an endpoint that acknowledges. Part of the caller's transaction. Messages other than
    /// `reward.granted` are ignored.
    pub async fn answered(
        &self,
        tx: &mut Tx,
        endpoint_id: Uuid,
        answers: &[Answer<'_>],
        now: Timestamp,
    ) -> Result<Answered, DbError> {
        let mut rows: Vec<Row> = answers
            .iter()
            .filter(|answer| answer.message.kind == outbox::REWARD_GRANTED)
            .flat_map(|answer| grants(answer.message).map(|grant| row_of(endpoint_id, answer, grant, now)))
            .collect();
        // Always in this order, so that two endpoints with the same grants cannot deadlock.
        rows.sort_unstable_by_key(|row| (row.user_id, row.grant_id));
        let inserted = store::insert(&self.db, tx, &rows).await?;
        let all: Vec<GrantKey> = rows.iter().map(|row| (row.user_id, row.grant_id)).collect();
        let of = |state: FulfilmentState| inserted.iter().filter(|inserted| **inserted == state).count() as u64;
        let mut answered = Answered {
            delivered: of(FulfilmentState::Delivered),
            failed: of(FulfilmentState::Failed),
        };
        rows.retain(|row| row.state == FulfilmentState::Delivered);
        if answered.delivered < rows.len() as u64 {
            let grants: Vec<GrantKey> = rows.iter().map(|row| (row.user_id, row.grant_id)).collect();
            answered.delivered += store::deliver_failed(&self.db, tx, &grants, endpoint_id, now).await?;
        }
        store::copy_to_grants(&self.db, tx, &all).await?;
        Ok(answered)
    }

    /// Sets the state of a grant's fulfilment. Idempotent.
    pub async fn acknowledge(
        &self,
        (user_id, grant_id): GrantKey,
        acknowledgement: Acknowledgement,
        by: Uuid,
    ) -> Result<ReportedFulfilment, DbError> {
        let row = Row {
            user_id,
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
        let before = store::find(&mut tx, (user_id, grant_id)).await?;
        let is_changed = store::acknowledge(&mut tx, &row).await?;
        store::copy_to_grants(&self.db, &mut tx, &[(user_id, grant_id)]).await?;
        let said = store::find(&mut tx, (user_id, grant_id)).await?;
        if is_changed {
            let before = before.map_or(FulfilmentState::Pending, |before| before.state);
            let entry = Entry::about("grant", &grant_id)
                .field("fulfilment", before, row.state)
                .field("reason", None::<String>, &row.reason)
                .field("reference", None::<String>, &row.reference);
            audit::record(&mut tx, &self.clock, entry).await?;
        }
        tx.commit().await?;
        if is_changed {
            metrics::counter!("meed_fulfilments_total", "state" => row.state.to_string()).increment(1);
            tracing::info!(
                grant.id = %grant_id, fulfilment.state = %row.state, principal.id = %by, "fulfilment acknowledged"
            );
        }
        Ok(said.unwrap_or(row).into())
    }

    /// The fulfilments of these grants; those that are missing are PENDING.
    pub async fn of(
        &self,
        on: impl Executor,
        grants: &[GrantKey],
    ) -> Result<HashMap<Uuid, ReportedFulfilment>, DbError> {
        let rows = store::of(&self.db, on, grants).await?;
        Ok(rows.into_iter().map(|row| (row.grant_id, row.into())).collect())
    }
}

fn row_of(endpoint_id: Uuid, answer: &Answer<'_>, (user_id, grant_id): GrantKey, now: Timestamp) -> Row {
    Row {
        user_id,
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

fn grants(message: &OutboxMessage) -> impl Iterator<Item = GrantKey> + '_ {
    let grants = message.payload.0.get("grants").and_then(Value::as_array);
    grants
        .into_iter()
        .flatten()
        .filter_map(|grant| Some((message.user_id?, grant.get("id")?.as_str()?.parse().ok()?)))
}
