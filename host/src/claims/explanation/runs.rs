//! Runs a condition on other facts, within bounds on the number of runs, their fuel and their time.
//!
//! A run that fails is no answer: it neither flips the outcome nor ends the search, unless the sandbox is busy. Must not
//! know: which facts are tried, and why.

use std::pin::Pin;
use std::time::Duration;

use serde::Serialize;
use utoipa::ToSchema;

use crate::contract::{Decision, Fact, Outcome};
use crate::sandbox::{Call, Failure};

/// The most runs of the condition for one explanation.
pub(super) const MAX_RUNS: usize = 64;
/// The fuel of all runs together, in limits of one run.
const FUEL_OF_RUNS: u64 = 16;
/// The time of all runs together.
const TIME: Duration = Duration::from_secs(2);

/// Which bound ended a search.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "UPPERCASE")]
#[schema(as = ExplanationBound)]
pub enum Bound {
    /// The number of runs
    Runs,
    /// The fuel of all runs
    Fuel,
    /// The time of all runs
    Time,
    /// No sandbox slot became free
    Busy,
}

pub(super) type Running<'a> = Pin<Box<dyn Future<Output = Call<Decision>> + Send + 'a>>;
/// Runs the condition on these facts, with everything else as it was.
pub(super) type Run<'a> = Box<dyn Fn(Vec<Fact>) -> Running<'a> + Send + Sync + 'a>;

/// The runs of one search.
pub(super) struct Runs<'a> {
    run: Run<'a>,
    base: Outcome,
    fuel_limit: u64,
    done: Vec<(Vec<Fact>, Option<Decision>)>,
    fuel: u64,
    time: Duration,
    pub stopped_by: Option<Bound>,
}

impl<'a> Runs<'a> {
    /// `base` is the decision on the facts as they are; `fuel_limit` is that of one run.
    pub(super) fn new(run: Run<'a>, base: Outcome, fuel_limit: u64) -> Self {
        Self {
            run,
            base,
            fuel_limit,
            done: Vec::new(),
            fuel: 0,
            time: Duration::ZERO,
            stopped_by: None,
        }
    }

    pub(super) fn count(&self) -> usize {
        self.done.len()
    }

    pub(super) fn fuel(&self) -> u64 {
        self.fuel
    }

    /// The outcome on the facts as they are.
    pub(super) fn base(&self) -> Outcome {
        self.base
    }

    /// Whether the condition has another outcome on these facts. `None`: a bound is reached.
    pub(super) async fn flips(&mut self, facts: &[Fact]) -> Option<bool> {
        if self.known(facts).is_none() {
            self.decide(facts).await?;
        }
        Some(self.flipped(facts).is_some())
    }

    /// The decision of an earlier run on these facts, if it has another outcome.
    pub(super) fn flipped(&self, facts: &[Fact]) -> Option<&Decision> {
        let decision = self.known(facts)?.as_ref()?;
        (decision.outcome != self.base).then_some(decision)
    }

    fn known(&self, facts: &[Fact]) -> Option<&Option<Decision>> {
        let mut done = self.done.iter();
        done.find_map(|(ran, decision)| (ran == facts).then_some(decision))
    }

    /// Runs it. `None`: a bound is reached.
    pub(super) async fn decide(&mut self, facts: &[Fact]) -> Option<Option<&Decision>> {
        self.stopped_by = self.stopped_by.or_else(|| self.exhausted());
        if self.stopped_by.is_some() {
            return None;
        }
        let call = (self.run)(facts.to_vec()).await;
        // Short runs do not yield by themselves.
        tokio::task::yield_now().await;
        self.fuel = self.fuel.saturating_add(call.fuel);
        self.time += call.elapsed;
        if matches!(call.outcome, Err(Failure::Overloaded)) {
            self.stopped_by = Some(Bound::Busy);
            return None;
        }
        self.done.push((facts.to_vec(), call.outcome.ok()));
        self.done.last().map(|(_, decision)| decision.as_ref())
    }

    /// The bound that another run would exceed.
    fn exhausted(&self) -> Option<Bound> {
        if self.done.len() >= MAX_RUNS {
            Some(Bound::Runs)
        } else if self.fuel >= self.fuel_limit.saturating_mul(FUEL_OF_RUNS) {
            Some(Bound::Fuel)
        } else if self.time >= TIME {
            Some(Bound::Time)
        } else {
            None
        }
    }
}
