//! Where decided claims wait for their commit, to be committed together ([`crate::batch`]).
//!
//! Must not know: what is written.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use super::commit::{CommitOutcome, CommitRecord, Committer};
use super::service::ClaimError;
use crate::batch::{Batches, Bounds, Job};
use crate::db::{BULK_CONNECTIONS, Engine};

const BOUNDS: Bounds = Bounds {
    // At some kilobytes each this bounds what an overload can occupy.
    waiting: 4096,
    // Beyond some hundreds a larger set gains nothing, and everyone in it waits longer.
    jobs: 256,
    bytes: 4 << 20,
    // Longer than one takes; a lock that is held elsewhere may hold it up for seconds.
    max_delay: Duration::from_millis(10),
};

struct Waiting {
    record: CommitRecord,
    answer: oneshot::Sender<CommitOutcome>,
}

impl Job for Waiting {
    fn is_compatible(&self, _first: &Self) -> bool {
        true
    }

    fn bytes(&self) -> usize {
        self.record.receipt.receipt.len()
    }
}

#[derive(Clone)]
pub(super) struct Queue(Arc<Batches<Waiting>>);

impl Queue {
    pub(super) fn new(committer: Committer) -> Self {
        let committers = match committer.db.engine() {
            // SQLite has one writer.
            Engine::Sqlite => 1,
            Engine::Postgres => BULK_CONNECTIONS,
        };
        let commit = move |set| commit(committer.clone(), set);
        Self(Arc::new(Batches::new(committers, BOUNDS, commit)))
    }

    pub(super) fn waiting(&self) -> usize {
        self.0.waiting()
    }

    /// Returns when it is known how the commit ended.
    pub(super) async fn settle(&self, record: CommitRecord) -> Result<CommitOutcome, ClaimError> {
        let (answer, ended) = oneshot::channel();
        let waiting = Waiting { record, answer };
        self.0.push(waiting).map_err(|_| ClaimError::Overloaded)?;
        ended.await.map_err(|_| ClaimError::Uncommitted)
    }
}

#[expect(clippy::cast_precision_loss, reason = "sets are small")]
async fn commit(committer: Committer, set: Vec<Waiting>) {
    let (records, answers): (Vec<_>, Vec<_>) = set.into_iter().map(|waiting| (waiting.record, waiting.answer)).unzip();
    metrics::histogram!("meed_commit_claims").record(records.len() as f64);
    let started = std::time::Instant::now();
    let ended = committer.commit(&records).await;
    metrics::histogram!("meed_commit_seconds").record(started.elapsed().as_secs_f64());
    for (answer, ended) in answers.into_iter().zip(ended) {
        // Whoever waited has gone, for example at a shutdown: the commit stands.
        answer.send(ended).ok();
    }
}
