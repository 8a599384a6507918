//! What a feature implements so that its rows are in the log. Must not know: any feature.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use serde::Serialize;
use uuid::Uuid;

use crate::canonical;
use crate::db::Result;
use crate::sandbox::Digest;

/// The kind of the leaves of erasures, and the name under which they are queued: rows without their content name one.
pub const ERASURE: &str = "erasure";

/// A kind of leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kind {
    pub name: &'static str,
    /// The kinds of later leaves about the same row, after which this leaf does not describe the row any more.
    pub replaced_by: &'static [&'static str],
}

impl Kind {
    pub const fn new(name: &'static str) -> Self {
        Self { name, replaced_by: &[] }
    }
}

/// A row as it is now.
#[derive(Clone, Debug)]
pub struct Record {
    pub id: Uuid,
    /// The kind of its leaf.
    pub kind: &'static str,
    /// The digest of its signed document, which an outsider has.
    pub document: Option<Digest>,
    /// The digest of everything in it that never changes, and that an erasure leaves.
    pub content: Digest,
    /// The user by whose erasure the content went; `None`: it is there.
    pub erased_with: Option<Uuid>,
    /// In what it contradicts itself, for a person.
    pub faults: Vec<String>,
}

impl Record {
    /// A row without a signed document. `content` has object form.
    pub fn of(kind: &'static str, id: Uuid, content: &impl Serialize) -> Self {
        Self {
            id,
            kind,
            document: None,
            content: digest(content),
            erased_with: None,
            faults: Vec::new(),
        }
    }
}

/// The digest of canonical JSON (RFC 8785).
fn digest(content: &impl Serialize) -> Digest {
    // Rows are plain data, so this cannot fail; a digest of nothing differs from that of any row.
    Digest::of(canonical::to_string(content).unwrap_or_default().as_bytes())
}

/// Rows of one table.
pub trait Source: Send + Sync {
    /// The names under which rows are queued. A row is queued once under each name.
    fn names(&self) -> &'static [&'static str];

    /// The kinds of their leaves.
    fn kinds(&self) -> &'static [Kind];

    /// The rows with these ids that exist.
    fn read<'a>(&'a self, ids: &'a [Uuid]) -> BoxFuture<'a, Result<Vec<Record>>>;

    /// The ids of rows that must have a leaf, after this one, in their order.
    fn ids(&self, after: Uuid, limit: i64) -> BoxFuture<'_, Result<Vec<Uuid>>>;
}

/// All of them; `app` passes them in.
pub type Sources = Arc<[Arc<dyn Source>]>;
