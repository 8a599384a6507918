//! The smallest rule: no params, no facts.

use meed_plugin_sdk::prelude::*;

struct BeforeNoon;

impl Condition for BeforeNoon {
    const TITLE: &'static str = "Before noon";
    const DESCRIPTION: &'static str = "Claims are open until noon in the event's zone.";
    type Params = ();
    type Plan = ();

    fn plan((): &()) {}

    fn decide((): &(), context: &Context, (): ()) -> Decision {
        if context.local.hour < 12 {
            return Decision::eligible();
        }
        Decision::not_yet("after-noon", "Come back tomorrow morning.").retry_at(context.start_of_day(1))
    }
}

meed_plugin_sdk::export!(BeforeNoon);

#[cfg(test)]
mod tests {
    use super::*;
    use meed_plugin_sdk::testing;

    #[test]
    fn mornings_only() {
        let rule = testing::bind::<BeforeNoon>("{}").unwrap();
        assert!(
            rule.decide(testing::context("2026-03-02T11:59[Europe/Berlin]"), ())
                .is_eligible()
        );
        assert!(
            !rule
                .decide(testing::context("2026-03-02T12:00[Europe/Berlin]"), ())
                .is_eligible()
        );
    }
}
