//! What an event can still give out: stock times value, within the budget. The number decides which events change only by a
//! release.
//!
//! It is an upper bound: what a budget has used in the current period counts as unused, and a period that begins counts as
//! whole. A reward without a value counts as 1 for each unit, because a user gets something. Must not know: HTTP.

use std::time::Duration;

use uuid::Uuid;

use super::error::RewardError;
use super::service::RewardService;
use super::store::RewardRow;
use super::store::liability::{self as store, OfferingRow, UnitRow};
use crate::clock::Timestamp;
use crate::config::{ReleaseRequired, Releases};
use crate::db::{DbError, Tx};
use crate::facts::Period;

/// The events of a reward that are looked at. A reward with more is protected without a look.
const MOST_EVENTS: usize = 32;

/// The limits of an event that bound what it gives.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    pub start_at: Timestamp,
    pub end_at: Timestamp,
    pub max_quantity: i64,
    /// Period, grants and amount.
    pub budget: Option<(Period, Option<i64>, Option<i64>)>,
}

/// What an event can still give out, in units of value; `None`: there is no limit.
pub type Liability = Option<i128>;

/// The liability as people read it.
pub fn in_words(liability: Liability) -> String {
    liability.map_or_else(|| "without a limit".to_owned(), |units| format!("up to {units}"))
}

impl Releases {
    /// Whether the setting protects an event with this liability.
    pub fn protects(self, liability: Liability) -> bool {
        match self.required {
            ReleaseRequired::Never => false,
            ReleaseRequired::AboveLiability => liability.is_none_or(|units| units > i128::from(self.liability)),
            ReleaseRequired::Always => true,
        }
    }

    pub fn is_off(self) -> bool {
        self.required == ReleaseRequired::Never
    }
}

/// `rewards` are those of one event: what is left of the stock (`None`: no limit), and the value.
fn of(rewards: &[UnitRow], bounds: Bounds, now: Timestamp) -> Liability {
    let value = |reward: &UnitRow| i128::from(reward.value.unwrap_or(1).max(1));
    let stock = rewards.iter().try_fold(0_i128, |sum, reward| {
        let left = reward.is_limited.then_some(reward.remaining.unwrap_or(0))?;
        Some(sum.saturating_add(i128::from(left).saturating_mul(value(reward))))
    });
    let Some((period, grants, amount)) = bounds.budget else {
        return stock;
    };
    let periods = periods_left(period, bounds, now);
    // A budget does not count rewards without a value.
    let all_have_a_value = rewards.iter().all(|reward| reward.value.is_some_and(|value| value > 0));
    let amount = amount.filter(|_| all_have_a_value);
    let amount = amount.map(|amount| i128::from(amount).saturating_mul(periods));
    let of_one_claim: i128 = rewards.iter().map(value).sum();
    let of_one_claim = of_one_claim.saturating_mul(i128::from(bounds.max_quantity));
    let grants = grants.map(|grants| i128::from(grants).saturating_mul(periods).saturating_mul(of_one_claim));
    [stock, amount, grants].into_iter().flatten().min()
}

/// At most so many periods of the budget begin or go on before the end.
fn periods_left(period: Period, bounds: Bounds, now: Timestamp) -> i128 {
    // A day has 23 hours when the clock changes.
    let shortest = match period {
        Period::Once => return 1,
        Period::Daily => Duration::from_hours(23),
        Period::Weekly => Duration::from_hours(7 * 24 - 1),
        Period::Monthly => Duration::from_hours(28 * 24 - 1),
    };
    let left = bounds.end_at.as_millis() - now.max(bounds.start_at).as_millis();
    i128::from(left.max(0)) / i128::try_from(shortest.as_millis()).unwrap_or(1) + 2
}

impl RewardService {
    /// What an event can still give out. Part of the caller's transaction.
    pub async fn liability(&self, tx: &mut Tx, event_id: Uuid, bounds: Bounds) -> Result<Liability, DbError> {
        let rewards = store::units(tx, event_id).await?;
        Ok(of(&rewards, bounds, self.clock.now()))
    }

    /// Refuses a change of a reward, already written in this transaction, that raises what a protected event can give or
    /// changes what it gives.
    pub(super) async fn protect(&self, tx: &mut Tx, before: &RewardRow) -> Result<(), RewardError> {
        if self.releases.is_off() {
            return Ok(());
        }
        let now = self.clock.now();
        let most = i64::try_from(MOST_EVENTS).unwrap_or(i64::MAX);
        let events = store::live_events_offering(tx, before.id, now, most + 1).await?;
        let are_too_many = events.len() > MOST_EVENTS;
        for event in events {
            let bounds = event.bounds();
            let rewards = store::units(tx, event.event_id).await?;
            let earlier: Vec<UnitRow> = rewards
                .iter()
                .map(|reward| {
                    if reward.reward_id != before.id {
                        return reward.clone();
                    }
                    UnitRow {
                        value: before.value,
                        is_limited: before.remaining.is_some(),
                        remaining: before.remaining,
                        ..reward.clone()
                    }
                })
                .collect();
            // The higher of both: else a value that is set to null would end the protection.
            let (is, was) = (of(&rewards, bounds, now), of(&earlier, bounds, now));
            let liability = is.zip(was).map(|(is, was)| is.max(was));
            if are_too_many || self.releases.protects(liability) {
                return Err(RewardError::ReleaseRequired {
                    event: event.event_id,
                    liability: in_words(liability),
                });
            }
        }
        Ok(())
    }
}

impl OfferingRow {
    fn bounds(&self) -> Bounds {
        Bounds {
            start_at: self.start_at,
            end_at: self.end_at,
            max_quantity: self.max_quantity,
            budget: self
                .budget_period
                .map(|period| (period, self.budget_grants, self.budget_amount)),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HOUR: i64 = 3_600_000;

    fn at(hours: i64) -> Timestamp {
        Timestamp::from_millis(hours * HOUR).unwrap()
    }

    fn reward(remaining: Option<i64>, value: Option<i64>) -> UnitRow {
        UnitRow {
            reward_id: Uuid::nil(),
            is_limited: remaining.is_some(),
            remaining,
            value,
        }
    }

    fn bounds(budget: Option<(Period, Option<i64>, Option<i64>)>) -> Bounds {
        Bounds {
            start_at: at(0),
            end_at: at(24 * 30),
            max_quantity: 1,
            budget,
        }
    }

    #[test]
    fn it_is_the_stock_times_the_value_within_the_budget() {
        let of = |rewards: &[UnitRow], budget| of(rewards, bounds(budget), at(0));
        assert_eq!(of(&[reward(Some(10), Some(100))], None), Some(1000));
        assert_eq!(of(&[reward(None, Some(100))], None), None);
        assert_eq!(of(&[reward(Some(10), None), reward(Some(5), Some(0))], None), Some(15));
        assert_eq!(of(&[reward(Some(10), Some(100)), reward(None, Some(1))], None), None);
        let once = |grants, amount| Some((Period::Once, grants, amount));
        assert_eq!(of(&[reward(None, Some(100))], once(None, Some(700))), Some(700));
        assert_eq!(of(&[reward(None, Some(100))], once(Some(3), None)), Some(300));
        assert_eq!(of(&[reward(Some(1), Some(100))], once(Some(3), Some(700))), Some(100));
        // An amount does not bound what has no value.
        assert_eq!(of(&[reward(None, None)], once(None, Some(700))), None);
        let daily = Some((Period::Daily, Some(1), None));
        assert_eq!(of(&[reward(None, Some(1))], daily), Some(720 / 23 + 2));
    }

    #[test]
    fn the_setting_decides() {
        let releases = |required| Releases {
            required,
            liability: 10,
        };
        for (liability, above) in [(Some(10), false), (Some(11), true), (None, true)] {
            assert!(!releases(ReleaseRequired::Never).protects(liability));
            assert_eq!(releases(ReleaseRequired::AboveLiability).protects(liability), above);
            assert!(releases(ReleaseRequired::Always).protects(liability));
        }
    }

    fn units() -> impl Strategy<Value = UnitRow> {
        let number = || proptest::option::of(0..=9_007_199_254_740_991_i64);
        (number(), number()).prop_map(|(remaining, value)| reward(remaining, value))
    }

    proptest! {
        #[test]
        fn a_limit_never_raises_it(
            rewards in proptest::collection::vec(units(), 1..8),
            grants in proptest::option::of(1..=1_000_000_000_i64),
            amount in proptest::option::of(1..=9_007_199_254_740_991_i64),
        ) {
            let without = of(&rewards, bounds(None), at(0));
            let with = of(&rewards, bounds(Some((Period::Daily, grants, amount))), at(0));
            let is_less = match (with, without) {
                (_, None) => true,
                (None, Some(_)) => false,
                (Some(with), Some(without)) => with <= without,
            };
            prop_assert!(is_less);
        }
    }
}
