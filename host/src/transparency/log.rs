//! Reads checkpoints and proofs.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::checkpoint::{Checkpoint, NoteError};
use super::proof::{ConsistencyProof, InclusionProof};
use super::store::{self, CheckpointRow};
use super::tiles;
use crate::clock::Timestamp;
use crate::db::{Db, DbError};
use crate::merkle::{self, Range};

#[derive(Clone, Debug, thiserror::Error)]
pub enum LogError {
    #[error("There is no checkpoint of size {0}. GET /audit/checkpoints lists them.")]
    NoCheckpoint(u64),
    #[error(
        "The size {from} is not one of a tree from which a checkpoint of size {to} can have grown; it must be 1 to {to}."
    )]
    NotSmaller { from: u64, to: u64 },
    #[error("The row {0} is not under a checkpoint yet. Try again in a minute.")]
    NotYet(Uuid),
    #[error("the transparency log is damaged: {0}; run `meed audit verify`")]
    Damaged(String),
    #[error(transparent)]
    Db(#[from] DbError),
}

impl From<NoteError> for LogError {
    fn from(error: NoteError) -> Self {
        Self::Damaged(error.to_string())
    }
}

/// A signed checkpoint.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Checkpoint)]
pub struct StoredCheckpoint {
    /// The number of leaves
    pub size: u64,
    /// The root of the tree in Base64
    #[schema(example = "CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=")]
    pub root_hash: String,
    pub created_at: Timestamp,
    /// The signed note (C2SP tlog-checkpoint). Keep it; it is what others can hold this server to
    pub checkpoint: String,
}

impl TryFrom<CheckpointRow> for StoredCheckpoint {
    type Error = LogError;

    fn try_from(row: CheckpointRow) -> Result<Self, LogError> {
        let checkpoint = Checkpoint::parse(&row.note)?;
        Ok(Self {
            size: checkpoint.size,
            root_hash: STANDARD.encode(checkpoint.root),
            created_at: row.created_at,
            checkpoint: row.note,
        })
    }
}

/// Cheap to clone.
#[derive(Clone, Debug)]
pub struct Log {
    db: Db,
}

impl Log {
    pub fn new(db: Db) -> Self {
        Self { db }
    }

    /// Newest first, before this size, up to `size + 1`.
    pub async fn checkpoints(&self, before: Option<u64>, size: u32) -> Result<Vec<StoredCheckpoint>, LogError> {
        let rows = store::checkpoints(&self.db, before.map(store::number), i64::from(size) + 1).await?;
        rows.into_iter().map(StoredCheckpoint::try_from).collect()
    }

    pub async fn checkpoint(&self, size: u64) -> Result<StoredCheckpoint, LogError> {
        let row = store::checkpoint(&self.db, size).await?;
        row.ok_or(LogError::NoCheckpoint(size))?.try_into()
    }

    /// The proof that the checkpoint of one size is the beginning of that of a larger one. There need be no checkpoint of the
    /// smaller size any more.
    pub async fn consistency(&self, from: u64, to: u64) -> Result<ConsistencyProof, LogError> {
        let checkpoint = self.checkpoint(to).await?;
        if from == 0 || from > to {
            return Err(LogError::NotSmaller { from, to });
        }
        let proof = self.hashes(merkle::consistency(from, to)).await?;
        Ok(ConsistencyProof::new(from, checkpoint.checkpoint, &proof))
    }

    /// The proof that a row with a leaf of one of these kinds is in the log.
    pub async fn inclusion(&self, kinds: &[&'static str], id: Uuid) -> Result<InclusionProof, LogError> {
        let mut found = None;
        for kind in kinds {
            if found.is_none() {
                found = store::find(&self.db, kind, id).await?;
            }
        }
        let row = found.ok_or(LogError::NotYet(id))?;
        let newest = store::newest_checkpoint(&self.db).await?;
        let checkpoint = newest
            .filter(|newest| newest.size > row.position)
            .ok_or(LogError::NotYet(id))?;
        let leaf = row.leaf();
        let leaf = leaf.ok_or_else(|| LogError::Damaged(format!("the leaf at {} has no digest", row.position)))?;
        let (position, size) = (row.position.unsigned_abs(), checkpoint.size.unsigned_abs());
        let path = self.hashes(merkle::inclusion(position, size)).await?;
        Ok(InclusionProof::new(leaf, position, checkpoint.note, &path))
    }

    async fn hashes(&self, ranges: Vec<Range>) -> Result<Vec<merkle::Hash>, LogError> {
        let tiles = store::tiles(&self.db, &self.db, tiles::tiles_of(ranges.iter().copied())).await?;
        let hashes = ranges.into_iter().map(|range| {
            let missing = || {
                LogError::Damaged(format!(
                    "a tile with the leaves {} to {} is missing",
                    range.from, range.to
                ))
            };
            tiles.range(range).ok_or_else(missing)
        });
        hashes.collect()
    }
}
