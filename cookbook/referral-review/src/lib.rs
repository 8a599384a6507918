//! Referral review: invitees count after a milestone, and a person decides when they look made up.
//!
//! Before you copy it:
//! - **Suspicion is not proof.** A school class registers within an hour, too. So a rule that finds a pattern should not
//!   refuse: `review` holds the claim until an operator approves or denies it, with the facts in its receipt.
//! - **Refuse first.** A claim that is too early is refused without a review. Operators see only claims that would be
//!   granted otherwise.
//! - **The user reads the reasons.** Say that a person has a look, and not what to do to avoid it.
//! - **Two signs.** All invitations within a short time, and invitees who did the milestone and little else. Facts about
//!   invitees are sums, so the second sign is an average: one busy invitee hides some idle ones.
//! - **Choose the numbers from your own data.** If every second claim is held, people stop looking.
//! - **A review takes days.** The user cannot claim the event meanwhile, and the stock is not reserved.

use meed_plugin_sdk::prelude::*;
use std::time::Duration;

/// Which invitees count, and which look made up.
#[derive(Params)]
#[param(example = {"milestone": "tutorial.completed", "per": 3, "burstHours": 24, "activity": "session.started", "minimum": 3})]
struct ReferralReviewParams {
    /// The kind of activity that an invitee must do; one that each user does at most once.
    #[param(max_length = 64, pattern = "^[A-Za-z0-9._-]{1,64}$", example = "tutorial.completed")]
    milestone: String,
    /// Invitees for each claim.
    #[param(minimum = 2, maximum = 1000, example = 3)]
    per: u32,
    /// A person decides if all invitations were accepted within this many hours.
    #[param(minimum = 1, maximum = 8760, example = 24)]
    burst_hours: u32,
    /// The kind of activity that shows that an invitee uses the product.
    #[param(max_length = 64, pattern = "^[A-Za-z0-9._-]{1,64}$", example = "session.started")]
    activity: String,
    /// A person decides if the invitees did fewer of these on average.
    #[param(minimum = 1, maximum = 1000, example = 3)]
    minimum: u32,
}

struct ReferralReview;

impl Condition for ReferralReview {
    const TITLE: &'static str = "Referral review";
    const DESCRIPTION: &'static str =
        "A number of invitees reached a milestone. A person decides if they registered at once or did little else.";
    type Params = ReferralReviewParams;
    type Plan = (
        Query<i64>,
        Query<i64>,
        Query<Option<Timestamp>>,
        Query<Option<Timestamp>>,
        Query<i64>,
        Grants,
    );

    fn plan(params: &ReferralReviewParams) -> Self::Plan {
        (
            count("invite.accepted"),
            count(&params.milestone).of_invitees(),
            first("invite.accepted"),
            last("invite.accepted"),
            count(&params.activity).of_invitees(),
            grants(),
        )
    }

    fn decide(
        params: &ReferralReviewParams,
        _context: &Context,
        facts: (i64, i64, Option<Timestamp>, Option<Timestamp>, i64, i64),
    ) -> Decision {
        let (accepted, milestones, first, last, activities, granted) = facts;
        let needed = granted.saturating_add(1).saturating_mul(params.per.into());
        let counted = milestones.min(accepted);
        let mut decision = Decision::eligible().progress("invites", counted, needed);
        if counted < needed {
            return decision.refuse("too-few-invites", "Invite more friends, and play with them.");
        }
        let burst = Duration::from_hours(params.burst_hours.into());
        if let (Some(first), Some(last)) = (first, last)
            && last < first + burst
        {
            decision = decision.review("invited-at-once", "Many friends joined at once. We have a look.");
        }
        if activities < accepted.saturating_mul(params.minimum.into()) {
            decision = decision.review("invitees-idle", "Your friends have just begun. We have a look.");
        }
        decision
    }
}

meed_plugin_sdk::export!(ReferralReview);

#[cfg(test)]
mod tests {
    use super::*;
    use meed_plugin_sdk::Outcome;
    use meed_plugin_sdk::testing::{self, Bound};

    fn rule() -> Bound<ReferralReview> {
        testing::bind(
            r#"{"milestone": "tutorial.completed", "per": 3, "burstHours": 24, "activity": "session.started", "minimum": 3}"#,
        )
        .unwrap()
    }

    /// Invitations within so many hours, milestones and activities of invitees.
    fn decide(accepted: i64, hours: i64, milestones: i64, activities: i64, granted: i64) -> Decision {
        let at = |hours: i64| Some(Timestamp::from_millis(1_772_000_000_000 + hours * 3_600_000));
        rule().decide(
            testing::context("2026-03-02T09:00[Asia/Seoul]"),
            (accepted, milestones, at(0), at(hours), activities, granted),
        )
    }

    fn codes(decision: &Decision) -> Vec<&str> {
        decision.reasons.iter().map(|reason| reason.code.as_str()).collect()
    }

    #[test]
    fn active_friends_over_some_days_need_no_review() {
        assert_eq!(decide(4, 72, 3, 12, 0), Decision::eligible().progress("invites", 3, 3));
    }

    #[test]
    fn friends_who_join_at_once_do() {
        let decision = decide(4, 23, 4, 12, 0);
        assert_eq!(
            (decision.outcome, codes(&decision)),
            (Outcome::NeedsReview, vec!["invited-at-once"])
        );
        assert!(decide(4, 24, 4, 12, 0).is_eligible());
    }

    #[test]
    fn so_do_friends_who_did_little() {
        let decision = decide(4, 72, 4, 11, 0);
        assert_eq!(
            (decision.outcome, codes(&decision)),
            (Outcome::NeedsReview, vec!["invitees-idle"])
        );
        assert_eq!(codes(&decide(4, 1, 4, 4, 0)), ["invited-at-once", "invitees-idle"]);
    }

    #[test]
    fn a_claim_that_is_too_early_is_refused_without_a_review() {
        for decision in [decide(4, 1, 2, 0, 0), decide(2, 1, 40, 0, 0), decide(5, 1, 5, 0, 1)] {
            assert_eq!(
                (decision.outcome, codes(&decision)),
                (Outcome::NotEligible, vec!["too-few-invites"])
            );
        }
    }

    #[test]
    fn no_facts_are_out_of_range() {
        decide(i64::MAX, 0, i64::MAX, i64::MAX, i64::MAX);
    }
}
