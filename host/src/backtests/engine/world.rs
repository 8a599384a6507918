//! What all owners together left of stock and budget, at each instant of a round.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::clock::Timestamp;
use crate::facts::BudgetUsage;

/// The place of a decision in the order of all: earlier claims come first, and those of one millisecond in the order of
/// their users.
pub(super) type Place = (Timestamp, Uuid);

/// A limit from this place on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step<T> {
    /// Decisions after this place see it.
    pub after: Place,
    pub value: T,
}

/// Only steps that a decision can tell apart are kept. The default has no limits, which is what the first round sees.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct World {
    pub stock: BTreeMap<Uuid, Vec<Step<i64>>>,
    /// The used grants and amount, by the period of the budget.
    pub budget: BTreeMap<String, Vec<Step<(i64, i64)>>>,
}

impl World {
    /// The stock that a decision at this place sees.
    pub fn stock_at(&self, place: Place) -> BTreeMap<Uuid, i64> {
        let rewards = self.stock.iter();
        rewards
            .filter_map(|(reward, steps)| Some((*reward, *at(steps, place)?)))
            .collect()
    }

    /// The use of the budget that a decision at this place sees.
    pub fn budget_at(&self, period: &str, place: Place) -> BudgetUsage {
        let used = self.budget.get(period).and_then(|steps| at(steps, place));
        let (grants, amount) = used.copied().unwrap_or_default();
        BudgetUsage { grants, amount }
    }
}

/// The newest step before a place.
fn at<T>(steps: &[Step<T>], place: Place) -> Option<&T> {
    let next = steps.partition_point(|step| step.after < place);
    steps[..next].last().map(|step| &step.value)
}
