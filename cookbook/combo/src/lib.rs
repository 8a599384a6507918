//! Two different activities, optionally in order: defeat the boss, then share the replay.
//!
//! Before you copy it:
//! - **Use one window for both.** With windows of different lengths, one activity could be too old when the other counts.
//! - **"In order" is about first and last.** Facts are not lists of activities, so a rule cannot pair each boss with its
//!   replay. It can check that the second kind happened at least once after the first kind happened first.
//! - **Two different kinds**: with the same kind twice, one activity would count for both, so the params are refused.
//! - **Report everything that is missing.** Each `refuse` adds a reason, and each goal has its progress.

use meed_plugin_sdk::prelude::*;

/// The two activities.
#[derive(Params)]
#[param(example = {"first": {"kind": "boss.defeated"}, "second": {"kind": "replay.shared"}, "lastDays": 7, "inOrder": true})]
struct ComboParams {
    /// The first activity.
    first: Step,
    /// The second activity.
    second: Step,
    /// The window for both, in calendar days of the event's time zone, today included.
    #[param(minimum = 1, maximum = 366, example = 7)]
    last_days: u32,
    /// Whether the second activity must follow the first.
    #[param(default = false)]
    in_order: bool,
}

#[derive(Params)]
struct Step {
    /// The kind of activity.
    #[param(max_length = 64, pattern = "^[A-Za-z0-9._-]{1,64}$", example = "boss.defeated")]
    kind: String,
    /// How often.
    #[param(minimum = 1, maximum = 10_000, default = 1)]
    count: u32,
}

struct Combo;

impl Condition for Combo {
    const TITLE: &'static str = "Combo";
    const DESCRIPTION: &'static str = "The user has done two different activities within the last days.";
    type Params = ComboParams;
    /// The number of each and, if the order matters, the first instant of the first and the last instant of the second.
    type Plan = (Query<i64>, Query<i64>, Option<[Query<Option<Timestamp>>; 2]>);

    fn check(params: &ComboParams) -> Vec<Issue> {
        if params.first.kind == params.second.kind {
            return vec![Issue::at(
                "/second/kind",
                "`second` must be another kind than `first`, or one activity would count for both.",
            )];
        }
        Vec::new()
    }

    fn plan(params: &ComboParams) -> Self::Plan {
        let ComboParams {
            first: one,
            second: two,
            ..
        } = params;
        let days = params.last_days;
        (
            count(&one.kind).last_days(days),
            count(&two.kind).last_days(days),
            params
                .in_order
                .then(|| [first(&one.kind).last_days(days), last(&two.kind).last_days(days)]),
        )
    }

    fn decide(params: &ComboParams, _context: &Context, facts: <Self::Plan as Plan>::Facts) -> Decision {
        let (first_done, second_done, order) = facts;
        let mut decision = Decision::eligible();
        for (key, code, step, done) in [
            ("first", "first-missing", &params.first, first_done),
            ("second", "second-missing", &params.second, second_done),
        ] {
            decision = decision.progress(key, done, step.count);
            if done < step.count.into() {
                let (kind, count) = (&step.kind, step.count);
                decision = decision
                    .refuse(code, format!("You have reached {done} of {count} for {kind}."))
                    .arg("reached", done)
                    .arg("goal", count)
                    .arg("kind", kind);
            }
        }
        // A missing activity already has its reason.
        if let Some([Some(first), Some(second)]) = order
            && second <= first
        {
            let (first, second) = (&params.first.kind, &params.second.kind);
            decision = decision.refuse("wrong-order", format!("Do {second} after {first}."));
        }
        decision
    }
}

meed_plugin_sdk::export!(Combo);

#[cfg(test)]
mod tests {
    use super::*;
    use meed_plugin_sdk::testing::{self, Bound};

    const ANY_ORDER: &str =
        r#"{"first": {"kind": "boss.defeated", "count": 2}, "second": {"kind": "replay.shared"}, "lastDays": 7}"#;
    const IN_ORDER: &str =
        r#"{"first": {"kind": "boss.defeated"}, "second": {"kind": "replay.shared"}, "lastDays": 7, "inOrder": true}"#;

    fn bind(params: &str) -> Bound<Combo> {
        testing::bind(params).unwrap()
    }

    fn codes(decision: &Decision) -> Vec<&str> {
        decision.reasons.iter().map(|reason| reason.code.as_str()).collect()
    }

    fn in_order(first: Option<i64>, second: Option<i64>) -> Decision {
        let done = |at: Option<i64>| i64::from(at.is_some());
        let order = Some([first.map(Timestamp::from_millis), second.map(Timestamp::from_millis)]);
        bind(IN_ORDER).decide(
            testing::context("2026-03-02T09:00[UTC]"),
            (done(first), done(second), order),
        )
    }

    #[test]
    fn both_activities_are_required() {
        let decide =
            |first, second| bind(ANY_ORDER).decide(testing::context("2026-03-02T09:00[UTC]"), (first, second, None));
        let both = Decision::eligible().progress("first", 2, 2).progress("second", 1, 1);
        assert_eq!(decide(2, 1), both);
        assert_eq!(codes(&decide(1, 9)), ["first-missing"]);
        assert_eq!(codes(&decide(0, 0)), ["first-missing", "second-missing"]);
    }

    #[test]
    fn the_second_activity_must_follow_the_first() {
        assert!(in_order(Some(1), Some(2)).is_eligible());
        assert_eq!(codes(&in_order(Some(2), Some(2))), ["wrong-order"]);
        assert_eq!(codes(&in_order(Some(2), Some(1))), ["wrong-order"]);
        assert_eq!(codes(&in_order(None, Some(1))), ["first-missing"]);
    }

    #[test]
    fn instants_are_queried_only_if_the_order_matters() {
        let (one, two) = ("boss.defeated", "replay.shared");
        let counts = || (count(one).last_days(7), count(two).last_days(7));
        assert_eq!(*bind(ANY_ORDER).plan(), (counts().0, counts().1, None));
        let order = [first(one).last_days(7), last(two).last_days(7)];
        assert_eq!(*bind(IN_ORDER).plan(), (counts().0, counts().1, Some(order)));
    }

    #[test]
    fn two_different_kinds_are_required() {
        let same = r#"{"first": {"kind": "a.b"}, "second": {"kind": "a.b"}, "lastDays": 7}"#;
        assert_eq!(testing::bind::<Combo>(same).unwrap_err()[0].path, "/second/kind");
        let nameless = r#"{"first": {"kind": ""}, "second": {"kind": "a.b"}, "lastDays": 7}"#;
        assert_eq!(testing::bind::<Combo>(nameless).unwrap_err()[0].path, "/first/kind");
    }
}
