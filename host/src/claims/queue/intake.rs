//! Queues claims that are answered before their decision. An answered claim was committed: it is pending, in the order
//! of its arrival.
//!
//! Claims that arrive together are written together ([`crate::batch`]). The number of pending claims is limited, in
//! total and for each user, so that a crowd gets a clear answer and the table has a maximum size. Must not know: who
//! decides the claims.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use moka::future::Cache;
use tokio::sync::Notify;
use uuid::Uuid;

use crate::backoff;
use crate::batch::{Batches, Bounds, Job};
use crate::claims::cache::GrantedCache;
use crate::claims::error::ClaimError;
use crate::claims::idempotency::{self, fingerprint};
use crate::claims::model::{ClaimAnswer, ClaimInput};
use crate::claims::store::Writer;
use crate::claims::store::queue::{self, NewPendingClaim, PendingClaimRow};
use crate::claims::store::reviews;
use crate::clock::Clock;
use crate::config;
use crate::db::{Db, DbError, Json};
use crate::events::{EventService, Offer};
use crate::facts::FactError;

/// How long a count of all pending claims is used; claims that this process queued since are added to it.
const COUNT_TTL: Duration = Duration::from_secs(1);

/// Attempts to queue a claim while other claims of its user are decided.
const ATTEMPTS: u32 = 6;

const BOUNDS: Bounds = Bounds {
    waiting: 4096,
    jobs: 256,
    bytes: 1 << 20,
    // Longer than one write takes.
    max_delay: Duration::from_millis(10),
};

/// The ids of the claims that were queued. `None`: no claim was, because the queue is full.
type Queued = Option<HashSet<Uuid>>;

/// Claims that are queued in one transaction.
struct NewClaims(Vec<NewPendingClaim>);

impl Job for NewClaims {
    type Answer = Result<Queued, DbError>;

    fn is_compatible(&self, _first: &Self) -> bool {
        true
    }

    fn bytes(&self) -> usize {
        let key = |new: &NewPendingClaim| new.row.idempotency_key.as_ref().map_or(0, String::len);
        self.0.iter().map(|new| 256 + key(new)).sum()
    }
}

/// Cheap to clone.
#[derive(Clone)]
pub(in crate::claims) struct Intake {
    db: Db,
    clock: Clock,
    events: EventService,
    granted_cache: GrantedCache,
    max_per_user: i64,
    batches: Arc<Batches<NewClaims>>,
    /// Notified when claims were queued, so that this process decides them immediately.
    pub arrived: Arc<Notify>,
}

#[derive(Clone)]
struct QueueWriter {
    db: Db,
    writer: Writer,
    clock: Clock,
    max_pending: i64,
    count: Cache<(), i64>,
    /// Queued since the count.
    added: Arc<AtomicI64>,
    arrived: Arc<Notify>,
}

impl Intake {
    pub(in crate::claims) fn new(
        db: Db,
        clock: Clock,
        events: EventService,
        granted_cache: GrantedCache,
        settings: &config::Claims,
    ) -> Self {
        let arrived = Arc::new(Notify::new());
        let writer = QueueWriter {
            db: db.clone(),
            writer: Writer::new(&db),
            clock: clock.clone(),
            max_pending: i64::from(settings.max_pending),
            count: Cache::builder().max_capacity(1).time_to_live(COUNT_TTL).build(),
            added: Arc::default(),
            arrived: Arc::clone(&arrived),
        };
        let parallelism = writer.writer.parallelism();
        let work = move |batch| write(writer.clone(), batch);
        Self {
            db,
            clock,
            events,
            granted_cache,
            max_per_user: i64::from(settings.max_pending_per_user),
            batches: Arc::new(Batches::new(parallelism, BOUNDS, work)),
            arrived,
        }
    }

    /// Queues a claim, within the limit of its user's pending claims.
    pub(in crate::claims) async fn accept(&self, claim: &ClaimInput) -> Result<ClaimAnswer, ClaimError> {
        self.accept_within(claim, self.max_per_user).await
    }

    /// Queues a claim, or returns the reason why it is not queued. `max_per_user`: how many pending claims its user may
    /// have.
    pub(super) async fn accept_within(&self, claim: &ClaimInput, max_per_user: i64) -> Result<ClaimAnswer, ClaimError> {
        let id = self.clock.new_id_at(claim.received_at);
        for attempt in 0..ATTEMPTS {
            if let Some(response) = idempotency::find_response(&self.db, claim).await? {
                return Ok(response);
            }
            let offer = self.events.recent(claim.event_id).await?;
            if let Some(repeat) = self.granted_cache.lookup(claim, &offer).await {
                return Err(repeat);
            }
            let new = new_pending_claim(claim, id, &offer, max_per_user);
            let NewPendingClaim { row, max_grants, .. } = new.clone();
            match self.queue(vec![new]).await? {
                None => return Err(ClaimError::QueueFull),
                Some(queued) if queued.contains(&id) => {
                    log_queued(claim, id);
                    return Ok(ClaimAnswer::Pending(Box::new(row.into())));
                }
                Some(_) => {}
            }
            let (event_id, user_id) = (claim.event_id, claim.user_id);
            if let Some(pending) = queue::of_user(&self.db, event_id, user_id).await? {
                return if claim.key.is_none() || pending.idempotency_key == row.idempotency_key {
                    Ok(ClaimAnswer::Pending(Box::new(pending.into())))
                } else {
                    Err(ClaimError::ClaimPending(pending.id))
                };
            }
            if let Some(held) = reviews::held(&self.db, user_id, event_id).await? {
                // Perhaps the claim under the same key, decided after the first lookup.
                let response = idempotency::find_response(&self.db, claim).await?;
                return response.ok_or(ClaimError::ClaimHeld(held));
            }
            if queue::count_of_user(&self.db, user_id).await? >= max_per_user {
                return Err(ClaimError::TooManyPending(max_per_user));
            }
            if queue::grants_of_user(&self.db, event_id, user_id, row.period.clone()).await? >= max_grants
                && let Some(repeat) = self.granted_cache.load(&self.db, claim, &offer, &row.period).await?
            {
                // Perhaps granted to a claim under the same key that was decided after the first lookup.
                let response = idempotency::find_response(&self.db, claim).await?;
                return response.ok_or(repeat);
            }
            if !queue::is_user(&self.db, user_id).await? {
                return Err(FactError::NoSuchUser(user_id).into());
            }
            // The other claim was decided meanwhile.
            backoff::pause(&self.clock, attempt).await;
        }
        Err(ClaimError::Contended)
    }

    /// Queues these claims in one transaction. It leaves out a claim whose user has another pending or held claim on the event, all
    /// grants of the period, or the maximum of pending claims.
    pub(super) async fn queue(&self, new: Vec<NewPendingClaim>) -> Result<Queued, ClaimError> {
        Ok(self.batches.submit(NewClaims(new)).await??)
    }
}

async fn write(writer: QueueWriter, batch: Vec<NewClaims>) -> Vec<Result<Queued, DbError>> {
    let ids_of = |new: &NewClaims| new.0.iter().map(|new| new.row.id).collect::<Vec<_>>();
    let ids: Vec<Vec<Uuid>> = batch.iter().map(ids_of).collect();
    let all: Vec<NewPendingClaim> = batch.into_iter().flat_map(|new| new.0).collect();
    let queued = writer.write(&all).await;
    ids.into_iter()
        .map(|own| match &queued {
            Ok(Some(queued)) => Ok(Some(own.into_iter().filter(|id| queued.contains(id)).collect())),
            Ok(None) => Ok(None),
            Err(error) => Err(error.clone()),
        })
        .collect()
}

impl QueueWriter {
    /// Several processes together may exceed the limit by the claims that arrive within a second.
    async fn write(&self, new: &[NewPendingClaim]) -> Result<Queued, DbError> {
        let read_count = async {
            let (count, _) = queue::depth(&self.db).await?;
            self.added.store(0, Ordering::Relaxed);
            Ok::<_, DbError>(count)
        };
        let count = self.count.try_get_with((), read_count).await;
        let count = count.map_err(|error| DbError::clone(&error))?;
        if count + self.added.load(Ordering::Relaxed) >= self.max_pending {
            return Ok(None);
        }
        let insert = || queue::insert(&self.writer, new);
        let ids = backoff::retry(&self.clock, backoff::RETRIES, DbError::is_conflict, insert).await?;
        self.added
            .fetch_add(i64::try_from(ids.len()).unwrap_or_default(), Ordering::Relaxed);
        self.arrived.notify_one();
        Ok(Some(ids.into_iter().collect()))
    }
}

/// The row of a pending claim, with the id that its reward request will have.
pub(super) fn new_pending_claim(claim: &ClaimInput, id: Uuid, offer: &Offer, max_pending: i64) -> NewPendingClaim {
    let event = &offer.event;
    let row = PendingClaimRow {
        id,
        event_id: event.id,
        user_id: claim.user_id,
        received_at: claim.received_at,
        event_revision: event.revision,
        plugin_digest: event.condition.digest,
        period: offer.period(claim.received_at),
        idempotency_key: claim.key.as_ref().map(|key| key.as_str().to_owned()),
        fingerprint: claim.key.as_ref().map(|_| fingerprint(event.id)),
        http_request_id: claim.http_request_id.clone(),
        claimed_by: claim.claimed_by.clone().map(Json),
        attempts: 0,
    };
    NewPendingClaim {
        row,
        max_grants: i64::from(event.recurrence.count),
        max_pending,
    }
}

pub(super) fn log_queued(claim: &ClaimInput, id: Uuid) {
    metrics::counter!("meed_claims_queued_total").increment(1);
    tracing::info!(reward_request.id = %id, event.id = %claim.event_id, "claim queued");
}
