//! Where decided claims wait for their commit, to be committed together ([`crate::batch`]).
//!
//! Must not know: what is written.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use super::commit::{Committer, Ended, Settlement};
use super::service::RequestError;
use crate::batch::{Batches, Bounds, Job};
use crate::db::{Engine, SETS_AT_ONCE};

const BOUNDS: Bounds = Bounds {
    // At some kilobytes each this bounds what an overload can occupy.
    waiting: 4096,
    // Beyond some hundreds a larger set gains nothing, and everyone in it waits longer.
    jobs: 256,
    bytes: 4 << 20,
    // Longer than one takes; a lock that is held elsewhere may hold it up for seconds.
    patience: Duration::from_millis(10),
};

struct Waiting {
    settlement: Settlement,
    answer: oneshot::Sender<Ended>,
}

impl Job for Waiting {
    fn joins(&self, _first: &Self) -> bool {
        true
    }

    fn bytes(&self) -> usize {
        self.settlement.receipt.receipt.len()
    }
}

#[derive(Clone)]
pub(super) struct Queue(Arc<Batches<Waiting>>);

impl Queue {
    pub(super) fn new(committer: Committer) -> Self {
        let committers = match committer.db.engine() {
            // SQLite has one writer.
            Engine::Sqlite => 1,
            Engine::Postgres => SETS_AT_ONCE,
        };
        let commit = move |set| commit(committer.clone(), set);
        Self(Arc::new(Batches::new(committers, BOUNDS, commit)))
    }

    pub(super) fn waiting(&self) -> usize {
        self.0.waiting()
    }

    /// Returns when it is known how the commit ended.
    pub(super) async fn settle(&self, settlement: Settlement) -> Result<Ended, RequestError> {
        let (answer, ended) = oneshot::channel();
        let waiting = Waiting { settlement, answer };
        self.0.push(waiting).map_err(|_| RequestError::Overloaded)?;
        ended.await.map_err(|_| RequestError::Uncommitted)
    }
}

#[expect(clippy::cast_precision_loss, reason = "sets are small")]
async fn commit(committer: Committer, set: Vec<Waiting>) {
    let (settlements, answers): (Vec<_>, Vec<_>) = set
        .into_iter()
        .map(|waiting| (waiting.settlement, waiting.answer))
        .unzip();
    metrics::histogram!("meed_commit_claims").record(settlements.len() as f64);
    let started = std::time::Instant::now();
    let ended = committer.commit(&settlements).await;
    metrics::histogram!("meed_commit_seconds").record(started.elapsed().as_secs_f64());
    for (answer, ended) in answers.into_iter().zip(ended) {
        // Whoever waited has gone, for example at a shutdown: the commit stands.
        answer.send(ended).ok();
    }
}
