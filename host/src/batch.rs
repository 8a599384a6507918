//! Natural batching: a job that finds a worker idle is done at once and alone; jobs that arrive while all are busy wait
//! together and are done together. So an idle server adds no wait, and a busy one gains throughput.
//!
//! Must not know: what the jobs are.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;
use tokio::task::JoinSet;

/// Something to be done, perhaps together with others.
pub trait Job: Send + 'static {
    /// Whether it can be done together with the first of a batch.
    fn joins(&self, first: &Self) -> bool;

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
}

/// Where jobs wait for a worker. The workers end when it is dropped; a batch that was begun is finished.
pub struct Batches<J> {
    queue: Arc<Queue<J>>,
    _workers: JoinSet<()>,
}

struct Queue<J> {
    bounds: Bounds,
    waiting: Mutex<VecDeque<J>>,
    arrived: Notify,
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
            waiting: Mutex::default(),
            arrived: Notify::new(),
        });
        let mut tasks = JoinSet::new();
        for _ in 0..workers {
            tasks.spawn(drive(Arc::clone(&queue), work.clone()));
        }
        Self { queue, _workers: tasks }
    }

    /// Gives the job back when too many wait.
    pub fn push(&self, job: J) -> Result<(), J> {
        {
            let mut waiting = self.queue.lock();
            if waiting.len() >= self.queue.bounds.waiting {
                return Err(job);
            }
            waiting.push_back(job);
        }
        self.queue.arrived.notify_one();
        Ok(())
    }
}

async fn drive<J: Job, W, D>(queue: Arc<Queue<J>>, work: W)
where
    W: Fn(Vec<J>) -> D,
    D: Future<Output = ()> + Send + 'static,
{
    loop {
        let (batch, is_more) = queue.take();
        if batch.is_empty() {
            // A job that arrives between these lines has left a permit.
            queue.arrived.notified().await;
            continue;
        }
        if is_more {
            queue.arrived.notify_one();
        }
        // In a task of its own, so that a panic costs this batch its answers and not everyone after it.
        if let Err(error) = tokio::spawn(work(batch)).await {
            tracing::error!(%error, "a batch was given up");
        }
    }
}

impl<J: Job> Queue<J> {
    fn lock(&self) -> std::sync::MutexGuard<'_, VecDeque<J>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The job that waits longest and those that can be done together with it; and whether others wait.
    fn take(&self) -> (Vec<J>, bool) {
        let mut waiting = self.lock();
        let mut batch: Vec<J> = Vec::new();
        let mut passed_over = Vec::new();
        let mut bytes = 0;
        while batch.len() < self.bounds.jobs && bytes < self.bounds.bytes {
            let Some(job) = waiting.pop_front() else { break };
            if batch.first().is_none_or(|first| job.joins(first)) {
                bytes += job.bytes();
                batch.push(job);
            } else {
                passed_over.push(job);
            }
        }
        for job in passed_over.into_iter().rev() {
            waiting.push_front(job);
        }
        (batch, !waiting.is_empty())
    }
}

#[cfg(test)]
mod tests;
