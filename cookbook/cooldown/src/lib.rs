//! A chest every eight hours: a minimum number of hours between two rewards.
//!
//! Before you copy this rule:
//! - **Hours or days?** Recurrence counts calendar periods: with `DAILY` a user can claim at 23:59 and at 00:00. The
//!   host enforces it without a rule. A cooldown counts elapsed hours, independent of calendar and clock changes. With
//!   a cooldown of 24 hours, a user who is a minute late today cannot be earlier tomorrow.
//! - **The start of the cooldown.** No fact contains the time of the last grant, only the number of grants. An activity
//!   starts the cooldown: your system reports it when it has delivered the reward, e.g. `chest.opened`.
//! - **Between the grant and that report** a fast user could claim again. `grants()` prevents this: while there are
//!   more grants than chests, one delivery is still on its way.
//! - **The event must allow it**: use a recurrence with a sufficient `count` per period, e.g. `DAILY` with 3.
//! - **`retry_at` is exact here**, so a client can show a countdown and claim again at that time.

use meed_plugin_sdk::prelude::*;
use std::time::Duration;

/// What to wait for, and how long.
#[derive(Params)]
#[param(example = {"kind": "chest.opened", "hours": 8})]
struct CooldownParams {
    /// The kind of activity that starts the cooldown; report one for each grant.
    #[param(max_length = 64, pattern = "^[A-Za-z0-9._-]{1,64}$", example = "chest.opened")]
    kind: String,
    /// Hours after the last one.
    #[param(minimum = 1, maximum = 720, example = 8)]
    hours: u32,
}

struct Cooldown;

impl Condition for Cooldown {
    const TITLE: &'static str = "Cooldown";
    const DESCRIPTION: &'static str = "So many hours have passed since the user did something for the last time.";
    type Params = CooldownParams;
    type Plan = (Query<Option<Timestamp>>, Query<i64>, Grants);

    fn plan(params: &CooldownParams) -> Self::Plan {
        // Windows are calendar days. Two additional days cover all hours, even if a day has only 23.
        let days = params.hours / 24 + 2;
        (last(&params.kind).last_days(days), count(&params.kind), grants())
    }

    fn decide(params: &CooldownParams, context: &Context, facts: <Self::Plan as Plan>::Facts) -> Decision {
        let (last, delivered, granted) = facts;
        if granted > delivered {
            return Decision::not_yet("on-its-way", "Your last reward is still on its way.");
        }
        let Some(last) = last else {
            return Decision::eligible();
        };
        let ready = last + Duration::from_hours(params.hours.into());
        if context.now >= ready {
            return Decision::eligible();
        }
        // Rounded up, so that the message never names a time that is too early.
        let minutes = (ready.since(context.now) + Duration::from_millis(59_999)).as_secs() / 60;
        Decision::not_yet(
            "cooling-down",
            format!("Come back in {} h {} min.", minutes / 60, minutes % 60),
        )
        .retry_at(ready)
    }
}

meed_plugin_sdk::export!(Cooldown);

#[cfg(test)]
mod tests {
    use super::*;
    use meed_plugin_sdk::testing::{self, Bound};

    const NOW: &str = "2026-03-02T09:00[Asia/Seoul]";

    fn eight_hours() -> Bound<Cooldown> {
        testing::bind(r#"{"kind": "chest.opened", "hours": 8}"#).unwrap()
    }

    /// The decision when the last chest was opened so long ago.
    fn after(ago: Duration) -> Decision {
        let now = Context::from(testing::context(NOW)).now;
        eight_hours().decide(testing::context(NOW), (Some(now - ago), 4, 4))
    }

    #[test]
    fn it_is_over_after_exactly_so_many_hours() {
        assert_eq!(after(Duration::from_hours(8)), Decision::eligible());
        let decision = after(Duration::from_hours(8) - Duration::from_millis(1));
        assert_eq!(decision.reasons[0].code, "cooling-down");
        assert_eq!(decision.reasons[0].message, "Come back in 0 h 1 min.");
        let now = Context::from(testing::context(NOW)).now;
        assert_eq!(decision.retry_at, Some(now.millis() + 1));
    }

    #[test]
    fn the_rest_is_told_in_hours_and_minutes() {
        let decision = after(Duration::from_mins(1));
        assert_eq!(decision.reasons[0].message, "Come back in 7 h 59 min.");
    }

    #[test]
    fn the_first_time_is_free() {
        assert_eq!(
            eight_hours().decide(testing::context(NOW), (None, 0, 0)),
            Decision::eligible()
        );
    }

    #[test]
    fn a_grant_that_was_not_delivered_blocks_the_next() {
        let decision = eight_hours().decide(testing::context(NOW), (None, 0, 1));
        assert_eq!(decision.reasons[0].code, "on-its-way");
    }

    #[test]
    fn the_window_holds_the_whole_cooldown() {
        let plan = |hours| {
            let rule = testing::bind::<Cooldown>(&format!(r#"{{"kind": "chest.opened", "hours": {hours}}}"#)).unwrap();
            rule.plan().0.clone()
        };
        assert_eq!(plan(8), last("chest.opened").last_days(2));
        assert_eq!(plan(24), last("chest.opened").last_days(3));
        assert_eq!(plan(720), last("chest.opened").last_days(32));
    }
}
