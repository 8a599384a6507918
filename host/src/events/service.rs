//! The rules for events.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use moka::future::Cache;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::budget::Budget;
use super::model::{ActiveEvent, Condition, Event, NewEvent, Recurrence};
use super::seed::Secret;
use super::store::{self, EventRow, Filter, RevisionRow};
use crate::cache::{Cache as Shared, Invalidation, Topic};
use crate::clock::{Clock, Timestamp};
use crate::db::{Db, DbError, Json, Tx};
use crate::facts::{UnknownZone, Zone};
use crate::http::request_id;
use crate::outbox::{self, Message};
use crate::plugins::{Bound, PluginError, PluginService};
use crate::rewards::{Reward, RewardError, RewardService};
use crate::sandbox::Digest;

/// How long a claim trusts a cached event before it looks again. The commit checks the revision in any case.
const CACHED_FOR: Duration = Duration::from_secs(2);
const CACHED_EVENTS: u64 = 10_000;
/// How many events are ranked; those that do not run now are left out of an answer.
const RANKED: usize = 200;
/// An event's secret is shown this long after its end, so that no clock of another process still lets a claim in.
const REVEALED_AFTER: Duration = Duration::from_mins(1);

#[derive(Debug, thiserror::Error)]
pub enum EventError {
    #[error("There is no event {0}.")]
    NotFound(Uuid),
    #[error("The event is at revision {is}, you sent {expected}; read it again and repeat your change.")]
    Changed { is: i64, expected: i64 },
    #[error("{pointer}: {message}")]
    Field { pointer: &'static str, message: String },
    #[error("The event ended at {0} and its draws can be checked since; make a new event instead of moving its dates.")]
    Over(Timestamp),
    #[error(
        "The event started at {0}: its startDate, timeZone and recurrence.period decide what was granted, so they stay."
    )]
    Started(Timestamp),
    #[error("The stored secret of the event {0} is damaged.")]
    Secret(Uuid),
    #[error(transparent)]
    Plugin(PluginError),
    #[error(transparent)]
    Zone(#[from] UnknownZone),
    #[error(transparent)]
    Reward(#[from] RewardError),
    #[error(transparent)]
    Db(#[from] DbError),
}

/// What an event said at one revision.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct EventRevision {
    pub revision: i64,
    /// The event as it was from then on; null when it was deleted
    #[schema(value_type = Object)]
    pub event: serde_json::Value,
    pub changed_by: Uuid,
    pub changed_at: Timestamp,
}

/// How to check an event's draws.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct EventSeed {
    pub event_id: Uuid,
    /// SHA-256 of the secret, in hexadecimal
    pub seed_commitment: String,
    /// The secret in hexadecimal, from a minute after the event's end on
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed_secret: Option<String>,
}

/// An event with its rewards, for a claim.
#[derive(Clone, Debug)]
pub struct Offer {
    pub event: Event,
    pub rewards: Vec<Reward>,
    pub zone: Zone,
}

#[derive(Clone)]
pub struct EventService {
    pub(super) db: Db,
    pub(super) clock: Clock,
    pub(super) plugins: PluginService,
    pub(super) rewards: RewardService,
    cache: Shared,
    /// By the event's id and the generation of the rewards before they were read.
    offers: Cache<(Uuid, u64), Arc<Offer>>,
    popular: Cache<(), Arc<Vec<(Uuid, u64)>>>,
}

impl EventService {
    pub fn new(db: Db, clock: Clock, plugins: PluginService, rewards: RewardService, cache: Shared) -> Self {
        let offers = Cache::builder()
            .max_capacity(CACHED_EVENTS)
            .time_to_live(CACHED_FOR)
            .build();
        let popular = Cache::builder().max_capacity(1).time_to_live(CACHED_FOR).build();
        Self {
            db,
            clock,
            plugins,
            rewards,
            cache,
            offers,
            popular,
        }
    }

    pub async fn create(&self, new: NewEvent, by: Uuid) -> Result<Event, EventError> {
        let (new, bound) = self.check(new, None).await?;
        let now = self.clock.now();
        let created = Created {
            id: self.clock.new_id(),
            secret: self.clock.random::<32>().to_vec(),
            by,
            at: now,
        };
        let row = row_of(new, bound, created, 1, now);
        let mut tx = self.db.begin().await?;
        store::insert(&mut tx, &row).await?;
        self.set_offer(&mut tx, &row).await?;
        let event = self.shown(row)?;
        self.record_revision(&mut tx, &event, by).await?;
        tx.commit().await?;
        Ok(event)
    }

    pub async fn get(&self, id: Uuid) -> Result<Event, EventError> {
        store::find(&self.db, id)
            .await?
            .map(|row| self.shown(row))
            .unwrap_or(Err(EventError::NotFound(id)))
    }

    /// The commitment to the event's secret, and the secret itself once the event is over.
    pub(super) async fn seed(&self, id: Uuid) -> Result<EventSeed, EventError> {
        // A deleted event's grants stay, and so does the way to check their draws.
        let row = store::find_also_deleted(&self.db, id)
            .await?
            .ok_or(EventError::NotFound(id))?;
        let event = self.shown(row)?;
        Ok(EventSeed {
            event_id: id,
            seed_commitment: event.seed_commitment,
            seed_secret: event.seed_secret,
        })
    }

    /// Newest first, up to `size + 1`.
    pub(super) async fn list(&self, filter: Filter, after: Option<Uuid>, size: u32) -> Result<Vec<Event>, EventError> {
        let rows = store::list(&self.db, filter, after, i64::from(size) + 1).await?;
        rows.into_iter().map(|row| self.shown(row)).collect()
    }

    /// What users see: events that run now, newest first, up to `size + 1`.
    pub(super) async fn active(&self, after: Option<Uuid>, size: u32) -> Result<Vec<ActiveEvent>, EventError> {
        let filter = Filter {
            is_active: Some(true),
            at: Some(self.clock.now()),
            ..Filter::default()
        };
        let events = self.list(filter, after, size).await?;
        self.as_users_see(events).await
    }

    /// A claim of this user was decided.
    pub fn claimed(&self, id: Uuid, user_id: Uuid) {
        self.cache.count(id, user_id, self.clock.now());
    }

    /// Of the events that run now, those that most users claimed in the last day, each with how many about.
    pub(super) async fn popular(&self, most: usize) -> Result<Vec<(ActiveEvent, u64)>, EventError> {
        let now = self.clock.now();
        let read = async { Arc::new(self.cache.top(now, RANKED).await) };
        let ranked = self.popular.get_with((), read).await;
        let ids: Vec<Uuid> = ranked.iter().map(|(id, _)| *id).collect();
        let rows = store::running(&self.db, &ids, now).await?;
        let mut running: HashMap<Uuid, EventRow> = rows.into_iter().map(|row| (row.id, row)).collect();
        let (mut events, mut counts) = (Vec::new(), Vec::new());
        for (id, count) in ranked.iter() {
            if events.len() < most
                && let Some(row) = running.remove(id)
            {
                events.push(self.shown(row)?);
                counts.push(*count);
            }
        }
        Ok(self.as_users_see(events).await?.into_iter().zip(counts).collect())
    }

    async fn as_users_see(&self, events: Vec<Event>) -> Result<Vec<ActiveEvent>, EventError> {
        let ids: Vec<Uuid> = events.iter().map(|event| event.id).collect();
        let mut offers: HashMap<Uuid, Vec<_>> = HashMap::new();
        for (event_id, reward) in self.rewards.offers(&ids).await? {
            offers.entry(event_id).or_default().push(reward);
        }
        Ok(events
            .into_iter()
            .map(|event| {
                let rewards = offers.remove(&event.id).unwrap_or_default();
                ActiveEvent::new(event, rewards)
            })
            .collect())
    }

    pub async fn replace(&self, id: Uuid, expected: Option<i64>, new: NewEvent, by: Uuid) -> Result<Event, EventError> {
        let current = self.get(id).await?;
        let (new, bound) = self.check(new, Some(&current.condition)).await?;
        let mut tx = self.db.begin().await?;
        let current = self.lock(&mut tx, id, expected).await?;
        // Read after the lock was got: a claim may have held it for a while.
        let now = self.clock.now();
        if current.end_at <= now && (current.start_at, current.end_at) != (new.start_date, new.end_date) {
            return Err(EventError::Over(current.end_at));
        }
        let kept = (current.start_at, current.time_zone.as_str(), current.recurrence);
        if current.start_at <= now && kept != (new.start_date, new.time_zone.as_str(), new.recurrence.period) {
            return Err(EventError::Started(current.start_at));
        }
        let created = Created {
            id,
            secret: current.seed_secret,
            by: current.created_by,
            at: current.created_at,
        };
        let row = row_of(new, bound, created, current.revision + 1, now);
        store::update(&mut tx, &row).await?;
        self.set_offer(&mut tx, &row).await?;
        let event = self.shown(row)?;
        self.record_revision(&mut tx, &event, by).await?;
        tx.commit().await?;
        self.changed(id).await;
        Ok(event)
    }

    /// Hides the event from everyone. Its requests, grants and revisions stay.
    pub async fn delete(&self, id: Uuid, expected: Option<i64>, by: Uuid) -> Result<(), EventError> {
        let mut tx = self.db.begin().await?;
        let current = self.lock(&mut tx, id, expected).await?;
        let now = self.clock.now();
        let revision = current.revision + 1;
        store::mark_deleted(&mut tx, id, revision, now).await?;
        self.rewards.set_offer(&mut tx, id, &[]).await?;
        let row = RevisionRow {
            revision,
            snapshot: Json(serde_json::Value::Null),
            changed_by: by,
            changed_at: now,
        };
        self.tell(&mut tx, id, outbox::EVENT_DELETED, &row).await?;
        store::insert_revision(&mut tx, id, row, None).await?;
        tx.commit().await?;
        self.changed(id).await;
        Ok(())
    }

    /// Reads the event at the expected revision and keeps claims on it from committing meanwhile.
    async fn lock(&self, tx: &mut Tx, id: Uuid, expected: Option<i64>) -> Result<EventRow, EventError> {
        store::be_patient(tx).await?;
        let current = store::lock(tx, id).await?.ok_or(EventError::NotFound(id))?;
        let is = current.revision;
        match expected {
            Some(expected) if expected != is => Err(EventError::Changed { is, expected }),
            _ => Ok(current),
        }
    }

    /// What the event said, newest first, up to `size + 1`; also of a deleted event.
    pub async fn revisions(&self, id: Uuid, before: Option<i64>, size: u32) -> Result<Vec<EventRevision>, EventError> {
        let rows = store::revisions(&self.db, id, before, i64::from(size) + 1).await?;
        if rows.is_empty() && before.is_none() {
            return Err(EventError::NotFound(id));
        }
        Ok(rows
            .into_iter()
            .map(|row| EventRevision {
                revision: row.revision,
                event: row.snapshot.0,
                changed_by: row.changed_by,
                changed_at: row.changed_at,
            })
            .collect())
    }

    /// How many events use a plugin version, and the newest `most` of them.
    pub async fn using(&self, plugin: Digest, most: u32) -> Result<(i64, Vec<Uuid>), EventError> {
        Ok(store::using(&self.db, plugin, i64::from(most)).await?)
    }

    /// The event for a claim: from memory when it was read a moment ago. Confirm the revision before anything commits.
    pub async fn recent(&self, id: Uuid) -> Result<Arc<Offer>, EventError> {
        // One of many who ask at the same time asks the database.
        let read = self.offers.try_get_with(self.offer_key(id), self.read_offer(id));
        match read.await.map_err(Arc::try_unwrap) {
            Ok(offer) => Ok(offer),
            Err(Ok(error)) => Err(error),
            // An error has one owner; whoever waited for the same asks again.
            Err(Err(_)) => self.read_offer(id).await,
        }
    }

    async fn read_offer(&self, id: Uuid) -> Result<Arc<Offer>, EventError> {
        let event = self.get(id).await?;
        let rewards = self
            .rewards
            .offers(&[id])
            .await?
            .into_iter()
            .map(|(_, reward)| reward)
            .collect();
        let zone = event.time_zone.parse()?;
        Ok(Arc::new(Offer { event, rewards, zone }))
    }

    /// What was read before a reward changed is not found any more.
    fn offer_key(&self, id: Uuid) -> (Uuid, u64) {
        (id, self.rewards.generation())
    }

    /// What an event said last, also when it was deleted; without rewards, as it gives nothing any more.
    pub async fn last_known(&self, id: Uuid) -> Result<Offer, EventError> {
        let row = store::find_also_deleted(&self.db, id).await?;
        let event = self.shown(row.ok_or(EventError::NotFound(id))?)?;
        let zone = event.time_zone.parse()?;
        let rewards = Vec::new();
        Ok(Offer { event, rewards, zone })
    }

    /// Whether the event still is at this revision. For SQLite, whose one writer keeps it there until it commits.
    pub async fn confirm(&self, tx: &mut Tx, id: Uuid, revision: i64) -> Result<bool, DbError> {
        if store::revision(tx, id).await? == Some(revision) {
            return Ok(true);
        }
        self.forget(id).await;
        Ok(false)
    }

    /// An event was changed: to be called after the commit.
    async fn changed(&self, id: Uuid) {
        self.forget(id).await;
        self.cache.publish(Topic::Event(id)).await;
    }

    /// Another process changed events.
    pub async fn on_invalidation(&self, invalidation: &Invalidation) {
        match invalidation {
            Invalidation::Changed(Topic::Event(id)) => self.forget(*id).await,
            Invalidation::Changed(_) => {}
            Invalidation::All => self.offers.invalidate_all(),
        }
    }

    /// The event is not what it was: the next claim reads it anew.
    pub async fn forget(&self, id: Uuid) {
        self.offers.invalidate(&self.offer_key(id)).await;
    }

    async fn record_revision(&self, tx: &mut Tx, event: &Event, by: Uuid) -> Result<(), EventError> {
        let snapshot = Json(serde_json::json!(event));
        let row = RevisionRow {
            revision: event.revision,
            snapshot,
            changed_by: by,
            changed_at: event.updated_at,
        };
        let kind = if event.revision == 1 {
            outbox::EVENT_CREATED
        } else {
            outbox::EVENT_CHANGED
        };
        self.tell(tx, event.id, kind, &row).await?;
        Ok(store::insert_revision(tx, event.id, row, Some(event.condition.digest)).await?)
    }

    /// Others hear what the event says from now on.
    async fn tell(&self, tx: &mut Tx, id: Uuid, kind: &'static str, row: &RevisionRow) -> Result<(), DbError> {
        let message = Message {
            id: self.clock.new_id(),
            kind,
            user_id: None,
            subject_id: Some(id),
            payload: serde_json::json!({
                "eventId": id, "revision": row.revision, "event": row.snapshot.0, "changedBy": row.changed_by,
                "changedAt": row.changed_at,
            }),
            http_request_id: request_id::current(),
            created_at: row.changed_at,
        };
        outbox::write(tx, message).await
    }

    fn shown(&self, row: EventRow) -> Result<Event, EventError> {
        let secret = Secret::new(&row.seed_secret).ok_or(EventError::Secret(row.id))?;
        let revealed = row.end_at.plus(REVEALED_AFTER) <= self.clock.now();
        Ok(Event {
            id: row.id,
            title: row.title,
            description: row.description,
            start_date: row.start_at,
            end_date: row.end_at,
            is_active: row.is_active,
            tags: row.tags.0,
            reward_ids: row.reward_ids.0,
            time_zone: row.time_zone,
            condition: Condition {
                plugin: row.plugin_name,
                version: row.plugin_version,
                digest: row.plugin_digest,
                params: row.params.0,
            },
            recurrence: Recurrence {
                period: row.recurrence,
                count: u32::try_from(row.recurrence_count).unwrap_or(u32::MAX),
            },
            budget: row.budget_period.map(|period| Budget {
                period,
                grants: row.budget_grants,
                amount: row.budget_amount,
            }),
            max_quantity: u32::try_from(row.max_quantity).unwrap_or(u32::MAX),
            respond_async: row.respond_async,
            seed_commitment: secret.commitment(),
            seed_secret: revealed.then(|| secret.reveal()),
            revision: row.revision,
            created_by: row.created_by,
            created_at: row.created_at,
            updated_at: row.updated_at,
            plan: row.queries.0,
            state: row.state,
            secret,
        })
    }
}

/// What never changes after an event was created.
struct Created {
    id: Uuid,
    secret: Vec<u8>,
    by: Uuid,
    at: Timestamp,
}

fn row_of(new: NewEvent, bound: Bound, created: Created, revision: i64, now: Timestamp) -> EventRow {
    EventRow {
        id: created.id,
        title: new.title,
        description: new.description,
        start_at: new.start_date,
        end_at: new.end_date,
        is_active: new.is_active,
        tags: Json(new.tags),
        reward_ids: Json(new.reward_ids),
        time_zone: new.time_zone,
        plugin_digest: bound.digest,
        plugin_name: new.condition.plugin,
        plugin_version: new.condition.version,
        params: Json(new.condition.params),
        queries: Json(bound.plan),
        state: bound.state,
        recurrence: new.recurrence.period,
        recurrence_count: i64::from(new.recurrence.count),
        max_quantity: i64::from(new.max_quantity),
        respond_async: new.respond_async,
        budget_period: new.budget.map(|budget| budget.period),
        budget_grants: new.budget.and_then(|budget| budget.grants),
        budget_amount: new.budget.and_then(|budget| budget.amount),
        seed_secret: created.secret,
        revision,
        created_by: created.by,
        created_at: created.at,
        updated_at: now,
    }
}

pub(super) fn unknown_reward(error: RewardError) -> EventError {
    match error {
        RewardError::NotFound(_) => EventError::Field {
            pointer: "/rewardIds",
            message: error.to_string(),
        },
        error => EventError::Reward(error),
    }
}
