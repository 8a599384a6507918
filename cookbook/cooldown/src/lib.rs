//! Cooldown: a chest every eight hours. A number of hours must have passed since the last one.
//!
//! Before you copy it:
//! - **Hours or days?** Recurrence counts calendar periods: with `DAILY` a user may claim at 23:59 and at 00:00; the host
//!   does that without a rule. A cooldown counts real hours, independent of calendar and clock changes. A cooldown of 24
//!   hours drifts: a user who is a minute late today cannot be earlier tomorrow.
//! - **Since when?** No fact has the instant of the last grant, only the number of grants. The cooldown starts with an
//!   activity that your system reports when it delivers the reward, e.g. `chest.opened`.
//! - **Between grant and report** there is a gap in which a quick user could claim again. `grants()` closes it: with more
//!   grants than chests, one is not delivered yet.
//! - **The event must allow it**: a recurrence with enough `count` per period, e.g. `DAILY` with 3.
//! - **`retry_at` is exact here**, so a client can show a countdown and claim at that instant.

use meed_plugin_sdk::prelude::*;
use std::time::Duration;

/// The activity that starts the cooldown, and its length.
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
    const DESCRIPTION: &'static str = "A number of hours has passed since the user's last activity of a kind.";
    type Params = CooldownParams;
    type Plan = (Query<Option<Timestamp>>, Query<i64>, Grants);

    fn plan(params: &CooldownParams) -> Self::Plan {
        // Windows are calendar days. Two more than the hours fill cover them, also when a day has 23 hours.
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
        let message = format!("Come back in {} h {} min.", minutes / 60, minutes % 60);
        Decision::not_yet("cooling-down", message)
            .arg("minutes", minutes)
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
    fn the_cooldown_ends_after_exactly_the_given_hours() {
        assert_eq!(after(Duration::from_hours(8)), Decision::eligible());
        let decision = after(Duration::from_hours(8) - Duration::from_millis(1));
        assert_eq!(decision.reasons[0].code, "cooling-down");
        assert_eq!(decision.reasons[0].message, "Come back in 0 h 1 min.");
        let now = Context::from(testing::context(NOW)).now;
        assert_eq!(decision.retry_at, Some(now.millis() + 1));
    }

    #[test]
    fn the_remaining_time_is_in_hours_and_minutes() {
        let decision = after(Duration::from_mins(1));
        assert_eq!(decision.reasons[0].message, "Come back in 7 h 59 min.");
    }

    #[test]
    fn the_first_claim_needs_no_cooldown() {
        assert_eq!(
            eight_hours().decide(testing::context(NOW), (None, 0, 0)),
            Decision::eligible()
        );
    }

    #[test]
    fn an_undelivered_grant_blocks_the_next() {
        let decision = eight_hours().decide(testing::context(NOW), (None, 0, 1));
        assert_eq!(decision.reasons[0].code, "on-its-way");
    }

    #[test]
    fn the_window_covers_the_whole_cooldown() {
        let plan = |hours| {
            let rule = testing::bind::<Cooldown>(&format!(r#"{{"kind": "chest.opened", "hours": {hours}}}"#)).unwrap();
            rule.plan().0.clone()
        };
        assert_eq!(plan(8), last("chest.opened").last_days(2));
        assert_eq!(plan(24), last("chest.opened").last_days(3));
        assert_eq!(plan(720), last("chest.opened").last_days(32));
    }
}
