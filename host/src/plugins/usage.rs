//! How often versions ran: counted in memory while a claim waits, added to the database every few seconds.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use super::service::{PluginError, PluginService};
use super::store;
use crate::clock::Timestamp;
use crate::sandbox::Digest;

/// Runs of one version since they were last written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Totals {
    pub runs: i64,
    pub failures: i64,
    pub last_run_at: Timestamp,
}

/// In the order of the digests, so that two processes that write theirs never wait for each other in a circle.
#[derive(Debug, Default)]
pub(super) struct Unwritten(Mutex<BTreeMap<Digest, Totals>>);

impl Unwritten {
    pub(super) fn add(&self, digest: Digest, more: Totals) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.entry(digest)
            .and_modify(|totals| {
                totals.runs += more.runs;
                totals.failures += more.failures;
                totals.last_run_at = totals.last_run_at.max(more.last_run_at);
            })
            .or_insert(more);
    }

    fn take(&self) -> BTreeMap<Digest, Totals> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl PluginService {
    /// Writes what was counted since the last time; says for how many versions. What cannot be written now is kept.
    pub async fn write_usage(&self) -> Result<usize, PluginError> {
        let mut unwritten = self.unwritten.take().into_iter();
        let mut written = 0;
        while let Some((digest, totals)) = unwritten.next() {
            match self.add_usage(digest, totals).await {
                Ok(()) => written += 1,
                // The version was deleted, so nobody asks any more.
                Err(PluginError::Db(error)) if error.is_foreign_key_violation() => {}
                Err(error) => {
                    self.unwritten.add(digest, totals);
                    unwritten.for_each(|(digest, totals)| self.unwritten.add(digest, totals));
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
