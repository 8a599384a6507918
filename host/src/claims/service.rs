//! What can be asked about claims: one, a list, a receipt, how a user stands. Claiming itself is in `claim`.

use std::collections::HashMap;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use super::cache::{GrantedCache, SoldOutCache};
use super::commit::Committer;
use super::group::Queue;
use super::model::{EventProgress, Grant, Reason, ReversalNote, RewardRequest, Status};
use super::queue::Intake;
use super::receipt::{ReceiptError, Sealed, SignedReceipt};
use super::record::request_of;
use super::store::{self, Filter, RequestRow, queue};
use crate::cache::{Cache, Invalidation, Topic};
use crate::clock::{Clock, Timestamp};
use crate::config;
use crate::db::{Db, DbError};
use crate::events::{EventError, EventService, Purpose};
use crate::facts::FactError;
use crate::fulfilments::FulfilmentService;
use crate::keys::Keyring;
use crate::plugins::{PluginError, PluginService};
use crate::rewards::{RewardError, RewardService};
use crate::sandbox::Sandbox;

/// Answers that are forgotten in one step of a sweep.
const SWEPT_AT_ONCE: i64 = 500;

#[derive(Debug, thiserror::Error)]
pub enum ClaimError {
    #[error("There is no reward request {0}.")]
    NotFound(Uuid),
    #[error("There is no grant {0}.")]
    NoGrant(Uuid),
    #[error("You were granted this event's rewards in this period already.")]
    AlreadyGranted {
        reward_request_id: Uuid,
        grant_ids: Vec<Uuid>,
        next_at: Option<Timestamp>,
    },
    #[error(
        "Your claim {0} on this event waits to be decided; another one under another key cannot be made until then."
    )]
    Waiting(Uuid),
    #[error("{0} of your claims wait to be decided, which is as many as may; ask for what became of them first.")]
    TooManyWaiting(i64),
    #[error("As many claims wait to be decided as this server takes; nothing was changed. Try again later.")]
    QueueFull,
    #[error("The reward request {id} is RECEIVED: it has no receipt before it is decided.")]
    NotDecided { id: Uuid, user_id: Uuid },
    #[error("The Idempotency-Key {0:?} was used for another claim; use a new key for a new claim.")]
    KeyReused(String),
    #[error("The reward request {request_id} was reversed already, at {reversed_at}; nothing more was given back.")]
    AlreadyReversed {
        request_id: Uuid,
        reversal_id: Uuid,
        reversed_at: Timestamp,
    },
    #[error("The reward request {id} is {status}, so nothing was granted that could be taken back.")]
    NotGranted { id: Uuid, status: Status },
    #[error("The reward request {0} was not reversed.")]
    NoReversal(Uuid),
    #[error("Your account is disabled.")]
    Disabled,
    #[error("The event's condition could not be evaluated; try again later.")]
    ConditionFailed,
    #[error("Too many claims at once; nothing was changed. Try again.")]
    Contended,
    #[error(
        "The sandbox has had no place for the claim for a while, and it waits on; more of sandbox.pool.slots or sandbox.pool.runtime_slots, or more processes, would help."
    )]
    NoRoom,
    #[error("More claims wait for their commit than this server takes; nothing was changed. Try again.")]
    Overloaded,
    #[error("The claim's commit was given up; look whether it was made, or repeat it under the same Idempotency-Key.")]
    Uncommitted,
    #[error("The condition awarded {0}, which is no reward id.")]
    ForeignReward(String),
    #[error(transparent)]
    Event(#[from] EventError),
    #[error(transparent)]
    Plugin(#[from] PluginError),
    #[error(transparent)]
    Reward(#[from] RewardError),
    #[error(transparent)]
    Facts(#[from] FactError),
    #[error(transparent)]
    Receipt(#[from] ReceiptError),
    #[error("The answer cannot be stored: {0}")]
    Json(#[from] serde_json::Error),
    #[error(transparent)]
    Db(#[from] DbError),
}

impl ClaimError {
    /// Whether the transaction lost against another one and did nothing, whichever service it was in.
    pub(super) fn is_conflict(&self) -> bool {
        self.of_database().is_some_and(DbError::is_conflict)
    }

    /// Whether nobody knows how it ended.
    pub(super) fn is_outcome_unknown(&self) -> bool {
        self.of_database().is_some_and(DbError::is_outcome_unknown)
    }

    pub(super) fn of_database(&self) -> Option<&DbError> {
        match self {
            Self::Db(error)
            | Self::Facts(FactError::Db(error))
            | Self::Event(EventError::Db(error) | EventError::Reward(RewardError::Db(error)))
            | Self::Plugin(PluginError::Db(error))
            | Self::Reward(RewardError::Db(error)) => Some(error),
            _ => None,
        }
    }
}

/// A client's name for one claim, so that repeating it changes nothing: 1 to 255 visible ASCII characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdempotencyKey(String);

impl IdempotencyKey {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::str::FromStr for IdempotencyKey {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if (1..=255).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Ok(Self(text.to_owned()));
        }
        Err("Idempotency-Key must be 1 to 255 visible ASCII characters, such as a UUID.".to_owned())
    }
}

/// Wired by `app`; cheap to clone, as every request does.
#[derive(Clone)]
pub struct Claims(Arc<Parts>);

pub struct Parts {
    pub(super) db: Db,
    pub(super) clock: Clock,
    pub(super) sandbox: Sandbox,
    pub(super) plugins: PluginService,
    pub(super) events: EventService,
    pub(super) keys: Arc<Keyring>,
    pub(super) idempotency: Duration,
    pub(super) granted_cache: GrantedCache,
    pub(super) queue: Queue,
    pub(super) committer: Committer,
    pub(super) intake: Intake,
    pub(super) rewards: RewardService,
    pub(super) fulfilments: FulfilmentService,
    pub(super) sold_out_cache: SoldOutCache,
}

impl Deref for Claims {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}

impl Claims {
    #[expect(clippy::too_many_arguments, reason = "the composition root names each part once")]
    pub fn new(
        db: Db,
        clock: Clock,
        sandbox: Sandbox,
        plugins: PluginService,
        events: EventService,
        rewards: RewardService,
        fulfilments: FulfilmentService,
        keys: Arc<Keyring>,
        settings: &config::Claims,
        cache: Cache,
    ) -> Self {
        let committer = Committer {
            db: db.clone(),
            clock: clock.clone(),
            events: events.clone(),
            rewards: rewards.clone(),
        };
        let intake = Intake::new(db.clone(), clock.clone(), settings);
        Self(Arc::new(Parts {
            db,
            clock,
            sandbox,
            plugins,
            events,
            keys,
            idempotency: settings.idempotency,
            granted_cache: GrantedCache::new(cache),
            queue: Queue::new(committer.clone()),
            committer,
            intake,
            rewards,
            fulfilments,
            sold_out_cache: SoldOutCache::new(),
        }))
    }

    /// How many decided claims wait for their commit.
    pub fn commits_waiting(&self) -> usize {
        self.queue.waiting()
    }

    /// Another process took grants back.
    pub async fn on_invalidation(&self, invalidation: &Invalidation) {
        self.granted_cache.on_invalidation(invalidation).await;
        if matches!(invalidation, Invalidation::Changed(Topic::Granted(_))) {
            self.rewards.changed();
        }
    }

    /// How a user stands in an event that runs now. Nothing is stored, and no draw of a later claim is told.
    pub async fn progress(&self, user_id: Uuid, event_id: Uuid) -> Result<EventProgress, ClaimError> {
        let now = self.clock.now();
        let offer = self.events.recent(event_id).await?;
        let case = self
            .decision_input(&offer, user_id, now)
            .await
            .map_err(|error| match error {
                ClaimError::Facts(FactError::TooLarge { .. }) => ClaimError::ConditionFailed,
                error => error,
            })?;
        let recurrence = offer.event.recurrence;
        let granted = case.granted();
        let verdict = self.decide(&offer, &case, user_id, now, Purpose::Preview).await?;
        let mut progress = EventProgress {
            event_id,
            eligible: verdict.status == Status::Granted,
            reasons: verdict.reasons,
            progress: verdict.progress,
            retry_at: verdict.retry_at,
            period: case.slot.period,
            granted,
            limit: recurrence.count,
            received_request_id: queue::of_user(&self.db, event_id, user_id).await?.map(|row| row.id),
        };
        if granted >= recurrence.count {
            let reason = Reason::host(
                "already-granted",
                "You were granted this event's rewards in this period already.",
            );
            progress.eligible = false;
            progress.reasons.insert(0, reason);
            progress.retry_at = recurrence
                .period
                .next_start(now, &offer.zone)
                .filter(|at| *at < offer.event.end_date);
        } else if verdict.status == Status::Failed {
            return Err(ClaimError::ConditionFailed);
        }
        Ok(progress)
    }

    pub async fn get(&self, id: Uuid) -> Result<RewardRequest, ClaimError> {
        let mut row = store::find(&self.db, id).await?;
        if row.is_none() {
            if let Some(waiting) = self.waiting(id).await? {
                return Ok(waiting);
            }
            // It may have been decided between the two.
            row = store::find(&self.db, id).await?;
        }
        let row = row.ok_or(ClaimError::NotFound(id))?;
        self.with_grants(vec![row]).await?.pop().ok_or(ClaimError::NotFound(id))
    }

    /// Newest first, up to `size + 1`.
    pub(super) async fn list(
        &self,
        filter: Filter,
        after: Option<Uuid>,
        size: u32,
    ) -> Result<Vec<RewardRequest>, ClaimError> {
        let limit = i64::from(size) + 1;
        let mut waiting: Vec<RewardRequest> = Vec::new();
        // Before those that are decided: what is decided between the two is seen twice, and never not at all.
        if matches!(filter.status, None | Some(Status::Received)) {
            let rows = queue::list(&self.db, &filter, after, limit).await?;
            waiting.extend(rows.into_iter().map(RewardRequest::from));
        }
        if filter.status == Some(Status::Received) {
            return Ok(waiting);
        }
        let rows = store::list(&self.db, filter, after, limit).await?;
        let mut requests = self.with_grants(rows).await?;
        if !waiting.is_empty() {
            requests.extend(waiting);
            // Of two with one id the decided one is the first.
            requests.sort_by_key(|request| std::cmp::Reverse(request.id));
            requests.dedup_by_key(|request| request.id);
            requests.truncate(size as usize + 1);
        }
        Ok(requests)
    }

    /// The receipt and whose it is.
    pub async fn receipt(&self, id: Uuid) -> Result<(Uuid, SignedReceipt), ClaimError> {
        let mut row = store::receipt(&self.db, id).await?;
        if row.is_none() {
            if let Some(waiting) = self.waiting(id).await? {
                let user_id = waiting.user_id;
                return Err(ClaimError::NotDecided { id, user_id });
            }
            // It may have been decided between the two.
            row = store::receipt(&self.db, id).await?;
        }
        let row = row.ok_or(ClaimError::NotFound(id))?;
        let key = self.keys.public_key(&row.receipt_key_id);
        let sealed = Sealed {
            text: row.receipt,
            key_id: row.receipt_key_id,
            signature: row.receipt_signature,
        };
        let (receipt, digest, signature) = sealed.open(key.as_ref())?;
        let signed = SignedReceipt {
            receipt,
            digest,
            signature,
        };
        Ok((row.user_id, signed))
    }

    /// Forgets answers whose Idempotency-Key expired; says how many. In short steps: on SQLite everybody who writes waits
    /// for one, and PostgreSQL ends what takes longer than its time-out, and undoes it.
    pub async fn sweep(&self) -> Result<u64, ClaimError> {
        let now = self.clock.now();
        let mut forgotten = 0;
        loop {
            let mut tx = self.db.begin().await?;
            let swept = store::delete_expired_responses(&mut tx, now, SWEPT_AT_ONCE).await?;
            tx.commit().await?;
            forgotten += swept;
            if swept < SWEPT_AT_ONCE.unsigned_abs() {
                return Ok(forgotten);
            }
        }
    }

    async fn with_grants(&self, rows: Vec<RequestRow>) -> Result<Vec<RewardRequest>, ClaimError> {
        let with_status = |statuses: &[Status]| -> Vec<Uuid> {
            let chosen = rows.iter().filter(|row| statuses.contains(&row.status));
            chosen.map(|row| row.id).collect()
        };
        let granted = with_status(&[Status::Granted, Status::Reversed]);
        let reversed = with_status(&[Status::Reversed]);
        let mut grants: HashMap<Uuid, Vec<Grant>> = HashMap::new();
        let rows_of_grants = store::grants(&self.db, &granted).await?;
        let ids: Vec<Uuid> = rows_of_grants.iter().map(|row| row.id).collect();
        let mut said = self.fulfilments.of(&self.db, &ids).await?;
        for row in rows_of_grants {
            let request_id = row.request_id;
            let mut grant = Grant::from(row);
            if let Some(said) = said.remove(&grant.id) {
                grant.fulfilment = said.fulfilment;
            }
            grants.entry(request_id).or_default().push(grant);
        }
        let mut reversals: HashMap<Uuid, ReversalNote> = store::reversal::notes(&self.db, &reversed)
            .await?
            .into_iter()
            .map(|row| (row.request_id, row.into()))
            .collect();
        Ok(rows
            .into_iter()
            .map(|row| {
                let grants = grants.remove(&row.id).unwrap_or_default();
                let reversal = reversals.remove(&row.id);
                let request = request_of(row, grants);
                RewardRequest { reversal, ..request }
            })
            .collect())
    }
}
