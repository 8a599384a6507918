//! Reach a number or a sum: activities of any kind, counted or summed, within a window, with filters.

use meed_plugin_sdk::prelude::*;
use std::collections::BTreeMap;

/// Which activities, and their number or sum. Give either `count` or `sum`.
#[derive(Params)]
#[param(example = {"kind": "shop.purchase", "sum": 5000, "lastDays": 30, "where": {"shop": "main"}})]
struct ActivityCountParams {
    /// The kind of activity.
    #[param(max_length = 64, pattern = "^[A-Za-z0-9._-]{1,64}$", example = "shop.purchase")]
    kind: String,
    /// How many activities are needed.
    #[param(minimum = 1, maximum = 1_000_000, example = 3)]
    count: Option<i64>,
    /// The sum of their amounts that is needed, in minor units (cents).
    #[param(minimum = 1, maximum = 1_000_000_000_000, example = 5000)]
    sum: Option<i64>,
    /// The window in calendar days of the event's time zone, today included. Without it, since the event's start.
    #[param(minimum = 1, maximum = 3660, example = 30)]
    last_days: Option<u32>,
    /// Only activities whose attributes have these values, as text: numbers and booleans as JSON writes them.
    #[param(
        max_properties = 8,
        keys(max_length = 64, pattern = "^[A-Za-z0-9._-]{1,64}$"),
        values(max_length = 256),
        example = {"shop": "main"}
    )]
    r#where: Option<BTreeMap<String, String>>,
}

struct ActivityCount;

impl Condition for ActivityCount {
    const TITLE: &'static str = "Activity count";
    const DESCRIPTION: &'static str =
        "The user reached a number or a sum of activities, since the event's start or within the last days.";
    const LABELS: &'static [(&'static str, &'static str)] = &[("amount", "Amount"), ("count", "Activities")];
    type Params = ActivityCountParams;
    type Plan = Query<i64>;

    fn check(params: &ActivityCountParams) -> Vec<Issue> {
        match (params.count, params.sum) {
            (None, None) => vec![Issue::at(
                "",
                "Give `count` or `sum`: without a goal there is nothing to reach.",
            )],
            (Some(_), Some(_)) => vec![Issue::at("/sum", "Give `count` or `sum`, not both.")],
            _ => Vec::new(),
        }
    }

    fn plan(params: &ActivityCountParams) -> Query<i64> {
        let query = if params.sum.is_some() {
            sum(&params.kind)
        } else {
            count(&params.kind)
        };
        let query = match params.last_days {
            Some(days) => query.last_days(days),
            None => query.event_period(),
        };
        params
            .r#where
            .iter()
            .flatten()
            .fold(query, |query, (attribute, equals)| query.filter(attribute, equals))
    }

    fn decide(params: &ActivityCountParams, _context: &Context, reached: i64) -> Decision {
        let (key, goal, code) = match params.sum {
            Some(goal) => ("amount", goal, "amount-too-low"),
            None => ("count", params.count.unwrap_or_default(), "too-few-activities"),
        };
        if reached >= goal {
            return Decision::eligible().progress(key, reached, goal);
        }
        let kind = &params.kind;
        Decision::not_yet(code, format!("You have reached {reached} of {goal} for {kind}."))
            .arg("reached", reached)
            .arg("goal", goal)
            .arg("kind", kind)
            .progress(key, reached, goal)
    }
}

meed_plugin_sdk::export!(ActivityCount);

#[cfg(test)]
mod tests {
    use super::*;
    use meed_plugin_sdk::testing::{self, Bound};

    fn bind(params: &str) -> Bound<ActivityCount> {
        testing::bind(params).unwrap()
    }

    fn decide(params: &str, reached: i64) -> Decision {
        bind(params).decide(testing::context("2026-03-02T09:00[Asia/Seoul]"), reached)
    }

    #[test]
    fn three_purchases() {
        let params = r#"{"kind": "shop.purchase", "count": 3}"#;
        assert_eq!(decide(params, 4), Decision::eligible().progress("count", 3, 3));
        let decision = decide(params, 2);
        assert!(!decision.is_eligible());
        assert_eq!(decision.reasons[0].code, "too-few-activities");
        assert_eq!(
            decision.reasons[0].message,
            "You have reached 2 of 3 for shop.purchase."
        );
    }

    #[test]
    fn fifty_euros() {
        let params = r#"{"kind": "shop.purchase", "sum": 5000}"#;
        assert!(decide(params, 5000).is_eligible());
        assert_eq!(decide(params, 4999).reasons[0].code, "amount-too-low");
    }

    #[test]
    fn refunds_can_outweigh_purchases() {
        let decision = decide(r#"{"kind": "shop.purchase", "sum": 5000}"#, -300);
        assert_eq!((decision.progress[0].current, decision.progress[0].target), (0, 5000));
    }

    #[test]
    fn the_plan_follows_the_params() {
        assert_eq!(
            *bind(r#"{"kind": "quest.done", "count": 1}"#).plan(),
            count("quest.done").event_period()
        );
        assert_eq!(
            *bind(r#"{"kind": "quest.done", "sum": 1, "lastDays": 7, "where": {"a": "1", "b": "x"}}"#).plan(),
            sum("quest.done").last_days(7).filter("a", "1").filter("b", "x")
        );
    }

    #[test]
    fn there_is_exactly_one_goal() {
        let issues = |params| testing::bind::<ActivityCount>(params).unwrap_err();
        assert_eq!(issues(r#"{"kind": "a.b"}"#)[0].path, "");
        assert_eq!(issues(r#"{"kind": "a.b", "count": 1, "sum": 1}"#)[0].path, "/sum");
    }

    #[test]
    fn params_have_bounds() {
        let path = |params: &str| testing::bind::<ActivityCount>(params).unwrap_err()[0].path.clone();
        for kind in ["", "shop purchase", "로그인", &"k".repeat(65)] {
            assert_eq!(path(&format!(r#"{{"kind": "{kind}", "count": 1}}"#)), "/kind", "{kind}");
            let filtered = format!(r#"{{"kind": "a.b", "count": 1, "where": {{"{kind}": ""}}}}"#);
            assert!(path(&filtered).starts_with("/where"), "{kind}");
        }
        assert_eq!(path(r#"{"kind": "a.b", "count": 0}"#), "/count");
        assert_eq!(path(r#"{"kind": "a.b", "count": 1, "lastDays": 3661}"#), "/lastDays");
        assert_eq!(path(r#"{"kind": "a.b", "count": 1, "where": {"a": 1}}"#), "/where/a");
    }
}
