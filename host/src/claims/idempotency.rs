//! The Idempotency-Key of a claim and the response that is stored under it.

use uuid::Uuid;

use std::sync::Arc;
use std::time::Duration;

use super::error::ClaimError;
use super::model::{ClaimAnswer, ClaimInput, IdempotencyKey};
use super::store::{StoredResponse, Writer, queue, responses};
use crate::backoff;
use crate::batch::{Batches, Bounds, Job};
use crate::clock::Clock;
use crate::db::{Db, DbError};

const BOUNDS: Bounds = Bounds {
    waiting: 4096,
    jobs: 256,
    bytes: 1 << 20,
    // Longer than one write takes.
    max_delay: Duration::from_millis(10),
};

/// Expired responses that one transaction of a sweep deletes.
const SWEEP_BATCH: i64 = 500;

/// A digest of what the claim asks for: the same on `/reward-requests` and `/events/requests`.
pub(super) fn fingerprint(event_id: Uuid) -> Vec<u8> {
    let asked = format!("claim\n{event_id}");
    aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, asked.as_bytes())
        .as_ref()
        .to_vec()
}

/// The response that an earlier claim under the same key got. A claim without a key costs no database access.
pub(super) async fn find_response(db: &Db, claim: &ClaimInput) -> Result<Option<ClaimAnswer>, ClaimError> {
    let Some(key) = claim.key.as_ref().map(IdempotencyKey::as_str) else {
        return Ok(None);
    };
    loop {
        let Some(stored) = responses::find(db, claim.user_id, key.to_owned()).await? else {
            return Ok(None);
        };
        if stored.expires_at.is_some_and(|at| at <= claim.received_at) {
            let mut tx = db.begin().await?;
            responses::delete_if_expired(&mut tx, claim.user_id, key.to_owned(), claim.received_at).await?;
            tx.commit().await?;
            return Ok(None);
        }
        if stored.fingerprint != fingerprint(claim.event_id) {
            return Err(ClaimError::KeyReused(key.to_owned()));
        }
        let request_id = stored.request_id;
        if let Some(response) = stored.response {
            return Ok(Some(ClaimAnswer::Replayed { request_id, response }));
        }
        if let Some(row) = queue::find(db, request_id).await? {
            return Ok(Some(ClaimAnswer::Pending(Box::new(row.into()))));
        }
        // The pending claim was decided meanwhile: now its response is stored, or, if it FAILED, none is.
    }
}

impl Job for StoredResponse {
    type Answer = Result<bool, DbError>;

    fn is_compatible(&self, _first: &Self) -> bool {
        true
    }

    fn bytes(&self) -> usize {
        self.response.len()
    }
}

/// Stores responses that name an earlier request, those that wait at the same time together. A commit stores the response
/// to its own request. Cheap to clone.
#[derive(Clone)]
pub(super) struct Responses(Arc<Batches<StoredResponse>>);

impl Responses {
    pub(super) fn new(db: &Db, clock: &Clock) -> Self {
        let (writer, clock) = (Writer::new(db), clock.clone());
        let work = move |batch| store(writer.clone(), clock.clone(), batch);
        // One at a time, so that a connection is left for commits.
        Self(Arc::new(Batches::new(1, BOUNDS, work)))
    }

    /// `false`: the key has a response, perhaps this one, or the request was deleted.
    pub(super) async fn store(&self, response: StoredResponse) -> Result<bool, ClaimError> {
        Ok(self.0.submit(response).await??)
    }
}

async fn store(writer: Writer, clock: Clock, batch: Vec<StoredResponse>) -> Vec<Result<bool, DbError>> {
    // The write is idempotent, so an attempt with an unknown outcome is repeated.
    let is_transient = |error: &DbError| error.is_conflict() || error.is_outcome_unknown();
    let insert = || responses::insert(&writer, &batch);
    let stored = backoff::retry(&clock, backoff::RETRIES, is_transient, insert).await;
    let outcome = |row: &StoredResponse| match &stored {
        Ok(stored) => Ok(stored.contains(&(row.user_id, row.key.clone(), row.request_id))),
        Err(error) => Err(error.clone()),
    };
    batch.iter().map(outcome).collect()
}

/// Deletes the expired responses and returns their number. It works in short transactions: on SQLite every other writer
/// waits for one, and PostgreSQL cancels a statement that exceeds its time-out.
pub(super) async fn sweep(db: &Db, clock: &Clock) -> Result<u64, ClaimError> {
    let now = clock.now();
    let mut deleted = 0;
    loop {
        let mut tx = db.begin().await?;
        let batch = responses::delete_expired(&mut tx, now, SWEEP_BATCH).await?;
        tx.commit().await?;
        deleted += batch;
        if batch < SWEEP_BATCH.unsigned_abs() {
            return Ok(deleted);
        }
    }
}
