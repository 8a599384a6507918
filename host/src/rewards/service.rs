//! Rules for rewards and their stock, and the in-process cache of sold-out events.

use std::sync::Arc;
use std::time::Duration;

use garde::Validate;
use moka::future::Cache;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::codes::{CodeCounts, Codes, ImportedCodes, RewardCode};
use super::error::RewardError;
use super::generations::Generations;
use super::store::{self, Filter, RevisionRow, RewardRow, Taken, TakenRow};
use crate::audit::{self, Entry};
use crate::cache::{Cache as Shared, Invalidation, Topic};
use crate::clock::{Clock, Timestamp};
use crate::config::Releases;
use crate::contract::MAX_INTEGER;
use crate::correlation;
use crate::db::{Db, DbError, Json, Tx};
use crate::name::{self, stable_name};
use crate::outbox::{self, Message};
use crate::text::legible;

/// A reward to create, or the new content of one.
#[derive(Clone, Debug, Deserialize, ToSchema, Validate)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NewReward {
    /// For files and scripts: 1 to 64 of a-z, 0-9, `.`, `_` and `-`. No two rewards have the same name. Without it, a new reward
    /// gets its id as the name, and a replaced one keeps its name
    #[garde(inner(custom(stable_name)))]
    #[serde(default)]
    #[schema(
        example = "summer-coupon",
        min_length = 1,
        max_length = 64,
        pattern = "^[a-z0-9][a-z0-9._-]*$"
    )]
    pub name: Option<String>,
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
    /// Whether each grant gets unique codes, which you import. Their number is the stock, so omit `stock`. It cannot change
    #[garde(skip)]
    #[serde(default)]
    pub codes: bool,
    /// Of a reward with codes: send `reward.codes-low` when fewer are left; omit it for no message
    #[garde(range(min = 1, max = 1_000_000_000))]
    #[schema(example = 100, minimum = 1, maximum = 1_000_000_000)]
    pub codes_low_water: Option<i64>,
    /// Of a reward with codes: whether the codes of a reversed grant can be given again. By default they are spent
    #[garde(skip)]
    #[serde(default)]
    pub codes_return: bool,
    /// The change comes from a file: the server notes the new revision as `appliedRevision`, so that the next `meed apply`
    /// sees what others changed since
    #[garde(skip)]
    #[serde(default)]
    #[schema(default = false)]
    pub applied: bool,
}

impl NewReward {
    /// Checks the members that depend on `codes`.
    fn check_codes(&self) -> Result<(), RewardError> {
        let fault = match self {
            Self {
                codes: true,
                stock: Some(_),
                ..
            } => Some(("/stock", "is the number of imported codes; omit it")),
            Self {
                codes: false,
                codes_low_water: Some(_),
                ..
            } => Some(("/codesLowWater", "needs \"codes\": true")),
            Self {
                codes: false,
                codes_return: true,
                ..
            } => Some(("/codesReturn", "needs \"codes\": true")),
            _ => None,
        };
        fault.map_or(Ok(()), |(pointer, message)| {
            Err(RewardError::Field { pointer, message })
        })
    }
}

/// A reward as stored.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Reward {
    pub id: Uuid,
    #[schema(example = "summer-coupon")]
    pub name: String,
    #[serde(rename = "type")]
    #[schema(example = "COUPON")]
    pub type_: String,
    pub item_id: Option<String>,
    pub value: Option<i64>,
    pub duration: Option<String>,
    pub description: Option<String>,
    /// Whether each grant gets unique codes
    pub codes: bool,
    pub codes_low_water: Option<i64>,
    pub codes_return: bool,
    /// How many can be granted in total; null for no limit. Of a reward with codes: how many were imported
    pub stock: Option<i64>,
    /// How many are left; null for no limit
    pub stock_remaining: Option<i64>,
    /// How often a reversal returned units to the stock; internal
    #[serde(skip)]
    returns: i64,
    /// The revision, which is the ETag. Each change increments it; a grant does not.
    pub revision: i64,
    /// The revision that `meed apply` wrote last; null: it never wrote it
    pub applied_revision: Option<i64>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

/// The rewards that an event offers, for a backtest without a server.
pub async fn offered(db: &Db, event_id: Uuid) -> Result<Vec<Reward>, RewardError> {
    let offers = store::offers(db, &[event_id]).await?;
    Ok(offers.into_iter().map(|(_, row)| row.into()).collect())
}

impl Reward {
    /// What a condition and its limits see of a reward, for a backtest.
    pub fn of_past(id: Uuid, type_: String, value: Option<i64>, revision: i64) -> Self {
        Self {
            id,
            name: id.to_string(),
            type_,
            item_id: None,
            value,
            duration: None,
            description: None,
            codes: false,
            codes_low_water: None,
            codes_return: false,
            stock: None,
            stock_remaining: None,
            returns: 0,
            revision,
            applied_revision: None,
            created_at: Timestamp::EPOCH,
            updated_at: Timestamp::EPOCH,
        }
    }
}

impl From<RewardRow> for Reward {
    fn from(row: RewardRow) -> Self {
        Self {
            id: row.id,
            name: row.name,
            type_: row.type_,
            item_id: row.item_id,
            value: row.value,
            duration: row.duration,
            description: row.description,
            codes: row.codes,
            codes_low_water: row.low_water,
            codes_return: row.codes_return,
            stock: row.total,
            stock_remaining: row.remaining,
            returns: row.returns.unwrap_or_default(),
            revision: row.revision,
            applied_revision: row.applied_revision,
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

/// What one grant takes from the stock of its reward.
#[derive(Clone, Copy, Debug)]
pub struct Taking {
    pub grant_id: Uuid,
    pub reward_id: Uuid,
    pub quantity: i64,
    pub at: Timestamp,
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
    pub(super) clock: Clock,
    pub(super) releases: Releases,
    cache: Shared,
    codes: Codes,
    generations: Generations,
    /// By event id.
    sold_out: Cache<Uuid, Arc<SoldOut>>,
}

impl RewardService {
    pub fn new((db, clock): (Db, Clock), cache: Shared, codes: Codes, releases: Releases) -> Self {
        let sold_out = Cache::builder()
            .max_capacity(SOLD_OUT_EVENTS)
            .time_to_live(SOLD_OUT_LIFETIME)
            .build();
        Self {
            db,
            clock,
            releases,
            cache,
            codes,
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
        new.check_codes()?;
        let now = self.clock.now();
        let stock = if new.codes { Some(0) } else { new.stock };
        let id = self.clock.new_id();
        let row = RewardRow {
            id,
            name: name::or_id(new.name, id),
            type_: new.type_,
            item_id: new.item_id,
            value: new.value,
            duration: new.duration,
            description: new.description,
            codes: new.codes,
            codes_return: new.codes_return,
            total: stock,
            remaining: stock,
            returns: None,
            low_water: new.codes_low_water,
            revision: 1,
            applied_revision: new.applied.then_some(1),
            created_at: now,
            updated_at: now,
        };
        let mut tx = self.db.begin().await?;
        let inserted = store::insert(&mut tx, &row, by).await;
        inserted.map_err(|error| taken(error, &row.name))?;
        if let Some(stock) = stock {
            store::put_stock(&mut tx, row.id, stock, stock, row.revision).await?;
        }
        if row.codes {
            self.codes.begin(&mut tx, row.id).await?;
            store::codes::set_low_water(&mut tx, row.id, row.low_water).await?;
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
    pub(super) async fn list(
        &self,
        filter: Filter,
        after: Option<Uuid>,
        size: u32,
    ) -> Result<Vec<Reward>, RewardError> {
        let rows = store::list(&self.db, filter, after, i64::from(size) + 1).await?;
        Ok(rows.into_iter().map(Reward::from).collect())
    }

    pub async fn replace(
        &self,
        id: Uuid,
        expected: Option<i64>,
        new: NewReward,
        by: Uuid,
    ) -> Result<Reward, RewardError> {
        new.check_codes()?;
        let mut tx = self.db.begin().await?;
        let current = store::lock(&mut tx, id).await?.ok_or(RewardError::NotFound(id))?;
        require_revision(expected, current.revision)?;
        if new.codes != current.codes {
            return Err(RewardError::Field {
                pointer: "/codes",
                message: "cannot change; create a new reward instead",
            });
        }
        let row = RewardRow {
            name: new.name.unwrap_or_else(|| current.name.clone()),
            codes_return: new.codes_return,
            type_: new.type_,
            item_id: new.item_id,
            value: new.value,
            duration: new.duration,
            description: new.description,
            revision: current.revision + 1,
            applied_revision: if new.applied {
                Some(current.revision + 1)
            } else {
                current.applied_revision
            },
            updated_at: self.clock.now(),
            ..current.clone()
        };
        let updated = store::update(&mut tx, &row).await;
        updated.map_err(|error| taken(error, &row.name))?;
        match new.stock {
            None if new.codes => store::codes::set_low_water(&mut tx, id, new.codes_low_water).await?,
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
        if gives_more_or_other(&current, &row) {
            self.protect(&mut tx, &current).await?;
        }
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

    /// Takes a grant's quantity from the stock of its reward, if it has one, and gives the grant as many codes, if it has
    /// some; `false` if too few remain. Part of the caller's transaction. On PostgreSQL a bulk statement takes the stock of
    /// many claims.
    pub async fn take(&self, tx: &mut Tx, taking: Taking) -> Result<bool, DbError> {
        let (reward_id, quantity) = (taking.reward_id, taking.quantity);
        let taken = match store::take(tx, reward_id, quantity).await? {
            Taken::Unlimited => return Ok(true),
            Taken::TooFew => return Ok(false),
            Taken::From(taken) => taken,
        };
        if let Some(next) = taken.next_code {
            let first = next - quantity;
            self.codes.give(tx, taking.grant_id, reward_id, first, quantity).await?;
            self.tell_low(tx, taking, taken).await?;
        }
        Ok(true)
    }

    /// Tells once that few codes are left, until more are imported.
    async fn tell_low(&self, tx: &mut Tx, taking: Taking, taken: TakenRow) -> Result<(), DbError> {
        let Some(low_water) = taken.low_water.filter(|low_water| taken.remaining < *low_water) else {
            return Ok(());
        };
        if taken.low_told == Some(taken.total) {
            return Ok(());
        }
        store::codes::mark_told(tx, taking.reward_id).await?;
        let message = Message {
            id: self.clock.new_id(),
            kind: outbox::REWARD_CODES_LOW,
            user_id: None,
            subject_id: Some(taking.reward_id),
            payload: serde_json::json!({
                "rewardId": taking.reward_id, "remaining": taken.remaining, "total": taken.total,
                "lowWater": low_water,
            }),
            http_request_id: correlation::current(),
            created_at: taking.at,
            once_key: None,
        };
        outbox::write(tx, message).await
    }

    /// Returns what a reversed grant took from the stock that began at revision `since`. A stock that was removed or replaced
    /// since then is left unchanged, because it never counted the grant. Codes return only if the reward wants it. Part of
    /// the caller's transaction; the caller calls [`Self::changed`] after the commit.
    pub async fn give_back(&self, tx: &mut Tx, taken: Taking, since: i64) -> Result<(), DbError> {
        let (reward_id, grant_id) = (taken.reward_id, taken.grant_id);
        match store::codes_return(tx, reward_id).await? {
            None => store::give_back(tx, reward_id, taken.quantity, since).await,
            Some(false) => Ok(()),
            Some(true) => {
                store::give_back(tx, reward_id, taken.quantity, since).await?;
                self.codes.take_back(tx, grant_id, reward_id).await
            }
        }
    }

    /// The codes of a reward, counted.
    pub(super) async fn codes(&self, id: Uuid) -> Result<CodeCounts, RewardError> {
        self.get(id).await?;
        self.codes.counts(id).await
    }

    /// Appends codes. Those that the reward has or had change nothing.
    pub async fn import_codes(&self, id: Uuid, codes: Vec<RewardCode>) -> Result<ImportedCodes, RewardError> {
        self.get(id).await?;
        let prepared = self.codes.prepare(id, codes).await?;
        let mut tx = self.db.begin().await?;
        if !store::lock_row(&mut tx, id).await? {
            return Err(RewardError::NotFound(id));
        }
        let before = store::find(&mut tx, id).await?.ok_or(RewardError::NotFound(id))?;
        let imported = self.codes.import(&mut tx, id, prepared).await?;
        if imported.imported > 0 {
            self.protect(&mut tx, &before).await?;
        }
        tx.commit().await?;
        self.changed(&[id]).await;
        tracing::info!(
            reward.id = %id,
            imported = imported.imported,
            duplicates = imported.duplicates,
            "codes imported"
        );
        Ok(imported)
    }

    /// Begins an export of the codes that are left: records it, and fails if there are none to export.
    pub(super) async fn export_codes(&self, id: Uuid) -> Result<Codes, RewardError> {
        let counts = self.codes(id).await?;
        let mut tx = self.db.begin().await?;
        let entry = Entry::about("reward", &id).field("exportedCodes", None::<i64>, counts.remaining);
        audit::record(&mut tx, &self.clock, entry).await?;
        tx.commit().await?;
        Ok(self.codes.clone())
    }

    /// Sets the gauge of the rewards whose codes run low.
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    pub async fn count_low_codes(&self) -> Result<(), DbError> {
        let low = self.codes.count_low().await?;
        metrics::gauge!("meed_rewards_low_on_codes").set(low as f64);
        Ok(())
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
        if current.codes {
            store::codes::set_low_water(&mut tx, id, None).await?;
        }
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

/// Whether users may get more, or something else, after this change.
fn gives_more_or_other(before: &RewardRow, after: &RewardRow) -> bool {
    let given = |row: &RewardRow| (row.type_.clone(), row.item_id.clone(), row.value, row.duration.clone());
    let has_more = match (before.total, after.total) {
        (Some(before), Some(after)) => after > before,
        (before, after) => before.is_some() && after.is_none(),
    };
    given(before) != given(after) || has_more || (after.codes_return && !before.codes_return)
}

async fn record_revision(tx: &mut Tx, reward: &Reward, by: Uuid) -> Result<(), DbError> {
    let mut snapshot = serde_json::json!(reward);
    if let Some(members) = snapshot.as_object_mut() {
        // Claims change it without a new revision, and imports of codes change the total.
        members.remove("stockRemaining");
        if reward.codes {
            members.remove("stock");
        }
    }
    let row = RevisionRow {
        revision: reward.revision,
        snapshot: Json(snapshot),
        changed_by: by,
        changed_at: reward.updated_at,
    };
    store::insert_revision(tx, reward.id, row).await
}

/// Another reward has the name.
fn taken(error: DbError, name: &str) -> RewardError {
    if error.is_unique_violation() {
        return RewardError::NameTaken(name.to_owned());
    }
    error.into()
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
