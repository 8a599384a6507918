//! What an outsider verifies without the database: that a leaf is under a checkpoint, and that a checkpoint is the beginning
//! of a later one.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::checkpoint::{Checkpoint, NoteError};
use super::leaf::Leaf;
use crate::keys::PublicKey;
use crate::merkle::{self, Hash};

/// The leaf of a row, and its way to the root of a checkpoint (RFC 9162).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct InclusionProof {
    /// `meed-inclusion/1`
    #[schema(example = "meed-inclusion/1")]
    pub format: String,
    pub leaf: Leaf,
    /// The position of the leaf in the log, from 0
    pub position: u64,
    /// The signed note (C2SP tlog-checkpoint)
    pub checkpoint: String,
    /// The hashes from the leaf's sibling to the child of the root, in hexadecimal
    pub path: Vec<String>,
}

/// Shows that the log of one size is the beginning of the log at a checkpoint (RFC 9162).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ConsistencyProof {
    /// `meed-consistency/1`
    #[schema(example = "meed-consistency/1")]
    pub format: String,
    /// The smaller size
    pub from: u64,
    /// The signed note of the larger size (C2SP tlog-checkpoint)
    pub checkpoint: String,
    /// Hashes in hexadecimal
    pub proof: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    #[error(transparent)]
    Note(#[from] NoteError),
    #[error("the format is {0:?}; this release reads {1:?}")]
    Format(String, &'static str),
    #[error("a hash is not 64 hexadecimal digits")]
    Hash,
    #[error("the leaf is not in the log of the checkpoint of size {0}")]
    NotIncluded(u64),
    #[error("the proof begins with the size {0}, the older checkpoint has the size {1}")]
    OtherSize(u64, u64),
    #[error("the checkpoints are of two logs: {0:?} and {1:?}")]
    OtherLog(String, String),
    #[error("the log of size {0} is not the beginning of the log of size {1}: the history was rewritten")]
    Rewritten(u64, u64),
}

fn require(format: &str, known: &'static str) -> Result<(), ProofError> {
    let is_known = format == known;
    is_known
        .then_some(())
        .ok_or_else(|| ProofError::Format(format.to_owned(), known))
}

fn hashes(texts: &[String]) -> Result<Vec<Hash>, ProofError> {
    let hash = |text: &String| {
        let mut hash = Hash::default();
        hex::decode_to_slice(text, &mut hash).map_err(|_| ProofError::Hash)?;
        Ok(hash)
    };
    texts.iter().map(hash).collect()
}

impl InclusionProof {
    pub const FORMAT: &str = "meed-inclusion/1";

    pub(super) fn new(leaf: Leaf, position: u64, checkpoint: String, path: &[Hash]) -> Self {
        Self {
            format: Self::FORMAT.to_owned(),
            leaf,
            position,
            checkpoint,
            path: path.iter().map(hex::encode).collect(),
        }
    }

    /// Checks the path and the checkpoint's signature by one of these keys, and returns the checkpoint.
    pub fn verify(&self, keys: &[PublicKey]) -> Result<Checkpoint, ProofError> {
        require(&self.format, Self::FORMAT)?;
        let checkpoint = Checkpoint::verified(&self.checkpoint, keys)?;
        let path = hashes(&self.path)?;
        let root = merkle::root_of(&self.leaf.bytes(), self.position, checkpoint.size, &path);
        if root == Some(checkpoint.root) {
            Ok(checkpoint)
        } else {
            Err(ProofError::NotIncluded(checkpoint.size))
        }
    }
}

impl ConsistencyProof {
    pub const FORMAT: &str = "meed-consistency/1";

    pub(super) fn new(from: u64, checkpoint: String, proof: &[Hash]) -> Self {
        Self {
            format: Self::FORMAT.to_owned(),
            from,
            checkpoint,
            proof: proof.iter().map(hex::encode).collect(),
        }
    }

    /// Checks that an older checkpoint is the beginning of this one, both signed by one of these keys; returns the newer one.
    pub fn verify(&self, older: &Checkpoint, keys: &[PublicKey]) -> Result<Checkpoint, ProofError> {
        require(&self.format, Self::FORMAT)?;
        let newer = Checkpoint::verified(&self.checkpoint, keys)?;
        if older.size != self.from {
            return Err(ProofError::OtherSize(self.from, older.size));
        }
        if older.origin != newer.origin {
            return Err(ProofError::OtherLog(older.origin.clone(), newer.origin));
        }
        let proof = hashes(&self.proof)?;
        if merkle::is_consistent((older.size, &older.root), (newer.size, &newer.root), &proof) {
            Ok(newer)
        } else {
            Err(ProofError::Rewritten(older.size, newer.size))
        }
    }
}
