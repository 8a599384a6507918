//! SQL for `reward_code_keys`, `reward_codes`, `granted_codes`, and for the columns of `reward_stock` that count codes.
//!
//! A code is given by its position: the transaction that holds the lock on the row of `reward_stock` takes the next positions. So
//! no claim searches for a free code, and none waits for the code of another. A claim moves `next_code` and `remaining` by the
//! same number, so the position behind the last code changes only under the lock on the reward. The bulk commit of claims on PostgreSQL does the same in
//! its own statement.

use uuid::Uuid;

use crate::db::{Db, Executor, Query, Result, Tx, placeholders, row};

/// Rows of one statement: each takes up to four of the parameters that both engines allow.
const AT_ONCE: usize = 4096;

pub(in crate::rewards) async fn insert_key(tx: &mut Tx, reward_id: Uuid, sealed: Vec<u8>) -> Result<()> {
    const SQL: &str = "INSERT INTO reward_code_keys (reward_id, key) VALUES ($1, $2)";
    tx.query(SQL).bind(reward_id).bind(sealed).execute(tx).await.map(drop)
}

pub(in crate::rewards) async fn key(on: impl Executor, reward_id: Uuid) -> Result<Option<Vec<u8>>> {
    const SQL: &str = "SELECT key FROM reward_code_keys WHERE reward_id = $1";
    let row: Option<(Vec<u8>,)> = on.statement(SQL).bind(reward_id).fetch_optional(on).await?;
    Ok(row.map(|(key,)| key))
}

/// The sealed keys of all rewards with codes, also of deleted ones, in the order of the ids.
pub(in crate::rewards) async fn keys(db: &Db, after: Uuid, limit: i64) -> Result<Vec<(Uuid, Vec<u8>)>> {
    const SQL: &str = "SELECT reward_id, key FROM reward_code_keys WHERE reward_id > $1 ORDER BY reward_id LIMIT $2";
    db.query(SQL).bind(after).bind(limit).fetch_all(db).await
}

/// Replaces a sealed key, unless it is another one by now.
pub(in crate::rewards) async fn replace_key(tx: &mut Tx, reward_id: Uuid, new: Vec<u8>, old: Vec<u8>) -> Result<()> {
    const SQL: &str = "UPDATE reward_code_keys SET key = $2 WHERE reward_id = $1 AND key = $3";
    let query = tx.query(SQL).bind(reward_id).bind(new).bind(old);
    query.execute(tx).await.map(drop)
}

row! {
    /// The codes of a reward, counted.
    #[derive(Clone, Copy, Debug)]
    pub(in crate::rewards) struct PoolRow {
        /// All that were imported
        pub total: i64,
        /// Those that are left: the positions from `next_code` on.
        pub remaining: i64,
        pub next_code: i64,
        pub low_water: Option<i64>,
    }
}

/// `None`: the reward has no codes.
pub(in crate::rewards) async fn pool(on: impl Executor, reward_id: Uuid) -> Result<Option<PoolRow>> {
    const SQL: &str = "SELECT total, remaining, next_code, low_water FROM reward_stock \
        WHERE reward_id = $1 AND next_code IS NOT NULL";
    on.statement(SQL).bind(reward_id).fetch_optional(on).await
}

/// Turns the stock of a new reward into one of codes, of which there are none yet.
pub(in crate::rewards) async fn begin(tx: &mut Tx, reward_id: Uuid) -> Result<()> {
    const SQL: &str = "UPDATE reward_stock SET next_code = 1 WHERE reward_id = $1";
    tx.query(SQL).bind(reward_id).execute(tx).await.map(drop)
}

pub(in crate::rewards) async fn set_low_water(tx: &mut Tx, reward_id: Uuid, low_water: Option<i64>) -> Result<()> {
    const SQL: &str = "UPDATE reward_stock SET low_water = $2, \
        low_told = CASE WHEN low_water = $2 THEN low_told END WHERE reward_id = $1";
    let query = tx.query(SQL).bind(reward_id).bind(low_water);
    query.execute(tx).await.map(drop)
}

/// Fewer codes than `low_water` are left, and that was told for this total.
pub(in crate::rewards) async fn mark_told(tx: &mut Tx, reward_id: Uuid) -> Result<()> {
    const SQL: &str = "UPDATE reward_stock SET low_told = total WHERE reward_id = $1";
    tx.query(SQL).bind(reward_id).execute(tx).await.map(drop)
}

/// The number of rewards with fewer codes left than their low water.
pub(in crate::rewards) async fn count_low(db: &Db) -> Result<i64> {
    const SQL: &str = "SELECT COUNT(*) FROM reward_stock WHERE low_water IS NOT NULL AND remaining < low_water";
    let (count,): (i64,) = db.query(SQL).fetch_one(db).await?;
    Ok(count)
}

/// A code to import: its digest, and the code itself, encrypted.
pub(in crate::rewards) type NewCode = (Vec<u8>, Vec<u8>);

/// Those of these digests that the reward has a code with.
pub(in crate::rewards) async fn known(
    db: &Db,
    tx: &mut Tx,
    reward_id: Uuid,
    digests: &[Vec<u8>],
) -> Result<Vec<Vec<u8>>> {
    let mut known = Vec::new();
    for digests in digests.chunks(AT_ONCE) {
        let digests = placeholders::padded(digests.iter().cloned());
        let sql = format!(
            "SELECT digest FROM reward_codes WHERE reward_id = $1 AND digest IN ({})",
            placeholders::list(2, digests.len())
        );
        let query = db.query_assembled(sql).bind(reward_id);
        let rows: Vec<(Vec<u8>,)> = digests.into_iter().fold(query, Query::bind).fetch_all(&mut *tx).await?;
        known.extend(rows.into_iter().map(|(digest,)| digest));
    }
    Ok(known)
}

/// Appends codes that the reward does not have, from the position `first` on.
pub(in crate::rewards) async fn append(
    db: &Db,
    tx: &mut Tx,
    reward_id: Uuid,
    first: i64,
    codes: Vec<NewCode>,
) -> Result<()> {
    let numbered: Vec<(i64, NewCode)> = (first..).zip(codes).collect();
    for rows in numbered.chunks(AT_ONCE) {
        // Only the repetition of the last row conflicts.
        let rows = placeholders::padded(rows.iter().cloned());
        let sql = format!(
            "INSERT INTO reward_codes (reward_id, position, digest, code) VALUES {} \
             ON CONFLICT (reward_id, position) DO NOTHING",
            placeholders::rows(1, rows.len(), 4)
        );
        let query = rows
            .into_iter()
            .fold(db.query_assembled(sql), |query, (position, (digest, code))| {
                query.bind(reward_id).bind(position).bind(digest).bind(code)
            });
        query.execute(tx).await?;
    }
    Ok(())
}

/// Counts appended codes. Like a return, it may end that the reward is sold out.
pub(in crate::rewards) async fn count_appended(tx: &mut Tx, reward_id: Uuid, codes: i64) -> Result<()> {
    const SQL: &str = "UPDATE reward_stock SET total = total + $2, remaining = remaining + $2, returns = returns + 1 \
        WHERE reward_id = $1";
    tx.query(SQL).bind(reward_id).bind(codes).execute(tx).await.map(drop)
}

/// Gives the codes from the position `first` on to a grant.
pub(in crate::rewards) async fn give(
    tx: &mut Tx,
    grant_id: Uuid,
    reward_id: Uuid,
    first: i64,
    quantity: i64,
) -> Result<()> {
    const SQL: &str = "INSERT INTO granted_codes (grant_id, n, reward_id, position) VALUES ($1, $2, $3, $4)";
    for n in 1..=quantity {
        let query = tx.query(SQL).bind(grant_id).bind(n).bind(reward_id);
        query.bind(first + n - 1).execute(&mut *tx).await?;
    }
    Ok(())
}

row! {
    #[derive(Clone, Debug)]
    pub(in crate::rewards) struct GivenRow {
        pub grant_id: Uuid,
        pub reward_id: Uuid,
        pub digest: Vec<u8>,
        pub code: Vec<u8>,
    }
}

/// The codes of these grants, in the order in which they were given.
pub(in crate::rewards) async fn of_grants(db: &Db, grant_ids: &[Uuid]) -> Result<Vec<GivenRow>> {
    let mut given = Vec::new();
    for grant_ids in grant_ids.chunks(AT_ONCE) {
        let grant_ids = placeholders::padded(grant_ids.iter().copied());
        let sql = format!(
            "SELECT g.grant_id, g.reward_id, c.digest, c.code FROM granted_codes g \
             JOIN reward_codes c ON c.reward_id = g.reward_id AND c.position = g.position \
             WHERE g.grant_id IN ({}) ORDER BY g.grant_id, g.n",
            placeholders::list(1, grant_ids.len())
        );
        let query = db.query_assembled(sql);
        given.extend(
            grant_ids
                .into_iter()
                .fold(query, Query::bind)
                .fetch_all::<GivenRow>(db)
                .await?,
        );
    }
    Ok(given)
}

row! {
    #[derive(Clone, Debug)]
    pub(in crate::rewards) struct LeftRow {
        pub position: i64,
        pub digest: Vec<u8>,
        pub code: Vec<u8>,
    }
}

/// Codes that are left, in the order in which they will be given, after a position.
pub(in crate::rewards) async fn left(db: &Db, reward_id: Uuid, after: i64, limit: i64) -> Result<Vec<LeftRow>> {
    const SQL: &str = "SELECT position, digest, code FROM reward_codes WHERE reward_id = $1 AND position > $2 \
        AND position >= (SELECT next_code FROM reward_stock WHERE reward_id = $1) ORDER BY position LIMIT $3";
    let query = db.query(SQL).bind(reward_id).bind(after).bind(limit);
    query.fetch_all(db).await
}

/// Takes the codes of a grant back, and returns their positions. From now on they belong to no grant.
pub(in crate::rewards) async fn take_back(tx: &mut Tx, grant_id: Uuid) -> Result<Vec<i64>> {
    const SQL: &str = "DELETE FROM granted_codes WHERE grant_id = $1 RETURNING position";
    let rows: Vec<(i64,)> = tx.query(SQL).bind(grant_id).fetch_all(tx).await?;
    Ok(rows.into_iter().map(|(position,)| position).collect())
}

/// Moves a code that belongs to no grant to a position behind all others.
pub(in crate::rewards) async fn move_to(tx: &mut Tx, reward_id: Uuid, from: i64, to: i64) -> Result<()> {
    const SQL: &str = "UPDATE reward_codes SET position = $3 WHERE reward_id = $1 AND position = $2";
    let query = tx.query(SQL).bind(reward_id).bind(from).bind(to);
    query.execute(tx).await.map(drop)
}
