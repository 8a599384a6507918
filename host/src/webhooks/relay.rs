//! What runs: hands messages on and delivers them, inside `meed serve` or alone as `meed relay`, in any number of processes.
//!
//! Each endpoint that has something to send has a task of its own with so many attempts at the same time, and they share
//! nothing but two places at the database for milliseconds: a slow receiver delays nobody else's messages.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, Semaphore, watch};
use tokio::task::JoinSet;
use uuid::Uuid;

use super::model::DeliveryStatus;
use super::queue::{AT_ONCE, Attempted, LEASE};
use super::service::WebhookService;
use super::store::deliveries::{self, TakenRow};
use crate::db::DbError;
use crate::outbox;

/// How often it is looked whether there is something to do.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// The same while there is nobody to tell, or while the database cannot be asked.
const LOOK_SELDOM: Duration = Duration::from_secs(1);
/// How often it is said that a delivery is still in our hands.
const RENEW_EVERY: Duration = Duration::from_secs(1);
const _: () = assert!(LEASE.as_millis() > 2 * RENEW_EVERY.as_millis());
/// Turns of all endpoints at the same time: requests need the database, too.
const TURNS_AT_ONCE: usize = 2;
/// How often the queues are counted.
const COUNT_EVERY: Duration = Duration::from_secs(10);
/// How often it is looked what can be forgotten.
const FORGET_EVERY: Duration = Duration::from_mins(10);

/// Runs until it is told to stop.
#[derive(Clone)]
pub struct Relay {
    service: WebhookService,
    turns: Arc<Semaphore>,
    stopping: watch::Receiver<bool>,
    /// The endpoints that have a task, and how to wake it.
    tasks: Arc<Mutex<HashMap<Uuid, Arc<Notify>>>>,
}

impl Relay {
    /// `stopping` becomes true when no more is to be taken; what is on its way then still ends.
    pub fn new(service: WebhookService, stopping: watch::Receiver<bool>) -> Self {
        Self {
            service,
            turns: Arc::new(Semaphore::new(TURNS_AT_ONCE)),
            stopping,
            tasks: Arc::default(),
        }
    }

    pub async fn run(mut self) {
        let mut endpoints = JoinSet::new();
        let chores = tokio::spawn(chores(self.service.clone()));
        while !*self.stopping.borrow() {
            let pause = match self.look(&mut endpoints).await {
                Ok(pause) => pause,
                Err(error) => {
                    tracing::warn!(%error, "the outbox cannot be read");
                    LOOK_SELDOM
                }
            };
            while endpoints.try_join_next().is_some() {}
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                // Whoever could tell it to stop is gone: so it stops.
                changed = self.stopping.changed() => if changed.is_err() { break },
            }
        }
        chores.abort();
        // Each ends with the attempts that it began.
        while endpoints.join_next().await.is_some() {}
    }

    /// Hands on what there is and wakes whoever has something to send; says how long to wait.
    async fn look(&self, endpoints: &mut JoinSet<()>) -> Result<Duration, DbError> {
        if !self.service.has_receivers().await? {
            metrics::gauge!("meed_outbox_lag_seconds").set(0.0);
            return Ok(LOOK_SELDOM);
        }
        let mut is_more = false;
        let oldest = outbox::oldest_unsent(&self.service.db).await?;
        let lag = oldest.map_or(0, |at| self.service.clock.now().as_millis() - at.as_millis());
        #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
        metrics::gauge!("meed_outbox_lag_seconds").set(lag.max(0) as f64 / 1000.0);
        if oldest.is_some() {
            is_more = self.service.hand_on().await? == AT_ONCE;
        }
        for id in self.service.due().await? {
            self.wake(id, endpoints);
        }
        Ok(if is_more { Duration::ZERO } else { LOOK_EVERY })
    }

    fn wake(&self, endpoint_id: Uuid, endpoints: &mut JoinSet<()>) {
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(task) = tasks.get(&endpoint_id) {
            task.notify_one();
            return;
        }
        let news = Arc::new(Notify::new());
        tasks.insert(endpoint_id, Arc::clone(&news));
        let relay = self.clone();
        endpoints.spawn(async move {
            // Also when the task panics, so that the endpoint gets another one.
            let _gone = OnDrop(relay.tasks.clone(), endpoint_id);
            relay.drive(endpoint_id, &news).await;
        });
    }

    /// Delivers to one endpoint until nothing is due and nothing is on its way.
    async fn drive(&self, endpoint_id: Uuid, news: &Notify) {
        let mut attempts = JoinSet::new();
        let mut on_the_way: HashMap<Uuid, TakenRow> = HashMap::new();
        let mut ended: Vec<Attempted> = Vec::new();
        let mut renewed = Instant::now();
        let stopping = self.stopping.clone();
        loop {
            let room = if *stopping.borrow() {
                0
            } else {
                self.service.settings.concurrency.saturating_sub(on_the_way.len())
            };
            let is_time = renewed.elapsed() >= RENEW_EVERY;
            let kept: Vec<TakenRow> = on_the_way.values().filter(|_| is_time).copied().collect();
            let turn = async {
                let _place = self.turns.acquire().await;
                self.service.turn(endpoint_id, &ended, &kept, room).await
            };
            match turn.await {
                Ok(turn) => {
                    ended.clear();
                    if is_time {
                        renewed = Instant::now();
                    }
                    let is_idle = turn.taken.is_empty() && on_the_way.is_empty();
                    if let Some(endpoint) = turn.endpoint {
                        for (taken, told) in turn.taken {
                            on_the_way.insert(taken.message_id, taken);
                            let (service, endpoint) = (self.service.clone(), endpoint.clone());
                            attempts.spawn(async move {
                                let at = service.clock.now();
                                let attempt = service.attempt(&endpoint, told.id, service.body(&told)).await;
                                Attempted {
                                    taken,
                                    told,
                                    at,
                                    attempt,
                                }
                            });
                        }
                    }
                    if is_idle {
                        return;
                    }
                }
                Err(error) => {
                    // What came of attempts is written when the database can be asked again; when that is too late, they
                    // are made again.
                    tracing::warn!(webhook_endpoint.id = %endpoint_id, %error, "deliveries cannot be written");
                    if attempts.is_empty() && *stopping.borrow() {
                        return;
                    }
                    tokio::time::sleep(LOOK_EVERY).await;
                }
            }
            if !ended.is_empty() {
                continue;
            }
            tokio::select! {
                Some(attempted) = attempts.join_next() => ended.extend(attempted.ok()),
                () = news.notified(), if on_the_way.len() < self.service.settings.concurrency => {}
                () = tokio::time::sleep(RENEW_EVERY) => {}
            }
            while let Some(attempted) = attempts.try_join_next() {
                ended.extend(attempted.ok());
            }
            for attempted in &ended {
                on_the_way.remove(&attempted.taken.message_id);
            }
            if attempts.is_empty() {
                // An attempt that panicked left nothing behind.
                on_the_way.clear();
            }
        }
    }
}

struct OnDrop(Arc<Mutex<HashMap<Uuid, Arc<Notify>>>>, Uuid);

impl Drop for OnDrop {
    fn drop(&mut self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.1);
    }
}

/// Counts the queues and forgets what is old.
async fn chores(service: WebhookService) {
    let (mut count, mut forget) = (tokio::time::interval(COUNT_EVERY), tokio::time::interval(FORGET_EVERY));
    let mut known = HashSet::new();
    loop {
        tokio::select! {
            _ = count.tick() => {
                if let Err(error) = count_queues(&service, &mut known).await {
                    tracing::warn!(%error, "the queues of webhooks are not counted");
                }
            }
            _ = forget.tick() => match service.forget().await {
                Ok(forgotten) => tracing::debug!(forgotten, "old messages forgotten"),
                Err(error) => tracing::warn!(%error, "old messages not forgotten"),
            }
        }
    }
}

/// `known`: the series that were told, which go to 0 when there is nothing to tell of them any more.
#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
async fn count_queues(service: &WebhookService, known: &mut HashSet<(Uuid, DeliveryStatus)>) -> Result<(), DbError> {
    let now = service.clock.now();
    let mut gone = known.clone();
    for row in deliveries::depths(&service.db).await? {
        gone.remove(&(row.endpoint_id, row.status));
        known.insert((row.endpoint_id, row.status));
        let age = row.oldest.map_or(0, |oldest| now.as_millis() - oldest.as_millis());
        tell(
            row.endpoint_id,
            row.status,
            row.deliveries as f64,
            age.max(0) as f64 / 1000.0,
        );
    }
    for (endpoint_id, status) in gone {
        tell(endpoint_id, status, 0.0, 0.0);
    }
    Ok(())
}

fn tell(endpoint_id: Uuid, status: DeliveryStatus, deliveries: f64, age: f64) {
    let (endpoint, state) = (endpoint_id.to_string(), status.to_string());
    metrics::gauge!("meed_webhook_deliveries", "endpoint" => endpoint.clone(), "state" => state).set(deliveries);
    if status == DeliveryStatus::Pending {
        metrics::gauge!("meed_webhook_oldest_seconds", "endpoint" => endpoint).set(age);
    }
}
