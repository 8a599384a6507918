//! Compares the whole database with the log: finds rows that were edited, deleted, exchanged or added by hand, a cut tail, and
//! a history that was rewritten against an older checkpoint. Servers may run meanwhile. It only reads, in pages.

mod report;
mod rows;
mod tree;

use uuid::Uuid;

use super::checkpoint::Checkpoint;
use super::removals;
use super::source::{Kind, Sources};
use super::store;
use crate::db::{Db, Result};
use crate::keys::PublicKey;

pub use report::{Report, Retention};

/// Rows that one statement reads.
const PAGE: i64 = 500;

/// Cheap to clone.
#[derive(Clone)]
pub struct Verifier {
    db: Db,
    sources: Sources,
    /// Of the operator, also those of keys that were retired.
    keys: Vec<PublicKey>,
}

impl Verifier {
    pub fn new(db: Db, sources: Sources, keys: Vec<PublicKey>) -> Self {
        Self { db, sources, keys }
    }

    /// `older`: a checkpoint that was kept elsewhere, whose signature the caller has verified.
    pub async fn verify(&self, older: Option<&Checkpoint>) -> Result<Report> {
        let mut report = Report::default();
        self.read_retention(&mut report).await?;
        self.check_tree(older, &mut report).await?;
        self.check_unlogged(&mut report).await?;
        Ok(report)
    }

    /// Which rows retention may have deleted. Only what it recorded under a leaf counts, or what waits for its leaf.
    async fn read_retention(&self, report: &mut Report) -> Result<()> {
        let (retention, queued) = (removals::KIND.name, removals::QUEUED);
        let mut after = Uuid::nil();
        loop {
            let ids = store::removal_ids(&self.db, after, PAGE).await?;
            let Some(last) = ids.last() else { return Ok(()) };
            after = *last;
            let rows = store::removals(&self.db, &ids).await?;
            let leaves = store::of_kind(&self.db, retention, &ids).await?;
            let waiting = store::queued_of(&self.db, queued, &ids).await?;
            for row in rows {
                let content = removals::record(&row).content;
                let leaf = leaves.iter().find(|leaf| leaf.id == row.id);
                let is_logged = leaf.is_some_and(|leaf| leaf.content == content.as_bytes());
                if is_logged || (leaf.is_none() && waiting.contains(&row.id)) {
                    report.allow(row.kind, row.lower_than, row.removed_at);
                }
            }
        }
    }

    fn kind(&self, name: &str) -> Option<&Kind> {
        let kinds = self.sources.iter().flat_map(|source| source.kinds());
        kinds.into_iter().find(|kind| kind.name == name)
    }
}
