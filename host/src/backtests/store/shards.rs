//! SQL for `backtest_shards`.

use uuid::Uuid;

use crate::background::lease;
use crate::clock::Timestamp;
use crate::db::{Db, Result, Tx, row};

pub(in crate::backtests) static LEASE: lease::Table = lease::table!("backtest_shards", "id");

row! {
    #[derive(Clone, Debug)]
    pub(in crate::backtests) struct ShardRow {
        pub id: Uuid,
        pub number: i64,
        pub after_user: Uuid,
        pub through_user: Uuid,
        pub users: i64,
    }
}

pub(in crate::backtests) async fn insert(tx: &mut Tx, backtest: Uuid, shard: ShardRow) -> Result<()> {
    const SQL: &str = "INSERT INTO backtest_shards (id, backtest_id, number, after_user, through_user, users, round, fence, \
        lease_until) VALUES ($1, $2, $3, $4, $5, $6, 0, 0, 0)";
    let query = tx.query(SQL).bind(shard.id).bind(backtest).bind(shard.number);
    let query = query.bind(shard.after_user).bind(shard.through_user).bind(shard.users);
    query.execute(tx).await.map(drop)
}

/// The first shards without a result of the round whose lease is free.
pub(in crate::backtests) async fn open(
    db: &Db,
    backtest: Uuid,
    round: i64,
    now: Timestamp,
    limit: i64,
) -> Result<Vec<ShardRow>> {
    const SQL: &str = "SELECT id, number, after_user, through_user, users FROM backtest_shards \
        WHERE backtest_id = $1 AND round < $2 AND lease_until <= $3 ORDER BY round, number LIMIT $4";
    let query = db.query(SQL).bind(backtest).bind(round).bind(now).bind(limit);
    query.fetch_all(db).await
}

/// The shards without a result of the round, and the users of those with one.
pub(in crate::backtests) async fn progress(db: &Db, backtest: Uuid, round: i64) -> Result<(i64, i64)> {
    const SQL: &str = "SELECT COUNT(*) - COUNT(CASE WHEN round >= $2 THEN 1 END), \
        CAST(COALESCE(SUM(CASE WHEN round >= $2 THEN users ELSE 0 END), 0) AS BIGINT) \
        FROM backtest_shards WHERE backtest_id = $1";
    db.query(SQL).bind(backtest).bind(round).fetch_one(db).await
}

/// `false`: the lease was lost, or the backtest is over.
pub(in crate::backtests) async fn set_result(
    tx: &mut Tx,
    id: Uuid,
    fence: i64,
    round: i64,
    result: String,
) -> Result<bool> {
    const SQL: &str = "UPDATE backtest_shards SET round = $3, result = $4 WHERE id = $1 AND fence = $2";
    let query = tx.query(SQL).bind(id).bind(fence).bind(round).bind(result);
    Ok(query.execute(tx).await? == 1)
}

/// The results after a shard's number, in their order.
pub(in crate::backtests) async fn results(
    db: &Db,
    backtest: Uuid,
    after: i64,
    limit: i64,
) -> Result<Vec<(i64, Option<String>)>> {
    const SQL: &str = "SELECT number, result FROM backtest_shards WHERE backtest_id = $1 AND number > $2 \
        ORDER BY number LIMIT $3";
    let query = db.query(SQL).bind(backtest).bind(after).bind(limit);
    query.fetch_all(db).await
}

pub(in crate::backtests) async fn delete(tx: &mut Tx, backtest: Uuid) -> Result<()> {
    const SQL: &str = "DELETE FROM backtest_shards WHERE backtest_id = $1";
    tx.query(SQL).bind(backtest).execute(tx).await.map(drop)
}
