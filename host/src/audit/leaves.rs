//! The names of entries in the transparency log.

use crate::transparency::Kind;

/// The name under which entries are queued.
pub(super) const QUEUED: &str = "audit";
pub(super) const KIND: Kind = Kind::new("audit-entry");
