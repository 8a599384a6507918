//! Weighted draw: prizes by weight, and blanks.
//!
//! Before you copy it:
//! - **`context.seed` is the only source of randomness.** The event's secret, the user and the slot in the period determine
//!   it, so a second claim draws the same result, and anyone can verify the draw after the event.
//! - **Keep the weights constant.** The result is the seed modulo their sum. If the sum depended on something that changes,
//!   such as stock or the user's spending, a user could change it after a blank and draw again with the same seed. So a
//!   prize that is sold out keeps its weight here and becomes a blank, as in the bundled `lucky-draw`.
//! - **A blank is a rejection**: the user may claim again, and finds the seed in the receipt. To make a lost draw final, use
//!   a consolation prize as the blank: then the claim is granted, and the recurrence counts it.
//! - **Draw once.** The seed is one number. Two draws from it in one decision are not independent.

use meed_plugin_sdk::prelude::*;
use std::collections::BTreeMap;

/// The weights of prizes and blanks.
#[derive(Params)]
#[param(example = {"prizes": {"reward-1": 1, "reward-2": 9}, "blanks": 90})]
struct WeightedDrawParams {
    /// The weight of each reward by its id.
    #[param(
        min_properties = 1,
        max_properties = 64,
        keys(min_length = 1, max_length = 64),
        values(minimum = 1, maximum = 1_000_000)
    )]
    prizes: BTreeMap<String, u32>,
    /// The weight of a blank: with prizes of 10 and blanks of 90, nine of ten claims win nothing.
    #[param(minimum = 0, maximum = 100_000_000, default = 0, example = 90)]
    blanks: u32,
}

struct WeightedDraw;

impl Condition for WeightedDraw {
    const TITLE: &'static str = "Weighted draw with blanks";
    const DESCRIPTION: &'static str = "The user draws one of the rewards by weight, or a blank.";
    type Params = WeightedDrawParams;
    type Plan = ();

    fn plan(_params: &WeightedDrawParams) {}

    fn decide(params: &WeightedDrawParams, context: &Context, (): ()) -> Decision {
        // In the order of the ids' bytes, the blanks last: a verification needs the same order.
        let weights: Vec<u32> = params.prizes.values().copied().chain([params.blanks]).collect();
        let drawn = context
            .seed
            .pick(&weights)
            .and_then(|index| params.prizes.keys().nth(index));
        let Some(id) = drawn else {
            return Decision::not_yet("no-luck", "No luck this time.");
        };
        match context.reward(id) {
            Some(reward) if reward.max_quantity > 0 => Decision::eligible().award(id, 1),
            _ => Decision::not_yet("prize-gone", "Your prize is gone already. No luck this time."),
        }
    }
}

meed_plugin_sdk::export!(WeightedDraw);

#[cfg(test)]
mod tests {
    use super::*;
    use meed_plugin_sdk::testing::{self, reward};

    /// Gold (1), silver (9) or a blank (90), with so much gold left.
    fn draw(number: u8, gold: u32) -> Decision {
        let mut seed = [0; 32];
        seed[31] = number;
        let context = testing::context("2026-03-02T09:00[UTC]").rewards([reward("silver", 5), reward("gold", gold)]);
        testing::bind::<WeightedDraw>(r#"{"prizes": {"silver": 9, "gold": 1}, "blanks": 90}"#)
            .unwrap()
            .decide(context.seed(seed), ())
    }

    #[test]
    fn the_seed_decides_in_the_order_of_ids_with_blanks_last() {
        assert_eq!(draw(0, 1), Decision::eligible().award("gold", 1));
        assert_eq!(draw(1, 1), Decision::eligible().award("silver", 1));
        assert_eq!(draw(9, 1), Decision::eligible().award("silver", 1));
        assert_eq!(draw(100, 1), Decision::eligible().award("gold", 1));
        for number in [10, 99, 110] {
            assert_eq!(draw(number, 1).reasons[0].code, "no-luck", "{number}");
        }
    }

    #[test]
    fn a_sold_out_prize_changes_no_other_draw() {
        assert_eq!(draw(0, 0).reasons[0].code, "prize-gone");
        for number in 1..100 {
            assert_eq!(draw(number, 0), draw(number, 1), "{number}");
        }
    }

    #[test]
    fn without_blanks_every_user_wins() {
        let rule = testing::bind::<WeightedDraw>(r#"{"prizes": {"points": 1}}"#).unwrap();
        for byte in 0..=255 {
            let context = testing::context("2026-03-02T09:00[UTC]").seed([byte; 32]);
            assert!(rule.decide(context, ()).is_eligible(), "{byte}");
        }
    }

    #[test]
    fn at_least_one_prize_is_required() {
        let path = |params| testing::bind::<WeightedDraw>(params).unwrap_err()[0].path.clone();
        assert_eq!(path(r#"{"prizes": {}, "blanks": 1}"#), "/prizes");
        assert_eq!(path(r#"{"prizes": {"gold": 0}}"#), "/prizes/gold");
    }
}
