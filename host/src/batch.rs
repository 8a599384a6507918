//! Natural batching: a job that finds nobody busy is done at once and alone; jobs that arrive while a worker is busy wait
//! together and are done together. So an idle server adds no wait, and a busy one gains throughput. A second worker begins
//! only when a whole batch waits, or when the first is held up: two small batches cost more than one large one.
//!
//! Must not know: what the jobs are.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// Something to be done, perhaps together with others.
pub trait Job: Send + 'static {
    /// Whether it can be done together with the first of a batch.
    fn is_compatible(&self, first: &Self) -> bool;

    /// What it adds to the size of a batch.
    fn bytes(&self) -> usize;
}

#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Jobs that wait; one more is not taken.
    pub waiting: usize,
    /// Jobs in one batch.
    pub jobs: usize,
    /// A batch ends with the job that reaches this size.
    pub bytes: usize,
    /// How long a job waits for a busy worker before another one takes it.
    pub max_delay: Duration,
}

/// Where jobs wait for a worker. The workers end when it is dropped; a batch that was begun is finished.
pub struct Batches<J> {
    queue: Arc<Queue<J>>,
    _workers: JoinSet<()>,
}

struct Queue<J> {
    bounds: Bounds,
    state: Mutex<State<J>>,
    arrived: Notify,
}

struct State<J> {
    /// With when it came.
    waiting: VecDeque<(Instant, J)>,
    busy: u32,
}

enum Next<J> {
    Run(Vec<J>),
    /// To a worker that is busy, unless that lasts until then.
    WaitUntil(Instant),
    Idle,
}

impl<J: Job> Batches<J> {
    /// `work` gets the jobs of a batch in the order in which they came.
    pub fn new<W, D>(workers: u32, bounds: Bounds, work: W) -> Self
    where
        W: Fn(Vec<J>) -> D + Clone + Send + 'static,
        D: Future<Output = ()> + Send + 'static,
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

    /// Gives the job back when too many wait.
    pub fn push(&self, job: J) -> Result<(), J> {
        {
            let mut state = self.queue.lock();
            if state.waiting.len() >= self.queue.bounds.waiting {
                return Err(job);
            }
            state.waiting.push_back((Instant::now(), job));
        }
        self.queue.arrived.notify_one();
        Ok(())
    }

    /// How many jobs wait.
    pub fn waiting(&self) -> usize {
        self.queue.lock().waiting.len()
    }
}

async fn run<J: Job, W, D>(queue: Arc<Queue<J>>, work: W)
where
    W: Fn(Vec<J>) -> D,
    D: Future<Output = ()> + Send + 'static,
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
        // In a task of its own, so that a panic costs this batch its answers and not everyone after it.
        if let Err(error) = tokio::spawn(work(batch)).await {
            tracing::error!(%error, "a batch was given up");
        }
        queue.lock().busy -= 1;
    }
}

impl<J: Job> Queue<J> {
    fn lock(&self) -> std::sync::MutexGuard<'_, State<J>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a worker without work does next. It begins with the job that waits longest and those that can be done together
    /// with it.
    fn next(&self) -> Next<J> {
        let bounds = &self.bounds;
        let mut state = self.lock();
        let Some((arrived, _)) = state.waiting.front() else {
            return Next::Idle;
        };
        let until = *arrived + bounds.max_delay;
        if state.busy > 0 && state.waiting.len() < bounds.jobs && Instant::now() < until {
            return Next::WaitUntil(until);
        }
        let mut batch: Vec<J> = Vec::new();
        let mut passed_over = Vec::new();
        let mut bytes = 0;
        while batch.len() < bounds.jobs && bytes < bounds.bytes {
            let Some((arrived, job)) = state.waiting.pop_front() else {
                break;
            };
            if batch.first().is_none_or(|first| job.is_compatible(first)) {
                bytes += job.bytes();
                batch.push(job);
            } else {
                passed_over.push((arrived, job));
            }
        }
        for job in passed_over.into_iter().rev() {
            state.waiting.push_front(job);
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
