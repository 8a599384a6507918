//! Run counts of plugin versions: counted in memory during claims, added to the database every few seconds.

use std::collections::BTreeMap;

use parking_lot::Mutex;

use super::service::{PluginError, PluginService};
use super::store;
use crate::clock::Timestamp;
use crate::sandbox::Digest;

/// The runs of one version since the last write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Totals {
    pub runs: i64,
    pub failures: i64,
    pub last_run_at: Timestamp,
}

/// Sorted by digest, so that processes which write at the same time lock rows in the same order and cannot deadlock.
#[derive(Debug, Default)]
pub(super) struct PendingUsage(Mutex<BTreeMap<Digest, Totals>>);

impl PendingUsage {
    pub(super) fn add(&self, digest: Digest, more: Totals) {
        let mut all = self.0.lock();
        all.entry(digest)
            .and_modify(|totals| {
                totals.runs += more.runs;
                totals.failures += more.failures;
                totals.last_run_at = totals.last_run_at.max(more.last_run_at);
            })
            .or_insert(more);
    }

    fn take(&self) -> BTreeMap<Digest, Totals> {
        std::mem::take(&mut *self.0.lock())
    }
}

impl PluginService {
    /// Writes the counts since the last call, and returns the number of versions written. Counts that could not be
    /// written are kept for the next call.
    pub async fn write_usage(&self) -> Result<usize, PluginError> {
        let mut pending = self.pending_usage.take().into_iter();
        let mut written = 0;
        while let Some((digest, totals)) = pending.next() {
            match self.add_usage(digest, totals).await {
                Ok(()) => written += 1,
                // The version was deleted meanwhile.
                Err(PluginError::Db(error)) if error.is_foreign_key_violation() => {}
                Err(error) => {
                    self.pending_usage.add(digest, totals);
                    pending.for_each(|(digest, totals)| self.pending_usage.add(digest, totals));
                    return Err(error);
                }
            }
        }
        Ok(written)
    }

    async fn add_usage(&self, digest: Digest, totals: Totals) -> Result<(), PluginError> {
        let mut tx = self.db.begin().await?;
        store::usage::add(&mut tx, digest, totals).await?;
        Ok(tx.commit().await?)
    }
}
