//! The rules for endpoints: their URLs, subscriptions, secrets and states, pings, and the log of deliveries.

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use super::deliver::{Attempt, Deliverer, Names, Parcel};
use super::message::{self, SECRET_BYTES};
use super::model::{
    Delivery, DeliveryDetail, DeliveryStatus, Endpoint, EndpointSecret, EndpointState, LastAttempt, NewEndpoint, Ping,
};
use super::secrets;
use super::store::{self, EndpointRow, deliveries};
use super::target::{Policy, Refusal};
use crate::audit::{self, Entry};
use crate::auth::{Principal, Scope};
use crate::clock::{Clock, Timestamp};
use crate::config;
use crate::db::{Db, DbError, Json, Tx};
use crate::fulfilments::FulfilmentService;
use crate::keys::{SealError, Sealing};
use crate::name;
use crate::outbox;
use crate::rewards::Codes;

/// Each endpoint costs a row for every message, and some connections.
const MAX_ENDPOINTS: i64 = 100;

/// How long the previous secret signs after a rotation.
const ROTATION: Duration = Duration::from_hours(24);

#[derive(Debug, thiserror::Error)]
pub enum WebhookError {
    #[error("There is no webhook endpoint {0}.")]
    NotFound(Uuid),
    #[error("The endpoint is at revision {is}, you sent {expected}; read it again and repeat your change.")]
    Changed { is: i64, expected: i64 },
    #[error("Another webhook endpoint has the name {0:?}; choose another name.")]
    NameTaken(String),
    #[error("The endpoint {id} belongs to {owner}, who created it; only its creator or an ADMIN may change or use it.")]
    NotYours { id: Uuid, owner: Uuid },
    #[error("There are {MAX_ENDPOINTS} endpoints, the maximum; delete one that is not needed.")]
    Full,
    #[error("{0}")]
    Url(String),
    #[error(
        "There is no delivery of message {message_id} to this endpoint, or it was deleted after outbox.retention_seconds."
    )]
    NoDelivery { message_id: Uuid },
    #[error(transparent)]
    Sealed(#[from] SealError),
    #[error(transparent)]
    Db(#[from] DbError),
}

impl From<Refusal> for WebhookError {
    fn from(refusal: Refusal) -> Self {
        Self::Url(refusal.to_string())
    }
}

/// Wired by `app`; cheap to clone.
#[derive(Clone)]
pub struct WebhookService(Arc<Parts>);

pub struct Parts {
    pub(super) db: Db,
    pub(super) clock: Clock,
    pub(super) settings: config::Webhooks,
    /// How long messages are kept after they were sent.
    pub(super) retention: Duration,
    pub(super) deliverer: Deliverer,
    pub(super) fulfilments: FulfilmentService,
    sealing: Sealing,
    codes: Codes,
    /// The `source` of all messages.
    source: String,
}

impl Deref for WebhookService {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}

impl WebhookService {
    /// `source` names this installation.
    pub fn new(
        settings: &config::Webhooks,
        retention: Duration,
        source: String,
        fulfilments: FulfilmentService,
        (sealing, codes): (Sealing, Codes),
        (db, clock): (Db, Clock),
    ) -> Self {
        let policy = Policy {
            ports: settings.ports.clone(),
            private_networks: settings.private_networks.clone(),
        };
        Self(Arc::new(Parts {
            db,
            clock,
            deliverer: Deliverer::new(policy, settings.timeout, Names::System),
            fulfilments,
            sealing,
            codes,
            settings: settings.clone(),
            retention,
            source,
        }))
    }

    pub(super) async fn create(&self, new: NewEndpoint, by: Uuid) -> Result<EndpointSecret, WebhookError> {
        self.deliverer.policy().check_url(&new.url)?;
        let (id, now) = (self.clock.new_id(), self.clock.now());
        let secret = self.clock.random();
        let row = EndpointRow {
            id,
            name: name::or_id(new.name, id),
            url: new.url,
            description: new.description,
            types: Json(new.types),
            acknowledges: new.acknowledges,
            state: EndpointState::Active,
            pause_reason: None,
            secret: secrets::seal_first(&self.sealing, id, &secret)?,
            previous_secret: None,
            previous_until: None,
            revision: 1,
            applied_revision: new.applied.then_some(1),
            created_by: by,
            created_at: now,
            updated_at: now,
        };
        let mut tx = self.db.begin().await?;
        // Concurrent calls may exceed the maximum by a few, which is harmless.
        if store::count(&mut tx).await? >= MAX_ENDPOINTS {
            return Err(WebhookError::Full);
        }
        let inserted = store::insert(&mut tx, row.clone()).await;
        inserted.map_err(|error| taken(error, &row.name))?;
        let created = Entry::about("webhook-endpoint", &row.id).between(&(), &Endpoint::from(row.clone()));
        audit::record(&mut tx, &self.clock, created).await?;
        tx.commit().await?;
        tracing::info!(webhook_endpoint.id = %row.id, principal.id = %by, "webhook endpoint created");
        Ok(with_secret(row, &secret))
    }

    pub(super) async fn get(&self, id: Uuid) -> Result<Endpoint, WebhookError> {
        let row = store::find(&self.db, id).await?;
        row.map(Endpoint::from).ok_or(WebhookError::NotFound(id))
    }

    /// Newest first, up to `size + 1`.
    pub(super) async fn list(
        &self,
        name: Option<String>,
        after: Option<Uuid>,
        size: u32,
    ) -> Result<Vec<Endpoint>, WebhookError> {
        let rows = store::list(&self.db, name, after, i64::from(size) + 1).await?;
        Ok(rows.into_iter().map(Endpoint::from).collect())
    }

    /// Pending deliveries go to the new URL at their next attempt; the new types count for messages from now on.
    pub(super) async fn replace(
        &self,
        id: Uuid,
        expected: Option<i64>,
        new: NewEndpoint,
        by: &Principal,
    ) -> Result<Endpoint, WebhookError> {
        self.deliverer.policy().check_url(&new.url)?;
        self.change(id, expected, by, |row, _| {
            row.name = new.name.unwrap_or_else(|| row.name.clone());
            row.url = new.url;
            row.description = new.description;
            row.types = Json(new.types);
            row.acknowledges = new.acknowledges;
            row.revision += 1;
            if new.applied {
                row.applied_revision = Some(row.revision);
            }
            Ok(())
        })
        .await
        .map(Endpoint::from)
    }

    /// Pauses or resumes. The same state again changes nothing.
    pub(super) async fn set_state(
        &self,
        id: Uuid,
        state: EndpointState,
        by: &Principal,
    ) -> Result<Endpoint, WebhookError> {
        let row = store::find(&self.db, id).await?.ok_or(WebhookError::NotFound(id))?;
        require_owner(&row, by)?;
        let current = Endpoint::from(row);
        if current.state == state {
            return Ok(current);
        }
        let changed = self.change(id, None, by, |row, _| {
            row.state = state;
            row.pause_reason = None;
            row.operate();
            Ok(())
        });
        let changed = changed.await?;
        tracing::info!(webhook_endpoint.id = %id, %state, principal.id = %by.id(), "webhook endpoint state set");
        Ok(changed.into())
    }

    /// Makes a new secret. The previous one also signs for a day, or until the next rotation, so that the receiver can
    /// change over.
    pub(super) async fn rotate(&self, id: Uuid, by: &Principal) -> Result<EndpointSecret, WebhookError> {
        let secret = self.clock.random();
        let changed = self.change(id, None, by, |row, now| {
            row.operate();
            Ok(row.rotate_secret(&self.sealing, &secret, now.plus(ROTATION))?)
        });
        let changed = changed.await?;
        tracing::info!(webhook_endpoint.id = %id, principal.id = %by.id(), "webhook secret rotated");
        Ok(with_secret(changed, &secret))
    }

    pub(super) async fn delete(&self, id: Uuid, expected: Option<i64>, by: &Principal) -> Result<(), WebhookError> {
        let mut tx = self.db.begin().await?;
        let row = store::lock(&mut tx, id).await?.ok_or(WebhookError::NotFound(id))?;
        require_owner(&row, by)?;
        require_revision(expected, row.revision)?;
        store::mark_deleted(&mut tx, id, self.clock.now()).await?;
        let deleted = Entry::about("webhook-endpoint", &id).between(&Endpoint::from(row), &());
        audit::record(&mut tx, &self.clock, deleted).await?;
        tx.commit().await?;
        tracing::info!(webhook_endpoint.id = %id, principal.id = %by.id(), "webhook endpoint deleted");
        Ok(())
    }

    /// `change` raises the revision.
    async fn change(
        &self,
        id: Uuid,
        expected: Option<i64>,
        by: &Principal,
        change: impl FnOnce(&mut EndpointRow, Timestamp) -> Result<(), WebhookError>,
    ) -> Result<EndpointRow, WebhookError> {
        let mut tx = self.db.begin().await?;
        let mut row = store::lock(&mut tx, id).await?.ok_or(WebhookError::NotFound(id))?;
        require_owner(&row, by)?;
        require_revision(expected, row.revision)?;
        let now = self.clock.now();
        let before = Endpoint::from(row.clone());
        change(&mut row, now)?;
        row.updated_at = now;
        let updated = store::update(&mut tx, row.clone()).await;
        updated.map_err(|error| taken(error, &row.name))?;
        let changed = Entry::about("webhook-endpoint", &id).between(&before, &Endpoint::from(row.clone()));
        audit::record(&mut tx, &self.clock, changed).await?;
        tx.commit().await?;
        Ok(row)
    }

    /// Pauses an endpoint by decision of the server. Part of the caller's transaction, which has locked the endpoint.
    pub(super) async fn pause(&self, tx: &mut Tx, row: &mut EndpointRow, because: String) -> Result<(), DbError> {
        tracing::warn!(webhook_endpoint.id = %row.id, because, "webhook endpoint paused");
        let before = Endpoint::from(row.clone());
        row.state = EndpointState::Paused;
        row.pause_reason = Some(because);
        row.operate();
        row.updated_at = self.clock.now();
        let paused = Entry::about("webhook-endpoint", &row.id)
            .between(&before, &Endpoint::from(row.clone()))
            .by_server("webhook-relay");
        audit::record(tx, &self.clock, paused).await?;
        store::update(tx, row.clone()).await
    }

    /// Sends a test message once, and returns the result of the attempt. Works while the endpoint is paused.
    pub(super) async fn ping(&self, id: Uuid, by: &Principal) -> Result<Ping, WebhookError> {
        let row = store::find(&self.db, id).await?.ok_or(WebhookError::NotFound(id))?;
        require_owner(&row, by)?;
        let (message_id, at) = (self.clock.new_id(), self.clock.now());
        let event = message::ping(&self.source, message_id, id, at);
        let attempt = self.attempt(&row, message_id, event.to_string().into_bytes()).await;
        Ok(Ping {
            delivered: attempt.is_success(),
            message_id,
            attempt: LastAttempt::of(attempt, at),
        })
    }

    async fn attempt(&self, endpoint: &EndpointRow, message_id: Uuid, body: Vec<u8>) -> Attempt {
        let now = self.clock.now();
        let secrets = match endpoint.open_secrets(&self.sealing, now) {
            Ok(secrets) => secrets,
            Err(error) => {
                tracing::error!(webhook_endpoint.id = %endpoint.id, %error, "secret of a webhook endpoint cannot be opened");
                return Attempt {
                    error: Some(
                        "not sent: the secret of the endpoint cannot be opened; see the log of the server".to_owned(),
                    ),
                    ..Attempt::default()
                };
            }
        };
        let secrets = secrets.iter().map(Vec::as_slice);
        let seconds = now.as_millis().div_euclid(1000);
        let parcel = Parcel {
            id: message_id,
            seconds,
            signature: message::sign(secrets, message_id, seconds, &body),
            body,
        };
        self.deliverer.attempt(&endpoint.url, parcel).await
    }

    /// An attempt to deliver a message, with the codes of its grants.
    pub(super) async fn deliver(&self, endpoint: &EndpointRow, message: &outbox::OutboxMessage) -> Attempt {
        let mut event = message::cloud_event(&self.source, message);
        if let Err(error) = self.codes.add_to(&message.kind, &mut event["data"]).await {
            tracing::error!(message.id = %message.id, %error, "the codes of a message cannot be read");
            return Attempt {
                error: Some("not sent: the codes of the grants cannot be read; see the log of the server".to_owned()),
                ..Attempt::default()
            };
        }
        self.attempt(endpoint, message.id, event.to_string().into_bytes()).await
    }

    /// The deliveries of an endpoint, newest first, up to `size + 1`.
    pub(super) async fn deliveries(
        &self,
        id: Uuid,
        status: Option<DeliveryStatus>,
        after: Option<Uuid>,
        size: u32,
    ) -> Result<Vec<Delivery>, WebhookError> {
        self.get(id).await?;
        let rows = deliveries::list(&self.db, id, status, after, i64::from(size) + 1).await?;
        Ok(rows.into_iter().map(Delivery::from).collect())
    }

    pub(super) async fn delivery(&self, id: Uuid, message_id: Uuid) -> Result<DeliveryDetail, WebhookError> {
        self.get(id).await?;
        let row = deliveries::find(&self.db, id, message_id).await?;
        let message = outbox::messages(&self.db, &self.db, &[message_id]).await?.pop();
        let (Some(row), Some(message)) = (row, message) else {
            return Err(WebhookError::NoDelivery { message_id });
        };
        Ok(DeliveryDetail {
            delivery: row.into(),
            event: message::cloud_event(&self.source, &message),
        })
    }
}

/// Another endpoint has the name.
fn taken(error: DbError, name: &str) -> WebhookError {
    if error.is_unique_violation() {
        return WebhookError::NameTaken(name.to_owned());
    }
    error.into()
}

fn with_secret(row: EndpointRow, secret: &[u8; SECRET_BYTES]) -> EndpointSecret {
    EndpointSecret {
        endpoint: row.into(),
        secret: message::show(secret),
    }
}

/// An endpoint and its secret belong to its creator: another OPERATOR must not redirect its messages.
pub(super) fn require_owner(row: &EndpointRow, by: &Principal) -> Result<(), WebhookError> {
    if row.created_by == by.id() || by.has(Scope::OwnershipWrite) {
        return Ok(());
    }
    Err(WebhookError::NotYours {
        id: row.id,
        owner: row.created_by,
    })
}

/// Fails when a change is based on another revision than the current one.
fn require_revision(expected: Option<i64>, is: i64) -> Result<(), WebhookError> {
    match expected {
        Some(expected) if expected != is => Err(WebhookError::Changed { is, expected }),
        _ => Ok(()),
    }
}
