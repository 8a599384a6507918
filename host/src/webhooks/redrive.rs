//! Sends messages again: one delivery, all parked deliveries of an endpoint, or every message since an instant.

use std::collections::HashSet;

use uuid::Uuid;

use super::fan_out::FAN_OUT;
use super::model::DeliveryDetail;
use super::service::{WebhookError, WebhookService, require_owner};
use super::store::{self, deliveries};
use crate::audit::{self, Entry};
use crate::auth::Principal;
use crate::clock::Timestamp;
use crate::db::DbError;
use crate::outbox::{self, topics};

/// What a replay queued.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Replayed {
    pub messages: usize,
    /// Endpoints that receive those of the messages that they subscribe to.
    pub endpoints: usize,
    /// Topics that receive all of them.
    pub topics: usize,
}

impl WebhookService {
    /// Sends a delivery again, or a pending one now. Its id stays the same.
    pub(super) async fn redrive(
        &self,
        id: Uuid,
        message_id: Uuid,
        by: &Principal,
    ) -> Result<DeliveryDetail, WebhookError> {
        let now = self.clock.now();
        let mut tx = self.db.begin().await?;
        let row = store::lock(&mut tx, id).await?.ok_or(WebhookError::NotFound(id))?;
        require_owner(&row, by)?;
        let ordering_key = deliveries::put_back(&mut tx, id, message_id, now).await?;
        let ordering_key = ordering_key.ok_or(WebhookError::NoDelivery { message_id })?;
        deliveries::wake(&mut tx, id, ordering_key, now).await?;
        let redriven = Entry::about("webhook-endpoint", &id).field("redrivenMessage", None::<Uuid>, message_id);
        audit::record(&mut tx, &self.clock, redriven).await?;
        tx.commit().await?;
        self.delivery(id, message_id).await
    }

    /// Sends every parked delivery of an endpoint again; returns how many.
    pub(super) async fn redrive_parked(&self, id: Uuid, by: &Principal) -> Result<usize, WebhookError> {
        let mut redriven = 0;
        loop {
            let now = self.clock.now();
            let mut tx = self.db.begin().await?;
            let row = store::lock(&mut tx, id).await?.ok_or(WebhookError::NotFound(id))?;
            require_owner(&row, by)?;
            let limit = i64::try_from(FAN_OUT).unwrap_or(i64::MAX);
            let keys = deliveries::put_back_parked(&mut tx, id, limit, now).await?;
            for ordering_key in keys.iter().copied().collect::<HashSet<_>>() {
                deliveries::wake(&mut tx, id, ordering_key, now).await?;
            }
            if !keys.is_empty() {
                let entry = Entry::about("webhook-endpoint", &id).field("redrivenMessages", None::<usize>, keys.len());
                audit::record(&mut tx, &self.clock, entry).await?;
            }
            tx.commit().await?;
            redriven += keys.len();
            if keys.len() < FAN_OUT {
                return Ok(redriven);
            }
        }
    }

    /// Sends the messages since an instant again: to every endpoint those that it subscribes to, to every topic all of them,
    /// also those from before the endpoint or topic existed. Deliveries that are pending stay as they are.
    pub async fn replay(&self, from: Timestamp) -> Result<Replayed, DbError> {
        let mut replayed = Replayed::default();
        // Ids begin with their time, so this is before every id of that millisecond.
        let mut after = from.first_id();
        loop {
            let now = self.clock.now();
            let mut tx = self.db.begin().await?;
            if !outbox::try_lock_fan_out(&mut tx).await? {
                // A relay is fanning out, which takes milliseconds.
                drop(tx);
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
                continue;
            }
            let endpoints = store::hold_all(&mut tx).await?;
            let limit = i64::try_from(FAN_OUT).unwrap_or(i64::MAX);
            let messages = outbox::written_after(&mut tx, after, limit).await?;
            let Some(last) = messages.last() else {
                return Ok(replayed);
            };
            after = last.id;
            for endpoint in &endpoints {
                let types = &endpoint.types.0;
                let wanted = messages
                    .iter()
                    .filter(|message| types.is_empty() || types.contains(&message.kind));
                let ids: Vec<Uuid> = wanted.map(|message| message.id).collect();
                let keys = deliveries::put_back_all(&self.db, &mut tx, endpoint.id, &ids, now).await?;
                for ordering_key in keys.into_iter().collect::<HashSet<_>>() {
                    deliveries::wake(&mut tx, endpoint.id, ordering_key, now).await?;
                }
            }
            self.queue(
                &mut tx,
                &endpoints,
                &messages,
                |endpoint, message| endpoint.types.0.is_empty() || endpoint.types.0.contains(&message.kind),
                now,
            )
            .await?;
            let topics = topics::all(&mut tx).await?;
            for topic in &topics {
                topics::queue(&self.db, &mut tx, &topic.name, &messages).await?;
                let ids = messages.iter().map(|message| message.id);
                topics::put_back(&self.db, &mut tx, &topic.name, ids).await?;
            }
            tx.commit().await?;
            replayed.messages += messages.len();
            replayed.endpoints = endpoints.len();
            replayed.topics = topics.len();
        }
    }
}
