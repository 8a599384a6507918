//! Weekend bonus: do something on a Saturday or a Sunday, and claim on that same day.
//!
//! Before you copy it:
//! - **Which weekend?** In some countries it is Friday and Saturday, so the days are a param. Saturday is Saturday in the
//!   event's `timeZone`. The default is UTC, where Saturday starts at nine in the morning in Seoul.
//! - **Facts have no days of the week.** A window ends now, so "on a Saturday" means: today is Saturday, and it was done
//!   today. Saturday's activity cannot be claimed on Sunday.
//! - **How often?** That is the event's recurrence: `DAILY` gives a bonus for each of the days, `WEEKLY` one per weekend,
//!   because weeks start on Monday. `ONCE` gives one in total.

use meed_plugin_sdk::prelude::*;

/// The days of the week, and the activity.
#[derive(Params)]
#[param(example = {"days": ["saturday", "sunday"], "kind": "quest.completed"})]
struct WeekendBonusParams {
    /// The days of the bonus, in the event's time zone.
    #[param(min_items = 1, max_items = 7, example = ["saturday", "sunday"])]
    days: Vec<Weekday>,
    /// The kind of activity to do on the day.
    #[param(max_length = 64, pattern = "^[A-Za-z0-9._-]{1,64}$", example = "quest.completed")]
    kind: String,
    /// How often on one day.
    #[param(minimum = 1, maximum = 1000, default = 1)]
    count: u32,
}

struct WeekendBonus;

impl Condition for WeekendBonus {
    const TITLE: &'static str = "Weekend bonus";
    const DESCRIPTION: &'static str =
        "The user does an activity on certain days of the week, and claims on the same day.";
    type Params = WeekendBonusParams;
    type Plan = Query<i64>;

    fn plan(params: &WeekendBonusParams) -> Query<i64> {
        // One day is today, from midnight in the event's zone.
        count(&params.kind).last_days(1)
    }

    fn decide(params: &WeekendBonusParams, context: &Context, done: i64) -> Decision {
        let today = context.local.date.weekday();
        let next = params.days.iter().copied().min_by_key(|day| today.days_until(*day));
        if let Some(day) = next.filter(|day| *day != today) {
            return Decision::not_yet("not-today", format!("Come back on {day}."))
                .arg("day", day)
                .retry_at(context.start_of_day(today.days_until(day)));
        }
        let decision = Decision::eligible().progress("count", done, params.count);
        if done >= params.count.into() {
            return decision;
        }
        decision.refuse(
            "too-few-activities",
            format!("You have reached {done} of {} today.", params.count),
        )
    }
}

meed_plugin_sdk::export!(WeekendBonus);

#[cfg(test)]
mod tests {
    use super::*;
    use meed_plugin_sdk::testing;

    fn decide(params: &str, now: &str, done: i64) -> Decision {
        let rule = testing::bind::<WeekendBonus>(params).unwrap();
        rule.decide(testing::context(now), done)
    }

    const WEEKEND: &str = r#"{"days": ["saturday", "sunday"], "kind": "quest.completed", "count": 2}"#;

    #[test]
    fn a_weekend_begins_at_midnight_in_the_zone_of_the_event() {
        // The same instant: Saturday in Seoul, still Friday in Berlin.
        assert!(decide(WEEKEND, "2026-03-07T00:00[Asia/Seoul]", 2).is_eligible());
        let decision = decide(WEEKEND, "2026-03-06T16:00[Europe/Berlin]", 2);
        assert_eq!(decision.reasons[0].code, "not-today");
        assert_eq!(decision.reasons[0].message, "Come back on Saturday.");
        let saturday = Context::from(testing::context("2026-03-07T00:00[Europe/Berlin]")).now;
        assert_eq!(decision.retry_at, Some(saturday.millis()));
    }

    #[test]
    fn the_next_day_of_the_bonus_is_the_nearest() {
        let friday_and_monday = r#"{"days": ["monday", "friday"], "kind": "quest.completed"}"#;
        let next = |now| decide(friday_and_monday, now, 0).reasons[0].message.clone();
        assert_eq!(next("2026-03-05T12:00[UTC]"), "Come back on Friday.");
        assert_eq!(next("2026-03-07T12:00[UTC]"), "Come back on Monday.");
    }

    #[test]
    fn too_few_activities_have_no_retry_at() {
        let decision = decide(WEEKEND, "2026-03-08T23:59[Asia/Seoul]", 1);
        assert_eq!(decision.reasons[0].code, "too-few-activities");
        assert_eq!((decision.progress[0].current, decision.progress[0].target), (1, 2));
        assert_eq!(decision.retry_at, None);
    }

    #[test]
    fn days_are_days_of_the_week() {
        let path = |params| testing::bind::<WeekendBonus>(params).unwrap_err()[0].path.clone();
        assert_eq!(path(r#"{"days": [], "kind": "a.b"}"#), "/days");
        assert_eq!(path(r#"{"days": ["Saturday"], "kind": "a.b"}"#), "/days/0");
    }
}
