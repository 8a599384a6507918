//! Invite guard: an invitee counts only after reaching a milestone, and only up to a cap.
//!
//! Before you copy it:
//! - **Registrations are cheap.** A reward for `invite.accepted` pays for mailboxes. Require something that takes time or
//!   money, e.g. the end of the tutorial.
//! - **Facts about invitees are sums over all of them.** A rule cannot ask "how many invitees did it", only "how often was
//!   it done". Use a kind of activity that each user does at most once (`tutorial.completed`, `level.10-reached`); with
//!   `shop.purchase` one busy friend would count for ten. As a second protection, no more invitees count than accepted
//!   the invitation since the event's start.
//! - **No pyramid.** Invitees of invitees do not count: only users who registered with the claimant's own code.
//! - **Two limits.** `cap` limits the invitees that can ever count; it belongs to the rule. The event's recurrence limits
//!   the grants per user, and the stock limits the rewards: a rule cannot see other users.
//! - **Each invitee is paid for once.** With a recurrence of more than one, each further claim needs `per` more invitees.

use meed_plugin_sdk::prelude::*;

/// Which invitees count.
#[derive(Params)]
#[param(example = {"milestone": "tutorial.completed", "per": 3, "cap": 30})]
struct InviteGuardParams {
    /// The kind of activity that an invitee must do; one that each user does at most once.
    #[param(max_length = 64, pattern = "^[A-Za-z0-9._-]{1,64}$", example = "tutorial.completed")]
    milestone: String,
    /// Invitees for each claim.
    #[param(minimum = 1, maximum = 1000, example = 3)]
    per: u32,
    /// The largest number of invitees that count, over all claims.
    #[param(minimum = 1, maximum = 100_000, example = 30)]
    cap: u32,
}

struct InviteGuard;

impl Condition for InviteGuard {
    const TITLE: &'static str = "Invite guard";
    const DESCRIPTION: &'static str =
        "A number of users registered with the user's invite code and reached a milestone since the event's start.";
    type Params = InviteGuardParams;
    type Plan = (Query<i64>, Query<i64>, Grants);

    fn check(params: &InviteGuardParams) -> Vec<Issue> {
        if params.cap < params.per {
            return vec![Issue::at(
                "/cap",
                "`cap` must not be below `per`, or no user can ever claim.",
            )];
        }
        Vec::new()
    }

    fn plan(params: &InviteGuardParams) -> Self::Plan {
        (
            count("invite.accepted"),
            count(&params.milestone).of_invitees(),
            grants(),
        )
    }

    fn decide(params: &InviteGuardParams, _context: &Context, facts: (i64, i64, i64)) -> Decision {
        let (accepted, milestones, granted) = facts;
        let needed = granted.saturating_add(1).saturating_mul(params.per.into());
        if needed > params.cap.into() {
            return Decision::not_yet(
                "cap-reached",
                "You have invited the largest number that counts. Thank you!",
            );
        }
        let counted = milestones.min(accepted);
        let decision = Decision::eligible().progress("invites", counted, needed);
        if counted >= needed {
            return decision;
        }
        if accepted >= needed {
            return decision.refuse("invitees-not-active", "Your friends have to play before they count.");
        }
        decision.refuse("too-few-invites", "Invite more friends to register with your code.")
    }
}

meed_plugin_sdk::export!(InviteGuard);

#[cfg(test)]
mod tests {
    use super::*;
    use meed_plugin_sdk::testing::{self, Bound};

    fn rule() -> Bound<InviteGuard> {
        testing::bind(r#"{"milestone": "tutorial.completed", "per": 3, "cap": 7}"#).unwrap()
    }

    fn decide(accepted: i64, milestones: i64, granted: i64) -> Decision {
        rule().decide(
            testing::context("2026-03-02T09:00[Asia/Seoul]"),
            (accepted, milestones, granted),
        )
    }

    fn code(decision: &Decision) -> &str {
        &decision.reasons[0].code
    }

    #[test]
    fn three_active_invitees() {
        assert_eq!(decide(5, 3, 0), Decision::eligible().progress("invites", 3, 3));
    }

    #[test]
    fn a_registered_invitee_is_not_active() {
        let decision = decide(5, 2, 0);
        assert_eq!(code(&decision), "invitees-not-active");
        assert_eq!((decision.progress[0].current, decision.progress[0].target), (2, 3));
    }

    #[test]
    fn one_busy_invitee_counts_once() {
        let decision = decide(1, 40, 0);
        assert_eq!(code(&decision), "too-few-invites");
        assert_eq!(decision.progress[0].current, 1);
    }

    #[test]
    fn an_invitee_counts_for_only_one_claim() {
        assert_eq!(code(&decide(5, 5, 1)), "too-few-invites");
        assert!(decide(6, 6, 1).is_eligible());
    }

    #[test]
    fn the_cap_limits_all_claims() {
        assert_eq!(code(&decide(100, 100, 2)), "cap-reached");
        assert_eq!(code(&decide(100, 100, i64::MAX)), "cap-reached");
    }

    #[test]
    fn the_milestone_must_be_the_invitees_own() {
        let expected = (
            count("invite.accepted"),
            count("tutorial.completed").of_invitees(),
            grants(),
        );
        assert_eq!(*rule().plan(), expected);
    }

    #[test]
    fn a_cap_must_allow_at_least_one_claim() {
        let issues = testing::bind::<InviteGuard>(r#"{"milestone": "a.b", "per": 3, "cap": 2}"#).unwrap_err();
        assert_eq!(issues[0].path, "/cap");
    }
}
