//! Rules for rewards and their stock, and the in-process cache of sold-out events.

use std::sync::Arc;
use std::time::Duration;

use garde::Validate;
use moka::future::Cache;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::generations::Generations;
use super::store::{self, RevisionRow, RewardRow};
use crate::audit::{self, Entry};
use crate::cache::{Cache as Shared, Invalidation, Topic};
use crate::clock::{Clock, Timestamp};
use crate::contract::MAX_INTEGER;
use crate::db::{Db, DbError, Json, Tx};
use crate::text::legible;

/// A reward to create, or the new content of one.
#[derive(Clone, Debug, Deserialize, ToSchema, Validate)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NewReward {
    /// An upper-case word of your choice
    #[serde(rename = "type")]
    #[garde(length(bytes, min = 1, max = 32), custom(upper_case_word))]
    #[schema(example = "COUPON", min_length = 1, max_length = 32, pattern = "^[A-Z][A-Z0-9_]*$")]
    pub type_: String,
    /// The item's id in the game or shop
    #[garde(length(chars, min = 1, max = 200), inner(custom(legible)))]
    #[schema(example = "sku-summer-10", min_length = 1, max_length = 200)]
    pub item_id: Option<String>,
    /// Points, or minor units of money
    #[garde(range(min = 0, max = MAX_INTEGER))]
    #[schema(example = 1000, minimum = 0, maximum = 9_007_199_254_740_991_i64)]
    pub value: Option<i64>,
    /// How long the reward is valid, in the game's or shop's own notation
    #[garde(length(chars, min = 1, max = 64), inner(custom(legible)))]
    #[schema(example = "P30D", min_length = 1, max_length = 64)]
    pub duration: Option<String>,
    #[garde(length(chars, max = 2000), inner(custom(legible)))]
    #[schema(example = "10 % off the summer shop", max_length = 2000)]
    pub description: Option<String>,
    /// How many can be granted in total; omit it for no limit
    #[garde(range(min = 0, max = 1_000_000_000))]
    #[schema(example = 10000, minimum = 0, maximum = 1_000_000_000)]
    pub stock: Option<i64>,
}

/// A reward as stored.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Reward {
    pub id: Uuid,
    #[serde(rename = "type")]
    #[schema(example = "COUPON")]
    pub type_: String,
    pub item_id: Option<String>,
    pub value: Option<i64>,
    pub duration: Option<String>,
    pub description: Option<String>,
    /// How many can be granted in total; null for no limit
    pub stock: Option<i64>,
    /// How many are left; null for no limit
    pub stock_remaining: Option<i64>,
    /// How often a reversal returned units to the stock; internal
    #[serde(skip)]
    returns: i64,
    /// The revision, which is the ETag. Each change increments it; a grant does not.
    pub revision: i64,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

impl From<RewardRow> for Reward {
    fn from(row: RewardRow) -> Self {
        Self {
            id: row.id,
            type_: row.type_,
            item_id: row.item_id,
            value: row.value,
            duration: row.duration,
            description: row.description,
            stock: row.total,
            stock_remaining: row.remaining,
            returns: row.returns.unwrap_or_default(),
            revision: row.revision,
            created_at: row.created_at,
            updated_at: row.updated_at,
        }
    }
}

/// A reward at one revision.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RewardRevision {
    pub revision: i64,
    /// The content since that revision, without `stockRemaining`; null for the deletion
    #[schema(value_type = HashMap<String, Value>)]
    pub reward: serde_json::Value,
    pub changed_by: Uuid,
    pub changed_at: Timestamp,
}

/// A version of the stock of an event's rewards. While it stays the same, sold-out rewards stay sold out.
///
/// Both sums only grow while an event offers the same rewards: the count of returns restarts only with a new revision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StockVersion {
    revisions: i64,
    returns: i64,
}

impl StockVersion {
    pub fn of(rewards: &[Reward]) -> Self {
        Self {
            revisions: rewards.iter().map(|reward| reward.revision).sum(),
            returns: rewards.iter().map(|reward| reward.returns).sum(),
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum RewardError {
    #[error("There is no reward {0}.")]
    NotFound(Uuid),
    #[error("The reward is at revision {is}, but you sent revision {expected}. Read it again and repeat your change.")]
    Changed { is: i64, expected: i64 },
    #[error("The event {0} offers this reward. Remove it from the event first.")]
    InUse(Uuid),
    #[error("The stock cannot be {wanted}, because {granted} were granted already.")]
    StockBelowGranted { granted: i64, wanted: i64 },
    #[error(transparent)]
    Db(#[from] DbError),
}

#[derive(Debug, Default)]
pub struct Filter {
    pub type_: Option<String>,
}

/// How long a process trusts that an event is sold out before it reads the stock again.
const SOLD_OUT_LIFETIME: Duration = Duration::from_secs(1);
const SOLD_OUT_EVENTS: u64 = 10_000;

/// What was read of an event's stock.
#[derive(Debug)]
struct SoldOut {
    /// Before the read.
    generation: u64,
    rewards: Vec<Uuid>,
    /// `None`: something is left.
    version: Option<StockVersion>,
}

#[derive(Clone, Debug)]
pub struct RewardService {
    db: Db,
    clock: Clock,
    cache: Shared,
    generations: Generations,
    /// By event id.
    sold_out: Cache<Uuid, Arc<SoldOut>>,
}

impl RewardService {
    pub fn new(db: Db, clock: Clock, cache: Shared) -> Self {
        let sold_out = Cache::builder()
            .max_capacity(SOLD_OUT_EVENTS)
            .time_to_live(SOLD_OUT_LIFETIME)
            .build();
        Self {
            db,
            clock,
            cache,
            generations: Generations::new(),
            sold_out,
        }
    }

    /// To be read before rewards that are kept.
    pub fn generation(&self) -> u64 {
        self.generations.current()
    }

    /// Whether copies of these rewards, which were read at that generation, may be stale.
    pub fn is_stale<'a>(&self, rewards: impl IntoIterator<Item = &'a Reward>, generation: u64) -> bool {
        let ids = rewards.into_iter().map(|reward| reward.id);
        self.generations.is_stale(ids, generation)
    }

    /// These rewards changed, or got stock back. Call it after the commit.
    pub async fn changed(&self, ids: &[Uuid]) {
        for id in ids {
            self.generations.changed(*id);
            self.cache.publish(Topic::Reward(*id)).await;
        }
    }

    /// Any reward may have changed.
    pub fn all_changed(&self) {
        self.generations.all_changed();
    }

    /// Applies an invalidation from another process.
    pub fn on_invalidation(&self, invalidation: &Invalidation) {
        match invalidation {
            Invalidation::Changed(Topic::Reward(id)) => self.generations.changed(*id),
            Invalidation::Changed(_) => {}
            Invalidation::All => self.generations.all_changed(),
        }
    }

    pub async fn create(&self, new: NewReward, by: Uuid) -> Result<Reward, RewardError> {
        let now = self.clock.now();
        let row = RewardRow {
            id: self.clock.new_id(),
            type_: new.type_,
            item_id: new.item_id,
            value: new.value,
            duration: new.duration,
            description: new.description,
            total: new.stock,
            remaining: new.stock,
            returns: None,
            revision: 1,
            created_at: now,
            updated_at: now,
        };
        let mut tx = self.db.begin().await?;
        store::insert(&mut tx, &row, by).await?;
        if let Some(stock) = new.stock {
            store::put_stock(&mut tx, row.id, stock, stock, row.revision).await?;
        }
        let reward = Reward::from(row);
        audit::record(
            &mut tx,
            &self.clock,
            Entry::about("reward", &reward.id).between(&(), &reward),
        )
        .await?;
        record_revision(&mut tx, &reward, by).await?;
        tx.commit().await?;
        Ok(reward)
    }

    pub async fn get(&self, id: Uuid) -> Result<Reward, RewardError> {
        store::find(&self.db, id)
            .await?
            .map(Reward::from)
            .ok_or(RewardError::NotFound(id))
    }

    /// Newest first. Returns up to `size + 1` rewards, so that the caller knows whether more exist.
    pub async fn list(&self, filter: Filter, after: Option<Uuid>, size: u32) -> Result<Vec<Reward>, RewardError> {
        let rows = store::list(&self.db, filter.type_, after, i64::from(size) + 1).await?;
        Ok(rows.into_iter().map(Reward::from).collect())
    }

    pub async fn replace(
        &self,
        id: Uuid,
        expected: Option<i64>,
        new: NewReward,
        by: Uuid,
    ) -> Result<Reward, RewardError> {
        let mut tx = self.db.begin().await?;
        let current = store::lock(&mut tx, id).await?.ok_or(RewardError::NotFound(id))?;
        require_revision(expected, current.revision)?;
        let row = RewardRow {
            type_: new.type_,
            item_id: new.item_id,
            value: new.value,
            duration: new.duration,
            description: new.description,
            revision: current.revision + 1,
            updated_at: self.clock.now(),
            ..current.clone()
        };
        store::update(&mut tx, &row).await?;
        match new.stock {
            Some(total) => {
                // Grants of an unlimited reward are not counted: its new stock starts full.
                let granted = current.total.unwrap_or(0) - current.remaining.unwrap_or(0);
                if granted > total {
                    return Err(RewardError::StockBelowGranted { granted, wanted: total });
                }
                store::put_stock(&mut tx, id, total, total - granted, row.revision).await?;
            }
            None => store::delete_stock(&mut tx, id).await?,
        }
        let row = store::find(&mut tx, id).await?.ok_or(RewardError::NotFound(id))?;
        let reward = Reward::from(row);
        record_revision(&mut tx, &reward, by).await?;
        let changed = Entry::about("reward", &id).between(&Reward::from(current), &reward);
        audit::record(&mut tx, &self.clock, changed).await?;
        tx.commit().await?;
        self.changed(&[id]).await;
        Ok(reward)
    }

    /// The revisions of a reward, also of a deleted one. Newest first, up to `size + 1`.
    pub async fn revisions(
        &self,
        id: Uuid,
        before: Option<i64>,
        size: u32,
    ) -> Result<Vec<RewardRevision>, RewardError> {
        let rows = store::revisions(&self.db, id, before, i64::from(size) + 1).await?;
        if rows.is_empty() && before.is_none() {
            return Err(RewardError::NotFound(id));
        }
        let revisions = rows.into_iter().map(|row| RewardRevision {
            revision: row.revision,
            reward: row.snapshot.0,
            changed_by: row.changed_by,
            changed_at: row.changed_at,
        });
        Ok(revisions.collect())
    }

    /// The rewards that these events offer, in each event's order, with their current stock.
    pub async fn offers(&self, event_ids: &[Uuid]) -> Result<Vec<(Uuid, Reward)>, RewardError> {
        let offers = store::offers(&self.db, event_ids).await?;
        Ok(offers
            .into_iter()
            .map(|(event_id, row)| (event_id, row.into()))
            .collect())
    }

    /// The stock version of an event whose rewards were all sold out within the last second; `None` if they were not,
    /// or if the database does not answer. Concurrent callers share one query.
    pub async fn sold_out_version(&self, event_id: Uuid) -> Option<StockVersion> {
        let look = async {
            let generation = self.generation();
            let rewards: Vec<Reward> = store::offers(&self.db, &[event_id])
                .await?
                .into_iter()
                .map(|(_, row)| row.into())
                .collect();
            let is_sold_out = !rewards.is_empty() && rewards.iter().all(|reward| reward.stock_remaining == Some(0));
            Ok::<_, DbError>(Arc::new(SoldOut {
                generation,
                rewards: rewards.iter().map(|reward| reward.id).collect(),
                version: is_sold_out.then(|| StockVersion::of(&rewards)),
            }))
        };
        if let Some(known) = self.sold_out.get(&event_id).await
            && self
                .generations
                .is_stale(known.rewards.iter().copied(), known.generation)
        {
            self.sold_out.invalidate(&event_id).await;
        }
        let known = self.sold_out.try_get_with(event_id, look).await.ok()?;
        // A read that began before a change may have ended after it.
        let is_stale = self
            .generations
            .is_stale(known.rewards.iter().copied(), known.generation);
        known.version.filter(|_| !is_stale)
    }

    /// Replaces the rewards that an event offers. Part of the caller's transaction.
    pub async fn set_offer(&self, tx: &mut Tx, event_id: Uuid, reward_ids: &[Uuid]) -> Result<(), RewardError> {
        store::clear_offer(tx, event_id).await?;
        for (position, reward_id) in (0..).zip(reward_ids) {
            if !store::add_to_offer(tx, event_id, *reward_id, position).await? {
                return Err(RewardError::NotFound(*reward_id));
            }
        }
        Ok(())
    }

    /// Whether the event offers a reward with a value. Part of the caller's transaction.
    pub async fn is_any_of_value(&self, tx: &mut Tx, event_id: Uuid) -> Result<bool, DbError> {
        store::is_any_of_value(tx, event_id).await
    }

    /// Takes `quantity` units from the stock, if the reward has one; `false` if too few remain. Part of the caller's
    /// transaction. On PostgreSQL a bulk statement takes the stock of many claims.
    pub async fn take(&self, tx: &mut Tx, reward_id: Uuid, quantity: i64) -> Result<bool, DbError> {
        store::take(tx, reward_id, quantity).await
    }

    /// Returns units to the stock that began at revision `since`. A stock that was removed or replaced since then is
    /// left unchanged, because it never counted the grant. Part of the caller's transaction; the caller calls
    /// [`Self::changed`] after the commit.
    pub async fn give_back(&self, tx: &mut Tx, reward_id: Uuid, quantity: i64, since: i64) -> Result<(), DbError> {
        store::give_back(tx, reward_id, quantity, since).await
    }

    pub async fn delete(&self, id: Uuid, expected: Option<i64>, by: Uuid) -> Result<(), RewardError> {
        let mut tx = self.db.begin().await?;
        let current = store::lock(&mut tx, id).await?.ok_or(RewardError::NotFound(id))?;
        require_revision(expected, current.revision)?;
        if let Some(event_id) = store::event_offering(&mut tx, id).await? {
            return Err(RewardError::InUse(event_id));
        }
        let now = self.clock.now();
        store::mark_deleted(&mut tx, id, now).await?;
        let row = RevisionRow {
            revision: current.revision + 1,
            snapshot: Json(serde_json::Value::Null),
            changed_by: by,
            changed_at: now,
        };
        store::insert_revision(&mut tx, id, row).await?;
        let deleted = Entry::about("reward", &id).between(&Reward::from(current), &());
        audit::record(&mut tx, &self.clock, deleted).await?;
        tx.commit().await?;
        Ok(())
    }
}

async fn record_revision(tx: &mut Tx, reward: &Reward, by: Uuid) -> Result<(), DbError> {
    let mut snapshot = serde_json::json!(reward);
    if let Some(members) = snapshot.as_object_mut() {
        // Claims change it without a new revision.
        members.remove("stockRemaining");
    }
    let row = RevisionRow {
        revision: reward.revision,
        snapshot: Json(snapshot),
        changed_by: by,
        changed_at: reward.updated_at,
    };
    store::insert_revision(tx, reward.id, row).await
}

/// Fails if the change is based on another revision than the current one.
fn require_revision(expected: Option<i64>, is: i64) -> Result<(), RewardError> {
    match expected {
        Some(expected) if expected != is => Err(RewardError::Changed { is, expected }),
        _ => Ok(()),
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "garde's signature")]
fn upper_case_word(word: &str, (): &()) -> garde::Result {
    let mut bytes = word.bytes();
    let fits = bytes.next().is_some_and(|byte| byte.is_ascii_uppercase())
        && bytes.all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_');
    if fits {
        Ok(())
    } else {
        Err(garde::Error::new(format!(
            "{word:?} is not an upper-case word such as COUPON"
        )))
    }
}
