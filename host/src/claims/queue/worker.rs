//! What runs: settles claims that wait, in any number of processes. Each event has a line; one process at a time has it, by
//! a lease and a fence, and settles its claims in the order of their arrival.
//!
//! All that is known is in the database. A process that is killed leaves a lease that runs out; what it was about to write
//! is refused from then on, because the fence was raised. Must not know: how a claim is decided (`line`).

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::claims::commit::full_jitter;
use crate::claims::service::{ClaimError, Claims};
use crate::claims::store::queue;
use crate::clock::Timestamp;
use crate::db::DbError;

/// How often it is looked for claims that other processes took in; this one's own are seen at once.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// The same while the database cannot be asked.
const LOOK_SELDOM: Duration = Duration::from_secs(1);
/// How long a line is in hands that do not say that they still have it.
const LEASE: Duration = Duration::from_secs(4);
const RENEW_EVERY: Duration = Duration::from_secs(1);
const _: () = assert!(LEASE.as_millis() > 2 * RENEW_EVERY.as_millis());
/// Lines of one process.
const LINES: i64 = 64;
/// Sets that are decided and committed at the same time, in turns: a long line holds up no other.
const SETS_AT_ONCE: usize = 4;
/// Claims in one set.
const SET: i64 = 128;
const COUNT_EVERY: Duration = Duration::from_secs(1);

/// Settles until it is told to stop.
#[derive(Clone)]
pub struct Worker {
    service: Claims,
    sets: Arc<Semaphore>,
    stopping: watch::Receiver<bool>,
    /// The lines that have a task here.
    lines: Arc<Mutex<HashSet<Uuid>>>,
}

impl Worker {
    /// `stopping` becomes true when no more is to be begun; a set that was begun is still settled.
    pub fn new(service: Claims, stopping: watch::Receiver<bool>) -> Self {
        Self {
            service,
            sets: Arc::new(Semaphore::new(SETS_AT_ONCE)),
            stopping,
            lines: Arc::default(),
        }
    }

    pub async fn run(mut self) {
        let mut lines = JoinSet::new();
        let counting = tokio::spawn(count(self.service.clone()));
        let arrived = Arc::clone(&self.service.intake.arrived);
        while !*self.stopping.borrow() {
            let pause = match self.look(&mut lines).await {
                Ok(()) => LOOK_EVERY,
                Err(error) => {
                    tracing::warn!(%error, "claims that wait cannot be read");
                    LOOK_SELDOM
                }
            };
            while lines.try_join_next().is_some() {}
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = arrived.notified(), if pause == LOOK_EVERY => {}
                // Whoever could tell it to stop is gone: so it stops.
                changed = self.stopping.changed() => if changed.is_err() { break },
            }
        }
        counting.abort();
        while lines.join_next().await.is_some() {}
    }

    /// Begins with every line that nobody has.
    async fn look(&self, lines: &mut JoinSet<()>) -> Result<(), DbError> {
        let now = self.service.clock.now();
        for event_id in queue::free_queues(&self.service.db, now, LINES).await? {
            let is_new = self.held().insert(event_id);
            if is_new {
                let worker = self.clone();
                lines.spawn(async move {
                    // Also when the task panics, so that the line gets another one.
                    let _gone = OnDrop(Arc::clone(&worker.lines), event_id);
                    if let Err(error) = worker.drive(event_id).await {
                        tracing::warn!(event.id = %event_id, %error, "a line of claims was left");
                    }
                });
            }
        }
        Ok(())
    }

    fn held(&self) -> std::sync::MutexGuard<'_, HashSet<Uuid>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Settles an event's claims until none waits, or the line is somebody else's.
    async fn drive(&self, event_id: Uuid) -> Result<(), ClaimError> {
        let service = &self.service;
        let now = service.clock.now();
        let mut tx = service.db.begin().await?;
        let fence = queue::acquire_queue(&mut tx, event_id, now, now.plus(LEASE)).await?;
        tx.commit().await?;
        let Some(fence) = fence else { return Ok(()) };
        let renewing = Renewing(tokio::spawn(renew(service.clone(), event_id, fence)));
        let mut lost = HashSet::new();
        let mut in_vain = 0;
        loop {
            let turn = self.sets.acquire().await;
            if *self.stopping.borrow() {
                break;
            }
            let rows = queue::first(&service.db, event_id, SET).await?;
            if rows.is_empty() {
                break;
            }
            let settled = service.settle_in_order(event_id, fence, &rows, &mut lost).await;
            drop(turn);
            match settled {
                Ok(1..) => {
                    in_vain = 0;
                    continue;
                }
                Ok(0) => {}
                Err(error) => {
                    tracing::warn!(event.id = %event_id, %error, "claims that wait cannot be settled yet");
                }
            }
            in_vain += 1;
            tokio::time::sleep(full_jitter(&service.clock, in_vain)).await;
            if !keep(service, event_id, fence, service.clock.now().plus(LEASE)).await? {
                return Ok(());
            }
        }
        drop(renewing);
        // For whoever comes next, at once.
        keep(service, event_id, fence, service.clock.now()).await?;
        Ok(())
    }
}

struct OnDrop(Arc<Mutex<HashSet<Uuid>>>, Uuid);

impl Drop for OnDrop {
    fn drop(&mut self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.1);
    }
}

struct Renewing(tokio::task::JoinHandle<()>);

impl Drop for Renewing {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn keep(service: &Claims, event_id: Uuid, fence: i64, until: Timestamp) -> Result<bool, DbError> {
    let mut tx = service.db.begin().await?;
    let is_ours = queue::renew_queue(&mut tx, event_id, fence, until).await?;
    tx.commit().await?;
    Ok(is_ours)
}

/// A set may take longer than the lease, on a database that is slow.
async fn renew(service: Claims, event_id: Uuid, fence: i64) {
    loop {
        tokio::time::sleep(RENEW_EVERY).await;
        let until = service.clock.now().plus(LEASE);
        match keep(&service, event_id, fence, until).await {
            Ok(true) => {}
            Ok(false) => return,
            Err(error) => tracing::warn!(event.id = %event_id, %error, "a line of claims is not renewed"),
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
async fn count(service: Claims) {
    let mut timer = tokio::time::interval(COUNT_EVERY);
    loop {
        timer.tick().await;
        match queue::depth(&service.db).await {
            Ok((waiting, oldest)) => {
                let age = oldest.map_or(0, |at| service.clock.now().as_millis() - at.as_millis());
                metrics::gauge!("meed_received_claims").set(waiting as f64);
                metrics::gauge!("meed_received_oldest_seconds").set(age.max(0) as f64 / 1000.0);
            }
            Err(error) => tracing::warn!(%error, "claims that wait are not counted"),
        }
    }
}
