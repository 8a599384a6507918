//! The relay: fans messages out and delivers them to webhook endpoints, inside `meed serve` or alone as `meed relay`, in any
//! number of processes.
//!
//! Each endpoint with deliveries that are due has its own task, in the process that holds the endpoint's lease. These
//! tasks share two database connections for milliseconds and nothing else: a slow receiver does not delay other
//! endpoints.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context as _;
use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::batch::{Attempted, Batch};
use super::fan_out::FAN_OUT;
use super::model::DeliveryStatus;
use super::service::WebhookService;
use super::store;
use super::store::deliveries::{self, Due};
use crate::background::lease::Lease;
use crate::background::{Children, Context, IDLE_INTERVAL, Next, POLL_INTERVAL, Task};
use crate::db::DbError;
use crate::outbox;

/// Batches of all endpoints at the same time: requests need the database, too.
const BATCHES_AT_ONCE: usize = 2;

/// Polls the outbox and starts a task for each endpoint with deliveries that are due.
pub struct Relay {
    service: WebhookService,
    batches: Arc<Semaphore>,
    endpoints: Children<Uuid>,
}

impl Relay {
    pub fn new(service: WebhookService) -> Self {
        Self {
            service,
            batches: Arc::new(Semaphore::new(BATCHES_AT_ONCE)),
            endpoints: Children::new(),
        }
    }

    fn deliver(&mut self, due: Due, stop: CancellationToken) {
        let endpoint_id = due.endpoint_id;
        if self.endpoints.wake(&endpoint_id) || !due.is_free {
            return;
        }
        let (service, batches) = (self.service.clone(), Arc::clone(&self.batches));
        self.endpoints.spawn(endpoint_id, |waker| {
            let delivery = EndpointDelivery {
                service,
                batches,
                endpoint_id,
                waker,
                stop,
            };
            delivery.run()
        });
    }
}

impl Task for Relay {
    /// Fans out new messages and wakes the endpoints with deliveries that are due.
    async fn run(&mut self, context: &Context) -> anyhow::Result<Next> {
        self.endpoints.reap().context("deliver to a webhook endpoint")?;
        let service = &self.service;
        if !service.has_receivers().await? {
            metrics::gauge!("meed_outbox_lag_seconds").set(0.0);
            return Ok(Next::After(IDLE_INTERVAL));
        }
        let oldest = outbox::oldest_unsent(&service.db).await?;
        let lag = oldest.map_or(0, |at| service.clock.now().as_millis() - at.as_millis());
        #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
        metrics::gauge!("meed_outbox_lag_seconds").set(lag.max(0) as f64 / 1000.0);
        let is_full = oldest.is_some() && service.fan_out().await? == FAN_OUT;
        for due in service.due().await? {
            self.deliver(due, context.stop_token());
        }
        Ok(if is_full { Next::Now } else { Next::Period })
    }

    /// Waits for the attempts in progress; each has a time-out.
    async fn finish(mut self) -> anyhow::Result<()> {
        self.endpoints.join_all().await.context("deliver to a webhook endpoint")
    }
}

/// Delivers to one endpoint.
struct EndpointDelivery {
    service: WebhookService,
    batches: Arc<Semaphore>,
    endpoint_id: Uuid,
    /// Deliveries have become due.
    waker: Arc<Notify>,
    stop: CancellationToken,
}

impl EndpointDelivery {
    /// Holds the endpoint's lease until nothing has been due for a while.
    async fn run(self) {
        let (db, clock, id) = (&self.service.db, &self.service.clock, self.endpoint_id);
        let lease = match Lease::acquire(db, clock, &store::ENDPOINT_LEASES, id).await {
            Ok(Some(lease)) => lease,
            Ok(None) => return,
            Err(error) => {
                tracing::warn!(webhook_endpoint.id = %id, %error, "lease of a webhook endpoint not acquired");
                return;
            }
        };
        self.deliver(&lease).await;
        if let Err(error) = lease.release().await {
            tracing::warn!(webhook_endpoint.id = %id, %error, "lease of a webhook endpoint not released; it expires");
        }
    }

    async fn deliver(&self, lease: &Lease) {
        let concurrency = self.service.settings.concurrency;
        let mut attempts = JoinSet::new();
        let mut ended: Vec<Attempted> = Vec::new();
        let mut has_panicked = false;
        loop {
            let is_closing = has_panicked || self.stop.is_cancelled() || lease.is_lost();
            let room = if is_closing {
                0
            } else {
                concurrency.saturating_sub(attempts.len())
            };
            let is_retry = match self.batch(lease, &ended, room).await {
                Ok(batch) => {
                    ended.clear();
                    self.attempt_all(batch, &mut attempts);
                    false
                }
                Err(error) => {
                    // Results are kept until they can be written. If another holder is faster, its attempts count.
                    tracing::warn!(webhook_endpoint.id = %self.endpoint_id, %error, "deliveries cannot be read or written");
                    tokio::time::sleep(POLL_INTERVAL).await;
                    true
                }
            };
            if is_closing && attempts.is_empty() {
                // Results that could not be written by now are lost; the next holder attempts these deliveries again.
                return;
            }
            if is_retry && !ended.is_empty() {
                continue;
            }
            tokio::select! {
                Some(result) = attempts.join_next() => match result {
                    Ok(attempted) => ended.push(attempted),
                    // Its delivery is due again under the next fence.
                    Err(_) => has_panicked = true,
                },
                () = self.waker.notified(), if attempts.len() < concurrency && !is_closing => {}
                () = self.stop.cancelled(), if !is_closing => {}
                () = lease.lost(), if !is_closing => {}
                // The lease is kept for a moment, so that a trickle of messages does not acquire it for each one.
                () = tokio::time::sleep(IDLE_INTERVAL), if attempts.is_empty() => return,
            }
            while let Some(result) = attempts.try_join_next() {
                has_panicked |= result.is_err();
                ended.extend(result.ok());
            }
        }
    }

    async fn batch(&self, lease: &Lease, ended: &[Attempted], room: usize) -> Result<Batch, DbError> {
        let _permit = self.batches.acquire().await;
        self.service.batch(self.endpoint_id, lease.fence(), ended, room).await
    }

    fn attempt_all(&self, batch: Batch, attempts: &mut JoinSet<Attempted>) {
        let Some(endpoint) = batch.endpoint else { return };
        for (taken, message) in batch.taken {
            let (service, endpoint) = (self.service.clone(), endpoint.clone());
            attempts.spawn(async move {
                let at = service.clock.now();
                let attempt = service.deliver(&endpoint, &message).await;
                Attempted {
                    taken,
                    message,
                    at,
                    attempt,
                }
            });
        }
    }
}

/// Counts deliveries by endpoint and status, for the metrics.
#[derive(Clone, Default)]
pub struct DeliveryCount(Arc<Mutex<HashSet<(Uuid, DeliveryStatus)>>>);

impl DeliveryCount {
    /// Sets a series that was reported before to 0 once it has no deliveries.
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    pub async fn run(&self, service: &WebhookService) -> Result<(), DbError> {
        let rows = deliveries::depths(&service.db).await?;
        let now = service.clock.now();
        let mut reported = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut gone = reported.clone();
        for row in rows {
            gone.remove(&(row.endpoint_id, row.status));
            reported.insert((row.endpoint_id, row.status));
            let age = row.oldest.map_or(0, |oldest| now.as_millis() - oldest.as_millis());
            report(
                row.endpoint_id,
                row.status,
                row.deliveries as f64,
                age.max(0) as f64 / 1000.0,
            );
        }
        for (endpoint_id, status) in gone {
            report(endpoint_id, status, 0.0, 0.0);
        }
        Ok(())
    }
}

fn report(endpoint_id: Uuid, status: DeliveryStatus, deliveries: f64, age: f64) {
    let (endpoint, state) = (endpoint_id.to_string(), status.to_string());
    metrics::gauge!("meed_webhook_deliveries", "endpoint" => endpoint.clone(), "state" => state).set(deliveries);
    if status == DeliveryStatus::Pending {
        metrics::gauge!("meed_webhook_oldest_seconds", "endpoint" => endpoint).set(age);
    }
}
