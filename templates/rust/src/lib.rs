//! The user shopped on a number of the last 30 days, for a total amount.

use meed_plugin_sdk::prelude::*;

/// How regular a shopper has to be.
#[derive(Params)]
struct Regular {
    /// Days with a purchase, of the last 30.
    #[param(minimum = 1, maximum = 30, example = 4)]
    days: u32,
    /// What was paid in these 30 days, in cents.
    #[param(minimum = 0, maximum = 9_007_199_254_740_991, default = 0)]
    spent: i64,
}

struct RegularShopper;

impl Condition for RegularShopper {
    const TITLE: &'static str = "Regular shopper";
    const DESCRIPTION: &'static str = "The user shopped on a number of the last 30 days, for a total amount.";
    const LABELS: &'static [(&'static str, &'static str)] = &[("days", "Days with a purchase"), ("spent", "Spent")];
    const TRANSLATIONS: &'static [Translation] = &[Translation {
        language: "de",
        title: "Stammkunde",
        description: "Der Nutzer hat an mehreren der letzten 30 Tage eingekauft, für einen Gesamtbetrag.",
        labels: &[("days", "Tage mit Einkauf"), ("spent", "Ausgegeben")],
    }];
    type Params = Regular;
    type Plan = (Query<i64>, Query<i64>);

    fn check(params: &Regular) -> Vec<Issue> {
        if (1..params.days.into()).contains(&params.spent) {
            return vec![Issue::at("/spent", "Ask for at least one cent a day, or leave `spent` out.")];
        }
        Vec::new()
    }

    fn plan(_params: &Regular) -> Self::Plan {
        (distinct_days("shop.purchase").last_days(30), sum("shop.purchase").last_days(30))
    }

    fn decide(params: &Regular, context: &Context, (days, spent): (i64, i64)) -> Decision {
        let mut decision = Decision::eligible()
            .progress("days", days, params.days)
            .progress("spent", spent, params.spent);
        if days < params.days.into() {
            let missing = i64::from(params.days) - days;
            decision = decision
                .refuse("too-few-days", format!("Days of shopping to go: {missing}."))
                .arg("missing", missing)
                // The user can reach the goal by then, with a purchase on every day from now on.
                .retry_at(context.start_of_day(u32::try_from(missing).unwrap_or_default()));
        }
        if spent < params.spent {
            decision = decision.refuse("spent-too-little", "Spend a little more.");
        }
        decision
    }
}

meed_plugin_sdk::export!(RegularShopper);

#[cfg(test)]
mod tests {
    use super::*;
    use meed_plugin_sdk::testing;

    #[test]
    fn four_days_of_shopping() {
        let rule = testing::bind::<RegularShopper>(r#"{"days": 4}"#).unwrap();
        let today = testing::context("2026-03-02T09:00[Asia/Seoul]");
        assert!(rule.decide(today.clone(), (4, 1200)).is_eligible());

        let decision = rule.decide(today, (3, 1200));
        assert!(!decision.is_eligible());
        assert_eq!(decision.reasons[0].message, "Days of shopping to go: 1.");
        assert_eq!(decision.reasons[0].args[0].value, "1");
    }

    #[test]
    fn days_are_at_most_30() {
        let issues = testing::bind::<RegularShopper>(r#"{"days": 31}"#).unwrap_err();
        assert_eq!(issues[0].path, "/days");
    }
}
