//! Natural batching: a job that finds an idle worker runs immediately and alone; jobs that arrive while the worker is
//! busy wait and run together. An idle server adds no delay, and a busy one gains throughput. A second worker starts
//! only when a whole batch waits, or when the first is held up: two small batches cost more than one large batch.
//!
//! Must not know: what the jobs are.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, oneshot};
use tokio::task::JoinSet;
use tokio::time::Instant;

/// Work that may share a batch with other work.
pub trait Job: Send + 'static {
    type Answer: Send + 'static;

    /// Whether the job can run in one batch with the first job of that batch.
    fn is_compatible(&self, first: &Self) -> bool;

    /// What the job adds to the size of a batch.
    fn bytes(&self) -> usize;
}

#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Jobs that may wait; the queue refuses further ones.
    pub waiting: usize,
    /// Jobs in one batch.
    pub jobs: usize,
    /// A batch ends with the job that reaches this size.
    pub bytes: usize,
    /// How long a job waits for a busy worker before another worker takes it.
    pub max_delay: Duration,
}

/// Why a job has no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unanswered {
    #[error("too many jobs wait")]
    Full,
    /// The batch panicked: what it did is unknown.
    #[error("the batch ended without an answer")]
    Lost,
}

/// A queue of jobs and its workers. The workers stop when it is dropped; a batch that has started still completes.
pub struct Batches<J: Job> {
    queue: Arc<Queue<J>>,
    _workers: JoinSet<()>,
}

struct Waiting<J: Job> {
    since: Instant,
    job: J,
    answer: oneshot::Sender<J::Answer>,
}

struct Queue<J: Job> {
    bounds: Bounds,
    state: Mutex<State<J>>,
    arrived: Notify,
}

struct State<J: Job> {
    waiting: VecDeque<Waiting<J>>,
    busy: u32,
}

/// What an idle worker does next.
enum Next<J: Job> {
    Run(Vec<Waiting<J>>),
    /// Leaves the jobs to a busy worker until this instant.
    WaitUntil(Instant),
    Idle,
}

impl<J: Job> Batches<J> {
    /// `work` gets the jobs of a batch in the order of their arrival and returns their answers in the same order.
    pub fn new<W, D>(workers: u32, bounds: Bounds, work: W) -> Self
    where
        W: Fn(Vec<J>) -> D + Clone + Send + 'static,
        D: Future<Output = Vec<J::Answer>> + Send + 'static,
    {
        let queue = Arc::new(Queue {
            bounds,
            state: Mutex::new(State {
                waiting: VecDeque::new(),
                busy: 0,
            }),
            arrived: Notify::new(),
        });
        let mut tasks = JoinSet::new();
        for _ in 0..workers {
            tasks.spawn(run(Arc::clone(&queue), work.clone()));
        }
        Self { queue, _workers: tasks }
    }

    /// Queues a job and waits for its answer. A job whose caller leaves before its batch starts does not run.
    pub async fn submit(&self, job: J) -> Result<J::Answer, Unanswered> {
        let answer = self.push(job).ok_or(Unanswered::Full)?;
        answer.await.map_err(|_| Unanswered::Lost)
    }

    /// Jobs that wait.
    pub fn waiting(&self) -> usize {
        self.queue.lock().waiting.len()
    }

    /// `None` when too many jobs wait.
    fn push(&self, job: J) -> Option<oneshot::Receiver<J::Answer>> {
        let (answer, answered) = oneshot::channel();
        {
            let mut state = self.queue.lock();
            if state.waiting.len() >= self.queue.bounds.waiting {
                return None;
            }
            let since = Instant::now();
            state.waiting.push_back(Waiting { since, job, answer });
        }
        self.queue.arrived.notify_one();
        Some(answered)
    }
}

async fn run<J: Job, W, D>(queue: Arc<Queue<J>>, work: W)
where
    W: Fn(Vec<J>) -> D,
    D: Future<Output = Vec<J::Answer>> + Send + 'static,
{
    loop {
        let batch = match queue.next() {
            Next::Run(batch) => batch,
            Next::Idle => {
                // A job that arrives between these lines has left a permit.
                queue.arrived.notified().await;
                continue;
            }
            Next::WaitUntil(until) => {
                drop(tokio::time::timeout_at(until, queue.arrived.notified()).await);
                continue;
            }
        };
        let (jobs, callers): (Vec<J>, Vec<_>) = batch.into_iter().map(|waiting| (waiting.job, waiting.answer)).unzip();
        // In a separate task, so that a panic costs only this batch its answers.
        match tokio::spawn(work(jobs)).await {
            Ok(answers) => {
                for (caller, answer) in callers.into_iter().zip(answers) {
                    // A caller may have left, for example at shutdown; the batch still completes.
                    caller.send(answer).ok();
                }
            }
            Err(error) => tracing::error!(%error, "a batch panicked"),
        }
        queue.lock().busy -= 1;
    }
}

impl<J: Job> Queue<J> {
    fn lock(&self) -> std::sync::MutexGuard<'_, State<J>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A batch starts with the job that waits longest and takes along the jobs that are compatible with it.
    fn next(&self) -> Next<J> {
        let bounds = &self.bounds;
        let mut state = self.lock();
        state.waiting.retain(|waiting| !waiting.answer.is_closed());
        let Some(first) = state.waiting.front() else {
            return Next::Idle;
        };
        let until = first.since + bounds.max_delay;
        if state.busy > 0 && state.waiting.len() < bounds.jobs && Instant::now() < until {
            return Next::WaitUntil(until);
        }
        let mut batch: Vec<Waiting<J>> = Vec::new();
        let mut passed_over = Vec::new();
        let mut bytes = 0;
        while batch.len() < bounds.jobs && bytes < bounds.bytes {
            let Some(waiting) = state.waiting.pop_front() else {
                break;
            };
            if batch.first().is_none_or(|first| waiting.job.is_compatible(&first.job)) {
                bytes += waiting.job.bytes();
                batch.push(waiting);
            } else {
                passed_over.push(waiting);
            }
        }
        for waiting in passed_over.into_iter().rev() {
            state.waiting.push_front(waiting);
        }
        state.busy += 1;
        if !state.waiting.is_empty() {
            self.arrived.notify_one();
        }
        Next::Run(batch)
    }
}

#[cfg(test)]
mod tests;
