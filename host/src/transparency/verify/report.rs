//! What a verification found.

use std::collections::BTreeMap;

use uuid::Uuid;

use crate::clock::Timestamp;

/// Findings that are kept as text. Further ones are counted.
const MOST_FINDINGS: usize = 1_000;

/// What retention may have deleted of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Rows with lower ids may be gone.
    pub lower_than: Uuid,
    /// The last time that retention deleted.
    pub last_at: Timestamp,
    /// The least age of what it deleted, in days.
    pub youngest_days: i64,
}

/// The result of a verification.
#[derive(Clone, Debug, Default)]
pub struct Report {
    pub leaves: u64,
    /// Checkpoints whose signature and root are right.
    pub checkpoints: u64,
    /// The size of the largest of them.
    pub covered: u64,
    /// Rows that are as their leaves say.
    pub intact: u64,
    /// Those of them whose content an erasure removed.
    pub erased: u64,
    /// Leaves whose rows retention deleted.
    pub removed: u64,
    /// Rows that wait to be appended.
    pub waiting: u64,
    /// By the kind of leaves.
    pub retention: BTreeMap<String, Retention>,
    /// The first findings.
    pub findings: Vec<String>,
    pub findings_total: u64,
}

/// The counts of rows of a report.
#[derive(Clone, Copy, Debug)]
pub(super) struct Counts {
    intact: u64,
    erased: u64,
    removed: u64,
    pub findings_total: u64,
}

impl Report {
    pub fn is_good(&self) -> bool {
        self.findings_total == 0
    }

    pub(super) fn find(&mut self, finding: impl Into<String>) {
        self.findings_total += 1;
        if self.findings.len() < MOST_FINDINGS {
            self.findings.push(finding.into());
        }
    }

    /// The counts, to go back to them.
    pub(super) fn counts(&self) -> Counts {
        Counts {
            intact: self.intact,
            erased: self.erased,
            removed: self.removed,
            findings_total: self.findings_total,
        }
    }

    /// Forgets what was found since.
    pub(super) fn go_back(&mut self, counts: Counts) {
        let Counts {
            intact,
            erased,
            removed,
            findings_total,
        } = counts;
        (self.intact, self.erased, self.removed) = (intact, erased, removed);
        self.findings_total = findings_total;
        self.findings
            .truncate(usize::try_from(findings_total).unwrap_or(usize::MAX));
    }

    pub(super) fn allow(&mut self, kind: String, lower_than: Uuid, at: Timestamp) {
        let days = (at.as_millis() - Timestamp::of_id(lower_than).as_millis()).div_euclid(24 * 60 * 60 * 1000);
        let allowed = self.retention.entry(kind).or_insert(Retention {
            lower_than,
            last_at: at,
            youngest_days: days,
        });
        allowed.lower_than = allowed.lower_than.max(lower_than);
        allowed.last_at = allowed.last_at.max(at);
        allowed.youngest_days = allowed.youngest_days.min(days);
    }

    pub(super) fn may_be_gone(&self, kind: &str, id: Uuid) -> bool {
        self.retention.get(kind).is_some_and(|allowed| id < allowed.lower_than)
    }
}
