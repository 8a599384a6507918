//! Log in on a number of consecutive days.
//!
//! The days are calendar days in the event's zone, and they may start before the event. The streak is the one that ends
//! today or, if the user has not logged in today, yesterday.

use meed_plugin_sdk::prelude::*;

/// How long the streak has to be.
#[derive(Params)]
#[param(example = {"days": 7})]
struct LoginStreakParams {
    /// Consecutive days with at least one login, in the event's time zone.
    #[param(minimum = 1, maximum = 365, example = 7)]
    days: u32,
}

struct LoginStreak;

impl Condition for LoginStreak {
    const TITLE: &'static str = "Login streak";
    const DESCRIPTION: &'static str =
        "The user has logged in on consecutive days, up to today or, before today's first login, up to yesterday.";
    const LABELS: &'static [(&'static str, &'static str)] = &[("days", "Days in a row")];
    type Params = LoginStreakParams;
    type Plan = Query<Streak>;

    fn plan(params: &LoginStreakParams) -> Query<Streak> {
        // A bounded window keeps the cost independent of the history. One day more, as the streak may end yesterday.
        streak("auth.login").last_days(params.days + 1)
    }

    fn decide(params: &LoginStreakParams, context: &Context, streak: Streak) -> Decision {
        if streak.current >= params.days {
            return Decision::eligible().progress("days", params.days, params.days);
        }
        let missing = params.days - streak.current;
        let today_counts = streak.current > 0 && streak.last_day == Some(context.local.date);
        let days = if missing == 1 { "day" } else { "days" };
        let decision = Decision::not_yet("streak-too-short", format!("Log in on {missing} more {days} in a row."))
            .arg("missing", missing)
            .progress("days", streak.current, params.days);
        // The last missing day: today is the first of them unless today already counts.
        match missing - u32::from(!today_counts) {
            0 => decision,
            days_ahead => decision.retry_at(context.start_of_day(days_ahead)),
        }
    }
}

meed_plugin_sdk::export!(LoginStreak);

#[cfg(test)]
mod tests {
    use super::*;
    use meed_plugin_sdk::Date;
    use meed_plugin_sdk::testing::{self, ContextBuilder};

    const TODAY: Date = Date {
        year: 2026,
        month: 3,
        day: 2,
    };
    const YESTERDAY: Date = Date {
        year: 2026,
        month: 3,
        day: 1,
    };

    fn monday_morning() -> ContextBuilder {
        testing::context("2026-03-02T09:00[Asia/Seoul]")
    }

    fn seven_days_after(current: u32, last_day: Date) -> Decision {
        let streak = Streak {
            current,
            longest: current,
            last_day: Some(last_day),
        };
        testing::bind::<LoginStreak>(r#"{"days": 7}"#)
            .unwrap()
            .decide(monday_morning(), streak)
    }

    fn millis(now: &str) -> i64 {
        Context::from(testing::context(now)).now.millis()
    }

    #[test]
    fn enough_days_are_eligible() {
        for days in [7, 8] {
            assert_eq!(
                seven_days_after(days, TODAY),
                Decision::eligible().progress("days", 7, 7)
            );
        }
    }

    #[test]
    fn a_streak_up_to_yesterday_is_enough() {
        assert!(seven_days_after(7, YESTERDAY).is_eligible());
    }

    #[test]
    fn too_few_days_report_the_missing_number() {
        let decision = seven_days_after(5, TODAY);
        assert!(!decision.is_eligible());
        assert_eq!(decision.reasons[0].code, "streak-too-short");
        assert_eq!(decision.reasons[0].message, "Log in on 2 more days in a row.");
        assert_eq!((decision.progress[0].current, decision.progress[0].target), (5, 7));
    }

    #[test]
    fn retry_at_is_the_last_missing_day() {
        assert_eq!(
            seven_days_after(5, TODAY).retry_at,
            Some(millis("2026-03-04T00:00[Asia/Seoul]"))
        );
        assert_eq!(
            seven_days_after(5, YESTERDAY).retry_at,
            Some(millis("2026-03-03T00:00[Asia/Seoul]"))
        );
    }

    #[test]
    fn retry_at_is_absent_if_only_todays_login_is_missing() {
        assert_eq!(seven_days_after(6, YESTERDAY).retry_at, None);
    }

    #[test]
    fn the_window_is_no_longer_than_needed() {
        let rule = testing::bind::<LoginStreak>(r#"{"days": 7}"#).unwrap();
        assert_eq!(*rule.plan(), streak("auth.login").last_days(8));
    }

    #[test]
    fn days_are_1_to_365() {
        for params in [
            r#"{"days": 0}"#,
            r#"{"days": 366}"#,
            r#"{"days": 1.5}"#,
            r#"{"days": "7"}"#,
        ] {
            assert_eq!(
                testing::bind::<LoginStreak>(params).unwrap_err()[0].path,
                "/days",
                "{params}"
            );
        }
        assert!(testing::bind::<LoginStreak>("{}").is_err());
        assert!(testing::bind::<LoginStreak>(r#"{"days": 365.0}"#).is_ok());
    }
}
