//! Every user draws one of the event's rewards by weight, and gets it if it is not sold out.
//!
//! How to recompute a draw from its receipt:
//! 1. Take the weights of the rewards that the event has, sorted by the bytes of their ids. Ignore ids that the event does
//!    not have. A reward that is sold out keeps its weight.
//! 2. Read the 32 bytes of the seed as one big-endian number and take it modulo the sum of these weights.
//! 3. Subtract the weights from the number in order, until the number is below the next weight: that reward is drawn. If it
//!    is sold out (`maxQuantity` is 0), the user gets nothing.
//!
//! The stock does not move the draw. Otherwise a user who learned the seed from an earlier rejection could wait until the
//! rewards that are left make it favourable.
//!
//! With a seed of 256 bits and a sum below 2^32, no reward is favoured by more than one in 2^224.

use meed_plugin_sdk::prelude::*;
use std::collections::BTreeMap;

/// How likely the rewards are.
#[derive(Params)]
#[param(example = {"weights": {"reward-1": 1, "reward-2": 99}})]
struct LuckyDrawParams {
    /// The weight of each reward by its id: with 1 and 99, the first is drawn once in a hundred claims.
    #[param(
        min_properties = 1,
        max_properties = 64,
        keys(min_length = 1, max_length = 64),
        values(minimum = 1, maximum = 1_000_000)
    )]
    weights: BTreeMap<String, u32>,
}

struct LuckyDraw;

impl Condition for LuckyDraw {
    const TITLE: &'static str = "Lucky draw";
    const DESCRIPTION: &'static str =
        "Every user draws one of the rewards by weight, and gets it if it is not sold out.";
    type Params = LuckyDrawParams;
    type Plan = ();

    fn plan(_params: &LuckyDrawParams) {}

    fn decide(params: &LuckyDrawParams, context: &Context, _facts: ()) -> Decision {
        let offered = || {
            params
                .weights
                .iter()
                .filter_map(|(id, weight)| Some((context.reward(id)?, *weight)))
        };
        if offered().next().is_none() {
            return Decision::not_yet(
                "nothing-to-draw",
                "None of the rewards of this draw belongs to the event.",
            );
        }
        let (rewards, weights): (Vec<_>, Vec<_>) = offered().unzip();
        match context.seed.pick(&weights).map(|drawn| rewards[drawn]) {
            Some(reward) if reward.max_quantity > 0 => Decision::eligible().award(&reward.id, 1),
            _ => Decision::not_yet("sold-out", "The reward that you drew is gone."),
        }
    }
}

meed_plugin_sdk::export!(LuckyDraw);

#[cfg(test)]
mod tests {
    use super::*;
    use meed_plugin_sdk::testing::{self, reward};

    /// A draw of "bronze" (70), "gold" (5), "silver" (25), of which so many are left.
    fn draw(seed: [u8; 32], bronze: u32, gold: u32, silver: u32) -> Decision {
        let rule = testing::bind::<LuckyDraw>(r#"{"weights": {"gold": 5, "silver": 25, "bronze": 70, "gone": 9}}"#);
        let rewards = [reward("gold", gold), reward("silver", silver), reward("bronze", bronze)];
        rule.unwrap().decide(
            testing::context("2026-03-02T09:00[Asia/Seoul]")
                .rewards(rewards)
                .seed(seed),
            (),
        )
    }

    fn seed(number: u16) -> [u8; 32] {
        let mut seed = [0; 32];
        seed[30..].copy_from_slice(&number.to_be_bytes());
        seed
    }

    #[test]
    fn the_seed_decides_by_weight_in_the_order_of_ids() {
        for (number, id) in [
            (0, "bronze"),
            (69, "bronze"),
            (70, "gold"),
            (74, "gold"),
            (75, "silver"),
            (99, "silver"),
        ] {
            assert_eq!(
                draw(seed(number), 1, 1, 1),
                Decision::eligible().award(id, 1),
                "{number}"
            );
            assert_eq!(
                draw(seed(number + 700), 1, 1, 1),
                Decision::eligible().award(id, 1),
                "{number} + 700"
            );
        }
    }

    #[test]
    fn all_bytes_of_the_seed_count() {
        // In Python: int.from_bytes(range(32), "big") % 100 == 71
        let seed = std::array::from_fn(|index| u8::try_from(index).unwrap());
        assert_eq!(draw(seed, 1, 1, 1), Decision::eligible().award("gold", 1));
    }

    #[test]
    fn the_stock_moves_no_draw() {
        for number in 0..100 {
            let drawn = draw(seed(number), 1, 1, 1);
            for (bronze, gold, silver) in [(0, 1, 1), (1, 0, 1), (1, 1, 0), (0, 0, 1), (0, 0, 0)] {
                let decision = draw(seed(number), bronze, gold, silver);
                if decision.is_eligible() {
                    assert_eq!(decision, drawn, "{number}");
                } else {
                    assert_eq!(decision.reasons[0].code, "sold-out", "{number}");
                }
            }
        }
        assert_eq!(draw(seed(70), 1, 0, 1).reasons[0].code, "sold-out");
    }

    #[test]
    fn if_all_rewards_are_sold_out_no_user_is_eligible() {
        let decision = draw(seed(0), 0, 0, 0);
        assert!(!decision.is_eligible());
        assert_eq!(decision.reasons[0].code, "sold-out");
    }

    #[test]
    fn weights_without_rewards_are_not_eligible() {
        let rule = testing::bind::<LuckyDraw>(r#"{"weights": {"gone": 1}}"#).unwrap();
        let decision = rule.decide(testing::context("2026-03-02T09:00[Asia/Seoul]"), ());
        assert_eq!(decision.reasons[0].code, "nothing-to-draw");
    }

    #[test]
    fn weights_are_1_to_1_000_000() {
        let path = |params| testing::bind::<LuckyDraw>(params).unwrap_err()[0].path.clone();
        assert_eq!(path(r#"{"weights": {}}"#), "/weights");
        assert_eq!(path(r#"{"weights": {"gold": 0}}"#), "/weights/gold");
        assert_eq!(path(r#"{"weights": {"gold": 1000001}}"#), "/weights/gold");
    }
}
