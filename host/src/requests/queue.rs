//! Natural batching: a claim that finds a committer idle is committed at once and alone; claims that arrive while all
//! are busy wait together and are committed together. So an idle server adds no wait and a busy one gains throughput.
//!
//! Must not know: what is written.

use std::sync::Arc;

use tokio::sync::{Mutex, mpsc, oneshot};

use super::commit::{Committer, Ended, Settlement};
use super::service::RequestError;
use crate::db::{Engine, SETS_AT_ONCE};

/// Claims that wait for a committer; a claim beyond them is told to come back later. At some kilobytes each this bounds
/// what an overload can occupy.
const WAITING: usize = 4096;
/// Claims in one set: beyond some hundreds a larger set gains nothing, and everyone in it waits longer.
const SET: usize = 256;
/// What the receipts of one set may take, in bytes; a set ends with the claim that exceeds it.
const SET_BYTES: usize = 4 << 20;

struct Waiting {
    settlement: Settlement,
    answer: oneshot::Sender<Ended>,
}

/// Where decided claims wait for their commit. Its committers end when it is dropped.
#[derive(Clone)]
pub(super) struct Queue {
    waiting: mpsc::Sender<Waiting>,
}

impl Queue {
    pub(super) fn new(committer: &Committer) -> Self {
        let (waiting, arriving) = mpsc::channel(WAITING);
        let arriving = Arc::new(Mutex::new(arriving));
        let committers = match committer.db.engine() {
            // SQLite has one writer.
            Engine::Sqlite => 1,
            Engine::Postgres => SETS_AT_ONCE,
        };
        for _ in 0..committers {
            tokio::spawn(work(committer.clone(), Arc::clone(&arriving)));
        }
        Self { waiting }
    }

    /// Returns when it is known how the commit ended.
    pub(super) async fn settle(&self, settlement: Settlement) -> Result<Ended, RequestError> {
        let (answer, ended) = oneshot::channel();
        self.waiting
            .try_send(Waiting { settlement, answer })
            .map_err(|_| RequestError::Overloaded)?;
        ended.await.map_err(|_| RequestError::Uncommitted)
    }
}

async fn work(committer: Committer, arriving: Arc<Mutex<mpsc::Receiver<Waiting>>>) {
    loop {
        let set = next_set(&mut *arriving.lock().await).await;
        if set.is_empty() {
            return;
        }
        let committer = committer.clone();
        // In a task of its own, so that a panic costs this set its answers and not everyone after it.
        if let Err(error) = tokio::spawn(commit(committer, set)).await {
            tracing::error!(%error, "a set of claims was not committed");
        }
    }
}

/// All that wait, up to a set; empty when nobody will come any more.
async fn next_set(arriving: &mut mpsc::Receiver<Waiting>) -> Vec<Waiting> {
    let mut set = Vec::new();
    let mut bytes = 0;
    let mut next = arriving.recv().await;
    while let Some(waiting) = next {
        bytes += waiting.settlement.receipt.receipt.len();
        set.push(waiting);
        if set.len() == SET || bytes > SET_BYTES {
            break;
        }
        next = arriving.try_recv().ok();
    }
    set
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
