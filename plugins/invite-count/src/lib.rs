//! Invite a number of users.
//!
//! The rule counts the claimant's invitations that were accepted since the event's start: the server records
//! `invite.accepted` for the inviting user.

use meed_plugin_sdk::prelude::*;

/// How many invitations must be accepted.
#[derive(Params)]
#[param(example = {"count": 3})]
struct InviteCountParams {
    /// Users who registered with the claimant's invite code since the event's start.
    #[param(minimum = 1, maximum = 10_000, example = 3)]
    count: u32,
}

struct InviteCount;

impl Condition for InviteCount {
    const TITLE: &'static str = "Invite count";
    const DESCRIPTION: &'static str =
        "A number of users registered with the user's invite code since the event's start.";
    const LABELS: &'static [(&'static str, &'static str)] = &[("invites", "Accepted invitations")];
    type Params = InviteCountParams;
    type Plan = Query<i64>;

    fn plan(_params: &InviteCountParams) -> Query<i64> {
        count("invite.accepted").event_period()
    }

    fn decide(params: &InviteCountParams, _context: &Context, accepted: i64) -> Decision {
        let needed = i64::from(params.count);
        if accepted >= needed {
            return Decision::eligible().progress("invites", accepted, needed);
        }
        let missing = needed - accepted;
        let people = if missing == 1 { "person" } else { "people" };
        Decision::not_yet(
            "too-few-invites",
            format!("Invite {missing} more {people} to register with your code."),
        )
        .arg("missing", missing)
        .progress("invites", accepted, needed)
    }
}

meed_plugin_sdk::export!(InviteCount);

#[cfg(test)]
mod tests {
    use super::*;
    use meed_plugin_sdk::testing;

    fn three_after(accepted: i64) -> Decision {
        let rule = testing::bind::<InviteCount>(r#"{"count": 3}"#).unwrap();
        rule.decide(testing::context("2026-03-02T09:00[Asia/Seoul]"), accepted)
    }

    #[test]
    fn enough_invites_are_eligible() {
        assert!(three_after(3).is_eligible());
        assert_eq!(three_after(5), Decision::eligible().progress("invites", 3, 3));
    }

    #[test]
    fn too_few_invites_report_the_missing_number() {
        let decision = three_after(2);
        assert!(!decision.is_eligible());
        assert_eq!(decision.reasons[0].code, "too-few-invites");
        assert_eq!(
            decision.reasons[0].message,
            "Invite 1 more person to register with your code."
        );
        assert_eq!((decision.progress[0].current, decision.progress[0].target), (2, 3));
    }

    #[test]
    fn invites_count_since_the_events_start() {
        let rule = testing::bind::<InviteCount>(r#"{"count": 3}"#).unwrap();
        assert_eq!(*rule.plan(), count("invite.accepted").event_period());
    }

    #[test]
    fn counts_are_1_to_10_000() {
        for params in [r#"{"count": 0}"#, r#"{"count": 10001}"#] {
            assert_eq!(
                testing::bind::<InviteCount>(params).unwrap_err()[0].path,
                "/count",
                "{params}"
            );
        }
    }
}
