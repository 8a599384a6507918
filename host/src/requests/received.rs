//! Claims that are answered before they are decided: taken in here, settled in their event's line (`line`, `worker`).
//!
//! Those that arrive together are written together ([`crate::batch`]). How many may wait is bounded, for all and for each
//! user, so that a crowd meets a clear answer and the table does not grow without end. Must not know: who settles them.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use moka::future::Cache;
use tokio::sync::{Notify, oneshot};
use uuid::Uuid;

use super::claim::Claimed;
use super::commit::full_jitter;
use super::model::{RewardRequest, Status};
use super::service::{RequestError, RequestService};
use super::settle::{Claim, fingerprint};
use super::store::received::{self, NewReceived, ReceivedRow};
use crate::batch::{Batches, Bounds, Job};
use crate::clock::Clock;
use crate::config;
use crate::db::{Db, DbError, Engine, SETS_AT_ONCE};

/// How long a count of all that wait is believed; what this process added since is counted besides.
const COUNTED_FOR: Duration = Duration::from_secs(1);

/// How often a claim is taken in again that met another one which was settled meanwhile.
const TRIES: u32 = 6;

const BOUNDS: Bounds = Bounds {
    waiting: 4096,
    jobs: 256,
    bytes: 1 << 20,
    // Longer than one takes.
    patience: Duration::from_millis(10),
};

/// How taking a claim in ended.
#[derive(Clone, Copy, Debug)]
enum Arrived {
    Waits,
    /// Another claim of the user, their grants or their limit are in the way.
    Refused,
    Full,
}

struct Arriving {
    new: NewReceived,
    answer: oneshot::Sender<Result<Arrived, DbError>>,
}

impl Job for Arriving {
    fn joins(&self, _first: &Self) -> bool {
        true
    }

    fn bytes(&self) -> usize {
        256 + self.new.row.idempotency_key.as_ref().map_or(0, String::len)
    }
}

/// Wired by the service; cheap to clone.
#[derive(Clone)]
pub(super) struct Intake {
    arriving: Arc<Batches<Arriving>>,
    per_user: i64,
    /// Told when something was taken in, so that this process settles it at once.
    pub arrived: Arc<Notify>,
}

#[derive(Clone)]
struct Writer {
    db: Db,
    clock: Clock,
    most: i64,
    per_user: i64,
    counted: Cache<(), i64>,
    /// Taken in since it was counted.
    added: Arc<AtomicI64>,
    arrived: Arc<Notify>,
}

impl Intake {
    pub(super) fn new(db: Db, clock: Clock, settings: &config::Claims) -> Self {
        let writers = match db.engine() {
            Engine::Sqlite => 1,
            Engine::Postgres => SETS_AT_ONCE,
        };
        let arrived = Arc::new(Notify::new());
        let writer = Writer {
            db,
            clock,
            most: i64::from(settings.waiting),
            per_user: i64::from(settings.waiting_per_user),
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

    async fn take(&self, new: NewReceived) -> Result<Arrived, RequestError> {
        let (answer, arrived) = oneshot::channel();
        let arriving = Arriving { new, answer };
        self.arriving.push(arriving).map_err(|_| RequestError::Overloaded)?;
        let arrived = arrived.await.map_err(|_| RequestError::Uncommitted)?;
        Ok(arrived?)
    }
}

async fn write(writer: Writer, set: Vec<Arriving>) {
    let (news, answers): (Vec<_>, Vec<_>) = set.into_iter().map(|arriving| (arriving.new, arriving.answer)).unzip();
    let written = writer.write(&news).await;
    for (new, answer) in news.iter().zip(answers) {
        let arrived = match &written {
            Ok(Some(ids)) if ids.contains(&new.row.id) => Ok(Arrived::Waits),
            Ok(Some(_)) => Ok(Arrived::Refused),
            Ok(None) => Ok(Arrived::Full),
            Err(error) => Err(error.clone()),
        };
        // Whoever asked has gone: the claim waits all the same.
        answer.send(arrived).ok();
    }
}

impl Writer {
    /// `None`: as many wait as may. Several processes may go a second's arrivals beyond it; it is a bound and no promise.
    async fn write(&self, news: &[NewReceived]) -> Result<Option<Vec<Uuid>>, DbError> {
        let count = async {
            let (count, _) = received::depth(&self.db).await?;
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
            match received::insert(&self.db, news, self.per_user).await {
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
        Ok(Some(ids))
    }
}

impl RequestService {
    /// Takes a claim in. What is answered was committed: the claim waits, in the order of its arrival.
    pub(super) async fn receive(&self, claim: &Claim) -> Result<Claimed, RequestError> {
        let id = self.clock.new_id();
        for attempt in 0..TRIES {
            if let Some(replayed) = self.replayed(claim).await? {
                return Ok(replayed);
            }
            let offer = self.events.recent(claim.event_id).await?;
            if let Some(repeat) = self.hints.look(claim, &offer).await {
                return Err(repeat);
            }
            let event = &offer.event;
            let row = ReceivedRow {
                id,
                event_id: event.id,
                user_id: claim.user_id,
                received_at: claim.received_at,
                event_revision: event.revision,
                plugin_digest: event.condition.digest,
                period: event.recurrence.period.key(claim.received_at, &offer.zone),
                idempotency_key: claim.key.as_ref().map(|key| key.as_str().to_owned()),
                fingerprint: claim.key.as_ref().map(|_| fingerprint(event.id)),
                http_request_id: claim.http_request_id.clone(),
            };
            let (period, key) = (row.period.clone(), row.idempotency_key.clone());
            let grants = i64::from(event.recurrence.count);
            let new = NewReceived {
                row: row.clone(),
                grants,
            };
            match self.intake.take(new).await? {
                Arrived::Waits => {
                    metrics::counter!("meed_claims_received_total").increment(1);
                    tracing::info!(reward_request.id = %id, event.id = %event.id, "claim received");
                    return Ok(Claimed::Received(Box::new(row.into())));
                }
                Arrived::Full => return Err(RequestError::QueueFull),
                Arrived::Refused => {}
            }
            if let Some(waiting) = received::of_user(&self.db, event.id, claim.user_id).await? {
                return if claim.key.is_none() || waiting.idempotency_key == key {
                    Ok(Claimed::Received(Box::new(waiting.into())))
                } else {
                    Err(RequestError::Waiting(waiting.id))
                };
            }
            if received::count_of_user(&self.db, claim.user_id).await? >= self.intake.per_user {
                return Err(RequestError::TooManyWaiting(self.intake.per_user));
            }
            let user_id = claim.user_id;
            if received::grants_of_user(&self.db, event.id, user_id, period.clone()).await? >= grants
                && let Some(repeat) = self.already_granted(claim, &offer, &period).await?
            {
                self.hints.note_repeat(claim, &offer, &period, &repeat).await;
                // Perhaps to a claim under the same key that was decided since we looked.
                return self.replayed(claim).await?.ok_or(repeat);
            }
            // What was in the way has been settled meanwhile.
            tokio::time::sleep(full_jitter(&self.clock, attempt)).await;
        }
        Err(RequestError::Contended)
    }

    /// A claim that waits, as a request.
    pub(super) async fn waiting(&self, id: Uuid) -> Result<Option<RewardRequest>, RequestError> {
        let row = received::find(&self.db, id).await?;
        Ok(row.map(RewardRequest::from))
    }
}

impl From<ReceivedRow> for RewardRequest {
    fn from(row: ReceivedRow) -> Self {
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
