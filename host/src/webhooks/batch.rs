//! One transaction of an endpoint: it writes the results of attempts that ended and takes deliveries that are due.
//!
//! The process that holds the endpoint's lease runs these batches. Deliveries that it takes are marked with the lease's
//! fence. The next holder takes over all deliveries with an older fence; the result of an older holder counts only for
//! deliveries that the new one has not taken yet. Must not know: when to run a batch (`relay`), how a message is sent
//! (`deliver`).

use std::collections::HashMap;
use std::time::Duration;

use uuid::Uuid;

use super::deliver::Attempt;
use super::model::{EndpointState, LastAttempt};
use super::service::WebhookService;
use super::store::deliveries::{self, Due, Next, TakenRow};
use super::store::{self, EndpointRow};
use crate::clock::Timestamp;
use crate::db::{DbError, Tx};
use crate::fulfilments::{Answer, Answered};
use crate::outbox::{self, OutboxMessage};

/// Deliveries that were taken: to be attempted now, and recorded by a later batch.
pub(super) struct Batch {
    pub endpoint: Option<EndpointRow>,
    pub taken: Vec<(TakenRow, OutboxMessage)>,
}

/// An attempt that ended.
#[derive(Clone, Debug)]
pub(super) struct Attempted {
    pub taken: TakenRow,
    pub message: OutboxMessage,
    pub at: Timestamp,
    pub attempt: Attempt,
}

impl WebhookService {
    /// Writes the results of attempts and takes up to `room` deliveries, for the holder of the endpoint's lease.
    pub(super) async fn batch(
        &self,
        endpoint_id: Uuid,
        fence: i64,
        ended: &[Attempted],
        room: usize,
    ) -> Result<Batch, DbError> {
        let mut tx = self.db.begin().await?;
        let mut endpoint = store::lock(&mut tx, endpoint_id).await?;
        let now = self.clock.now();
        let mut recorded = Vec::new();
        let mut answered = Answered::default();
        if let Some(endpoint) = &mut endpoint {
            let mut answers = Vec::new();
            for attempted in ended {
                let result = self.record(&mut tx, endpoint, fence, attempted, now).await?;
                answers.extend(result.as_ref().and_then(|result| result.final_answer(attempted)));
                recorded.extend(result);
            }
            if endpoint.acknowledges {
                answered = self.fulfilments.answered(&mut tx, endpoint_id, &answers, now).await?;
            }
        }
        let is_active = |endpoint: &EndpointRow| endpoint.state == EndpointState::Active;
        let mut taken = Vec::new();
        if room > 0 && endpoint.as_ref().is_some_and(is_active) {
            let limit = i64::try_from(room).unwrap_or(i64::MAX);
            taken = deliveries::take(&mut tx, endpoint_id, fence, limit, now).await?;
        }
        let ids: Vec<Uuid> = taken.iter().map(|row| row.message_id).collect();
        let messages = outbox::messages(&self.db, &mut tx, &ids).await?;
        tx.commit().await?;
        answered.count();
        for result in recorded {
            result.report(endpoint_id);
        }
        let mut messages: HashMap<Uuid, OutboxMessage> =
            messages.into_iter().map(|message| (message.id, message)).collect();
        let mut with_message = |row: TakenRow| Some((row, messages.remove(&row.message_id)?));
        Ok(Batch {
            endpoint,
            taken: taken.into_iter().filter_map(&mut with_message).collect(),
        })
    }

    async fn record(
        &self,
        tx: &mut Tx,
        endpoint: &mut EndpointRow,
        fence: i64,
        attempted: &Attempted,
        now: Timestamp,
    ) -> Result<Option<Recorded>, DbError> {
        let Attempted { taken, at, attempt, .. } = attempted;
        let next = self.next(*taken, attempt, now);
        let last = LastAttempt::of(attempt.clone(), *at);
        let recorded = deliveries::record(tx, endpoint.id, *taken, fence, next, last, now).await?;
        let Some(recorded) = recorded else {
            // The lease was lost, and its new holder has taken this delivery.
            return Ok(None);
        };
        if !matches!(next, Next::Retry(_)) {
            deliveries::wake(tx, endpoint.id, recorded.ordering_key, now).await?;
        }
        if attempt.is_gone() && endpoint.state == EndpointState::Active {
            self.pause(tx, endpoint, "the receiver answered 410 Gone".to_owned())
                .await?;
        }
        Ok(Some(Recorded {
            next,
            message_id: taken.message_id,
            http_request_id: attempted.message.http_request_id.clone(),
            lag: Duration::from_millis(u64::try_from(now.as_millis() - recorded.created_at.as_millis()).unwrap_or(0)),
            elapsed: attempt.elapsed,
            error: attempt.error.clone(),
        }))
    }

    /// Retries follow the schedule; a receiver may ask for a longer delay.
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

    /// 0.8 to 1.2, so that deliveries that failed together are not retried together.
    fn jitter(&self) -> f64 {
        let chance = f64::from(u32::from_le_bytes(self.clock.random())) / f64::from(u32::MAX);
        0.8 + 0.4 * chance
    }

    /// The endpoints with deliveries that are due.
    pub(super) async fn due(&self) -> Result<Vec<Due>, DbError> {
        deliveries::due_endpoints(&self.db, self.clock.now()).await
    }
}

/// An attempt as log and metrics report it after its result is committed.
struct Recorded {
    next: Next,
    message_id: Uuid,
    http_request_id: Option<String>,
    lag: Duration,
    elapsed: Duration,
    error: Option<String>,
}

impl Recorded {
    /// The endpoint's final answer about the message; `None` when it is retried.
    fn final_answer<'a>(&self, attempted: &'a Attempted) -> Option<Answer<'a>> {
        (!matches!(self.next, Next::Retry(_))).then_some(Answer {
            message: &attempted.message,
            failure: attempted.attempt.error.as_deref(),
        })
    }

    fn report(self, endpoint_id: Uuid) {
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
