//! Fan-out: each outbox message becomes a delivery for every endpoint that subscribes to it, and a row in the queue of
//! every topic. Also the sweep of messages that are no longer needed.
//!
//! One transaction fans out up to [`FAN_OUT`] messages; it needs nothing but the database, so any process can continue
//! where another one stopped. Must not know: how a message is sent (`deliver`), what a topic is (`kafka`).

use std::time::Duration;

use uuid::Uuid;

use super::model::DeliveryStatus;
use super::service::WebhookService;
use super::store::deliveries::{self, NewDelivery};
use super::store::{self, EndpointRow, sweep};
use crate::clock::Timestamp;
use crate::db::{DbError, Tx};
use crate::outbox::{self, Addressed, topics};

/// Messages in one transaction, which others wait for: it takes milliseconds.
pub(super) const FAN_OUT: usize = 256;

/// Messages from before the first receiver that one transaction skips.
const SKIPPED_AT_ONCE: i64 = 4_096;

/// Messages that one step of the sweep reads.
const SWEPT_AT_ONCE: i64 = 1_000;

/// How long a topic without a publisher is kept, at least. A publisher marks its topic as used every minute.
const UNUSED_TOPIC_KEPT: Duration = Duration::from_hours(24);

impl WebhookService {
    /// Fans messages out; returns how many. [`FAN_OUT`] when there may be more, 0 also while another process fans out.
    pub(super) async fn fan_out(&self) -> Result<usize, DbError> {
        let mut tx = self.db.begin().await?;
        if !outbox::try_lock_fan_out(&mut tx).await? {
            return Ok(0);
        }
        let endpoints = store::hold_all(&mut tx).await?;
        let topics = topics::all(&mut tx).await?;
        if endpoints.is_empty() && topics.is_empty() {
            return Ok(0);
        }
        let now = self.clock.now();
        // The backlog of a time without receivers is skipped in large steps.
        let since = endpoints.iter().map(|endpoint| endpoint.created_at);
        let since = since.chain(topics.iter().map(|topic| topic.created_at)).min();
        if let Some(since) = since
            && outbox::skip_before(&mut tx, since, SKIPPED_AT_ONCE, now).await? > 0
        {
            tx.commit().await?;
            return Ok(FAN_OUT);
        }
        let messages = outbox::unsent(&mut tx, i64::try_from(FAN_OUT).unwrap_or(i64::MAX)).await?;
        if messages.is_empty() {
            return Ok(0);
        }
        let wanted = |endpoint: &EndpointRow, message: &Addressed| {
            let types = &endpoint.types.0;
            endpoint.created_at <= message.created_at && (types.is_empty() || types.contains(&message.kind))
        };
        self.queue(&mut tx, &endpoints, &messages, wanted, now).await?;
        for topic in &topics {
            let wanted = messages.iter().filter(|message| topic.created_at <= message.created_at);
            topics::queue(&self.db, &mut tx, &topic.name, wanted).await?;
        }
        outbox::mark_sent(&self.db, &mut tx, messages.iter().map(|message| message.id), now).await?;
        tx.commit().await?;
        Ok(messages.len())
    }

    /// Inserts the deliveries that do not exist yet. Part of the caller's transaction, which has locked all endpoints.
    pub(super) async fn queue(
        &self,
        tx: &mut Tx,
        endpoints: &[EndpointRow],
        messages: &[Addressed],
        wanted: impl Fn(&EndpointRow, &Addressed) -> bool,
        now: Timestamp,
    ) -> Result<(), DbError> {
        let mut busy = deliveries::busy(&self.db, tx, messages.iter().map(|message| message.ordering_key)).await?;
        let mut rows = Vec::new();
        for message in messages {
            for endpoint in endpoints.iter().filter(|endpoint| wanted(endpoint, message)) {
                // The first message of a user is due immediately; later ones wait for it.
                let status = if busy.insert((endpoint.id, message.ordering_key)) {
                    DeliveryStatus::Pending
                } else {
                    DeliveryStatus::Waiting
                };
                rows.push(NewDelivery {
                    endpoint_id: endpoint.id,
                    message_id: message.id,
                    ordering_key: message.ordering_key,
                    created_at: message.created_at,
                    status,
                });
            }
        }
        deliveries::insert(&self.db, tx, &rows, now).await
    }

    /// Whether there is an endpoint or a topic.
    pub(super) async fn has_receivers(&self) -> Result<bool, DbError> {
        Ok(store::count(&self.db).await? > 0 || topics::any(&self.db).await?)
    }

    /// Deletes messages that were sent, or had no receiver, longer ago than the retention; returns how many.
    pub async fn sweep(&self) -> Result<u64, DbError> {
        let cutoff = self.clock.now().minus(self.retention);
        let mut tx = self.db.begin().await?;
        topics::sweep(&mut tx, cutoff.min(self.clock.now().minus(UNUSED_TOPIC_KEPT))).await?;
        let mut swept = sweep::without_receiver(&mut tx, cutoff, SWEPT_AT_ONCE).await?;
        tx.commit().await?;
        let mut unsent = swept;
        while unsent > 0 {
            let mut tx = self.db.begin().await?;
            unsent = sweep::without_receiver(&mut tx, cutoff, SWEPT_AT_ONCE).await?;
            tx.commit().await?;
            swept += unsent;
        }
        // Each message is looked at once: a message that is still needed must not be read again in every step.
        let mut after = (cutoff.minus(Duration::MAX), Uuid::nil());
        loop {
            let old = sweep::old(&self.db, cutoff, after, SWEPT_AT_ONCE).await?;
            let Some(last) = old.last() else { return Ok(swept) };
            after = (last.sent_at, last.id);
            let unneeded: Vec<Uuid> = old.iter().filter(|row| !row.is_needed).map(|row| row.id).collect();
            if !unneeded.is_empty() {
                let mut tx = self.db.begin().await?;
                swept += sweep::delete(&self.db, &mut tx, unneeded, cutoff).await?;
                tx.commit().await?;
            }
        }
    }
}
