//! The worker: decides pending claims, in any number of processes. Each event has a queue; the process that holds the queue's
//! lease decides its claims in the order of their arrival.
//!
//! The cost of a process does not depend on the number of queues: it holds a limited number of them, renews their leases
//! together, and decides a limited number of batches at the same time, in turns. Claims that could not be decided are
//! tried again in a lane of their own, so that they delay no others. What a holder commits is fenced: a process that lost its lease can no
//! longer write. Must not know: how a claim is decided (`process`).

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::sync::Notify;
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::Instant;
use uuid::Uuid;

use super::process::QueueProcessor;
use crate::background::lease::LeaseSet;
use crate::background::{Context, Next, POLL_INTERVAL, Task};
use crate::claims::error::ClaimError;
use crate::claims::store::queue;

/// Queues that a process holds at the same time.
const QUEUES: usize = 64;
/// The share of the free places, as a divisor, for queues with claims that are to be tried again.
const DUE_SHARE: usize = 4;
/// Batches that are decided and committed at the same time, in turns: a long queue does not delay the others.
const BATCHES_AT_ONCE: usize = 4;
/// Claims in one batch.
const BATCH: i64 = 128;
/// Batches after which a queue is left to another process, or to this one in its turn, if there may be others.
const BATCHES_IN_A_ROW: u32 = 16;
/// Claims of one queue that are tried again, one after the other, before it is another queue's turn.
const RETRIED_AT_ONCE: i64 = 8;
/// How long the first attempt may read the facts of a claim. Later attempts have the time limit of the database.
const FIRST_PATIENCE: Duration = Duration::from_secs(2);
/// The pause of a queue whose batches fail grows to this.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Decides batches of the queues that it holds, in turns.
pub struct Worker {
    processor: QueueProcessor,
    leases: LeaseSet,
    queues: HashMap<Uuid, Queue>,
    /// The queues that wait for a batch, in order, each with the time before which it takes no turn.
    turns: VecDeque<(Instant, Uuid)>,
    batches: JoinSet<Turn>,
    /// Queues with claims that are to be tried again.
    retries: VecDeque<Uuid>,
    /// The second lane: claims that could not be decided, of one queue at a time.
    retrying: JoinSet<Uuid>,
    /// The queue of each batch and retry.
    running: HashMap<Id, Uuid>,
    /// Queues to be released.
    done: Vec<Uuid>,
    /// The last queue that was acquired: the search for free ones goes on after it.
    last: Uuid,
    looked: Option<Instant>,
    /// Notified when this process has accepted a claim.
    arrived: Arc<Notify>,
}

/// A queue that this process holds.
struct Queue {
    fence: i64,
    lost: HashSet<Uuid>,
    batches: u32,
    failures: u32,
    /// Claims are waiting for a retry, or are being retried.
    is_retrying: bool,
}

/// What a batch found and did.
struct Turn {
    event_id: Uuid,
    lost: HashSet<Uuid>,
    outcome: Result<Found, ClaimError>,
}

#[derive(Clone, Copy)]
struct Found {
    /// There were claims.
    has_claims: bool,
    /// Some of them were committed or put aside.
    has_progress: bool,
    /// Some claim that was put aside is to be tried again.
    has_due: bool,
}

impl Worker {
    pub(in crate::claims) fn new(processor: QueueProcessor, arrived: Arc<Notify>) -> Self {
        Self {
            leases: LeaseSet::new(processor.db.clone(), processor.clock.clone(), queue::LEASES),
            processor,
            queues: HashMap::new(),
            turns: VecDeque::new(),
            batches: JoinSet::new(),
            retries: VecDeque::new(),
            retrying: JoinSet::new(),
            running: HashMap::new(),
            done: Vec::new(),
            last: Uuid::nil(),
            looked: None,
            arrived,
        }
    }

    /// Takes over queues that no process holds, if it is time to look for some.
    async fn acquire(&mut self) -> Result<(), ClaimError> {
        let room = QUEUES.saturating_sub(self.queues.len());
        if room == 0 || self.looked.is_some_and(|looked| looked.elapsed() < POLL_INTERVAL) {
            return Ok(());
        }
        self.looked = Some(Instant::now());
        let QueueProcessor { db, clock, .. } = &self.processor;
        let limit = |room: usize| i64::try_from(room).unwrap_or_default();
        // One place at least is left to claims that were not tried yet.
        let due = queue::due_queues(db, clock.now(), limit(room.div_ceil(DUE_SHARE).min(room - 1))).await?;
        let room = limit(room - due.len());
        let mut free = queue::free_queues(db, self.last, clock.now(), room).await?;
        if free.is_empty() && !self.last.is_nil() {
            free = queue::free_queues(db, Uuid::nil(), clock.now(), room).await?;
        }
        self.last = free.last().copied().unwrap_or_default();
        free.retain(|event_id| !due.contains(event_id));
        free.extend(due);
        for (event_id, fence) in self.leases.acquire(&free).await? {
            let queue = Queue {
                fence,
                lost: HashSet::new(),
                batches: 0,
                failures: 0,
                is_retrying: false,
            };
            self.queues.insert(event_id, queue);
            self.turns.push_back((Instant::now(), event_id));
        }
        Ok(())
    }

    /// Starts batches and retries while there is room.
    fn start(&mut self) {
        let now = Instant::now();
        while self.batches.len() < BATCHES_AT_ONCE
            && let Some(place) = self.turns.iter().position(|(due, _)| *due <= now)
            && let Some((_, event_id)) = self.turns.remove(place)
        {
            let Some(queue) = self.queues.get_mut(&event_id) else {
                continue;
            };
            let (processor, fence, lost) = (self.processor.clone(), queue.fence, std::mem::take(&mut queue.lost));
            let batch = self.batches.spawn(take_turn(processor, event_id, fence, lost));
            self.running.insert(batch.id(), event_id);
        }
        while self.retrying.is_empty()
            && let Some(event_id) = self.retries.pop_front()
        {
            let Some(queue) = self.queues.get(&event_id) else {
                continue;
            };
            let retry = self
                .retrying
                .spawn(retry(self.processor.clone(), event_id, queue.fence));
            self.running.insert(retry.id(), event_id);
        }
    }

    /// A panic leaves the claims pending; their queue is acquired again.
    fn batch_ended(&mut self, ended: Result<(Id, Turn), JoinError>) -> anyhow::Result<()> {
        match ended {
            Ok((id, turn)) => {
                self.running.remove(&id);
                self.turn_ended(turn);
                Ok(())
            }
            Err(error) => {
                self.done.extend(self.running.remove(&error.id()));
                Err(error).context("decide the claims of an event")
            }
        }
    }

    fn retry_ended(&mut self, ended: Result<(Id, Uuid), JoinError>) -> anyhow::Result<()> {
        let id = ended.as_ref().map_or_else(JoinError::id, |(id, _)| *id);
        if let Some(event_id) = self.running.remove(&id)
            && let Some(queue) = self.queues.get_mut(&event_id)
        {
            queue.is_retrying = false;
        }
        ended.map(drop).context("try the claims of an event again")
    }

    fn turn_ended(&mut self, turn: Turn) {
        let Turn {
            event_id,
            lost,
            outcome,
        } = turn;
        let Some(queue) = self.queues.get_mut(&event_id) else {
            return;
        };
        queue.lost = lost;
        queue.batches += 1;
        let mut pause = Duration::ZERO;
        match outcome {
            Ok(found) => {
                if found.has_due && !queue.is_retrying {
                    queue.is_retrying = true;
                    self.retries.push_back(event_id);
                }
                if !queue.is_retrying && (!found.has_claims || queue.batches >= BATCHES_IN_A_ROW) {
                    // Empty, or another queue may wait for its place.
                    self.done.push(event_id);
                    return;
                }
                queue.failures = if found.has_progress { 0 } else { queue.failures + 1 };
            }
            Err(error) => {
                queue.failures += 1;
                tracing::warn!(event.id = %event_id, %error, "pending claims not decided; retrying");
            }
        }
        if queue.failures > 0 {
            pause = (POLL_INTERVAL * queue.failures).min(LONGEST_PAUSE);
        }
        if self.leases.holds(event_id) {
            self.turns.push_back((Instant::now() + pause, event_id));
        } else {
            self.done.push(event_id);
        }
    }

    async fn release(&mut self) -> Result<(), ClaimError> {
        let done = std::mem::take(&mut self.done);
        for event_id in &done {
            self.queues.remove(event_id);
        }
        Ok(self.leases.release(&done).await?)
    }
}

impl Task for Worker {
    async fn run(&mut self, context: &Context) -> anyhow::Result<Next> {
        loop {
            self.release().await?;
            if context.is_stopping() {
                return Ok(Next::Period);
            }
            self.acquire().await?;
            self.start();
            if self.queues.is_empty() {
                return Ok(Next::Period);
            }
            tokio::select! {
                Some(ended) = self.batches.join_next_with_id() => self.batch_ended(ended)?,
                Some(ended) = self.retrying.join_next_with_id() => self.retry_ended(ended)?,
                () = self.arrived.notified() => self.looked = None,
                () = tokio::time::sleep(POLL_INTERVAL) => {}
                () = context.stopping() => {}
            }
        }
    }

    async fn woken(&mut self) {
        self.arrived.notified().await;
        self.looked = None;
    }

    /// Waits for the batches in progress. Another process, or this one after its next start, decides the other pending
    /// claims.
    async fn finish(mut self) -> anyhow::Result<()> {
        let mut outcome = Ok(());
        while let Some(ended) = self.batches.join_next().await {
            outcome = outcome.and(ended.map(drop));
        }
        while let Some(ended) = self.retrying.join_next().await {
            outcome = outcome.and(ended.map(drop));
        }
        self.done = self.queues.keys().copied().collect();
        self.release().await?;
        outcome.context("decide the claims of an event")
    }
}

async fn take_turn(processor: QueueProcessor, event_id: Uuid, fence: i64, mut lost: HashSet<Uuid>) -> Turn {
    let outcome = decide_batch(&processor, event_id, fence, &mut lost).await;
    Turn {
        event_id,
        lost,
        outcome,
    }
}

async fn decide_batch(
    processor: &QueueProcessor,
    event_id: Uuid,
    fence: i64,
    lost: &mut HashSet<Uuid>,
) -> Result<Found, ClaimError> {
    let QueueProcessor { db, clock, .. } = processor;
    let has_due = !queue::due(db, event_id, clock.now(), 1).await?.is_empty();
    let rows = queue::first(db, event_id, BATCH).await?;
    let mut processed = 0;
    if !rows.is_empty() {
        processed = processor
            .process(event_id, fence, &rows, lost, Some(FIRST_PATIENCE))
            .await?;
    }
    Ok(Found {
        has_claims: !rows.is_empty(),
        has_progress: processed > 0,
        has_due,
    })
}

/// Tries claims again that could not be decided, each by itself. Returns the event.
async fn retry(processor: QueueProcessor, event_id: Uuid, fence: i64) -> Uuid {
    let retry_all = async {
        let now = processor.clock.now();
        for row in queue::due(&processor.db, event_id, now, RETRIED_AT_ONCE).await? {
            // Its key may have a response by now.
            let mut lost = HashSet::from([row.id]);
            processor.process(event_id, fence, &[row], &mut lost, None).await?;
        }
        Ok::<(), ClaimError>(())
    };
    if let Err(error) = retry_all.await {
        tracing::warn!(event.id = %event_id, %error, "pending claims not tried again");
    }
    event_id
}
