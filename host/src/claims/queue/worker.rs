//! The worker: decides pending claims, in any number of processes. Each event has a queue; the process that holds the queue's
//! lease decides its claims in the order of their arrival.
//!
//! What a holder commits is fenced: a process that lost its lease can no longer write. A process that is killed leaves
//! a lease that expires. Must not know: how a claim is decided (`process`).

use std::collections::HashSet;
use std::sync::Arc;

use anyhow::Context as _;
use tokio::sync::{Notify, Semaphore};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::process::QueueProcessor;
use crate::background::lease::Lease;
use crate::background::{Children, Context, Next, Task};
use crate::backoff;
use crate::claims::error::ClaimError;
use crate::claims::store::queue;

/// Queues that a process holds at the same time. Each is renewed every second, so this bounds the cost of leases.
const QUEUES: usize = 64;
/// Batches that are decided and committed at the same time, in turns: a long queue does not delay the others.
const BATCHES_AT_ONCE: usize = 4;
/// Claims in one batch.
const BATCH: i64 = 128;

/// Starts a task for each queue that no process holds.
pub struct Worker {
    processor: QueueProcessor,
    batches: Arc<Semaphore>,
    queues: Children<Uuid>,
    /// Notified when this process has accepted a claim.
    arrived: Arc<Notify>,
}

impl Worker {
    pub(in crate::claims) fn new(processor: QueueProcessor, arrived: Arc<Notify>) -> Self {
        Self {
            batches: Arc::new(Semaphore::new(BATCHES_AT_ONCE)),
            queues: Children::new(),
            arrived,
            processor,
        }
    }
}

impl Task for Worker {
    async fn run(&mut self, context: &Context) -> anyhow::Result<Next> {
        self.queues.reap().context("decide the claims of an event")?;
        let room = i64::try_from(QUEUES.saturating_sub(self.queues.len())).unwrap_or(0);
        if room == 0 {
            return Ok(Next::Period);
        }
        let now = self.processor.clock.now();
        for event_id in queue::free_queues(&self.processor.db, now, room).await? {
            let queue = Queue {
                processor: self.processor.clone(),
                batches: Arc::clone(&self.batches),
                event_id,
                stop: context.stop_token(),
            };
            self.queues.spawn(event_id, |_| queue.run());
        }
        Ok(Next::Period)
    }

    async fn woken(&mut self) {
        self.arrived.notified().await;
    }

    /// Waits for the batches in progress. Another process, or this one after its next start, decides the other pending
    /// claims.
    async fn finish(mut self) -> anyhow::Result<()> {
        self.queues.join_all().await.context("decide the claims of an event")
    }
}

/// An event's pending claims.
struct Queue {
    processor: QueueProcessor,
    batches: Arc<Semaphore>,
    event_id: Uuid,
    stop: CancellationToken,
}

impl Queue {
    /// Holds the queue's lease until no claim is pending.
    async fn run(self) {
        let (QueueProcessor { db, clock, .. }, event_id) = (&self.processor, self.event_id);
        let lease = match Lease::acquire(db, clock, &queue::LEASES, event_id).await {
            Ok(Some(lease)) => lease,
            Ok(None) => return,
            Err(error) => {
                tracing::warn!(event.id = %event_id, %error, "lease of a claim queue not acquired");
                return;
            }
        };
        if let Err(error) = self.process(&lease).await {
            tracing::warn!(event.id = %event_id, %error, "claim queue left; its claims stay pending");
        }
        if let Err(error) = lease.release().await {
            tracing::warn!(event.id = %event_id, %error, "lease of a claim queue not released; it expires");
        }
    }

    async fn process(&self, lease: &Lease) -> Result<(), ClaimError> {
        let mut lost = HashSet::new();
        let mut failures = 0;
        while !lease.is_lost() {
            let permit = self.batches.acquire().await;
            if self.stop.is_cancelled() {
                break;
            }
            let rows = queue::first(&self.processor.db, self.event_id, BATCH).await?;
            if rows.is_empty() {
                break;
            }
            let processed = self
                .processor
                .process(self.event_id, lease.fence(), &rows, &mut lost)
                .await;
            drop(permit);
            match processed {
                Ok(1..) => {
                    failures = 0;
                    continue;
                }
                Ok(0) => {}
                Err(error) => {
                    tracing::warn!(event.id = %self.event_id, %error, "pending claims not decided; retrying");
                }
            }
            failures += 1;
            backoff::pause(&self.processor.clock, failures).await;
        }
        Ok(())
    }
}
