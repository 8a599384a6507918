//! Spend tiers: each tier has its own reward, and each claim gives the next one.
//!
//! Before you copy it:
//! - **One tier per claim.** A rule that gives the highest tier reached would punish early claims, and one that gives all
//!   tiers reached could not tell later which ones were given. `grants()` is the number of granted claims of this event, so
//!   the next tier is the one after them, and none is given twice.
//! - **The event must allow it**: `"recurrence": {"period": "ONCE", "count": <number of tiers>}`. With `MONTHLY`, grants and
//!   spending of last month count too. Do not reorder the tiers of a running event.
//! - **Refunds are negative amounts.** The sum can fall, even below zero. A granted tier stays granted: if that matters, let
//!   your shop report the purchase only when it can no longer be returned.
//! - **Amounts are in minor units**: 5000 is 50.00 in euro, but 5000 in won or yen. Use one currency per event; the sum does
//!   not convert.
//! - **Sold out.** Chosen rewards must be available: an award beyond `max_quantity` fails the claim. A tier that is sold
//!   out blocks the tiers after it until the reward is restocked.

use meed_plugin_sdk::prelude::*;

/// The tiers and their rewards.
#[derive(Params)]
#[param(example = {"kind": "shop.purchase", "tiers": [{"from": 1000, "reward": "reward-1"}, {"from": 5000, "reward": "reward-2"}]})]
struct SpendTiersParams {
    /// The kind of activity whose amounts are summed, since the event's start.
    #[param(max_length = 64, pattern = "^[A-Za-z0-9._-]{1,64}$", example = "shop.purchase")]
    kind: String,
    /// The tiers, from the lowest to the highest.
    #[param(min_items = 1, max_items = 16)]
    tiers: Vec<Tier>,
}

#[derive(Params)]
struct Tier {
    /// The total to spend, in minor units (cents).
    #[param(minimum = 1, maximum = 1_000_000_000_000, example = 5000)]
    from: i64,
    /// The id of the reward.
    #[param(min_length = 1, max_length = 64)]
    reward: String,
}

struct SpendTiers;

impl Condition for SpendTiers {
    const TITLE: &'static str = "Spend tiers";
    const DESCRIPTION: &'static str =
        "The user has spent enough for the next tier since the event's start, and gets the reward of that tier.";
    type Params = SpendTiersParams;
    type Plan = (Query<i64>, Grants);

    fn check(params: &SpendTiersParams) -> Vec<Issue> {
        let rising = params.tiers.is_sorted_by(|lower, higher| lower.from < higher.from);
        if rising {
            return Vec::new();
        }
        vec![Issue::at(
            "/tiers",
            "Each tier must require more than the previous one.",
        )]
    }

    fn plan(params: &SpendTiersParams) -> Self::Plan {
        (sum(&params.kind), grants())
    }

    fn decide(params: &SpendTiersParams, context: &Context, (spent, granted): (i64, i64)) -> Decision {
        let next = usize::try_from(granted)
            .ok()
            .and_then(|granted| params.tiers.get(granted));
        let Some(tier) = next else {
            return Decision::not_yet("all-tiers-granted", "You have the rewards of all tiers.");
        };
        let decision = Decision::eligible().progress("spent", spent, tier.from);
        if spent < tier.from {
            // No amount in the message: the rule does not know the currency. The client that shows the progress does.
            return decision.refuse("spent-too-little", "Spend a little more for the next tier.");
        }
        match context.reward(&tier.reward) {
            Some(reward) if reward.max_quantity > 0 => decision.award(&tier.reward, 1),
            Some(_) => decision.refuse("sold-out", "The reward of this tier is gone for now."),
            None => decision.refuse("not-offered", "The event does not offer the reward of this tier."),
        }
    }
}

meed_plugin_sdk::export!(SpendTiers);

#[cfg(test)]
mod tests {
    use super::*;
    use meed_plugin_sdk::testing::{self, reward};

    const TIERS: &str = r#"{"kind": "shop.purchase", "tiers":
        [{"from": 1000, "reward": "bronze"}, {"from": 5000, "reward": "gold"}, {"from": 9000, "reward": "moon"}]}"#;

    /// With some bronze and this much gold.
    fn decide(spent: i64, granted: i64, gold: u32) -> Decision {
        let rewards = [reward("bronze", 1), reward("gold", gold)];
        let rule = testing::bind::<SpendTiers>(TIERS).unwrap();
        rule.decide(
            testing::context("2026-03-02T09:00[Asia/Seoul]").rewards(rewards),
            (spent, granted),
        )
    }

    fn code(decision: &Decision) -> &str {
        &decision.reasons[0].code
    }

    #[test]
    fn each_claim_gives_the_next_tier() {
        let bronze = Decision::eligible().progress("spent", 1000, 1000).award("bronze", 1);
        let gold = Decision::eligible().progress("spent", 5000, 5000).award("gold", 1);
        assert_eq!(decide(6000, 0, 1), bronze);
        assert_eq!(decide(6000, 1, 1), gold);
        assert_eq!(code(&decide(9000, 3, 1)), "all-tiers-granted");
    }

    #[test]
    fn a_tier_begins_at_its_amount() {
        assert!(decide(5000, 1, 1).is_eligible());
        assert_eq!(code(&decide(4999, 1, 1)), "spent-too-little");
    }

    #[test]
    fn refunds_do_not_make_progress_negative() {
        let decision = decide(-300, 0, 1);
        assert_eq!(code(&decision), "spent-too-little");
        assert_eq!((decision.progress[0].current, decision.progress[0].target), (0, 1000));
    }

    #[test]
    fn a_sold_out_or_unknown_reward_is_not_awarded() {
        assert_eq!(code(&decide(5000, 1, 0)), "sold-out");
        assert_eq!(code(&decide(9000, 2, 1)), "not-offered");
    }

    #[test]
    fn tiers_must_increase() {
        let path = |params| testing::bind::<SpendTiers>(params).unwrap_err()[0].path.clone();
        let same = r#"{"kind": "a.b", "tiers": [{"from": 5, "reward": "a"}, {"from": 5, "reward": "b"}]}"#;
        assert_eq!(path(same), "/tiers");
        assert_eq!(path(r#"{"kind": "a.b", "tiers": []}"#), "/tiers");
        assert_eq!(
            path(r#"{"kind": "a.b", "tiers": [{"from": 0, "reward": "a"}]}"#),
            "/tiers/0/from"
        );
    }
}
