//! Comeback: a reward for users who are active today after a number of days without an activity.
//!
//! Before you copy it:
//! - **The comeback ends the absence.** `last(kind)` returns today's activity, so it says nothing about the time before.
//!   Count active days instead: of today and the days before, only today is active.
//! - **A new user was not away.** Users who registered within these days are not eligible.
//! - **`auth.login` is a poor measure of activity.** It is recorded when a user enters a password, and apps keep users
//!   logged in for weeks. Use activities such as `session.started`.
//! - **Days are not 24 hours.** Facts count calendar days in the event's zone: 14 days away are 14 whole days in between.
//! - **One day only.** Tomorrow the user has two active days. For a longer claim period ask for more days, and allow as many
//!   active ones.

use meed_plugin_sdk::prelude::*;
use std::time::Duration;

/// How long the user was away.
#[derive(Params)]
#[param(example = {"kind": "session.started", "days": 14})]
struct ComebackParams {
    /// The kind of activity that counts as being active.
    #[param(max_length = 64, pattern = "^[A-Za-z0-9._-]{1,64}$", example = "session.started")]
    kind: String,
    /// Whole calendar days before today without one, in the event's time zone.
    #[param(minimum = 1, maximum = 365, example = 14)]
    days: u32,
}

struct Comeback;

impl Condition for Comeback {
    const TITLE: &'static str = "Comeback";
    const DESCRIPTION: &'static str = "The user is active today and was inactive on a number of days before.";
    type Params = ComebackParams;
    type Plan = (Query<i64>, Query<i64>);

    fn plan(params: &ComebackParams) -> Self::Plan {
        (
            count(&params.kind).last_days(1),
            distinct_days(&params.kind).last_days(params.days + 1),
        )
    }

    fn decide(params: &ComebackParams, context: &Context, (today, active_days): (i64, i64)) -> Decision {
        let days = params.days;
        // One day more than the param, so that it is before all of the days, at any time of day and across clock changes.
        let away = Duration::from_hours(24 * (u64::from(days) + 1));
        if context.user.registered + away > context.now {
            return Decision::not_yet("too-new", "This is for users who come back. Welcome!");
        }
        if today == 0 {
            return Decision::not_yet("not-back-yet", "Play today, then claim.");
        }
        if active_days > 1 {
            return Decision::not_yet("not-away", format!("You have been here within the last {days} days."));
        }
        Decision::eligible().reason("welcome-back", "Good to see you again.")
    }
}

meed_plugin_sdk::export!(Comeback);

#[cfg(test)]
mod tests {
    use super::*;
    use meed_plugin_sdk::User;
    use meed_plugin_sdk::testing::{self, Bound};

    fn after_14_days() -> Bound<Comeback> {
        testing::bind(r#"{"kind": "session.started", "days": 14}"#).unwrap()
    }

    /// The reason for a user who was active so often today, on so many days, and registered so many hours ago.
    fn code(today: i64, active_days: i64, registered_hours: u64) -> String {
        let context = Context::from(testing::context("2026-03-02T09:00[Asia/Seoul]"));
        let registered = context.now - Duration::from_hours(registered_hours);
        let user = User {
            registered,
            ..context.user
        };
        let context = testing::context("2026-03-02T09:00[Asia/Seoul]").user(user);
        after_14_days().decide(context, (today, active_days)).reasons[0]
            .code
            .clone()
    }

    #[test]
    fn only_today_is_a_comeback() {
        assert_eq!(code(1, 1, 24 * 15), "welcome-back");
        assert_eq!(code(9, 1, 24 * 100), "welcome-back");
        assert_eq!(code(1, 2, 24 * 100), "not-away");
    }

    #[test]
    fn a_user_who_is_not_active_today_is_not_eligible() {
        assert_eq!(code(0, 0, 24 * 100), "not-back-yet");
        assert_eq!(code(0, 1, 24 * 100), "not-back-yet");
    }

    #[test]
    fn a_new_user_is_not_eligible() {
        assert_eq!(code(1, 1, 24 * 15 - 1), "too-new");
    }

    #[test]
    fn the_plan_covers_today_and_the_days_away() {
        let kind = "session.started";
        assert_eq!(
            *after_14_days().plan(),
            (count(kind).last_days(1), distinct_days(kind).last_days(15))
        );
    }
}
