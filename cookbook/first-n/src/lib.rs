//! First N: the first hundred users get gold, the next thousand silver, all others a consolation prize.
//!
//! Before you copy it:
//! - **A rule cannot count to N.** It sees one user and no other claims. "The first hundred" is the `stock` of the gold
//!   reward, 100. The host takes it in the transaction that grants, never more, under any load. The rule only chooses the
//!   reward when another one is sold out.
//! - **`max_quantity` is a snapshot**: the largest quantity that this claim may award, from the event's `maxQuantity` and
//!   the stock a moment ago; 0 means sold out. When another claim takes the last item in between, the host grants nothing
//!   and lets the rule decide again, or answers `sold-out`.
//! - **A rule without a choice needs none of this**: `Decision::eligible()` gives one of each reward, and the host rejects
//!   with `sold-out` automatically. See the bundled `first-come`.
//! - **Once each.** The event's recurrence limits the grants per user. With more than one, a quick user could take much of
//!   the gold: with `grants()`, later claims of one user get the last reward only.

use meed_plugin_sdk::prelude::*;

/// The rewards in order.
#[derive(Params)]
#[param(example = {"rewards": ["reward-1", "reward-2", "reward-3"]})]
struct FirstNParams {
    /// The ids of the rewards, the best first. With unlimited stock of the last one, every user gets a reward.
    #[param(min_items = 1, max_items = 16, items(min_length = 1, max_length = 64))]
    rewards: Vec<String>,
}

struct FirstN;

impl Condition for FirstN {
    const TITLE: &'static str = "First N get the best";
    const DESCRIPTION: &'static str = "Every user is eligible and gets the first reward of a list that is not sold out; later claims get the last one.";
    type Params = FirstNParams;
    type Plan = Grants;

    fn plan(_params: &FirstNParams) -> Grants {
        grants()
    }

    fn decide(params: &FirstNParams, context: &Context, granted: i64) -> Decision {
        let choices = match params.rewards.split_last() {
            Some((last, _)) if granted > 0 => std::slice::from_ref(last),
            _ => &params.rewards,
        };
        let left = |id: &&String| context.reward(id).is_some_and(|reward| reward.max_quantity > 0);
        match choices.iter().find(left) {
            Some(id) => Decision::eligible().award(id, 1),
            None => Decision::not_yet("sold-out", "Everything is gone."),
        }
    }
}

meed_plugin_sdk::export!(FirstN);

#[cfg(test)]
mod tests {
    use super::*;
    use meed_plugin_sdk::testing::{self, reward};

    /// With so many of gold, silver and the consolation left.
    fn decide(granted: i64, gold: u32, silver: u32, consolation: u32) -> Decision {
        let rewards = [
            reward("consolation", consolation),
            reward("silver", silver),
            reward("gold", gold),
        ];
        let rule = testing::bind::<FirstN>(r#"{"rewards": ["gold", "elsewhere", "silver", "consolation"]}"#).unwrap();
        rule.decide(testing::context("2026-03-02T09:00[UTC]").rewards(rewards), granted)
    }

    #[test]
    fn the_best_available_reward_is_awarded() {
        assert_eq!(decide(0, 1, 1, 1), Decision::eligible().award("gold", 1));
        assert_eq!(decide(0, 0, 1, 1), Decision::eligible().award("silver", 1));
        assert_eq!(decide(0, 0, 0, 1), Decision::eligible().award("consolation", 1));
    }

    #[test]
    fn later_claims_get_the_last_reward() {
        assert_eq!(decide(1, 1, 1, 1), Decision::eligible().award("consolation", 1));
        assert_eq!(decide(7, 1, 1, 0).reasons[0].code, "sold-out");
    }

    #[test]
    fn without_available_rewards_the_user_is_not_eligible() {
        assert_eq!(decide(0, 0, 0, 0).reasons[0].code, "sold-out");
    }

    #[test]
    fn at_least_one_reward_is_required() {
        let issues = testing::bind::<FirstN>(r#"{"rewards": []}"#).unwrap_err();
        assert_eq!(issues[0].path, "/rewards");
    }
}
