//! SQL for the tables `transparency_*`.

use uuid::Uuid;

use super::leaf::Leaf;
use super::tiles::{TileKey, Tiles};
use crate::background::lease;
use crate::clock::Timestamp;
use crate::db::{Db, Executor, Query, Result, Tx, placeholders, row};
use crate::sandbox::Digest;

/// The right to append.
pub(super) const LEASES: lease::Table = lease::table!("transparency_log", "name");
/// The key of the only row.
pub(super) const NAME: &str = "log";

/// Queues a row for the log, in the transaction that makes it. `source` is a name of the feature's `Source`. A row is queued
/// once under each name.
pub async fn enqueue(tx: &mut Tx, source: &'static str, id: Uuid) -> Result<()> {
    const SQL: &str = "INSERT INTO transparency_queue (source, id) VALUES ($1, $2) ON CONFLICT DO NOTHING";
    tx.query(SQL).bind(source).bind(id).execute(tx).await.map(drop)
}

/// Queues several rows at once.
pub async fn enqueue_all(db: &Db, tx: &mut Tx, source: &'static str, ids: &[Uuid]) -> Result<()> {
    if ids.is_empty() {
        return Ok(());
    }
    let ids = placeholders::padded(ids.iter().copied());
    let sql = format!(
        "INSERT INTO transparency_queue (source, id) VALUES {} ON CONFLICT DO NOTHING",
        placeholders::rows(1, ids.len(), 2)
    );
    let query = db.query_assembled(sql);
    let query = ids.into_iter().fold(query, |query, id| query.bind(source).bind(id));
    query.execute(tx).await.map(drop)
}

/// The first queued rows of a source.
pub(super) async fn queued(db: &Db, source: &'static str, limit: i64) -> Result<Vec<Uuid>> {
    const SQL: &str = "SELECT id FROM transparency_queue WHERE source = $1 ORDER BY id LIMIT $2";
    let rows: Vec<(Uuid,)> = db.query(SQL).bind(source).bind(limit).fetch_all(db).await?;
    Ok(rows.into_iter().map(|(id,)| id).collect())
}

/// The number of queued rows, at most `limit`.
pub(super) async fn count_queued(db: &Db, limit: i64) -> Result<i64> {
    const SQL: &str =
        "SELECT COUNT(*) FROM (SELECT 1 AS one FROM transparency_queue WHERE source >= '' LIMIT $1) AS counted";
    let (count,): (i64,) = db.query(SQL).bind(limit).fetch_one(db).await?;
    Ok(count)
}

/// Those of these rows that are queued under a name.
pub(super) async fn queued_of(db: &Db, source: &'static str, ids: &[Uuid]) -> Result<Vec<Uuid>> {
    ids_in(
        db,
        "SELECT id FROM transparency_queue WHERE source = $1 AND id IN",
        source,
        ids,
    )
    .await
}

/// Those of these rows that have a leaf of a kind.
pub(super) async fn known(on: impl Executor, db: &Db, kind: &'static str, ids: &[Uuid]) -> Result<Vec<Uuid>> {
    ids_in_on(
        on,
        db,
        "SELECT id FROM transparency_leaves WHERE kind = $1 AND id IN",
        kind,
        ids,
    )
    .await
}

async fn ids_in(db: &Db, sql: &str, name: &'static str, ids: &[Uuid]) -> Result<Vec<Uuid>> {
    ids_in_on(db, db, sql, name, ids).await
}

async fn ids_in_on(on: impl Executor, db: &Db, sql: &str, name: &'static str, ids: &[Uuid]) -> Result<Vec<Uuid>> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let ids = placeholders::padded(ids.iter().copied());
    let query = db.query_assembled(format!("{sql} ({})", placeholders::list(2, ids.len())));
    let query = ids.into_iter().fold(query.bind(name), Query::bind);
    let rows: Vec<(Uuid,)> = query.fetch_all(on).await?;
    Ok(rows.into_iter().map(|(id,)| id).collect())
}

pub(super) async fn dequeue(db: &Db, tx: &mut Tx, source: &str, ids: &[Uuid]) -> Result<()> {
    let ids = placeholders::padded(ids.iter().copied());
    let sql = format!(
        "DELETE FROM transparency_queue WHERE source = $1 AND id IN ({})",
        placeholders::list(2, ids.len())
    );
    let query = db.query_assembled(sql).bind(source.to_owned());
    ids.into_iter().fold(query, Query::bind).execute(tx).await.map(drop)
}

/// Makes the log if there is none.
pub(super) async fn create(db: &Db) -> Result<()> {
    const FIND: &str = "SELECT size FROM transparency_log WHERE name = $1";
    const SQL: &str = "INSERT INTO transparency_log (name, size, fence, lease_until) VALUES ($1, 0, 0, 0) \
        ON CONFLICT DO NOTHING";
    let found: Option<(i64,)> = db.query(FIND).bind(NAME).fetch_optional(db).await?;
    if found.is_none() {
        let mut tx = db.begin().await?;
        tx.query(SQL).bind(NAME).execute(&mut tx).await?;
        tx.commit().await?;
    }
    Ok(())
}

/// The number of leaves.
pub(super) async fn size(on: impl Executor) -> Result<u64> {
    const SQL: &str = "SELECT size FROM transparency_log WHERE name = $1";
    let size: Option<(i64,)> = on.statement(SQL).bind(NAME).fetch_optional(on).await?;
    Ok(size.map_or(0, |(size,)| size.unsigned_abs()))
}

/// Locks the log for the holder of the lease, and returns its size. `None`: the lease has another holder.
pub(super) async fn hold(tx: &mut Tx, fence: i64) -> Result<Option<u64>> {
    const SQL: &str = "UPDATE transparency_log SET size = size WHERE name = $1 AND fence = $2 AND lease_until > 0 \
        RETURNING size";
    let size: Option<(i64,)> = tx.query(SQL).bind(NAME).bind(fence).fetch_optional(tx).await?;
    Ok(size.map(|(size,)| size.unsigned_abs()))
}

/// The caller holds the log.
pub(super) async fn set_size(tx: &mut Tx, size: u64) -> Result<()> {
    const SQL: &str = "UPDATE transparency_log SET size = $2 WHERE name = $1";
    tx.query(SQL).bind(NAME).bind(number(size)).execute(tx).await.map(drop)
}

row! {
    #[derive(Clone, Debug)]
    pub(super) struct LeafRow {
        pub position: i64,
        pub kind: String,
        pub id: Uuid,
        pub document: Option<Vec<u8>>,
        pub content: Vec<u8>,
    }
}

impl LeafRow {
    /// `None`: a digest does not have 32 bytes.
    pub(super) fn leaf(&self) -> Option<Leaf> {
        let digest = |bytes: &[u8]| Digest::try_from(bytes).ok();
        let document = match &self.document {
            Some(bytes) => Some(digest(bytes)?),
            None => None,
        };
        Some(Leaf {
            kind: self.kind.clone(),
            id: self.id,
            document,
            content: digest(&self.content)?,
        })
    }
}

/// Appends leaves from this position on. `false`: the tables contain one of them already.
pub(super) async fn insert(db: &Db, tx: &mut Tx, first: u64, leaves: &[Leaf]) -> Result<bool> {
    let rows = placeholders::padded((number(first)..).zip(leaves));
    let sql = format!(
        "INSERT INTO transparency_leaves (position, kind, id, document, content) VALUES {} ON CONFLICT DO NOTHING",
        placeholders::rows(1, rows.len(), 5)
    );
    let query = rows
        .into_iter()
        .fold(db.query_assembled(sql), |query, (position, leaf)| {
            query
                .bind(position)
                .bind(leaf.kind.clone())
                .bind(leaf.id)
                .bind(leaf.document.map(|digest| digest.as_bytes().to_vec()))
                .bind(leaf.content.as_bytes().to_vec())
        });
    Ok(query.execute(tx).await? == leaves.len() as u64)
}

/// Leaves from this position on, in their order.
pub(super) async fn leaves(db: &Db, from: u64, limit: i64) -> Result<Vec<LeafRow>> {
    const SQL: &str = "SELECT position, kind, id, document, content FROM transparency_leaves WHERE position >= $1 \
        ORDER BY position LIMIT $2";
    db.query(SQL).bind(number(from)).bind(limit).fetch_all(db).await
}

pub(super) async fn find(db: &Db, kind: &'static str, id: Uuid) -> Result<Option<LeafRow>> {
    const SQL: &str =
        "SELECT position, kind, id, document, content FROM transparency_leaves WHERE kind = $1 AND id = $2";
    db.query(SQL).bind(kind).bind(id).fetch_optional(db).await
}

/// The leaves of a kind about these rows.
pub(super) async fn of_kind(db: &Db, kind: &'static str, ids: &[Uuid]) -> Result<Vec<LeafRow>> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let ids = placeholders::padded(ids.iter().copied());
    let sql = format!(
        "SELECT position, kind, id, document, content FROM transparency_leaves WHERE kind = $1 AND id IN ({})",
        placeholders::list(2, ids.len())
    );
    let query = db.query_assembled(sql).bind(kind);
    ids.into_iter().fold(query, Query::bind).fetch_all(db).await
}

/// Those of these tiles that exist.
pub(super) async fn tiles(on: impl Executor, db: &Db, keys: impl IntoIterator<Item = TileKey>) -> Result<Tiles> {
    let keys = placeholders::padded(keys);
    let mut tiles = Tiles::default();
    if keys.is_empty() {
        return Ok(tiles);
    }
    let sql = format!(
        "SELECT t.level, t.position, t.hashes FROM {} \
         JOIN transparency_tiles t ON t.level = pair.column1 AND t.position = pair.column2",
        placeholders::pairs(1, keys.len())
    );
    let query = keys
        .into_iter()
        .fold(db.query_assembled(sql), |query, (level, position)| {
            query.bind(i64::from(level)).bind(number(position))
        });
    let rows: Vec<(i64, i64, Vec<u8>)> = query.fetch_all(on).await?;
    for (level, position, hashes) in rows {
        tiles.insert(
            (u32::try_from(level).unwrap_or(u32::MAX), position.unsigned_abs()),
            &hashes,
        );
    }
    Ok(tiles)
}

pub(super) async fn save_tile(tx: &mut Tx, (level, position): TileKey, hashes: Vec<u8>) -> Result<()> {
    const SQL: &str = "INSERT INTO transparency_tiles (level, position, hashes) VALUES ($1, $2, $3) \
        ON CONFLICT (level, position) DO UPDATE SET hashes = excluded.hashes";
    let query = tx.query(SQL).bind(i64::from(level)).bind(number(position));
    query.bind(hashes).execute(tx).await.map(drop)
}

/// The position of the last tile of a level.
pub(super) async fn last_tile(db: &Db, level: u32) -> Result<Option<u64>> {
    const SQL: &str = "SELECT position FROM transparency_tiles WHERE level = $1 ORDER BY position DESC LIMIT 1";
    let last: Option<(i64,)> = db.query(SQL).bind(i64::from(level)).fetch_optional(db).await?;
    Ok(last.map(|(position,)| position.unsigned_abs()))
}

row! {
    #[derive(Clone, Debug)]
    pub(super) struct CheckpointRow {
        pub size: i64,
        pub created_at: Timestamp,
        pub note: String,
    }
}

/// The caller holds the log.
pub(super) async fn insert_checkpoint(tx: &mut Tx, row: &CheckpointRow, first_of_day: bool) -> Result<()> {
    const SQL: &str =
        "INSERT INTO transparency_checkpoints (size, created_at, first_of_day, note) VALUES ($1, $2, $3, $4)";
    let query = tx.query(SQL).bind(row.size).bind(row.created_at);
    query
        .bind(first_of_day)
        .bind(row.note.clone())
        .execute(tx)
        .await
        .map(drop)
}

/// Newest first, before this size.
pub(super) async fn checkpoints(db: &Db, before: Option<i64>, limit: i64) -> Result<Vec<CheckpointRow>> {
    const SQL: &str = "SELECT size, created_at, note FROM transparency_checkpoints WHERE size >= 0";
    db.select(SQL)
        .and("size < $?", before)
        .end("ORDER BY size DESC LIMIT $?", limit)
        .fetch_all(db)
        .await
}

/// Oldest first, after this size.
pub(super) async fn checkpoints_after(db: &Db, after: i64, limit: i64) -> Result<Vec<CheckpointRow>> {
    const SQL: &str =
        "SELECT size, created_at, note FROM transparency_checkpoints WHERE size > $1 ORDER BY size LIMIT $2";
    db.query(SQL).bind(after).bind(limit).fetch_all(db).await
}

pub(super) async fn checkpoint(db: &Db, size: u64) -> Result<Option<CheckpointRow>> {
    const SQL: &str = "SELECT size, created_at, note FROM transparency_checkpoints WHERE size = $1";
    db.query(SQL).bind(number(size)).fetch_optional(db).await
}

pub(super) async fn newest_checkpoint(on: impl Executor) -> Result<Option<CheckpointRow>> {
    const SQL: &str =
        "SELECT size, created_at, note FROM transparency_checkpoints WHERE size >= 0 ORDER BY size DESC LIMIT 1";
    on.statement(SQL).fetch_optional(on).await
}

/// Deletes up to `limit` checkpoints from before an instant, except the first one of each day.
pub(super) async fn thin_checkpoints(tx: &mut Tx, before: Timestamp, limit: i64) -> Result<u64> {
    const SQL: &str = "DELETE FROM transparency_checkpoints WHERE size IN (SELECT size FROM transparency_checkpoints \
        WHERE NOT first_of_day AND created_at < $1 ORDER BY created_at LIMIT $2)";
    tx.query(SQL).bind(before).bind(limit).execute(tx).await
}

row! {
    #[derive(Clone, Debug)]
    pub(super) struct RemovalRow {
        pub id: Uuid,
        pub kind: String,
        pub lower_than: Uuid,
        pub removed_at: Timestamp,
    }
}

pub(super) async fn insert_removal(tx: &mut Tx, row: RemovalRow) -> Result<()> {
    const SQL: &str = "INSERT INTO transparency_removals (id, kind, lower_than, removed_at) VALUES ($1, $2, $3, $4)";
    let query = tx.query(SQL).bind(row.id).bind(row.kind).bind(row.lower_than);
    query.bind(row.removed_at).execute(tx).await.map(drop)
}

pub(super) async fn removals(db: &Db, ids: &[Uuid]) -> Result<Vec<RemovalRow>> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let ids = placeholders::padded(ids.iter().copied());
    let sql = format!(
        "SELECT id, kind, lower_than, removed_at FROM transparency_removals WHERE id IN ({})",
        placeholders::list(1, ids.len())
    );
    ids.into_iter()
        .fold(db.query_assembled(sql), Query::bind)
        .fetch_all(db)
        .await
}

pub(super) async fn removal_ids(db: &Db, after: Uuid, limit: i64) -> Result<Vec<Uuid>> {
    const SQL: &str = "SELECT id FROM transparency_removals WHERE id > $1 ORDER BY id LIMIT $2";
    let rows: Vec<(Uuid,)> = db.query(SQL).bind(after).bind(limit).fetch_all(db).await?;
    Ok(rows.into_iter().map(|(id,)| id).collect())
}

/// As the databases store it. A log never has so many leaves that this matters.
pub(super) fn number(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
