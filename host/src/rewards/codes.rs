//! Unique codes of rewards: imported once, each given to one grant, and encrypted in the database.
//!
//! Each reward with codes has a key of its own, which is sealed. Codes are decrypted only where they are shown: to the owner of
//! a grant, in the message that fulfils it, and in the export of what is left. Must not know: who may see them.

pub(super) mod input;

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use serde_json::Value;
use utoipa::ToSchema;
use utoipa::openapi::{ObjectBuilder, RefOr, Schema, Type};
use uuid::Uuid;

use super::error::RewardError;
use super::store::codes::{self as store, NewCode, PoolRow};
use crate::audit::{self, Entry};
use crate::clock::Clock;
use crate::db::{Db, DbError, Executor, Tx};
use crate::keys::{DATA_KEY_BYTES, DataKey, Place, Sealing};
use crate::outbox;
use crate::text::deceptive;

/// Keys of rewards in memory.
const KEYS: u64 = 1_000;
/// Rows that one statement reads to seal their keys again.
const RESEALED_AT_ONCE: i64 = 200;

/// A code in clear. It serializes as text; its `Debug` form hides it, so that no log shows it.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct RewardCode(String);

impl RewardCode {
    const MAX_CHARS: usize = 128;

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The error says what is wrong, and never repeats the code.
impl TryFrom<String> for RewardCode {
    type Error = String;

    fn try_from(code: String) -> Result<Self, String> {
        let length = code.chars().count();
        if !(1..=Self::MAX_CHARS).contains(&length) {
            return Err(format!(
                "has a code of {length} characters; a code has 1 to {}",
                Self::MAX_CHARS
            ));
        }
        if code.chars().any(|letter| letter.is_whitespace() || letter.is_control()) || deceptive(&code).is_some() {
            return Err("has a code with white space or an invisible character".to_owned());
        }
        Ok(Self(code))
    }
}

impl<'de> Deserialize<'de> for RewardCode {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // The error of another type would repeat its value.
        let code = String::deserialize(deserializer).map_err(|_| de::Error::custom("has a code that is no text"))?;
        Self::try_from(code).map_err(de::Error::custom)
    }
}

impl fmt::Debug for RewardCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RewardCode")
    }
}

impl Serialize for RewardCode {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl utoipa::PartialSchema for RewardCode {
    fn schema() -> RefOr<Schema> {
        let text = ObjectBuilder::new().schema_type(Type::String);
        text.examples(["SUMMER-7K2M-9QXD"]).into()
    }
}

impl ToSchema for RewardCode {}

/// How many codes a reward has.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct CodeCounts {
    /// All codes that were imported
    pub total: i64,
    /// Those that are left
    pub remaining: i64,
    /// Whether fewer are left than the reward's `codesLowWater`
    pub low: bool,
}

impl From<PoolRow> for CodeCounts {
    fn from(row: PoolRow) -> Self {
        Self {
            total: row.total,
            remaining: row.remaining,
            low: row.low_water.is_some_and(|low_water| row.remaining < low_water),
        }
    }
}

/// The result of an import.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ImportedCodes {
    pub imported: usize,
    /// Codes that the reward had already, given or not, and repetitions within the import. They change nothing
    pub duplicates: usize,
}

/// The distinct codes of an import, encrypted.
pub(super) struct PreparedCodes {
    /// Of all codes, also of repetitions.
    count: usize,
    rows: Vec<NewCode>,
}

/// Reads and writes codes. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Codes(Arc<Parts>);

#[derive(Debug)]
struct Parts {
    db: Db,
    clock: Clock,
    sealing: Sealing,
    keys: moka::sync::Cache<Uuid, Arc<DataKey>>,
}

impl Codes {
    pub fn new(db: Db, clock: Clock, sealing: Sealing) -> Self {
        Self(Arc::new(Parts {
            db,
            clock,
            sealing,
            keys: moka::sync::Cache::new(KEYS),
        }))
    }

    /// Prepares a new reward for codes. Part of the caller's transaction.
    pub(super) async fn begin(&self, tx: &mut Tx, reward_id: Uuid) -> Result<(), RewardError> {
        let secret = self.0.clock.random::<DATA_KEY_BYTES>();
        let sealed = self.0.sealing.seal(key_of(reward_id), &secret)?;
        store::insert_key(tx, reward_id, sealed).await?;
        Ok(store::begin(tx, reward_id).await?)
    }

    pub(super) async fn counts(&self, reward_id: Uuid) -> Result<CodeCounts, RewardError> {
        let pool = store::pool(&self.0.db, reward_id).await?;
        Ok(pool.ok_or(RewardError::WithoutCodes(reward_id))?.into())
    }

    /// Encrypts codes for an import.
    pub(super) async fn prepare(&self, reward_id: Uuid, codes: Vec<RewardCode>) -> Result<PreparedCodes, RewardError> {
        let key = self.key(&self.0.db, reward_id).await?;
        let clock = self.0.clock.clone();
        // Many codes take longer than a thread that serves requests may be busy.
        let encrypting = tokio::task::spawn_blocking(move || {
            let count = codes.len();
            let mut seen = HashSet::new();
            let digests = codes.iter().map(|code| (key.digest(code.as_str().as_bytes()), code));
            let distinct = digests.filter(|(digest, _)| seen.insert(digest.clone()));
            let rows = distinct.map(|(digest, code)| {
                let value = code.as_str().as_bytes();
                let encrypted = key.encrypt(clock.random(), &context(reward_id, &digest), value);
                Ok((digest, encrypted.ok_or(RewardError::Failed(reward_id))?))
            });
            let rows = rows.collect::<Result<_, RewardError>>()?;
            Ok(PreparedCodes { count, rows })
        });
        encrypting.await.map_err(|_| RewardError::Failed(reward_id))?
    }

    /// Appends the codes that the reward does not have. The caller holds the lock on the reward, so no other import and no
    /// return adds codes behind the last one; claims only take the first ones.
    pub(super) async fn import(
        &self,
        tx: &mut Tx,
        reward_id: Uuid,
        prepared: PreparedCodes,
    ) -> Result<ImportedCodes, RewardError> {
        let PreparedCodes { count, mut rows } = prepared;
        let pool = store::pool(&mut *tx, reward_id).await?;
        let pool = pool.ok_or(RewardError::WithoutCodes(reward_id))?;
        let digests: Vec<Vec<u8>> = rows.iter().map(|(digest, _)| digest.clone()).collect();
        let known = store::known(&self.0.db, tx, reward_id, &digests).await?;
        let known: HashSet<Vec<u8>> = known.into_iter().collect();
        rows.retain(|(digest, _)| !known.contains(digest));
        let imported = rows.len();
        let appended = i64::try_from(imported).unwrap_or(i64::MAX);
        if imported > 0 {
            store::append(&self.0.db, tx, reward_id, pool.next_code + pool.remaining, rows).await?;
            store::count_appended(tx, reward_id, appended).await?;
        }
        let duplicates = count - imported;
        let entry = Entry::about("reward", &reward_id)
            .field("codes", pool.total, pool.total + appended)
            .field("duplicateCodes", None::<usize>, duplicates);
        audit::record(tx, &self.0.clock, entry).await?;
        Ok(ImportedCodes { imported, duplicates })
    }

    /// Gives codes to a grant. Part of the caller's transaction, which holds the lock on the stock.
    pub(super) async fn give(
        &self,
        tx: &mut Tx,
        grant_id: Uuid,
        reward_id: Uuid,
        first: i64,
        quantity: i64,
    ) -> Result<(), DbError> {
        store::give(tx, grant_id, reward_id, first, quantity).await
    }

    /// Puts the codes of a grant behind those that are left. Part of the caller's transaction, which holds the lock on the
    /// reward and has returned them to the stock.
    pub(super) async fn take_back(&self, tx: &mut Tx, grant_id: Uuid, reward_id: Uuid) -> Result<(), DbError> {
        let returned = store::take_back(tx, grant_id).await?;
        let Some(pool) = store::pool(&mut *tx, reward_id).await? else {
            return Ok(());
        };
        let end = pool.next_code + pool.remaining;
        let first = end - i64::try_from(returned.len()).unwrap_or_default();
        for (to, from) in (first..).zip(returned) {
            store::move_to(tx, reward_id, from, to).await?;
        }
        Ok(())
    }

    /// The codes of these grants. A grant whose codes returned to their reward has none.
    pub async fn of_grants(&self, grant_ids: &[Uuid]) -> Result<HashMap<Uuid, Vec<RewardCode>>, RewardError> {
        if grant_ids.is_empty() {
            return Ok(HashMap::new());
        }
        let mut codes: HashMap<Uuid, Vec<RewardCode>> = HashMap::new();
        for row in store::of_grants(&self.0.db, grant_ids).await? {
            let key = self.key(&self.0.db, row.reward_id).await?;
            let code = open(&key, row.reward_id, &row.digest, &row.code)?;
            codes.entry(row.grant_id).or_default().push(code);
        }
        Ok(codes)
    }

    /// Adds the codes of its grants to the payload of a message that fulfils them. The outbox never holds codes, so whatever
    /// sends such a message calls this first. Any other payload stays as it is.
    pub async fn add_to(&self, kind: &str, payload: &mut Value) -> Result<(), RewardError> {
        if kind != outbox::REWARD_GRANTED {
            return Ok(());
        }
        let grants = payload.get_mut("grants").and_then(Value::as_array_mut);
        let mut with_codes: Vec<(Uuid, &mut Value)> = grants
            .into_iter()
            .flatten()
            .filter(|grant| grant["reward"]["codes"] == true)
            .filter_map(|grant| Some((grant["id"].as_str()?.parse().ok()?, grant)))
            .collect();
        let ids: Vec<Uuid> = with_codes.iter().map(|(id, _)| *id).collect();
        let mut codes = self.of_grants(&ids).await?;
        for (id, grant) in &mut with_codes {
            grant["codes"] = serde_json::json!(codes.remove(id).unwrap_or_default());
        }
        Ok(())
    }

    /// Codes that are left, after a position, and the position of the last one.
    pub(super) async fn left(
        &self,
        reward_id: Uuid,
        after: i64,
        limit: i64,
    ) -> Result<(Vec<RewardCode>, i64), RewardError> {
        let rows = store::left(&self.0.db, reward_id, after, limit).await?;
        let last = rows.last().map_or(after, |row| row.position);
        let key = self.key(&self.0.db, reward_id).await?;
        let codes = rows.iter().map(|row| open(&key, reward_id, &row.digest, &row.code));
        Ok((codes.collect::<Result<_, _>>()?, last))
    }

    /// The number of rewards with fewer codes left than their low water.
    pub(super) async fn count_low(&self) -> Result<i64, DbError> {
        store::count_low(&self.0.db).await
    }

    async fn key(&self, on: impl Executor, reward_id: Uuid) -> Result<Arc<DataKey>, RewardError> {
        if let Some(key) = self.0.keys.get(&reward_id) {
            return Ok(key);
        }
        let sealed = store::key(on, reward_id).await?;
        let sealed = sealed.ok_or(RewardError::WithoutCodes(reward_id))?;
        let secret = self.0.sealing.open(key_of(reward_id), &sealed)?;
        let key = DataKey::new(&secret).ok_or(RewardError::DamagedCode(reward_id))?;
        let key = Arc::new(key);
        self.0.keys.insert(reward_id, Arc::clone(&key));
        Ok(key)
    }
}

/// Seals the keys of all rewards with the newest sealing key, and returns how many were sealed with an older one. Servers may
/// run meanwhile. The codes stay as they are.
pub async fn reseal(db: &Db, sealing: &Sealing) -> Result<u64, RewardError> {
    let (mut resealed, mut after) = (0, Uuid::nil());
    loop {
        let rows = store::keys(db, after, RESEALED_AT_ONCE).await?;
        let Some((last, _)) = rows.last() else {
            return Ok(resealed);
        };
        after = *last;
        for (reward_id, old) in rows {
            let Some(new) = sealing.reseal(key_of(reward_id), &old)? else {
                continue;
            };
            let mut tx = db.begin().await?;
            store::replace_key(&mut tx, reward_id, new, old).await?;
            tx.commit().await?;
            resealed += 1;
        }
    }
}

fn key_of(reward_id: Uuid) -> Place {
    Place {
        table: "reward_code_keys",
        column: "key",
        row: reward_id,
    }
}

/// What an encrypted code is bound to.
fn context(reward_id: Uuid, digest: &[u8]) -> Vec<u8> {
    [b"reward_codes.code\n", reward_id.as_bytes().as_slice(), digest].concat()
}

fn open(key: &DataKey, reward_id: Uuid, digest: &[u8], encrypted: &[u8]) -> Result<RewardCode, RewardError> {
    let code = key.decrypt(&context(reward_id, digest), encrypted);
    let code = code.and_then(|code| String::from_utf8(code).ok());
    code.map(RewardCode).ok_or(RewardError::DamagedCode(reward_id))
}
