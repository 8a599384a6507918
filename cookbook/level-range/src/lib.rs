//! Level range: for users between two levels, e.g. a beginners' league.
//!
//! Before you copy it:
//! - **Attributes are texts.** A level that was sent as the number 12 or 12.0 is the text `12`; one that was sent as a text
//!   stays as it is, including `12 ` or `XII`. Parsing can fail; that is a "not yet" with a reason of its own, not a failure
//!   of the plugin.
//! - **Users without the attribute** are not at level 0. Report that it is missing, so that support finds the cause.
//! - **Levels change between claims.** The attribute is read at the instant of the claim. A user above the range cannot
//!   return, so the rule sets no `retry_at`.

use meed_plugin_sdk::prelude::*;

/// The range. Give `from`, `to` or both.
#[derive(Params)]
#[param(example = {"from": 10, "to": 19})]
struct LevelRangeParams {
    /// The attribute of the user that holds the level.
    #[param(max_length = 64, pattern = "^[A-Za-z0-9._-]{1,64}$", default = "level")]
    attribute: String,
    /// The lowest level that is in the range.
    #[param(minimum = 0, maximum = 1_000_000, example = 10)]
    from: Option<i64>,
    /// The highest level that is in the range.
    #[param(minimum = 0, maximum = 1_000_000, example = 19)]
    to: Option<i64>,
}

struct LevelRange;

impl Condition for LevelRange {
    const TITLE: &'static str = "Level range";
    const DESCRIPTION: &'static str = "The user is at a level within a range.";
    type Params = LevelRangeParams;
    type Plan = Attribute;

    fn check(params: &LevelRangeParams) -> Vec<Issue> {
        match (params.from, params.to) {
            (None, None) => vec![Issue::at(
                "",
                "Give `from` or `to`: without a bound every user is in the range.",
            )],
            (Some(from), Some(to)) if from > to => vec![Issue::at("/from", "`from` must not be above `to`.")],
            _ => Vec::new(),
        }
    }

    fn plan(params: &LevelRangeParams) -> Attribute {
        attribute(&params.attribute)
    }

    fn decide(params: &LevelRangeParams, _context: &Context, level: Option<String>) -> Decision {
        let Some(text) = level else {
            return Decision::not_yet("level-missing", "Your level is not known.");
        };
        let Ok(level) = text.parse::<i64>() else {
            return Decision::not_yet("level-not-a-number", "Your level is not a whole number.");
        };
        let mut decision = Decision::eligible();
        if let Some(from) = params.from {
            decision = decision.progress("level", level, from);
            if level < from {
                let message = format!("This is for level {from} and above.");
                decision = decision.refuse("level-too-low", message).arg("from", from);
            }
        }
        if let Some(to) = params.to
            && level > to
        {
            let message = format!("This is for users up to level {to}.");
            decision = decision.refuse("level-too-high", message).arg("to", to);
        }
        decision
    }
}

meed_plugin_sdk::export!(LevelRange);

#[cfg(test)]
mod tests {
    use super::*;
    use meed_plugin_sdk::testing;

    fn decide(params: &str, level: Option<&str>) -> Decision {
        let rule = testing::bind::<LevelRange>(params).unwrap();
        rule.decide(testing::context("2026-03-02T09:00[UTC]"), level.map(str::to_owned))
    }

    const RANGE: &str = r#"{"from": 10, "to": 19}"#;

    #[test]
    fn both_bounds_are_in_the_range() {
        for level in ["10", "19"] {
            assert_eq!(
                decide(RANGE, Some(level)),
                Decision::eligible().progress("level", 10, 10),
                "{level}"
            );
        }
        assert_eq!(decide(RANGE, Some("9")).reasons[0].code, "level-too-low");
        assert_eq!(decide(RANGE, Some("20")).reasons[0].code, "level-too-high");
    }

    #[test]
    fn one_bound_is_enough() {
        assert!(decide(r#"{"to": 19}"#, Some("-3")).is_eligible());
        assert!(decide(r#"{"from": 10}"#, Some("1000000000")).is_eligible());
    }

    #[test]
    fn an_unreadable_level_is_not_eligible() {
        assert_eq!(decide(RANGE, None).reasons[0].code, "level-missing");
        for level in ["", "12 ", "12.5", "XII", "99999999999999999999"] {
            assert_eq!(
                decide(RANGE, Some(level)).reasons[0].code,
                "level-not-a-number",
                "{level}"
            );
        }
    }

    #[test]
    fn a_range_needs_a_bound_and_from_not_above_to() {
        let path = |params| testing::bind::<LevelRange>(params).unwrap_err()[0].path.clone();
        assert_eq!(path("{}"), "");
        assert_eq!(path(r#"{"from": 20, "to": 19}"#), "/from");
    }
}
