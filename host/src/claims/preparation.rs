//! The part of a decision that needs neither the database nor the sandbox: the slot, the gates of the host, the seed and
//! the context of the condition.
//!
//! Claims call it by way of `decision`, backtests directly, so both apply the same limits, stock, budget, recurrence and
//! group. Must not know: where the snapshot comes from.

use uuid::Uuid;

use super::model::{Reason, Status};
use super::verdict::{BUDGET_SPENT, BudgetLeft, SOLD_OUT, Verdict};
use crate::clock::Timestamp;
use crate::contract::{Context, EventInfo, RewardInfo, UserInfo};
use crate::events::{Offer, Purpose};
use crate::facts::{GroupUsage, Snapshot};
use crate::rewards::Reward;

/// Who claims, when, and what for.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    pub user_id: Uuid,
    pub now: Timestamp,
    pub purpose: Purpose,
}

/// What is known before the condition runs.
#[expect(
    clippy::large_enum_variant,
    reason = "one per decision, and destructured immediately"
)]
#[derive(Debug)]
pub enum Prepared {
    /// The user holds all grants of the slot's period. Only for a claim.
    AlreadyGranted(PeriodSlot),
    /// This claim of the user on the event is held for a review. Only for a claim.
    Held(Uuid),
    /// A gate of the host refuses.
    Refused {
        slot: PeriodSlot,
        granted: u32,
        verdict: Verdict,
    },
    /// The condition decides.
    Ask(Ready),
}

/// The input of the condition besides the facts, and what limits its decision.
#[derive(Debug)]
pub struct Ready {
    pub slot: PeriodSlot,
    /// Grants that the user holds in the period.
    pub granted: u32,
    pub context: Context,
    pub budget: Option<BudgetLeft>,
}

/// A period of the event's recurrence and the user's grant in it, from 1: the unique key of a grant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeriodSlot {
    pub period: String,
    pub slot: u32,
    /// When a grant of the user was last reversed. The grant of this slot comes after it, whatever the clocks say.
    pub last_reversal: Option<Timestamp>,
    /// The event's group, and the number of the user's grant in it: the unique key of the group's limit.
    pub group: Option<(String, u32)>,
}

impl PeriodSlot {
    /// The first slot of the period that contains `at`: for claims that no grant can result from.
    pub fn first(offer: &Offer, at: Timestamp) -> Self {
        Self {
            period: offer.period(at),
            slot: 1,
            last_reversal: None,
            group: None,
        }
    }
}

/// Applies everything that the host decides before the condition.
pub fn prepare(offer: &Offer, snapshot: &Snapshot, moment: Moment) -> Prepared {
    let Moment { user_id, now, purpose } = moment;
    let granted = u32::try_from(snapshot.granted_slots.len()).unwrap_or(u32::MAX);
    let slot = PeriodSlot {
        period: snapshot.period.clone(),
        slot: snapshot.free_slot(),
        last_reversal: snapshot.last_reversal,
        group: offer
            .event
            .group
            .clone()
            .zip(snapshot.group.as_ref().map(GroupUsage::free_slot)),
    };
    let is_claim = purpose.is_claim();
    if is_claim && granted >= offer.event.recurrence.count {
        return Prepared::AlreadyGranted(slot);
    }
    if let Some(id) = snapshot.held_claim.filter(|_| is_claim) {
        return Prepared::Held(id);
    }
    let budget = BudgetLeft::of(offer, snapshot.budget_usage, now);
    if let Some(verdict) = gate(offer, snapshot, budget.as_ref(), now) {
        return Prepared::Refused { slot, granted, verdict };
    }
    let seed = seed(offer, user_id, &slot, purpose);
    let context = context(offer, user_id, snapshot, now, seed);
    Prepared::Ask(Ready {
        slot,
        granted,
        context,
        budget,
    })
}

/// The gates that need no evaluation, in the order in which a user can do something about them.
fn gate(offer: &Offer, snapshot: &Snapshot, budget: Option<&BudgetLeft>, now: Timestamp) -> Option<Verdict> {
    let event = &offer.event;
    if now >= event.end_date {
        let message = format!("The event ended at {}.", event.end_date);
        let reason = Reason::host("event-ended", message).arg("endedAt", event.end_date);
        return Some(Verdict::by_host(Status::Rejected, reason, None));
    }
    if !event.is_active {
        return Some(Verdict::rejected("event-inactive", "The event is not active."));
    }
    if now < event.start_date {
        let message = format!("The event starts at {}.", event.start_date);
        let reason = Reason::host("event-not-started", message).arg("startsAt", event.start_date);
        return Some(Verdict::by_host(Status::Rejected, reason, Some(event.start_date)));
    }
    if let (Some(group), Some(usage)) = (&event.group, &snapshot.group)
        && usage.is_used_up()
    {
        let message = format!(
            "You have the maximum number of grants of this group of events: {}.",
            usage.max
        );
        let reason = Reason::host("group-limit-reached", message);
        return Some(Verdict::by_host(
            Status::Rejected,
            reason.arg("group", group).arg("limit", usage.max),
            None,
        ));
    }
    let is_sold_out = |reward_id| snapshot.stock.get(reward_id) == Some(&0);
    if offer.rewards.iter().all(|reward| is_sold_out(&reward.id)) {
        return Some(Verdict::rejected(SOLD_OUT, "All rewards of the event are sold out."));
    }
    let budget = budget.filter(|budget| budget.is_spent(offer))?;
    let reason = Reason::host(BUDGET_SPENT, "The event's budget is spent.");
    Some(Verdict::by_host(Status::Rejected, reason, budget.renews_at))
}

/// A draw must not depend on anything that a user can retry.
fn seed(offer: &Offer, user_id: Uuid, slot: &PeriodSlot, purpose: Purpose) -> [u8; 32] {
    let event = &offer.event;
    event.secret.seed(event.id, user_id, &slot.period, slot.slot, purpose)
}

/// Everything that the condition may depend on besides the facts.
fn context(offer: &Offer, user_id: Uuid, snapshot: &Snapshot, now: Timestamp, seed: [u8; 32]) -> Context {
    let event = &offer.event;
    let reward_info = |reward: &Reward| {
        let left = snapshot.stock.get(&reward.id);
        let left = left.map_or(u32::MAX, |left| u32::try_from(*left).unwrap_or(0));
        RewardInfo {
            id: reward.id.to_string(),
            kind: reward.type_.clone(),
            value: reward.value,
            max_quantity: event.max_quantity.min(left),
        }
    };
    Context {
        now,
        local: offer.zone.local(now),
        offsets: offer.zone.offsets(now),
        time_zone: event.time_zone.clone(),
        event: EventInfo {
            id: event.id.to_string(),
            title: event.title.clone(),
            starts: event.start_date,
            ends: event.end_date,
        },
        user: UserInfo {
            id: user_id.to_string(),
            registered: snapshot.registered,
        },
        rewards: offer.rewards.iter().map(reward_info).collect(),
        seed,
    }
}
