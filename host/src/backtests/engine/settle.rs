//! The merge of a round: the grants of all owners in the order of time take from stock and budget, and what is left becomes
//! the world of the next round.
//!
//! A round ends the backtest when it makes the world that it was given: then every decision saw what the earlier ones left.
//! To get there in few rounds, a grant that finds nothing left is tried again where the budget renews.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::tally::{GrantRow, Tally};
use super::world::{Place, Step, World};
use crate::backtests::terms::Terms;
use crate::claims::worth;
use crate::clock::Timestamp;
use crate::facts::Zone;

/// Something that ran out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Exhausted {
    pub at: Timestamp,
    /// The reward whose stock ran out; left out for the budget.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reward_id: Option<Uuid>,
    /// The period of the budget; left out for a stock.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub budget_period: Option<String>,
}

/// The result of a merge.
#[derive(Clone, Debug, Default)]
pub struct Settled {
    pub world: World,
    pub exhausted: Vec<Exhausted>,
    /// Grants that found nothing left: in the last round there are none.
    pub refused: u64,
}

/// One limit while grants take from it.
struct Left<T> {
    left: T,
    steps: Vec<Step<T>>,
}

/// Merges the grants of one side.
pub fn settle(terms: &Terms, tally: &Tally, side: usize) -> Settled {
    let Ok(zone) = terms.time_zone.parse::<Zone>() else {
        return Settled::default();
    };
    let mut merge = Merge::new(terms, tally, &zone);
    let grants = tally.sides[side].grants.iter();
    let mut waiting: BinaryHeap<Reverse<(Place, &GrantRow)>> =
        grants.map(|grant| Reverse(((grant.0, grant.1), grant))).collect();
    while let Some(Reverse((place, grant))) = waiting.pop() {
        if merge.take(place, grant) {
            continue;
        }
        merge.settled.refused += u64::from(place.0 == grant.0);
        let renews = terms
            .budget
            .and_then(|budget| budget.renews_at(place.0, &zone, terms.ends));
        if let Some(at) = renews.filter(|at| *at < terms.to) {
            waiting.push(Reverse(((at, grant.1), grant)));
        }
    }
    merge.finish()
}

struct Merge<'a> {
    terms: &'a Terms,
    zone: &'a Zone,
    stock: BTreeMap<Uuid, Left<i64>>,
    /// What is used.
    budget: BTreeMap<String, Left<(i64, i64)>>,
    used_before: &'a BTreeMap<String, (i64, i64)>,
    /// The value of all rewards of one claim: a decision cannot tell more budget apart.
    most: i64,
    settled: Settled,
}

impl<'a> Merge<'a> {
    fn new(terms: &'a Terms, tally: &'a Tally, zone: &'a Zone) -> Self {
        let first = (Timestamp::MIN, Uuid::nil());
        let limited = terms
            .rewards
            .iter()
            .filter_map(|reward| Some((reward.id, reward.remaining?)));
        let stock = limited.map(|(id, remaining)| {
            let left = remaining + tally.taken.get(&id).copied().unwrap_or(0);
            let step = Step {
                after: first,
                value: left.min(i64::from(terms.max_quantity)),
            };
            let steps = vec![step];
            (id, Left { left, steps })
        });
        let most = terms
            .rewards
            .iter()
            .map(|reward| worth(reward.value, terms.max_quantity));
        Self {
            terms,
            zone,
            stock: stock.collect(),
            budget: BTreeMap::new(),
            used_before: &tally.used_before,
            most: most.fold(0, i64::saturating_add),
            settled: Settled::default(),
        }
    }

    /// `false`: there is not enough left.
    fn take(&mut self, place: Place, (_, _, awards, value): &GrantRow) -> bool {
        let fits = |(id, quantity): &(Uuid, u32)| {
            self.stock
                .get(id)
                .is_none_or(|stock| stock.left >= i64::from(*quantity))
        };
        if !awards.iter().all(fits) {
            return false;
        }
        if let Some(budget) = self.terms.budget {
            let period = budget.period.key(place.0, self.zone);
            let before = self.used_before.get(&period).copied().unwrap_or_default();
            let used = self.budget.entry(period.clone()).or_insert_with(|| Left {
                left: before,
                steps: vec![Step {
                    after: (Timestamp::MIN, Uuid::nil()),
                    value: before,
                }],
            });
            // Reversals and lowered limits can leave more used than the limit.
            let amount = if budget.amount.is_some() { *value } else { 0 };
            let (grants, total) = (used.left.0 + 1, used.left.1.saturating_add(amount));
            if budget.grants.is_some_and(|max| grants > max) || budget.amount.is_some_and(|max| total > max) {
                return false;
            }
            used.left = (grants, total);
            let is_last = budget.grants == Some(grants);
            let is_near = budget.amount.is_some_and(|max| max - total < self.most);
            if is_last || is_near {
                used.steps.push(Step {
                    after: place,
                    value: used.left,
                });
            }
            let no_reward_fits = budget.amount.is_some_and(|max| {
                let mut rewards = self.terms.rewards.iter();
                rewards.all(|reward| reward.value.unwrap_or(0) > max - total)
            });
            let exhausted = &mut self.settled.exhausted;
            if (is_last || no_reward_fits)
                && exhausted
                    .iter()
                    .all(|known| known.budget_period.as_ref() != Some(&period))
            {
                exhausted.push(Exhausted {
                    at: place.0,
                    reward_id: None,
                    budget_period: Some(period),
                });
            }
        }
        for (id, quantity) in awards {
            let Some(stock) = self.stock.get_mut(id) else { continue };
            stock.left -= i64::from(*quantity);
            let seen = stock.left.min(i64::from(self.terms.max_quantity));
            if stock.steps.last().is_none_or(|step| step.value != seen) {
                stock.steps.push(Step {
                    after: place,
                    value: seen,
                });
            }
            if stock.left == 0 {
                self.settled.exhausted.push(Exhausted {
                    at: place.0,
                    reward_id: Some(*id),
                    budget_period: None,
                });
            }
        }
        true
    }

    fn finish(self) -> Settled {
        let mut settled = self.settled;
        settled.world = World {
            stock: self.stock.into_iter().map(|(id, left)| (id, left.steps)).collect(),
            budget: self
                .budget
                .into_iter()
                .map(|(period, left)| (period, left.steps))
                .collect(),
        };
        settled
    }
}
