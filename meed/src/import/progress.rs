//! The progress of an import on standard error: bad lines, and how far it is.

use std::io::{IsTerminal as _, Write as _};

/// Batches between two messages, if standard error is no terminal.
const QUIET_BATCHES: u64 = 100;

#[derive(Debug, Default)]
pub(super) struct Progress {
    lines: u64,
    /// The last line of what is written; the import continues with the next one.
    through: u64,
    bad: u64,
    batches: u64,
    /// In the order in which they were added first.
    counts: Vec<(&'static str, usize)>,
    /// The last line that was printed, if standard error is no terminal.
    printed: String,
}

impl Progress {
    pub(super) fn read(&mut self) {
        self.lines += 1;
    }

    /// The lines up to this one are dealt with.
    pub(super) fn through(&mut self, number: u64) {
        self.through = number;
    }

    pub(super) fn add(&mut self, what: &'static str, count: usize) {
        match self.counts.iter_mut().find(|(name, _)| *name == what) {
            Some((_, total)) => *total += count,
            None => self.counts.push((what, count)),
        }
    }

    pub(super) fn bad(&mut self, number: u64, reason: &str) {
        self.bad += 1;
        if std::io::stderr().is_terminal() {
            eprint!("\r");
        }
        eprintln!("line {number}: {reason}");
    }

    pub(super) fn has_bad(&self) -> bool {
        self.bad > 0
    }

    /// After a batch: on a terminal always, otherwise seldom.
    pub(super) fn show(&mut self) {
        self.batches += 1;
        let mut out = std::io::stderr();
        if out.is_terminal() {
            eprint!("\r{}", self.summary());
            out.flush().ok();
        } else if self.batches.is_multiple_of(QUIET_BATCHES) {
            self.print();
        }
    }

    pub(super) fn end(&mut self) {
        if std::io::stderr().is_terminal() {
            eprint!("\r");
        }
        self.print();
    }

    /// Nothing twice.
    fn print(&mut self) {
        let summary = self.summary();
        if summary != self.printed {
            eprintln!("{summary}");
            self.printed = summary;
        }
    }

    fn summary(&self) -> String {
        let counts = self.counts.iter().map(|(what, count)| format!("{count} {what}, "));
        let counts: String = counts.collect();
        format!("line {}: {} read, {counts}{} bad", self.through, self.lines, self.bad)
    }
}
