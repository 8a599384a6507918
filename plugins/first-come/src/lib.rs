//! First come, first served: every user is eligible. The server checks dates and stock for every event.

use meed_plugin_sdk::prelude::*;

struct FirstCome;

impl Condition for FirstCome {
    const TITLE: &'static str = "First come, first served";
    const DESCRIPTION: &'static str = "Every user is eligible. The stock of the rewards decides who gets one.";
    type Params = ();
    type Plan = ();

    fn plan((): &()) {}

    fn decide((): &(), _context: &Context, (): ()) -> Decision {
        Decision::eligible()
    }
}

meed_plugin_sdk::export!(FirstCome);

#[cfg(test)]
mod tests {
    use super::*;
    use meed_plugin_sdk::testing;

    #[test]
    fn every_user_is_eligible() {
        let rule = testing::bind::<FirstCome>("{}").unwrap();
        assert_eq!(
            rule.decide(testing::context("2026-03-02T09:00[Asia/Seoul]"), ()),
            Decision::eligible()
        );
    }

    #[test]
    fn the_rule_has_no_params() {
        assert!(testing::bind::<FirstCome>(r#"{"days": 7}"#).is_err());
    }
}
