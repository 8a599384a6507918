//! From the outbox to the receivers, one transaction after the other. All that is known is in the database, so any process
//! can go on where another one was killed.
//!
//! First messages are handed on: each becomes a delivery for every endpoint that wants it, and goes into the queue of every
//! topic, where it is no business of ours any more. Then a turn at an endpoint
//! writes what came of attempts and takes what is due. What is taken is leased: who dies loses it after a moment to whoever
//! takes it next, and raises the fence, so that what the dead one still had to say does not count. Must not know: when to
//! do this (`relay`), how a message travels (`deliver`).

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use uuid::Uuid;

use super::deliver::Attempt;
use super::model::{DeliveryStatus, EndpointState, LastAttempt};
use super::service::WebhookService;
use super::store::deliveries::{self, NewDelivery, Next, TakenRow};
use super::store::{self, EndpointRow, sweep};
use crate::clock::Timestamp;
use crate::db::{DbError, Tx};
use crate::fulfilments::{Answer, Answered};
use crate::outbox::{self, Addressed, Told, topics};

/// How many messages are handed on in one transaction: what others wait for it is milliseconds.
pub(super) const AT_ONCE: usize = 256;

/// How long a taken delivery is in hands that do not say that they still have it.
pub(super) const LEASE: Duration = Duration::from_secs(3);

/// How many messages one transaction forgets.
const FORGOTTEN_AT_ONCE: i64 = 1_000;

/// How long a topic is kept, at least, to which nobody publishes: whoever could says so every minute.
const LEAST_PATIENCE: Duration = Duration::from_hours(24);

/// What is taken from an endpoint's queue: to be sent, and settled by a later turn.
pub(super) struct Turn {
    pub endpoint: Option<EndpointRow>,
    pub taken: Vec<(TakenRow, Told)>,
}

/// An attempt that ended.
#[derive(Clone, Debug)]
pub(super) struct Attempted {
    pub taken: TakenRow,
    pub told: Told,
    pub at: Timestamp,
    pub attempt: Attempt,
}

impl WebhookService {
    /// Hands messages on; says how many. It is full when there are more, 0 also when another process does it right now.
    pub(super) async fn hand_on(&self) -> Result<usize, DbError> {
        let mut tx = self.db.begin().await?;
        if !outbox::take_turn(&mut tx).await? {
            return Ok(0);
        }
        let endpoints = store::hold_all(&mut tx).await?;
        let topics = topics::all(&mut tx).await?;
        if endpoints.is_empty() && topics.is_empty() {
            return Ok(0);
        }
        let messages = outbox::unsent(&mut tx, i64::try_from(AT_ONCE).unwrap_or(i64::MAX)).await?;
        if messages.is_empty() {
            return Ok(0);
        }
        let wanted = |endpoint: &EndpointRow, message: &Addressed| {
            let types = &endpoint.types.0;
            endpoint.created_at <= message.created_at && (types.is_empty() || types.contains(&message.kind))
        };
        let now = self.clock.now();
        self.queue(&mut tx, &endpoints, &messages, wanted, now).await?;
        for topic in &topics {
            let wanted = messages.iter().filter(|message| topic.created_at <= message.created_at);
            topics::queue(&self.db, &mut tx, &topic.name, wanted).await?;
        }
        outbox::mark_sent(&self.db, &mut tx, messages.iter().map(|message| message.id), now).await?;
        tx.commit().await?;
        Ok(messages.len())
    }

    /// Makes deliveries that are not there yet. Part of the caller's transaction, which holds all endpoints.
    pub(super) async fn queue(
        &self,
        tx: &mut Tx,
        endpoints: &[EndpointRow],
        messages: &[Addressed],
        wanted: impl Fn(&EndpointRow, &Addressed) -> bool,
        now: Timestamp,
    ) -> Result<(), DbError> {
        let mut busy = deliveries::busy(&self.db, tx, messages.iter().map(|message| message.line)).await?;
        let mut rows = Vec::new();
        for message in messages {
            for endpoint in endpoints.iter().filter(|endpoint| wanted(endpoint, message)) {
                // The first of a line goes at once, and those behind it wait.
                let status = if busy.insert((endpoint.id, message.line)) {
                    DeliveryStatus::Pending
                } else {
                    DeliveryStatus::Waiting
                };
                rows.push(NewDelivery {
                    endpoint_id: endpoint.id,
                    message_id: message.id,
                    line: message.line,
                    told_at: message.created_at,
                    status,
                });
            }
        }
        deliveries::insert(&self.db, tx, &rows, now).await
    }

    /// Writes what came of attempts, keeps what is still on its way, and takes up to `room` more. When there is nothing to
    /// write and another process has a turn here, it takes nothing.
    pub(super) async fn turn(
        &self,
        endpoint_id: Uuid,
        ended: &[Attempted],
        kept: &[TakenRow],
        room: usize,
    ) -> Result<Turn, DbError> {
        let mut tx = self.db.begin().await?;
        let mut endpoint = if ended.is_empty() && kept.is_empty() {
            store::try_lock(&mut tx, endpoint_id).await?
        } else {
            store::lock(&mut tx, endpoint_id).await?
        };
        let now = self.clock.now();
        let lease_until = now.plus(LEASE);
        let mut counted = Vec::new();
        let mut answered = Answered::default();
        if let Some(endpoint) = &mut endpoint {
            let mut answers = Vec::new();
            for attempted in ended {
                let count = self.settle(&mut tx, endpoint, attempted, now).await?;
                answers.extend(count.as_ref().and_then(|count| count.last_word(attempted)));
                counted.extend(count);
            }
            if endpoint.acknowledges {
                answered = self.fulfilments.answered(&mut tx, endpoint_id, &answers, now).await?;
            }
            deliveries::renew(&self.db, &mut tx, endpoint_id, kept.iter().copied(), lease_until).await?;
        }
        let is_active = |endpoint: &EndpointRow| endpoint.state == EndpointState::Active;
        let mut taken = Vec::new();
        if room > 0 && endpoint.as_ref().is_some_and(is_active) {
            let limit = i64::try_from(room).unwrap_or(i64::MAX);
            taken = deliveries::take(&mut tx, endpoint_id, limit, now, lease_until).await?;
        }
        let ids: Vec<Uuid> = taken.iter().map(|row| row.message_id).collect();
        let told = outbox::messages(&self.db, &mut tx, &ids).await?;
        tx.commit().await?;
        answered.count();
        for count in counted {
            count.tell(endpoint_id);
        }
        let mut told: HashMap<Uuid, Told> = told.into_iter().map(|told| (told.id, told)).collect();
        let mut with_message = |row: TakenRow| Some((row, told.remove(&row.message_id)?));
        Ok(Turn {
            endpoint,
            taken: taken.into_iter().filter_map(&mut with_message).collect(),
        })
    }

    async fn settle(
        &self,
        tx: &mut Tx,
        endpoint: &mut EndpointRow,
        attempted: &Attempted,
        now: Timestamp,
    ) -> Result<Option<Counted>, DbError> {
        let Attempted { taken, at, attempt, .. } = attempted;
        let next = self.next(*taken, attempt, now);
        let last = LastAttempt::of(attempt.clone(), *at);
        let settled = deliveries::settle(tx, endpoint.id, *taken, next, last, now).await?;
        let Some(settled) = settled else {
            // The lease ran out on the way, and the delivery is somebody else's.
            return Ok(None);
        };
        if !matches!(next, Next::Retry(_)) {
            deliveries::wake(tx, endpoint.id, settled.line, now).await?;
        }
        if attempt.is_gone() && endpoint.state == EndpointState::Active {
            self.pause(tx, endpoint, "the receiver answered 410 Gone".to_owned())
                .await?;
        }
        Ok(Some(Counted {
            next,
            message_id: taken.message_id,
            http_request_id: attempted.told.http_request_id.clone(),
            lag: Duration::from_millis(u64::try_from(now.as_millis() - settled.told_at.as_millis()).unwrap_or(0)),
            elapsed: attempt.elapsed,
            error: attempt.error.clone(),
        }))
    }

    /// What becomes of a delivery: the schedule counts, and a receiver may ask for more time.
    fn next(&self, taken: TakenRow, attempt: &Attempt, now: Timestamp) -> Next {
        if attempt.is_success() {
            return Next::Delivered;
        }
        let tries = usize::try_from(taken.attempts).unwrap_or(usize::MAX);
        match self.settings.retries.get(tries.saturating_sub(1)) {
            Some(delay) => {
                let delay = delay
                    .mul_f64(self.jitter())
                    .max(attempt.retry_after.unwrap_or_default());
                Next::Retry(now.plus(delay))
            }
            None => Next::Parked,
        }
    }

    /// 0.8 to 1.2, so that what failed together does not come back together.
    fn jitter(&self) -> f64 {
        let chance = f64::from(u32::from_le_bytes(self.clock.random())) / f64::from(u32::MAX);
        0.8 + 0.4 * chance
    }

    /// The endpoints that have something to send.
    pub(super) async fn due(&self) -> Result<HashSet<Uuid>, DbError> {
        let due = deliveries::due_endpoints(&self.db, self.clock.now()).await?;
        Ok(due.into_iter().collect())
    }

    /// Whether there is anybody to tell.
    pub(super) async fn has_receivers(&self) -> Result<bool, DbError> {
        Ok(store::count(&self.db).await? > 0 || topics::any(&self.db).await?)
    }

    /// Forgets messages that were sent, or that nobody wanted, longer ago than they are kept; says how many.
    pub async fn forget(&self) -> Result<u64, DbError> {
        let cutoff = self.clock.now().minus(self.retention);
        let mut forgotten = 0;
        loop {
            let mut tx = self.db.begin().await?;
            topics::forget(&mut tx, cutoff.min(self.clock.now().minus(LEAST_PATIENCE))).await?;
            let now = sweep::sent(&mut tx, cutoff, FORGOTTEN_AT_ONCE).await?
                + sweep::unwanted(&mut tx, cutoff, FORGOTTEN_AT_ONCE).await?;
            tx.commit().await?;
            forgotten += now;
            if now == 0 {
                return Ok(forgotten);
            }
        }
    }
}

/// What the metrics say of an attempt, once it is committed.
struct Counted {
    next: Next,
    message_id: Uuid,
    http_request_id: Option<String>,
    lag: Duration,
    elapsed: Duration,
    error: Option<String>,
}

impl Counted {
    /// What the endpoint has to say of the message, when it is not asked again.
    fn last_word<'a>(&self, attempted: &'a Attempted) -> Option<Answer<'a>> {
        (!matches!(self.next, Next::Retry(_))).then_some(Answer {
            told: &attempted.told,
            failure: attempted.attempt.error.as_deref(),
        })
    }

    fn tell(self, endpoint_id: Uuid) {
        let outcome = match self.next {
            Next::Delivered => "DELIVERED",
            Next::Parked => "PARKED",
            Next::Retry(_) => "RETRIED",
        };
        let endpoint = endpoint_id.to_string();
        metrics::counter!("meed_webhook_attempts_total", "endpoint" => endpoint, "outcome" => outcome).increment(1);
        metrics::histogram!("meed_webhook_attempt_seconds").record(self.elapsed.as_secs_f64());
        let error = self.error.unwrap_or_default();
        let request_id = self.http_request_id;
        match self.next {
            Next::Delivered => {
                metrics::histogram!("meed_webhook_lag_seconds").record(self.lag.as_secs_f64());
                tracing::debug!(
                    webhook_endpoint.id = %endpoint_id, message.id = %self.message_id, request.id = request_id,
                    "webhook delivered"
                );
            }
            Next::Parked => tracing::warn!(
                webhook_endpoint.id = %endpoint_id, message.id = %self.message_id, request.id = request_id, error,
                "webhook delivery parked"
            ),
            Next::Retry(at) => tracing::info!(
                webhook_endpoint.id = %endpoint_id, message.id = %self.message_id, request.id = request_id, error,
                next_attempt_at = %at,
                "webhook not delivered yet"
            ),
        }
    }
}
