//! Answers that this process gives from memory: to users whose claim was granted, and to users of a sold-out event.
//!
//! A cache never grants. Each entry repeats what the database said, for one revision of the event and one period.

use std::sync::Arc;
use std::time::Duration;

use moka::future::Cache;
use moka::policy::EvictionPolicy;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::error::ClaimError;
use super::model::{ClaimAnswer, ClaimInput, RewardRequest, Source, Status};
use super::store;
use super::verdict::SOLD_OUT;
use crate::cache::{Cache as Shared, Invalidation, Topic};
use crate::clock::Timestamp;
use crate::db::Db;
use crate::events::{EventService, Offer};
use crate::mutations;
use crate::rewards::{RewardService, StockVersion};

/// How long an entry is valid while this process receives the invalidations of the others.
const MAX_AGE: Duration = Duration::from_mins(1);
/// The same without invalidations, as for the other in-process caches.
const MAX_AGE_ALONE: Duration = Duration::from_secs(2);
/// A tombstone outlives every reader that read the grant before its reversal, even if clocks differ by half a minute and
/// the commit of the reversal takes half a minute.
const TOMBSTONE_TTL: Duration = Duration::from_mins(2);
/// Entries of about 300 bytes.
const GRANTED_ENTRIES: u64 = 100_000;
/// Entries of about a kilobyte.
const SOLD_OUT_ENTRIES: u64 = 50_000;
const SOLD_OUT_TTL: Duration = Duration::from_mins(10);

/// The granted cache: which users hold all grants of an event in a period, and the newest of those grants.
///
/// Before a reversal commits, it must call [`GrantedCache::invalidate`]: the outcome of that commit may stay unknown.
/// Cheap to clone.
#[derive(Clone)]
pub(super) struct GrantedCache {
    shared: Shared,
    entries: Cache<String, GrantedEntry>,
    /// Grants that were or are about to be reversed, here or in another process. Checked last, because an answer of Redis
    /// may arrive late.
    tombstones: Cache<String, ()>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct GrantedEntry {
    event_revision: i64,
    reward_request_id: Uuid,
    grant_ids: Vec<Uuid>,
    /// The database confirmed the entry at this instant or later.
    #[serde(skip, default = "epoch")]
    at: Timestamp,
}

impl GrantedCache {
    pub(super) fn new(shared: Shared) -> Self {
        Self {
            shared,
            entries: bounded(MAX_AGE),
            tombstones: bounded(TOMBSTONE_TTL),
        }
    }

    /// [`ClaimError::AlreadyGranted`] if the cache knows that the user holds all grants. Costs no database access.
    pub(super) async fn lookup(&self, claim: &ClaimInput, offer: &Offer) -> Option<ClaimError> {
        let now = claim.received_at;
        let name = name(claim.event_id, claim.user_id, &offer.period(now));
        let entry = self.find(&name, now).await?;
        (entry.event_revision == offer.event.revision).then(|| entry.into_error(claim, offer))
    }

    /// The same, read from the database and cached. `None`: the grant was reversed meanwhile.
    pub(super) async fn load(
        &self,
        db: &Db,
        claim: &ClaimInput,
        offer: &Offer,
        period: &str,
    ) -> Result<Option<ClaimError>, ClaimError> {
        let newest = store::newest_granted(db, claim.event_id, claim.user_id, period.to_owned()).await?;
        let Some(request) = newest else {
            return Ok(None);
        };
        let grants = store::grants_of_requests(db, &[(request.user_id, request.id)]).await?;
        let entry = GrantedEntry {
            event_revision: offer.event.revision,
            reward_request_id: request.id,
            grant_ids: grants.into_iter().map(|grant| grant.id).collect(),
            at: claim.received_at,
        };
        let name = name(claim.event_id, claim.user_id, period);
        self.remember(name, entry.clone()).await;
        Ok(Some(entry.into_error(claim, offer)))
    }

    /// Caches a committed decision if it used up the period. `granted`: the user's grants in the period before it.
    pub(super) async fn on_committed(&self, claim: &ClaimInput, offer: &Offer, granted: u32, request: &RewardRequest) {
        if request.status != Status::Granted || granted + 1 < offer.event.recurrence.count {
            return;
        }
        // A pending claim may have arrived long before its decision.
        let decided_at = claim.queued.and(request.decided_at);
        let entry = GrantedEntry {
            event_revision: offer.event.revision,
            reward_request_id: request.id,
            grant_ids: request.grants.iter().map(|grant| grant.id).collect(),
            at: decided_at.unwrap_or(claim.received_at),
        };
        let name = name(claim.event_id, claim.user_id, &request.period);
        self.remember(name, entry).await;
    }

    /// To be called before a reversal commits: removes the entry here and in every process.
    pub(super) async fn invalidate(&self, event_id: Uuid, user_id: Uuid, period: &str) {
        let name = name(event_id, user_id, period);
        self.add_tombstone(&name).await;
        self.shared.invalidate(&shared_key(&name), TOMBSTONE_TTL).await;
        self.shared.publish(Topic::Granted(name)).await;
    }

    /// Another process reversed grants.
    pub(super) async fn on_invalidation(&self, invalidation: &Invalidation) {
        match invalidation {
            Invalidation::Changed(Topic::Granted(name)) => self.add_tombstone(name).await,
            Invalidation::Changed(_) => {}
            Invalidation::All => self.entries.invalidate_all(),
        }
    }

    async fn add_tombstone(&self, name: &str) {
        if mutations::active("granted-cache-outlives-reversal") {
            return;
        }
        self.tombstones.insert(name.to_owned(), ()).await;
        self.entries.invalidate(name).await;
    }

    async fn find(&self, name: &str, now: Timestamp) -> Option<GrantedEntry> {
        let max_age = if self.shared.is_shared() {
            MAX_AGE
        } else {
            MAX_AGE_ALONE
        };
        let own = self.entries.get(name).await;
        let entry = if let Some(entry) = own.filter(|entry| entry.at <= now && now < entry.at.plus(max_age)) {
            entry
        } else {
            let (at, value) = self.shared.get(&shared_key(name), now, max_age).await?;
            let entry = serde_json::from_slice::<GrantedEntry>(&value).ok()?;
            let entry = GrantedEntry { at, ..entry };
            self.entries.insert(name.to_owned(), entry.clone()).await;
            entry
        };
        (!self.tombstones.contains_key(name)).then_some(entry)
    }

    async fn remember(&self, name: String, entry: GrantedEntry) {
        if let Ok(value) = serde_json::to_vec(&entry) {
            self.shared.put(&shared_key(&name), entry.at, &value, MAX_AGE);
        }
        self.entries.insert(name, entry).await;
    }
}

impl GrantedEntry {
    fn into_error(self, claim: &ClaimInput, offer: &Offer) -> ClaimError {
        ClaimError::AlreadyGranted {
            reward_request_id: self.reward_request_id,
            grant_ids: self.grant_ids,
            next_at: offer.next_period_start(claim.received_at),
        }
    }
}

fn bounded<T: Clone + Send + Sync + 'static>(lifetime: Duration) -> Cache<String, T> {
    Cache::builder()
        .max_capacity(GRANTED_ENTRIES)
        .eviction_policy(EvictionPolicy::lru())
        .time_to_live(lifetime)
        .build()
}

fn name(event_id: Uuid, user_id: Uuid, period: &str) -> String {
    format!("{event_id}:{user_id}:{period}")
}

fn shared_key(name: &str) -> String {
    format!("granted:{name}")
}

fn epoch() -> Timestamp {
    Timestamp::EPOCH
}

/// The sold-out cache: the stored response of users whose claim was rejected as sold out and who claim again.
///
/// The first claim of each user gets a decision and a receipt. Then the same response is repeated from memory while the
/// event is unchanged, the database confirmed within the last second that all stock is gone, and nothing was added to that
/// stock since the decision, here or in another process. Claims with an Idempotency-Key do not use this cache.
/// Cheap to clone.
#[derive(Clone)]
pub(super) struct SoldOutCache {
    events: EventService,
    rewards: RewardService,
    /// By event and user.
    entries: moka::sync::Cache<(Uuid, Uuid), Arc<SoldOutEntry>>,
}

struct SoldOutEntry {
    request_id: Uuid,
    event_revision: i64,
    period: String,
    /// Of the event's rewards, before the decision.
    stock_version: StockVersion,
    response: String,
}

impl SoldOutCache {
    pub(super) fn new(events: EventService, rewards: RewardService) -> Self {
        Self {
            events,
            rewards,
            entries: moka::sync::Cache::builder()
                .max_capacity(SOLD_OUT_ENTRIES)
                .time_to_live(SOLD_OUT_TTL)
                .build(),
        }
    }

    /// The user's earlier response, if a new decision would be the same.
    pub(super) async fn lookup(&self, claim: &ClaimInput) -> Result<Option<ClaimAnswer>, ClaimError> {
        let Some(entry) = self.entries.get(&(claim.event_id, claim.user_id)) else {
            return Ok(None);
        };
        let offer = self.events.recent(claim.event_id).await?;
        let event = &offer.event;
        let is_unchanged =
            claim.key.is_none()
                && !event.respond_async
                && event.revision == entry.event_revision
                && claim.received_at < event.end_date
                && offer.period(claim.received_at) == entry.period
                && self.rewards.sold_out_version(event.id).await.is_some_and(|version| {
                    version == entry.stock_version || mutations::active("sold-out-though-granted")
                });
        Ok(is_unchanged.then(|| ClaimAnswer::SoldOutAgain {
            request_id: entry.request_id,
            response: entry.response.clone(),
        }))
    }

    /// Caches a committed decision if it says "sold out". `offer` must have been read before the facts.
    pub(super) fn on_committed(&self, offer: &Offer, request: &RewardRequest) {
        let key = (request.event_id, request.user_id);
        let is_sold_out = request.status == Status::Rejected
            && matches!(&request.reasons[..], [reason] if reason.source == Source::Host && reason.code == SOLD_OUT);
        if is_sold_out && let Ok(response) = serde_json::to_string(request) {
            let entry = SoldOutEntry {
                request_id: request.id,
                event_revision: request.event_revision,
                period: request.period.clone(),
                stock_version: StockVersion::of(&offer.rewards),
                response,
            };
            self.entries.insert(key, Arc::new(entry));
        } else {
            self.entries.invalidate(&key);
        }
    }
}

#[cfg(test)]
mod tests;
