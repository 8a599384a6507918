//! Releases in the transparency log: a leaf for each of their entries, which never change.
//!
//! An entry has the digest of the whole row of the release as the action left it, so an edit of a release contradicts its
//! last entry. Must not know: what the actions mean.

use std::collections::HashMap;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use serde_json::json;
use uuid::Uuid;

use super::store::logged::{self, LoggedEntryRow, StoredRow};
use crate::canonical;
use crate::db::{Db, Result};
use crate::sandbox::Digest;
use crate::transparency::{Kind, Record, Source};

/// The name under which entries are queued.
pub(super) const QUEUED: &str = "release";
const KIND: Kind = Kind::new("release-entry");

/// The entries of releases.
#[derive(Clone, Debug)]
pub struct LoggedReleases(pub Db);

/// The digest of everything in a release but the time of the server's next look at it.
pub(super) fn digest(row: &StoredRow) -> Digest {
    let content = json!({
        "id": row.id, "eventId": row.event_id, "revision": row.revision, "state": row.state, "title": row.title,
        "content": row.content.0, "eventRevision": row.event_revision, "pluginDigest": row.plugin_digest,
        "plan": row.plan.0, "backtestId": row.backtest_id, "reportDigest": row.report_digest, "waiver": row.waiver,
        "waivedBy": row.waived_by, "authors": row.authors.0, "createdBy": row.created_by, "createdAt": row.created_at,
        "updatedAt": row.updated_at, "approvedHash": row.approved_hash, "approvedBy": row.approved_by,
        "approvedAt": row.approved_at, "step": row.step, "stepAt": row.step_at, "trialRevision": row.trial_revision,
        "previousRevision": row.previous_revision, "reason": row.reason, "entries": row.entries,
    });
    // Rows are plain data, so this cannot fail; a digest of nothing differs from that of any row.
    Digest::of(canonical::to_string(&content).unwrap_or_default().as_bytes())
}

fn record(row: &LoggedEntryRow, release: Option<&StoredRow>) -> Record {
    let content = json!({
        "releaseId": row.release_id, "number": row.number, "action": row.action, "madeBy": row.made_by,
        "madeAt": row.made_at, "text": row.text, "hash": row.hash, "releaseDigest": row.release_digest,
    });
    let fault = match release {
        None => Some(format!("its release {} is gone", row.release_id)),
        // The entry after it says what the release was later.
        Some(_) if row.is_followed => None,
        Some(release) if digest(release) == row.release_digest => None,
        Some(release) => Some(format!(
            "the release {} is not as its last entry left it: it was changed, or later entries were deleted",
            release.id
        )),
    };
    Record {
        faults: fault.into_iter().collect(),
        ..Record::of(KIND.name, row.id, &content)
    }
}

impl Source for LoggedReleases {
    fn names(&self) -> &'static [&'static str] {
        &[QUEUED]
    }

    fn kinds(&self) -> &'static [Kind] {
        &[KIND]
    }

    fn read<'a>(&'a self, ids: &'a [Uuid]) -> BoxFuture<'a, Result<Vec<Record>>> {
        async move {
            let entries = logged::entries(&self.0, ids).await?;
            let mut of: Vec<Uuid> = entries.iter().map(|entry| entry.release_id).collect();
            of.sort_unstable();
            of.dedup();
            let releases = logged::releases(&self.0, &of).await?;
            let releases: HashMap<Uuid, StoredRow> = releases.into_iter().map(|row| (row.id, row)).collect();
            let records = entries
                .iter()
                .map(|entry| record(entry, releases.get(&entry.release_id)));
            Ok(records.collect())
        }
        .boxed()
    }

    fn ids(&self, after: Uuid, limit: i64) -> BoxFuture<'_, Result<Vec<Uuid>>> {
        async move { logged::entry_ids(&self.0, after, limit).await }.boxed()
    }
}
