//! The statements of a lease. Tables that hold leases have the columns `fence` and `lease_until`, both BIGINT NOT NULL;
//! 0 in `lease_until` is a free lease.

use std::fmt;

use uuid::Uuid;

use crate::clock::Timestamp;
use crate::db::{Db, Query, Result, Tx, placeholders};

/// The statements for one table. The store that owns the table makes it with `table!`.
#[derive(Clone, Copy, Debug)]
pub struct Table {
    /// `$1` is the key, `$2` now, `$3` the end of the lease, `$4` a time that no lease can reach; it returns the fence.
    pub acquire: &'static str,
    /// `$1` is the key, `$2` the fence, `$3` the end of the lease.
    pub renew: &'static str,
    /// `$1` is the key, `$2` the fence.
    pub release: &'static str,
}

/// The leases of a table whose rows exist.
macro_rules! table {
    ($table:literal, $key:literal) => {
        $crate::background::lease::Table {
            acquire: concat!(
                "UPDATE ",
                $table,
                " SET fence = fence + 1, lease_until = $3 WHERE ",
                $key,
                " = $1 AND (lease_until <= $2 OR lease_until > $4) RETURNING fence"
            ),
            // Not after a release: a renewal in flight must not restore the lease.
            renew: concat!(
                "UPDATE ",
                $table,
                " SET lease_until = $3 WHERE ",
                $key,
                " = $1 AND fence = $2 AND lease_until > 0"
            ),
            release: concat!(
                "UPDATE ",
                $table,
                " SET lease_until = 0 WHERE ",
                $key,
                " = $1 AND fence = $2"
            ),
        }
    };
}
pub(crate) use table;

/// The primary key of a lease's row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Key {
    Id(Uuid),
    Name(String),
}

impl From<Uuid> for Key {
    fn from(id: Uuid) -> Self {
        Self::Id(id)
    }
}

impl From<&str> for Key {
    fn from(name: &str) -> Self {
        Self::Name(name.to_owned())
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id(id) => id.fmt(f),
            Self::Name(name) => name.fmt(f),
        }
    }
}

fn about(tx: &Tx, sql: &'static str, key: &Key) -> Query {
    let query = tx.query(sql);
    match key {
        Key::Id(id) => query.bind(*id),
        Key::Name(name) => query.bind(name.clone()),
    }
}

/// Returns a fence that no holder had before. `None`: another holder has the lease, or there is no such row.
pub(super) async fn acquire(
    tx: &mut Tx,
    table: &Table,
    key: &Key,
    now: Timestamp,
    until: Timestamp,
    unreachable: Timestamp,
) -> Result<Option<i64>> {
    let query = about(tx, table.acquire, key).bind(now).bind(until).bind(unreachable);
    let fence: Option<(i64,)> = query.fetch_optional(tx).await?;
    Ok(fence.map(|(fence,)| fence))
}

/// `false`: the lease has another holder, or none.
pub(super) async fn renew(tx: &mut Tx, table: &Table, key: &Key, fence: i64, until: Timestamp) -> Result<bool> {
    let query = about(tx, table.renew, key).bind(fence).bind(until);
    Ok(query.execute(tx).await? == 1)
}

pub(super) async fn release(tx: &mut Tx, table: &Table, key: &Key, fence: i64) -> Result<()> {
    about(tx, table.release, key).bind(fence).execute(tx).await?;
    Ok(())
}

/// A table whose leases are held in sets. The first lease of a row inserts the row.
#[derive(Clone, Copy, Debug)]
pub struct SetTable {
    pub name: &'static str,
    /// Its primary key, a UUID.
    pub key: &'static str,
}

/// Acquires those of these leases that are free, with fences that no holder had before.
pub(super) async fn acquire_all(
    db: &Db,
    tx: &mut Tx,
    SetTable { name, key }: &SetTable,
    ids: &[Uuid],
    now: Timestamp,
    until: Timestamp,
) -> Result<Vec<(Uuid, i64)>> {
    let ids = placeholders::padded(ids.iter().copied());
    // In the order of the keys, so that two processes cannot deadlock.
    let sql = format!(
        "INSERT INTO {name} AS l ({key}, fence, lease_until) \
         SELECT DISTINCT column1, 1, CAST($1 AS BIGINT) FROM (VALUES {}) AS given WHERE TRUE ORDER BY column1 \
         ON CONFLICT ({key}) DO UPDATE SET fence = l.fence + 1, lease_until = excluded.lease_until \
         WHERE l.lease_until <= $2 RETURNING {key}, fence",
        placeholders::rows(3, ids.len(), 1)
    );
    let query = db.query_assembled(sql).bind(until).bind(now);
    ids.into_iter().fold(query, Query::bind).fetch_all(tx).await
}

/// Renews these leases, each with its fence; returns those that still belong to this holder.
pub(super) async fn renew_all(
    db: &Db,
    tx: &mut Tx,
    SetTable { name, key }: &SetTable,
    held: &[(Uuid, i64)],
    until: Timestamp,
) -> Result<Vec<Uuid>> {
    let held = placeholders::padded(held.iter().copied());
    let sql = format!(
        "UPDATE {name} SET lease_until = $1 FROM {} \
         WHERE {key} = pair.column1 AND fence = pair.column2 AND lease_until > 0 RETURNING {key}",
        placeholders::pairs(2, held.len())
    );
    let query = db.query_assembled(sql).bind(until);
    let rows: Vec<(Uuid,)> = held.into_iter().fold(query, bind_held).fetch_all(tx).await?;
    Ok(rows.into_iter().map(|(id,)| id).collect())
}

pub(super) async fn release_all(
    db: &Db,
    tx: &mut Tx,
    SetTable { name, key }: &SetTable,
    held: &[(Uuid, i64)],
) -> Result<()> {
    let held = placeholders::padded(held.iter().copied());
    let sql = format!(
        "UPDATE {name} SET lease_until = 0 FROM {} WHERE {key} = pair.column1 AND fence = pair.column2",
        placeholders::pairs(1, held.len())
    );
    held.into_iter()
        .fold(db.query_assembled(sql), bind_held)
        .execute(tx)
        .await?;
    Ok(())
}

fn bind_held(query: Query, (id, fence): (Uuid, i64)) -> Query {
    query.bind(id).bind(fence)
}
