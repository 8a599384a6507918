//! Group commit: claims that are decided at the same time are written together, and wait for the disk together.
//!
//! Each claim is written whole or not at all, and a claim that cannot be written does not stop the others of its batch.
//! Must not know: how a claim was decided, and who waits for it.

mod postgres;
mod sqlite;

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::error::ClaimError;
use super::logged::REQUEST;
use super::receipt::seal;
use super::store::{self, CommitOutcome, CommitRecord, Writer, commit_rows};
use crate::backoff;
use crate::batch::{Batches, Bounds, Job};
use crate::clock::Clock;
use crate::db::{Db, DbError};
use crate::events::EventService;
use crate::keys::Keyring;
use crate::mutations;
use crate::rewards::RewardService;
use crate::sandbox::Digest;
use crate::transparency;

const BOUNDS: Bounds = Bounds {
    // At some kilobytes each this bounds the memory of an overload.
    waiting: 4096,
    // Beyond some hundreds a larger batch gains nothing, and each of its claims waits longer.
    jobs: 256,
    bytes: 4 << 20,
    // Longer than one commit takes; a lock of another transaction may delay one for seconds.
    max_delay: Duration::from_millis(10),
};

/// Writes batches of commit records. Cheap to clone.
#[derive(Clone)]
pub(super) struct Committer {
    db: Db,
    writer: Writer,
    clock: Clock,
    keys: Arc<Keyring>,
    events: EventService,
    rewards: RewardService,
}

impl Committer {
    pub(super) fn new(db: Db, clock: Clock, keys: Arc<Keyring>, events: EventService, rewards: RewardService) -> Self {
        let writer = Writer::new(&db);
        Self {
            db,
            writer,
            clock,
            keys,
            events,
            rewards,
        }
    }

    /// Commits a batch under one signature. Stock and budget go to its records in their order; the outcomes have the same
    /// order.
    pub(super) async fn commit(&self, mut records: Vec<CommitRecord>) -> Vec<CommitOutcome> {
        self.sign(&mut records);
        if let Err(error) = self.store_terms(&records).await {
            return records.iter().map(|_| CommitOutcome::Failed(error.clone())).collect();
        }
        match &self.writer {
            Writer::Postgres(bulk) => postgres::commit(bulk, &self.clock, &self.events, &records).await,
            Writer::Sqlite(db) => sqlite::commit(db, &self.clock, &self.events, &self.rewards, &records).await,
        }
    }

    /// Stores the terms that receipts name, before the receipts. That happens once for a revision of an event.
    async fn store_terms(&self, records: &[CommitRecord]) -> Result<(), DbError> {
        // The write is idempotent, so an attempt with an unknown outcome is repeated.
        let is_transient = |error: &DbError| error.is_conflict() || error.is_outcome_unknown();
        for terms in records.iter().map(|record| &record.terms) {
            if let Some(text) = terms.unstored() {
                let store = || store::terms::insert(&self.db, terms.digest, text.clone(), self.clock.now());
                backoff::retry(&self.clock, backoff::RETRIES, is_transient, store).await?;
                terms.on_stored();
            }
        }
        Ok(())
    }

    /// Signs the receipts of records that are committed together. Every attempt to write them writes the same signature. A
    /// record that is lost leaves only its hash in the paths of the others.
    fn sign(&self, records: &mut [CommitRecord]) {
        let digests: Vec<Digest> = records.iter().map(|record| record.receipt.digest).collect();
        for (record, seal) in records.iter_mut().zip(seal(&self.keys, &digests)) {
            record.seal = seal;
        }
    }

    /// Writes a pending claim without grants, even if its event was changed or deleted. `false`: the claim is no longer
    /// pending, its queue belongs to another process, or its key has a response.
    pub(super) async fn commit_refusal(&self, mut record: CommitRecord) -> Result<bool, DbError> {
        self.sign(std::slice::from_mut(&mut record));
        self.store_terms(std::slice::from_ref(&record)).await?;
        let record = &record;
        let mut tx = self.db.begin().await?;
        let is_written = commit_rows::take_from_queue(&mut tx, record).await?
            && commit_rows::insert_request(&mut tx, record).await?
            && commit_rows::insert_response(&mut tx, record).await?;
        if is_written {
            commit_rows::insert_messages(&mut tx, record).await?;
            transparency::enqueue(&mut tx, REQUEST, record.request.id).await?;
            tx.commit().await?;
        }
        Ok(is_written)
    }
}

impl Job for CommitRecord {
    type Answer = CommitOutcome;

    fn is_compatible(&self, _first: &Self) -> bool {
        true
    }

    fn bytes(&self) -> usize {
        self.receipt.text.len()
    }
}

/// The records that wait for their commit. Cheap to clone.
#[derive(Clone)]
pub(super) struct GroupCommit(Arc<Batches<CommitRecord>>);

impl GroupCommit {
    pub(super) fn new(committer: Committer) -> Self {
        let parallelism = committer.writer.parallelism();
        let work = move |records| commit_measured(committer.clone(), records);
        Self(Arc::new(Batches::new(parallelism, BOUNDS, work)))
    }

    /// Returns once the outcome of the record's commit is known.
    pub(super) async fn commit(&self, record: CommitRecord) -> Result<CommitOutcome, ClaimError> {
        Ok(self.0.submit(record).await?)
    }

    pub(super) fn waiting(&self) -> usize {
        self.0.waiting()
    }
}

#[expect(clippy::cast_precision_loss, reason = "batches are small")]
async fn commit_measured(committer: Committer, records: Vec<CommitRecord>) -> Vec<CommitOutcome> {
    metrics::histogram!("meed_commit_claims").record(records.len() as f64);
    let started = Instant::now();
    if mutations::active("answer-before-commit") {
        let outcomes = records.iter().map(|_| CommitOutcome::Committed).collect();
        tokio::spawn(async move { committer.commit(records).await });
        return outcomes;
    }
    let outcomes = committer.commit(records).await;
    metrics::histogram!("meed_commit_seconds").record(started.elapsed().as_secs_f64());
    outcomes
}
