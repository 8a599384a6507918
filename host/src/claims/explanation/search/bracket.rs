//! A change of a fact, and the narrowing of its distance to the smallest that suffices.

use crate::claims::explanation::runs::Runs;
use crate::claims::explanation::ways::{Part, Steps};
use crate::contract::{Decision, Fact};

/// One or two changed facts with which the condition decides otherwise.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub changes: Vec<Change>,
    /// One step less of each change was run and does not suffice, or the change has no steps.
    pub is_minimal: bool,
    pub decision: Decision,
}

/// A fact as it would have to be.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Change {
    pub index: usize,
    pub part: Option<Part>,
    pub to: Fact,
}

/// A distance that changes the outcome, and a smaller one that does not.
pub(super) struct Bracket<'a> {
    pub steps: &'a Steps,
    /// What the other facts are.
    pub facts: Vec<Fact>,
    pub low: u64,
    pub high: u64,
}

impl Bracket<'_> {
    fn at(&self, distance: u64) -> Vec<Fact> {
        with(&self.facts, self.steps.index, self.steps.at(distance))
    }

    /// Until one step lies between the ends, or a bound is reached.
    pub(super) async fn narrow(&mut self, runs: &mut Runs<'_>) -> Option<()> {
        for &hint in &self.steps.hints {
            // A rule may ask for a number, or for more than it.
            for distance in [hint, hint.saturating_add(1)] {
                if self.low < distance && distance < self.high {
                    self.put(distance, runs).await?;
                }
            }
        }
        // A hint is often exactly the threshold.
        if self.high - self.low > 1 {
            self.put(self.high - 1, runs).await?;
        }
        while self.high - self.low > 1 {
            self.put(self.low + (self.high - self.low) / 2, runs).await?;
        }
        Some(())
    }

    async fn put(&mut self, distance: u64, runs: &mut Runs<'_>) -> Option<()> {
        if runs.flips(&self.at(distance)).await? {
            self.high = distance;
        } else {
            self.low = distance;
        }
        Some(())
    }

    pub(super) fn change(&self) -> Change {
        Change {
            index: self.steps.index,
            part: Some(self.steps.part),
            to: self.steps.at(self.high),
        }
    }

    pub(super) fn found(&self, runs: &Runs<'_>) -> Option<Found> {
        let decision = runs.flipped(&self.at(self.high))?.clone();
        Some(Found {
            changes: vec![self.change()],
            is_minimal: self.high - self.low <= 1,
            decision,
        })
    }
}

pub(super) fn with(facts: &[Fact], index: usize, to: Fact) -> Vec<Fact> {
    let mut facts = facts.to_vec();
    facts[index] = to;
    facts
}
