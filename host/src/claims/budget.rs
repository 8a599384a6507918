//! What an event's budget has left for a claim, and what a granted claim takes from it. Changes nothing.

use super::model::{Grant, Reason};
use crate::clock::Timestamp;
use crate::contract::{Award, RewardInfo};
use crate::events::Offer;
use crate::facts::Snapshot;

/// The code of the reasons that are given here.
pub(super) const SPENT: &str = "budget-spent";

/// What the budget holds in the period of a claim; `None` where it bounds nothing. Below zero when it was lowered.
#[derive(Clone, Copy, Debug)]
pub(super) struct BudgetLeft {
    grants: Option<i64>,
    amount: Option<i64>,
    pub renews_at: Option<Timestamp>,
}

impl BudgetLeft {
    /// `None` when the event has no budget.
    pub(super) fn of(offer: &Offer, snapshot: &Snapshot, now: Timestamp) -> Option<Self> {
        let budget = offer.event.budget?;
        let used = snapshot.budget_usage.unwrap_or_default();
        Some(Self {
            grants: budget.grants.map(|most| most - used.grants),
            amount: budget.amount.map(|most| most - used.amount),
            renews_at: budget.renews_at(now, &offer.zone, offer.event.end_date),
        })
    }

    /// Why nobody can be granted anything, whatever the condition says.
    pub(super) fn refusal(&self, offer: &Offer) -> Option<Reason> {
        let too_little = |left: i64| offer.rewards.iter().all(|reward| reward.value.unwrap_or(0) > left);
        let is_spent = self.grants.is_some_and(|left| left < 1) || self.amount.is_some_and(too_little);
        is_spent.then(|| Reason::host(SPENT, "The event's budget is spent."))
    }

    /// The amount that is left, as far as it bears on one claim: no more is told, for a budget is the operator's affair.
    pub(super) fn amount_for(&self, rewards: &[RewardInfo]) -> Option<i64> {
        let most = rewards
            .iter()
            .map(|reward| worth(reward.value, reward.max_quantity))
            .fold(0, i64::saturating_add);
        self.amount.map(|left| left.min(most))
    }
}

/// Why these awards cannot be granted, if they are worth more than the amount that is left.
pub(super) fn shortfall(awards: &[Award], rewards: &[RewardInfo], left: Option<i64>) -> Option<Reason> {
    let value_of = |award: &Award| rewards.iter().find(|reward| reward.id == award.reward_id)?.value;
    let asked = awards
        .iter()
        .map(|award| worth(value_of(award), award.quantity))
        .fold(0, i64::saturating_add);
    let message = "You qualify, but the event's budget does not hold enough for your rewards.";
    left.filter(|left| asked > *left).map(|_| Reason::host(SPENT, message))
}

fn worth(value: Option<i64>, quantity: u32) -> i64 {
    value.unwrap_or(0).saturating_mul(i64::from(quantity))
}

/// What a granted claim takes: one grant, and the amount if the budget bounds it.
#[derive(Clone, Debug)]
pub(super) struct Spending {
    /// The budget's period that holds the instant of the claim.
    pub period: String,
    pub amount: i64,
    max_grants: Option<i64>,
    max_amount: Option<i64>,
}

impl Spending {
    /// `None` when the event has no budget.
    pub(super) fn of(offer: &Offer, grants: &[Grant], received_at: Timestamp) -> Option<Self> {
        let budget = offer.event.budget?;
        let worth = grants
            .iter()
            .map(|grant| worth(grant.reward.value, grant.quantity))
            .fold(0, i64::saturating_add);
        Some(Self {
            period: budget.period.key(received_at, &offer.zone),
            amount: budget.amount.map_or(0, |_| worth),
            max_grants: budget.grants,
            max_amount: budget.amount,
        })
    }

    /// Adds itself to what was used, if that fits.
    pub(super) fn add_to(&self, (grants, amount): &mut (i64, i64)) -> bool {
        let fits = self.max_grants.is_none_or(|most| *grants < most)
            && self
                .max_amount
                .is_none_or(|most| amount.saturating_add(self.amount) <= most);
        if fits {
            *grants += 1;
            *amount += self.amount;
        }
        fits
    }
}
