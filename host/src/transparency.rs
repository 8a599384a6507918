//! The transparency log: an append-only Merkle tree over digests of decisions, reversals, releases, reports, erasures,
//! retention and audit entries, with signed checkpoints. With it, an edit, a deletion or a rewritten history is found later.
//!
//! A feature calls [`enqueue`] in the transaction that makes a row, and implements [`Source`], which reads the digest of the
//! row. One process at a time appends what is queued (`sequencer`), so the order of commits does not matter: a row that
//! commits late is queued late. `log` reads proofs, `verify` compares the whole database with the log, and `proof` verifies
//! what an outsider has. The log holds digests and ids only. An erasure removes the content of rows and is itself a leaf.
//!
//! Must not know: any feature, HTTP.

mod checkpoint;
mod leaf;
mod log;
mod proof;
mod removals;
mod sequencer;
mod source;
mod store;
mod tiles;
mod verify;

pub use checkpoint::{Checkpoint, NoteError};
pub use leaf::Leaf;
pub use log::{Log, LogError, StoredCheckpoint};
pub use proof::{ConsistencyProof, InclusionProof, ProofError};
pub use removals::{Removals, removed};
pub use sequencer::{Appending, Sequencer, origin};
pub use source::{ERASURE, Kind, Record, Source, Sources};
pub use store::{enqueue, enqueue_all};
pub use verify::{Report, Retention, Verifier};
