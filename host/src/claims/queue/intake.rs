//! Claims that are answered before they are decided: taken in here, settled in their event's line (`line`, `worker`).
//!
//! Those that arrive together are written together ([`crate::batch`]). How many may wait is bounded, for all and for each
//! user, so that a crowd meets a clear answer and the table does not grow without end. Must not know: who settles them.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use moka::future::Cache;
use tokio::sync::{Notify, oneshot};
use uuid::Uuid;

use crate::batch::{Batches, Bounds, Job};
use crate::claims::commit::full_jitter;
use crate::claims::interactive::ClaimAnswer;
use crate::claims::model::{RewardRequest, Status};
use crate::claims::record::{ClaimInput, fingerprint};
use crate::claims::service::{ClaimError, Claims};
use crate::claims::store::queue::{self, NewPendingClaim, PendingClaimRow};
use crate::clock::Clock;
use crate::config;
use crate::db::{BULK_CONNECTIONS, Db, DbError, Engine};
use crate::events::Offer;
use crate::facts::FactError;

/// How long a count of all that wait is believed; what this process added since is counted besides.
const COUNTED_FOR: Duration = Duration::from_secs(1);

/// How often a claim is taken in again that met another one which was settled meanwhile.
const TRIES: u32 = 6;

const BOUNDS: Bounds = Bounds {
    waiting: 4096,
    jobs: 256,
    bytes: 1 << 20,
    // Longer than one takes.
    max_delay: Duration::from_millis(10),
};

/// Which of some claims were taken in. `None`: none, because as many wait as may.
type Arrived = Option<HashSet<Uuid>>;

/// Claims that are taken in at the same instant: nobody sees one of them without the others.
struct Arriving {
    news: Vec<NewPendingClaim>,
    answer: oneshot::Sender<Result<Arrived, DbError>>,
}

impl Job for Arriving {
    fn is_compatible(&self, _first: &Self) -> bool {
        true
    }

    fn bytes(&self) -> usize {
        let key = |new: &NewPendingClaim| new.row.idempotency_key.as_ref().map_or(0, String::len);
        self.news.iter().map(|new| 256 + key(new)).sum()
    }
}

/// Wired by the service; cheap to clone.
#[derive(Clone)]
pub(in crate::claims) struct Intake {
    arriving: Arc<Batches<Arriving>>,
    pub per_user: i64,
    /// Told when something was taken in, so that this process settles it at once.
    pub arrived: Arc<Notify>,
}

#[derive(Clone)]
struct Writer {
    db: Db,
    clock: Clock,
    most: i64,
    counted: Cache<(), i64>,
    /// Taken in since it was counted.
    added: Arc<AtomicI64>,
    arrived: Arc<Notify>,
}

impl Intake {
    pub(in crate::claims) fn new(db: Db, clock: Clock, settings: &config::Claims) -> Self {
        let writers = match db.engine() {
            Engine::Sqlite => 1,
            Engine::Postgres => BULK_CONNECTIONS,
        };
        let arrived = Arc::new(Notify::new());
        let writer = Writer {
            db,
            clock,
            most: i64::from(settings.waiting),
            counted: Cache::builder().max_capacity(1).time_to_live(COUNTED_FOR).build(),
            added: Arc::default(),
            arrived: Arc::clone(&arrived),
        };
        let work = move |set| write(writer.clone(), set);
        Self {
            arriving: Arc::new(Batches::new(writers, BOUNDS, work)),
            per_user: i64::from(settings.waiting_per_user),
            arrived,
        }
    }

    /// Those that are not taken in have another claim of their user, their grants or a limit in the way.
    pub(in crate::claims) async fn take(&self, news: Vec<NewPendingClaim>) -> Result<Arrived, ClaimError> {
        let (answer, arrived) = oneshot::channel();
        let arriving = Arriving { news, answer };
        self.arriving.push(arriving).map_err(|_| ClaimError::Overloaded)?;
        let arrived = arrived.await.map_err(|_| ClaimError::Uncommitted)?;
        Ok(arrived?)
    }
}

async fn write(writer: Writer, set: Vec<Arriving>) {
    let (mut news, mut waiting) = (Vec::new(), Vec::with_capacity(set.len()));
    for arriving in set {
        let own: Vec<Uuid> = arriving.news.iter().map(|new| new.row.id).collect();
        waiting.push((own, arriving.answer));
        news.extend(arriving.news);
    }
    let written = writer.write(&news).await;
    for (own, answer) in waiting {
        let own = |ids: &HashSet<Uuid>| own.iter().copied().filter(|id| ids.contains(id)).collect();
        let arrived = written.as_ref().map(|ids| ids.as_ref().map(own));
        // Whoever asked has gone: the claims wait all the same.
        answer.send(arrived.map_err(DbError::clone)).ok();
    }
}

impl Writer {
    /// `None`: as many wait as may. Several processes may go a second's arrivals beyond it; it is a bound and no promise.
    async fn write(&self, news: &[NewPendingClaim]) -> Result<Arrived, DbError> {
        let count = async {
            let (count, _) = queue::depth(&self.db).await?;
            self.added.store(0, Ordering::Relaxed);
            Ok::<_, DbError>(count)
        };
        let counted = self.counted.try_get_with((), count).await;
        let counted = counted.map_err(|error| DbError::clone(&error))?;
        if counted + self.added.load(Ordering::Relaxed) >= self.most {
            return Ok(None);
        }
        let mut attempt = 0;
        let ids = loop {
            match queue::insert(&self.db, news).await {
                Err(error) if error.is_conflict() && attempt < TRIES => {
                    attempt += 1;
                    tokio::time::sleep(full_jitter(&self.clock, attempt)).await;
                }
                ended => break ended?,
            }
        };
        self.added
            .fetch_add(i64::try_from(ids.len()).unwrap_or_default(), Ordering::Relaxed);
        self.arrived.notify_one();
        Ok(Some(ids.into_iter().collect()))
    }
}

impl Claims {
    /// Takes a claim in. What is answered was committed: the claim waits, in the order of its arrival.
    /// `per_user`: how many claims of its user may wait.
    pub(in crate::claims) async fn receive(
        &self,
        claim: &ClaimInput,
        per_user: i64,
    ) -> Result<ClaimAnswer, ClaimError> {
        let id = self.clock.new_id();
        for attempt in 0..TRIES {
            if let Some(replayed) = self.replayed(claim).await? {
                return Ok(replayed);
            }
            let offer = self.events.recent(claim.event_id).await?;
            if let Some(repeat) = self.granted_cache.lookup(claim, &offer).await {
                return Err(repeat);
            }
            let new = claim.arriving_as(id, &offer, per_user);
            let NewPendingClaim { row, grants, .. } = new.clone();
            match self.intake.take(vec![new]).await? {
                None => return Err(ClaimError::QueueFull),
                Some(taken) if taken.contains(&id) => {
                    claim.note_received(id);
                    return Ok(ClaimAnswer::Pending(Box::new(row.into())));
                }
                Some(_) => {}
            }
            let event_id = claim.event_id;
            if let Some(waiting) = queue::of_user(&self.db, event_id, claim.user_id).await? {
                return if claim.key.is_none() || waiting.idempotency_key == row.idempotency_key {
                    Ok(ClaimAnswer::Pending(Box::new(waiting.into())))
                } else {
                    Err(ClaimError::Waiting(waiting.id))
                };
            }
            if queue::count_of_user(&self.db, claim.user_id).await? >= per_user {
                return Err(ClaimError::TooManyWaiting(per_user));
            }
            let (user_id, period) = (claim.user_id, row.period);
            if queue::grants_of_user(&self.db, event_id, user_id, period.clone()).await? >= grants
                && let Some(repeat) = self.already_granted(claim, &offer, &period).await?
            {
                self.granted_cache.note_repeat(claim, &offer, &period, &repeat).await;
                // Perhaps to a claim under the same key that was decided since we looked.
                return self.replayed(claim).await?.ok_or(repeat);
            }
            if !queue::is_user(&self.db, user_id).await? {
                return Err(FactError::NoSuchUser(user_id).into());
            }
            // What was in the way has been settled meanwhile.
            tokio::time::sleep(full_jitter(&self.clock, attempt)).await;
        }
        Err(ClaimError::Contended)
    }

    /// A claim that waits, as a request.
    pub(in crate::claims) async fn waiting(&self, id: Uuid) -> Result<Option<RewardRequest>, ClaimError> {
        let row = queue::find(&self.db, id).await?;
        Ok(row.map(RewardRequest::from))
    }
}

impl ClaimInput {
    /// How it waits, under the id that its request will have.
    pub(in crate::claims) fn arriving_as(&self, id: Uuid, offer: &Offer, per_user: i64) -> NewPendingClaim {
        let event = &offer.event;
        let row = PendingClaimRow {
            id,
            event_id: event.id,
            user_id: self.user_id,
            received_at: self.received_at,
            event_revision: event.revision,
            plugin_digest: event.condition.digest,
            period: event.recurrence.period.key(self.received_at, &offer.zone),
            idempotency_key: self.key.as_ref().map(|key| key.as_str().to_owned()),
            fingerprint: self.key.as_ref().map(|_| fingerprint(event.id)),
            http_request_id: self.http_request_id.clone(),
        };
        NewPendingClaim {
            row,
            grants: i64::from(event.recurrence.count),
            per_user,
        }
    }

    pub(in crate::claims) fn note_received(&self, id: Uuid) {
        metrics::counter!("meed_claims_received_total").increment(1);
        tracing::info!(reward_request.id = %id, event.id = %self.event_id, "claim received");
    }
}

impl From<PendingClaimRow> for RewardRequest {
    fn from(row: PendingClaimRow) -> Self {
        Self {
            id: row.id,
            event_id: row.event_id,
            event_revision: row.event_revision,
            user_id: row.user_id,
            status: Status::Received,
            retryable: false,
            reasons: Vec::new(),
            progress: Vec::new(),
            retry_at: None,
            period: row.period,
            grants: Vec::new(),
            reversal: None,
            received_at: row.received_at,
            decided_at: None,
            plugin_digest: row.plugin_digest,
        }
    }
}
