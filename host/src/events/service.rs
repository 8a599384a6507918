//! Rules for events: changes, revisions, lists, and the cached offers that claims use.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use moka::future::Cache;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::candidate::{Candidate, JointPlan};
use super::error::{EventError, taken};
use super::model::{ActiveEvent, Event, NewEvent};
use super::offer::{Offer, trial_of};
use super::protection::Way;
use super::row::{Created, event_with, row_of};
use super::seed::Secret;
use super::store::{self, EventRow, Filter, RevisionRow};
use crate::audit::{self, Entry};
use crate::cache::{Cache as Shared, Invalidation, Topic};
use crate::clock::{Clock, Timestamp};
use crate::config::Releases;
use crate::correlation;
use crate::db::{Db, DbError, Json, Tx};
use crate::facts::{self, NeedError, NeededBy};
use crate::keys::{Place, Sealing};
use crate::outbox::{self, Message};
use crate::plugins::PluginService;
use crate::rewards::{self, RewardService};
use crate::sandbox::Digest;

/// How long a claim trusts a cached offer. The commit checks the revision in any case.
const OFFER_LIFETIME: Duration = Duration::from_secs(2);
const CACHED_EVENTS: u64 = 10_000;
/// The number of ranked events. Responses skip those that do not run now.
const RANKED: usize = 200;
/// The delay between an event's end and the publication of its secret. It covers clock differences between processes,
/// so that no process accepts a claim after the publication.
const SECRET_DELAY: Duration = Duration::from_mins(1);
/// Rows that one statement reads to seal their secrets again.
const RESEALED_AT_ONCE: i64 = 200;

/// An event at one revision.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct EventRevision {
    pub revision: i64,
    /// The content since that revision; null for the deletion
    #[schema(value_type = HashMap<String, Value>)]
    pub event: serde_json::Value,
    pub changed_by: Uuid,
    pub changed_at: Timestamp,
}

/// The values with which anyone can verify an event's draws.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct EventSeed {
    pub event_id: Uuid,
    /// The SHA-256 hash of the secret, in hexadecimal
    pub seed_commitment: String,
    /// The secret in hexadecimal, from one minute after the event's end
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed_secret: Option<String>,
}

#[derive(Clone)]
pub struct EventService {
    pub(super) db: Db,
    pub(super) clock: Clock,
    pub(super) releases: Releases,
    sealing: Sealing,
    pub(super) plugins: PluginService,
    pub(super) rewards: RewardService,
    cache: Shared,
    offers: Cache<Uuid, Arc<Offer>>,
    popular: Cache<(), Arc<Vec<(Uuid, u64)>>>,
}

impl EventService {
    pub fn new(
        (db, clock): (Db, Clock),
        sealing: Sealing,
        plugins: PluginService,
        rewards: RewardService,
        cache: Shared,
        releases: Releases,
    ) -> Self {
        let offers = Cache::builder()
            .max_capacity(CACHED_EVENTS)
            .time_to_live(OFFER_LIFETIME)
            .build();
        let popular = Cache::builder().max_capacity(1).time_to_live(OFFER_LIFETIME).build();
        Self {
            db,
            clock,
            releases,
            sealing,
            plugins,
            rewards,
            cache,
            offers,
            popular,
        }
    }

    pub async fn create(&self, new: NewEvent, by: Uuid) -> Result<Event, EventError> {
        let (new, condition) = self.check(new, None).await?;
        let accepts_slow_reads = new.accept_slow_reads;
        let now = self.clock.now();
        let id = self.clock.new_id();
        let created = Created {
            id,
            name: id.to_string(),
            applied_revision: None,
            candidate: None,
            sealed_secret: self.sealing.seal(seed_of(id), &self.clock.random::<32>())?,
            by,
            at: now,
        };
        let row = row_of(new, condition, created, 1, now);
        let mut tx = self.db.begin().await?;
        self.enter_group(&mut tx, row.group_name.as_deref()).await?;
        let inserted = store::insert(&mut tx, &row).await;
        inserted.map_err(|error| taken(error, &row.name))?;
        let building = need_facts(&mut tx, &row, row.end_at, now).await?;
        if row.is_active && building > 0 && !accepts_slow_reads {
            drop(tx);
            return Err(self.build_facts(&row, building).await?);
        }
        self.set_offer(&mut tx, &row).await?;
        self.guard_change(&mut tx, Way::Direct, None, &row).await?;
        let event = self.event_of(row)?;
        self.record_revision(&mut tx, &event, by).await?;
        audit::record(
            &mut tx,
            &self.clock,
            Entry::about("event", &event.id).between(&(), &event),
        )
        .await?;
        tx.commit().await?;
        Ok(event)
    }

    pub async fn get(&self, id: Uuid) -> Result<Event, EventError> {
        store::find(&self.db, id)
            .await?
            .map(|row| self.event_of(row))
            .unwrap_or(Err(EventError::NotFound(id)))
    }

    /// The hash of the event's secret, and the secret itself after the event's end.
    pub(super) async fn seed(&self, id: Uuid) -> Result<EventSeed, EventError> {
        // The grants of a deleted event remain, so their draws must remain verifiable.
        let row = store::find_also_deleted(&self.db, id)
            .await?
            .ok_or(EventError::NotFound(id))?;
        let event = self.event_of(row)?;
        Ok(EventSeed {
            event_id: id,
            seed_commitment: event.seed_commitment,
            seed_secret: event.seed_secret,
        })
    }

    /// Newest first, up to `size + 1` events.
    pub async fn list(&self, filter: Filter, after: Option<Uuid>, size: u32) -> Result<Vec<Event>, EventError> {
        let rows = store::list(&self.db, filter, after, i64::from(size) + 1).await?;
        rows.into_iter().map(|row| self.event_of(row)).collect()
    }

    /// The running events, as users see them. Newest first, up to `size + 1`.
    pub async fn active(&self, after: Option<Uuid>, size: u32) -> Result<Vec<ActiveEvent>, EventError> {
        let filter = Filter {
            is_active: Some(true),
            at: Some(self.clock.now()),
            ..Filter::default()
        };
        let events = self.list(filter, after, size).await?;
        self.for_users(events).await
    }

    /// Counts a decided claim of a user for the ranking of popular events.
    pub fn claimed(&self, id: Uuid, user_id: Uuid) {
        self.cache.count(id, user_id, self.clock.now());
    }

    /// The running events with the most claims in the last day, with approximate numbers of users.
    pub(super) async fn popular(&self, limit: usize) -> Result<Vec<(ActiveEvent, u64)>, EventError> {
        let now = self.clock.now();
        let read = async { Arc::new(self.cache.top(now, RANKED).await) };
        let ranked = self.popular.get_with((), read).await;
        let ids: Vec<Uuid> = ranked.iter().map(|(id, _)| *id).collect();
        let rows = store::running(&self.db, &ids, now).await?;
        let mut running: HashMap<Uuid, EventRow> = rows.into_iter().map(|row| (row.id, row)).collect();
        let (mut events, mut counts) = (Vec::new(), Vec::new());
        for (id, count) in ranked.iter() {
            if events.len() < limit
                && let Some(row) = running.remove(id)
            {
                events.push(self.event_of(row)?);
                counts.push(*count);
            }
        }
        Ok(self.for_users(events).await?.into_iter().zip(counts).collect())
    }

    async fn for_users(&self, events: Vec<Event>) -> Result<Vec<ActiveEvent>, EventError> {
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

    /// Deletes the event. Its reward requests, grants and revisions remain.
    pub async fn delete(&self, id: Uuid, expected: Option<i64>, by: Uuid) -> Result<(), EventError> {
        let mut tx = self.db.begin().await?;
        let current = self.lock(&mut tx, id, expected).await?;
        let now = after(current.updated_at, self.clock.now());
        let revision = current.revision + 1;
        store::mark_deleted(&mut tx, id, revision, now).await?;
        facts::release(&mut tx, id).await?;
        self.rewards.set_offer(&mut tx, id, &[]).await?;
        let row = RevisionRow {
            revision,
            snapshot: Json(serde_json::Value::Null),
            changed_by: by,
            changed_at: now,
        };
        self.write_message(&mut tx, id, outbox::EVENT_DELETED, &row).await?;
        store::insert_revision(&mut tx, id, row, (None, None)).await?;
        let before = self.event_of(current)?;
        audit::record(&mut tx, &self.clock, Entry::about("event", &id).between(&before, &())).await?;
        tx.commit().await?;
        self.changed(id).await;
        Ok(())
    }

    /// Lets the facts of a refused change be built, so that the change can be made when it is repeated.
    pub(super) async fn build_facts(&self, row: &EventRow, building: usize) -> Result<EventError, EventError> {
        let mut wanted = row.clone();
        // What the event needs meanwhile stays as it is.
        wanted.id = self.clock.new_id();
        let mut tx = self.db.begin().await?;
        need_facts(&mut tx, &wanted, self.clock.now(), self.clock.now()).await?;
        tx.commit().await?;
        Ok(EventError::FactsNotReady(building))
    }

    /// Locks the event at the expected revision. Claims on it cannot commit until the transaction ends.
    pub(super) async fn lock(&self, tx: &mut Tx, id: Uuid, expected: Option<i64>) -> Result<EventRow, EventError> {
        store::raise_lock_timeout(tx).await?;
        let current = store::lock(tx, id).await?.ok_or(EventError::NotFound(id))?;
        let is = current.revision;
        match expected {
            Some(expected) if expected != is => Err(EventError::Changed { is, expected }),
            _ => Ok(current),
        }
    }

    /// The revisions of an event, also of a deleted one. Newest first, up to `size + 1`.
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

    /// The number of events that use or try a plugin version, and the newest `limit` of them.
    pub async fn using(&self, plugin: Digest, limit: u32) -> Result<(i64, Vec<Uuid>), EventError> {
        let (count, mut newest) = store::using(&self.db, plugin, false, i64::from(limit)).await?;
        let (trying, more) = store::using(&self.db, plugin, true, i64::from(limit)).await?;
        newest.extend(more);
        newest.sort_unstable_by(|one, other| other.cmp(one));
        newest.truncate(limit as usize);
        Ok((count + trying, newest))
    }

    /// The offer for a claim, from memory or the database. Confirm its revision before a commit.
    pub async fn recent(&self, id: Uuid) -> Result<Arc<Offer>, EventError> {
        if let Some(offer) = self.offers.get(&id).await {
            if !self.is_stale(&offer) {
                return Ok(offer);
            }
            self.offers.invalidate(&id).await;
        }
        // Concurrent callers share one query.
        match self
            .offers
            .try_get_with(id, self.read_offer(id))
            .await
            .map_err(Arc::try_unwrap)
        {
            Ok(offer) if !self.is_stale(&offer) => Ok(offer),
            Err(Ok(error)) => Err(error),
            // The shared query began before a change; or it failed, and an error cannot be shared.
            Ok(_) | Err(Err(_)) => self.read_offer(id).await,
        }
    }

    fn is_stale(&self, offer: &Offer) -> bool {
        self.rewards.is_stale(&offer.rewards, offer.generation)
    }

    async fn read_offer(&self, id: Uuid) -> Result<Arc<Offer>, EventError> {
        let generation = self.rewards.generation();
        let event = self.get(id).await?;
        let rewards = self
            .rewards
            .offers(&[id])
            .await?
            .into_iter()
            .map(|(_, reward)| reward)
            .collect();
        let zone = event.time_zone.parse()?;
        Ok(Arc::new(Offer {
            trial: trial_of(&event)?,
            event,
            rewards,
            zone,
            generation,
        }))
    }

    /// The last content of an event, which may be deleted, without rewards.
    pub async fn last_known(&self, id: Uuid) -> Result<Offer, EventError> {
        let row = store::find_also_deleted(&self.db, id).await?;
        let event = self.event_of(row.ok_or(EventError::NotFound(id))?)?;
        let zone = event.time_zone.parse()?;
        Ok(Offer {
            event,
            rewards: Vec::new(),
            zone,
            // A deleted event has no candidate.
            trial: None,
            generation: self.rewards.generation(),
        })
    }

    /// Whether the event is still at this revision. Then no other transaction can change it until the commit. On PostgreSQL
    /// a bulk statement confirms the events of many claims.
    pub async fn confirm(&self, tx: &mut Tx, id: Uuid, revision: i64) -> Result<bool, DbError> {
        if store::revision(tx, id).await? == Some(revision) {
            return Ok(true);
        }
        self.forget(id).await;
        Ok(false)
    }

    /// Invalidates the copies of an event in all processes. Call it after the commit.
    pub(super) async fn changed(&self, id: Uuid) {
        self.forget(id).await;
        self.cache.publish(Topic::Event(id)).await;
    }

    /// Applies an invalidation from another process.
    pub async fn on_invalidation(&self, invalidation: &Invalidation) {
        match invalidation {
            Invalidation::Changed(Topic::Event(id)) => self.forget(*id).await,
            Invalidation::Changed(_) => {}
            Invalidation::All => self.offers.invalidate_all(),
        }
    }

    /// Invalidates the cached offer of an event.
    pub async fn forget(&self, id: Uuid) {
        self.offers.invalidate(&id).await;
    }

    pub(super) async fn record_revision(&self, tx: &mut Tx, event: &Event, by: Uuid) -> Result<(), EventError> {
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
        self.write_message(tx, event.id, kind, &row).await?;
        let candidate = event.candidate.as_ref().map(|candidate| candidate.condition.digest);
        let plugins = (Some(event.condition.digest), candidate);
        Ok(store::insert_revision(tx, event.id, row, plugins).await?)
    }

    /// Writes the outbox message of a change.
    async fn write_message(&self, tx: &mut Tx, id: Uuid, kind: &'static str, row: &RevisionRow) -> Result<(), DbError> {
        let message = Message {
            id: self.clock.new_id(),
            kind,
            user_id: None,
            subject_id: Some(id),
            payload: serde_json::json!({
                "eventId": id, "revision": row.revision, "event": row.snapshot.0, "changedBy": row.changed_by,
                "changedAt": row.changed_at,
            }),
            http_request_id: correlation::current(),
            created_at: row.changed_at,
            once_key: None,
        };
        outbox::write(tx, message).await
    }

    /// The candidate in an event's row.
    pub(super) fn candidate_of(row: &EventRow) -> Result<Option<Candidate>, EventError> {
        let stored = row.candidate.clone().map(|stored| Candidate::try_from(stored.0));
        stored.transpose().map_err(|_| EventError::Candidate(row.id))
    }

    pub(super) fn event_of(&self, row: EventRow) -> Result<Event, EventError> {
        let secret = self.sealing.open(seed_of(row.id), &row.seed_secret)?;
        let secret = Secret::new(&secret).ok_or(EventError::Secret(row.id))?;
        let candidate = Self::candidate_of(&row)?;
        let revealed = row.end_at.plus(SECRET_DELAY) <= self.clock.now();
        Ok(Event {
            candidate,
            ..event_with(row, secret, revealed)
        })
    }
}

/// An event and its rewards for a backtest where the keys that seal its secret are not at hand. `secret` stands in for it.
pub async fn offer_without_secret(db: &Db, id: Uuid, secret: Secret) -> Result<Offer, EventError> {
    let row = store::find(db, id).await?.ok_or(EventError::NotFound(id))?;
    let event = event_with(row, secret, false);
    let zone = event.time_zone.parse()?;
    Ok(Offer::of_past(event, rewards::offered(db, id).await?, zone))
}

/// Seals the secrets of all events with the newest key, also of deleted ones, and returns how many were sealed with an older
/// one. Servers may run meanwhile.
pub async fn reseal(db: &Db, sealing: &Sealing) -> Result<u64, EventError> {
    let (mut resealed, mut after) = (0, Uuid::nil());
    loop {
        let rows = store::sealed(db, after, RESEALED_AT_ONCE).await?;
        let Some((last, _)) = rows.last() else {
            return Ok(resealed);
        };
        after = *last;
        for (id, old) in rows {
            let Some(new) = sealing.reseal(seed_of(id), &old)? else {
                continue;
            };
            let mut tx = db.begin().await?;
            store::replace_secret(&mut tx, id, new, old).await?;
            tx.commit().await?;
            resealed += 1;
        }
    }
}

/// Makes what is maintained for the queries of the event, and returns how much of it is being built.
pub(super) async fn need_facts(
    tx: &mut Tx,
    row: &EventRow,
    until: Timestamp,
    now: Timestamp,
) -> Result<usize, EventError> {
    let plan = match &row.candidate {
        Some(candidate) => JointPlan::new(&row.queries.0, candidate.0.queries())?.plan().clone(),
        None => row.queries.0.clone(),
    };
    let by = NeededBy {
        event_id: row.id,
        event_starts: row.start_at,
        until,
        zone: &row.time_zone.parse()?,
        now,
    };
    facts::need(tx, &by, &plan).await.map_err(|error| match error {
        NeedError::Compacted(error) => EventError::FactsCompacted(error),
        NeedError::Db(error) => error.into(),
    })
}

fn seed_of(event_id: Uuid) -> Place {
    Place {
        table: "events",
        column: "seed_secret",
        row: event_id,
    }
}

/// The instant of a change: later than the one before, which a process whose clock is ahead may have made. The messages of
/// an event are sent in the order of these instants.
pub(super) fn after(before: Timestamp, now: Timestamp) -> Timestamp {
    now.max(before.plus(Duration::from_millis(1)))
}
