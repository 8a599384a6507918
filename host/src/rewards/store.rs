//! SQL for `rewards`, `reward_revisions`, `reward_stock` and `event_rewards` (the rewards that each event offers); `codes` has
//! that for the codes of rewards, `liability` that for what events can give out.

pub(super) mod codes;
pub(super) mod liability;

use std::collections::HashMap;

use serde_json::Value;
use uuid::Uuid;

use crate::clock::Timestamp;
use crate::db::{Db, Engine, Executor, Json, Result, Tx, row};

row! {
    #[derive(Clone, Debug)]
    pub(super) struct RewardRow {
        pub id: Uuid,
        pub name: String,
        pub type_: String,
        pub item_id: Option<String>,
        pub value: Option<i64>,
        pub duration: Option<String>,
        pub description: Option<String>,
        pub codes: bool,
        pub codes_return: bool,
        pub total: Option<i64>,
        pub remaining: Option<i64>,
        pub returns: Option<i64>,
        pub low_water: Option<i64>,
        pub revision: i64,
        pub applied_revision: Option<i64>,
        pub created_at: Timestamp,
        pub updated_at: Timestamp,
    }
}

macro_rules! select_rewards {
    ($tail:literal) => {
        concat!(
            "SELECT r.id, r.name, r.type AS type_, r.item_id, r.value, r.duration, r.description, r.codes, r.codes_return, s.total, \
             s.remaining, s.returns, s.low_water, r.revision, r.applied_revision, r.created_at, r.updated_at FROM rewards r LEFT JOIN reward_stock s ON s.reward_id = r.id ",
            $tail
        )
    };
}

pub(super) async fn insert(tx: &mut Tx, row: &RewardRow, created_by: Uuid) -> Result<()> {
    const SQL: &str = "INSERT INTO rewards \
        (id, type, item_id, value, duration, description, revision, created_by, created_at, updated_at, codes, codes_return, \
        name, applied_revision) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)";
    tx.query(SQL)
        .bind(row.id)
        .bind(row.type_.clone())
        .bind(row.item_id.clone())
        .bind(row.value)
        .bind(row.duration.clone())
        .bind(row.description.clone())
        .bind(row.revision)
        .bind(created_by)
        .bind(row.created_at)
        .bind(row.updated_at)
        .bind(row.codes)
        .bind(row.codes_return)
        .bind(row.name.clone())
        .bind(row.applied_revision)
        .execute(tx)
        .await?;
    Ok(())
}

pub(super) async fn find(on: impl Executor, id: Uuid) -> Result<Option<RewardRow>> {
    const SQL: &str = select_rewards!("WHERE r.id = $1 AND r.deleted_at IS NULL");
    on.statement(SQL).bind(id).fetch_optional(on).await
}

/// Reads a reward and locks it and its stock against changes until the transaction ends.
///
/// The reward is locked before its stock, in the same order as in a claim. The lock on the reward still allows
/// foreign-key references by claims.
pub(super) async fn lock(tx: &mut Tx, id: Uuid) -> Result<Option<RewardRow>> {
    const STOCK: &str = "SELECT reward_id FROM reward_stock WHERE reward_id = $1 FOR UPDATE";
    // SQLite has one writer, which holds the lock already.
    if tx.engine() == Engine::Postgres {
        lock_row(tx, id).await?;
        tx.query(STOCK).bind(id).fetch_optional::<(Uuid,)>(&mut *tx).await?;
    }
    find(tx, id).await
}

/// Locks a reward against changes, imports and returns of codes until the transaction ends. Claims still take its stock.
/// `false`: there is no such reward.
pub(super) async fn lock_row(tx: &mut Tx, id: Uuid) -> Result<bool> {
    const SQLITE: &str = "SELECT id FROM rewards WHERE id = $1 AND deleted_at IS NULL";
    const POSTGRES: &str = "SELECT id FROM rewards WHERE id = $1 AND deleted_at IS NULL FOR NO KEY UPDATE";
    let sql = match tx.engine() {
        Engine::Sqlite => SQLITE,
        Engine::Postgres => POSTGRES,
    };
    let row: Option<(Uuid,)> = tx.query(sql).bind(id).fetch_optional(tx).await?;
    Ok(row.is_some())
}

#[derive(Debug, Default)]
pub(super) struct Filter {
    pub type_: Option<String>,
    pub name: Option<String>,
}

pub(super) async fn list(db: &Db, filter: Filter, after: Option<Uuid>, limit: i64) -> Result<Vec<RewardRow>> {
    db.select(select_rewards!("WHERE r.deleted_at IS NULL"))
        .and("r.type = $?", filter.type_)
        .and("r.name = $?", filter.name)
        .and("r.id < $?", after)
        .end("ORDER BY r.id DESC LIMIT $?", limit)
        .fetch_all(db)
        .await
}

pub(super) async fn update(tx: &mut Tx, row: &RewardRow) -> Result<()> {
    const SQL: &str = "UPDATE rewards SET type = $2, item_id = $3, value = $4, duration = $5, description = $6, \
        revision = $7, updated_at = $8, codes_return = $9, name = $10, applied_revision = $11 WHERE id = $1";
    tx.query(SQL)
        .bind(row.id)
        .bind(row.type_.clone())
        .bind(row.item_id.clone())
        .bind(row.value)
        .bind(row.duration.clone())
        .bind(row.description.clone())
        .bind(row.revision)
        .bind(row.updated_at)
        .bind(row.codes_return)
        .bind(row.name.clone())
        .bind(row.applied_revision)
        .execute(tx)
        .await?;
    Ok(())
}

/// `since`: the reward's revision. It is stored only if the reward had no stock before.
pub(super) async fn put_stock(tx: &mut Tx, reward_id: Uuid, total: i64, remaining: i64, since: i64) -> Result<()> {
    const SQL: &str = "INSERT INTO reward_stock (reward_id, total, remaining, since) VALUES ($1, $2, $3, $4) \
        ON CONFLICT (reward_id) DO UPDATE SET total = $2, remaining = $3";
    tx.query(SQL)
        .bind(reward_id)
        .bind(total)
        .bind(remaining)
        .bind(since)
        .execute(tx)
        .await?;
    Ok(())
}

pub(super) async fn delete_stock(tx: &mut Tx, reward_id: Uuid) -> Result<()> {
    tx.query("DELETE FROM reward_stock WHERE reward_id = $1")
        .bind(reward_id)
        .execute(tx)
        .await?;
    Ok(())
}

pub(super) async fn mark_deleted(tx: &mut Tx, id: Uuid, at: Timestamp) -> Result<()> {
    const SQL: &str = "UPDATE rewards SET deleted_at = $2, revision = revision + 1 WHERE id = $1";
    tx.query(SQL).bind(id).bind(at).execute(tx).await?;
    Ok(())
}

row! {
    #[derive(Clone, Debug)]
    pub(super) struct RevisionRow {
        pub revision: i64,
        pub snapshot: Json<Value>,
        pub changed_by: Uuid,
        pub changed_at: Timestamp,
    }
}

pub(super) async fn insert_revision(tx: &mut Tx, reward_id: Uuid, row: RevisionRow) -> Result<()> {
    const SQL: &str = "INSERT INTO reward_revisions (reward_id, revision, snapshot, changed_by, changed_at) \
        VALUES ($1, $2, $3, $4, $5)";
    tx.query(SQL)
        .bind(reward_id)
        .bind(row.revision)
        .bind(row.snapshot)
        .bind(row.changed_by)
        .bind(row.changed_at)
        .execute(tx)
        .await?;
    Ok(())
}

pub(super) async fn revisions(db: &Db, reward_id: Uuid, before: Option<i64>, limit: i64) -> Result<Vec<RevisionRow>> {
    db.select("SELECT revision, snapshot, changed_by, changed_at FROM reward_revisions WHERE TRUE")
        .and("reward_id = $?", Some(reward_id))
        .and("revision < $?", before)
        .end("ORDER BY revision DESC LIMIT $?", limit)
        .fetch_all(db)
        .await
}

row! {
    /// A stock after something was taken from it.
    #[derive(Clone, Copy, Debug)]
    pub(super) struct TakenRow {
        pub total: i64,
        pub remaining: i64,
        pub next_code: Option<i64>,
        pub low_water: Option<i64>,
        pub low_told: Option<i64>,
    }
}

/// What became of the stock of a reward.
#[derive(Clone, Copy, Debug)]
pub(super) enum Taken {
    /// The reward has no stock.
    Unlimited,
    From(TakenRow),
    /// Too few remain, and nothing was taken.
    TooFew,
}

/// Takes `quantity` from the stock, and the right to as many codes.
pub(super) async fn take(tx: &mut Tx, reward_id: Uuid, quantity: i64) -> Result<Taken> {
    const TAKE: &str = "UPDATE reward_stock SET remaining = remaining - $2, next_code = next_code + $2 \
        WHERE reward_id = $1 AND remaining >= $2 RETURNING total, remaining, next_code, low_water, low_told";
    const LIMITED: &str = "SELECT reward_id FROM reward_stock WHERE reward_id = $1";
    let query = tx.query(TAKE).bind(reward_id).bind(quantity);
    if let Some(row) = query.fetch_optional(&mut *tx).await? {
        return Ok(Taken::From(row));
    }
    let limited: Option<(Uuid,)> = tx.query(LIMITED).bind(reward_id).fetch_optional(tx).await?;
    Ok(if limited.is_some() {
        Taken::TooFew
    } else {
        Taken::Unlimited
    })
}

pub(super) async fn give_back(tx: &mut Tx, reward_id: Uuid, quantity: i64, since: i64) -> Result<()> {
    const SQL: &str = "UPDATE reward_stock SET remaining = remaining + $2, returns = returns + 1 \
        WHERE reward_id = $1 AND since = $3";
    tx.query(SQL)
        .bind(reward_id)
        .bind(quantity)
        .bind(since)
        .execute(tx)
        .await?;
    Ok(())
}

/// Whether the codes of a reversed grant return; `None`: the reward has no codes. Locks such a reward, as an import does.
pub(super) async fn codes_return(tx: &mut Tx, reward_id: Uuid) -> Result<Option<bool>> {
    const SQLITE: &str = "SELECT codes_return FROM rewards WHERE id = $1 AND codes";
    const POSTGRES: &str = "SELECT codes_return FROM rewards WHERE id = $1 AND codes FOR NO KEY UPDATE";
    let sql = match tx.engine() {
        Engine::Sqlite => SQLITE,
        Engine::Postgres => POSTGRES,
    };
    let row: Option<(bool,)> = tx.query(sql).bind(reward_id).fetch_optional(tx).await?;
    Ok(row.map(|(returns,)| returns))
}

pub(super) async fn event_offering(tx: &mut Tx, reward_id: Uuid) -> Result<Option<Uuid>> {
    const SQL: &str = "SELECT event_id FROM event_rewards WHERE reward_id = $1 LIMIT 1";
    Ok(tx
        .query(SQL)
        .bind(reward_id)
        .fetch_optional::<(Uuid,)>(tx)
        .await?
        .map(|(event_id,)| event_id))
}

pub(super) async fn clear_offer(tx: &mut Tx, event_id: Uuid) -> Result<()> {
    tx.query("DELETE FROM event_rewards WHERE event_id = $1")
        .bind(event_id)
        .execute(tx)
        .await?;
    Ok(())
}

/// Adds a reward to an event; `false` if the reward does not exist.
pub(super) async fn add_to_offer(tx: &mut Tx, event_id: Uuid, reward_id: Uuid, position: i64) -> Result<bool> {
    // The lock prevents a concurrent deletion of the reward. SQLite has one writer and needs no lock.
    const EXISTS_POSTGRES: &str = "SELECT id FROM rewards WHERE id = $1 AND deleted_at IS NULL FOR SHARE";
    const EXISTS_SQLITE: &str = "SELECT id FROM rewards WHERE id = $1 AND deleted_at IS NULL";
    const ADD: &str = "INSERT INTO event_rewards (event_id, reward_id, position) VALUES ($1, $2, $3)";
    let exists = match tx.engine() {
        Engine::Sqlite => EXISTS_SQLITE,
        Engine::Postgres => EXISTS_POSTGRES,
    };
    if tx
        .query(exists)
        .bind(reward_id)
        .fetch_optional::<(Uuid,)>(&mut *tx)
        .await?
        .is_none()
    {
        return Ok(false);
    }
    tx.query(ADD)
        .bind(event_id)
        .bind(reward_id)
        .bind(position)
        .execute(tx)
        .await?;
    Ok(true)
}

pub(super) async fn is_any_of_value(tx: &mut Tx, event_id: Uuid) -> Result<bool> {
    const SQL: &str = "SELECT r.id FROM event_rewards e JOIN rewards r ON r.id = e.reward_id \
        WHERE e.event_id = $1 AND r.value > 0 LIMIT 1";
    let found: Option<(Uuid,)> = tx.query(SQL).bind(event_id).fetch_optional(tx).await?;
    Ok(found.is_some())
}

row! {
    #[derive(Clone, Debug)]
    pub(super) struct OfferRow {
        pub event_id: Uuid,
        pub reward_id: Uuid,
    }
}

/// The rewards that these events offer, in each event's order.
pub(super) async fn offers(db: &Db, event_ids: &[Uuid]) -> Result<Vec<(Uuid, RewardRow)>> {
    if event_ids.is_empty() {
        return Ok(Vec::new());
    }
    let ids = || event_ids.iter().copied();
    let offers: Vec<OfferRow> = db
        .select("SELECT event_id, reward_id FROM event_rewards WHERE TRUE")
        .and_in("event_id IN ($?)", ids())
        .ordered("ORDER BY position")
        .fetch_all(db)
        .await?;
    let rewards: Vec<RewardRow> = db
        .select(select_rewards!("WHERE TRUE"))
        .and_in(
            "r.id IN (SELECT reward_id FROM event_rewards WHERE event_id IN ($?))",
            ids(),
        )
        .query()
        .fetch_all(db)
        .await?;
    let by_id: HashMap<Uuid, RewardRow> = rewards.into_iter().map(|row| (row.id, row)).collect();
    Ok(offers
        .iter()
        .filter_map(|offer| Some((offer.event_id, by_id.get(&offer.reward_id)?.clone())))
        .collect())
}
