//! Compares rows with their leaves, in both directions.

use std::collections::{HashMap, HashSet};

use uuid::Uuid;

use super::{PAGE, Report, Verifier};
use crate::db::Result;
use crate::transparency::source::{ERASURE, Record, Source};
use crate::transparency::store::{self, LeafRow};

/// Findings that are confirmed by a second read. More of them are no coincidence.
const MOST_READ_AGAIN: u64 = 100;

impl Verifier {
    /// Checks that the rows of these leaves are as they were.
    pub(super) async fn check_rows(&self, page: &[LeafRow], report: &mut Report) -> Result<()> {
        for source in self.sources.iter() {
            let is_of = |row: &&LeafRow| source.kinds().iter().any(|kind| kind.name == row.kind);
            let leaves: Vec<&LeafRow> = page.iter().filter(is_of).collect();
            if leaves.is_empty() {
                continue;
            }
            let ids: Vec<Uuid> = leaves.iter().map(|row| row.id).collect();
            let records = source.read(&ids).await?;
            let erased = self.erased(&records).await?;
            let records: HashMap<Uuid, Record> = records.into_iter().map(|record| (record.id, record)).collect();
            for leaf in leaves {
                let before = report.counts();
                self.check_leaf(&**source, leaf, records.get(&leaf.id), &erased, report)
                    .await?;
                if report.findings_total > before.findings_total && before.findings_total < MOST_READ_AGAIN {
                    // A server may have reversed, reviewed, erased or deleted the row between two reads.
                    report.go_back(before);
                    self.read_retention(report).await?;
                    let records = source.read(&[leaf.id]).await?;
                    let erased = self.erased(&records).await?;
                    self.check_leaf(&**source, leaf, records.first(), &erased, report)
                        .await?;
                }
            }
        }
        for row in page.iter().filter(|row| self.kind(&row.kind).is_none()) {
            report.find(format!(
                "leaf {}: this release does not know the kind {:?}",
                row.position, row.kind
            ));
        }
        Ok(())
    }

    /// Those of the users whose erasures these rows name that were erased.
    async fn erased(&self, records: &[Record]) -> Result<HashSet<Uuid>> {
        let users: HashSet<Uuid> = records.iter().filter_map(|record| record.erased_with).collect();
        let users: Vec<Uuid> = users.into_iter().collect();
        self.logged(&[ERASURE], &[ERASURE], &users).await
    }

    async fn check_leaf(
        &self,
        source: &dyn Source,
        leaf: &LeafRow,
        record: Option<&Record>,
        erased: &HashSet<Uuid>,
        report: &mut Report,
    ) -> Result<()> {
        match record {
            Some(record) => self.check_row(source, leaf, record, erased, report).await,
            None => self.check_missing(leaf, report).await,
        }
    }

    async fn check_row(
        &self,
        source: &dyn Source,
        leaf: &LeafRow,
        record: &Record,
        erased: &HashSet<Uuid>,
        report: &mut Report,
    ) -> Result<()> {
        let what = format!("{} {}", leaf.kind, leaf.id);
        if record.kind != leaf.kind {
            let may_follow = self
                .kind(&leaf.kind)
                .is_some_and(|kind| kind.replaced_by.contains(&record.kind));
            // The later leaf, or its place in the queue, is checked instead.
            let follows = may_follow
                && !self
                    .logged(&[record.kind], source.names(), &[leaf.id])
                    .await?
                    .is_empty();
            if !follows {
                report.find(format!("{what}: the row was changed, it is {} now", record.kind));
            }
            return Ok(());
        }
        let mut is_intact = true;
        let document = record.document.map(|digest| digest.as_bytes().to_vec());
        if document != leaf.document || record.content.as_bytes().as_slice() != leaf.content {
            is_intact = false;
            report.find(format!("{what}: the row was changed"));
        }
        for fault in &record.faults {
            is_intact = false;
            report.find(format!("{what}: {fault}"));
        }
        if let Some(user) = record.erased_with {
            if erased.contains(&user) {
                report.erased += 1;
            } else {
                is_intact = false;
                report.find(format!(
                    "{what}: the content is gone, and the log has no erasure of the user {user}"
                ));
            }
        }
        report.intact += u64::from(is_intact);
        Ok(())
    }

    async fn check_missing(&self, leaf: &LeafRow, report: &mut Report) -> Result<()> {
        let mut is_explained = report.may_be_gone(&leaf.kind, leaf.id);
        for later in self.kind(&leaf.kind).map_or(&[][..], |kind| kind.replaced_by) {
            // The later leaf says what the row was at last, and is checked itself.
            is_explained |= !store::known(&self.db, &self.db, later, &[leaf.id]).await?.is_empty();
        }
        if is_explained {
            report.removed += 1;
        } else {
            let Report { retention, .. } = report;
            let until = match retention.get(&leaf.kind) {
                Some(_) => ", and retention has not reached it",
                None => "",
            };
            report.find(format!("{} {}: the row was deleted{until}", leaf.kind, leaf.id));
        }
        Ok(())
    }

    /// Checks that every row has a leaf or waits for one.
    pub(super) async fn check_unlogged(&self, report: &mut Report) -> Result<()> {
        for source in self.sources.iter() {
            let kinds: Vec<&'static str> = source.kinds().iter().map(|kind| kind.name).collect();
            let mut after = Uuid::nil();
            loop {
                let ids = source.ids(after, PAGE).await?;
                let Some(last) = ids.last() else { break };
                after = *last;
                let known = self.known(&kinds, &ids).await?;
                let rest: Vec<Uuid> = ids.into_iter().filter(|id| !known.contains(id)).collect();
                let waiting = self.waiting(source.names(), &rest).await?;
                report.waiting += waiting.len() as u64;
                let rest: Vec<Uuid> = rest.into_iter().filter(|id| !waiting.contains(id)).collect();
                // Meanwhile a server may have appended what waited.
                let known = self.known(&kinds, &rest).await?;
                for id in rest.into_iter().filter(|id| !known.contains(id)) {
                    report.find(format!(
                        "{} {id}: the row has no leaf and is not queued; it was added by hand, or its leaf was cut off",
                        source.names().first().unwrap_or(&"row")
                    ));
                }
            }
        }
        Ok(())
    }

    /// Those of these rows that have a leaf of one of these kinds, or are queued under one of these names.
    async fn logged(
        &self,
        kinds: &[&'static str],
        names: &'static [&'static str],
        ids: &[Uuid],
    ) -> Result<HashSet<Uuid>> {
        let mut found = self.waiting(names, ids).await?;
        found.extend(self.known(kinds, ids).await?);
        Ok(found)
    }

    async fn known(&self, kinds: &[&'static str], ids: &[Uuid]) -> Result<HashSet<Uuid>> {
        let mut found = HashSet::new();
        for kind in kinds {
            found.extend(store::known(&self.db, &self.db, kind, ids).await?);
        }
        Ok(found)
    }

    async fn waiting(&self, names: &'static [&'static str], ids: &[Uuid]) -> Result<HashSet<Uuid>> {
        let mut found = HashSet::new();
        for name in names {
            found.extend(store::queued_of(&self.db, name, ids).await?);
        }
        Ok(found)
    }
}
