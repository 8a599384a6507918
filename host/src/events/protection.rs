//! Which changes of an event need a release, and refuses them on every other way.
//!
//! An event is protected while it is active, is not over and can still give out more than the setting allows
//! (`rewards/liability.rs`). What users can get from it changes only by a release, which hands in a [`Release`]. Compared is
//! the content with which the event was active last, so a pause does not open a way. Must not know: what a release is made
//! of, or how it is approved.

use serde::Deserialize;
use serde_json::Value;
use uuid::Uuid;

use super::budget::Budget;
use super::error::EventError;
use super::model::{Event, Recurrence};
use super::service::EventService;
use super::store::{self, EventRow, live};
use crate::clock::Timestamp;
use crate::db::Tx;
use crate::facts::Period;
use crate::rewards::{Bounds, Liability, in_words};

/// The largest group of which each event is looked at; the limit of a larger one is protected without a look.
const MOST_OF_A_GROUP: usize = 32;

/// The way by which an event changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// A request that changes the event itself.
    Direct,
    Release,
}

/// The right to change a protected event. Only the activation and the rollback of a release make one, and a test holds that.
#[derive(Debug)]
pub struct Release {
    /// Of a rollback: the revision to which it leads back.
    pub(super) back_to: Option<i64>,
}

impl Release {
    /// Call it only in the transaction that confirmed the approval.
    pub fn confirmed() -> Self {
        Self { back_to: None }
    }

    /// Leads back to what was active at this revision; `None`: the event was never active.
    pub fn rolled_back(to: Option<i64>) -> Self {
        Self { back_to: to }
    }
}

/// What decides who gets what, of an event's content.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Terms {
    pub start_date: Timestamp,
    pub end_date: Timestamp,
    pub is_active: bool,
    pub reward_ids: Vec<Uuid>,
    pub time_zone: String,
    pub condition: Condition,
    pub recurrence: Recurrence,
    pub budget: Option<Budget>,
    pub group: Option<String>,
    pub max_quantity: u32,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
pub(super) struct Condition {
    pub plugin: String,
    pub version: String,
    pub digest: String,
    pub params: Value,
}

impl Terms {
    pub(super) fn of(event: &Event) -> Result<Self, EventError> {
        Self::of_snapshot(serde_json::json!(event)).ok_or(EventError::Snapshot(event.id, event.revision))
    }

    /// Of a stored revision; `None` if the event was deleted at it.
    pub(super) fn of_snapshot(snapshot: Value) -> Option<Self> {
        serde_json::from_value(snapshot).ok()
    }

    /// The first member by which `after` gives more, or something else, than these terms.
    fn raised_by(&self, after: &Self) -> Option<&'static str> {
        let has_new_rewards = after.reward_ids.iter().any(|id| !self.reward_ids.contains(id));
        let leaves_group = self.group.is_some() && self.group != after.group;
        let recurs_more =
            self.recurrence.period != after.recurrence.period || after.recurrence.count > self.recurrence.count;
        [
            (self.condition != after.condition, "condition"),
            (has_new_rewards, "rewardIds"),
            (is_loosened(self.budget, after.budget), "budget"),
            (recurs_more, "recurrence"),
            (leaves_group, "group"),
            (after.max_quantity > self.max_quantity, "maxQuantity"),
            (after.end_date > self.end_date, "endDate"),
            (after.start_date < self.start_date, "startDate"),
            (self.time_zone != after.time_zone, "timeZone"),
        ]
        .into_iter()
        .find_map(|(is_raised, member)| is_raised.then_some(member))
    }
}

fn is_loosened(before: Option<Budget>, after: Option<Budget>) -> bool {
    let is_higher = |before: Option<i64>, after: Option<i64>| match (before, after) {
        (Some(before), Some(after)) => after > before,
        (before, after) => before.is_some() && after.is_none(),
    };
    match (before, after) {
        (None, _) => false,
        (Some(_), None) => true,
        (Some(before), Some(after)) => {
            before.period != after.period
                || is_higher(before.grants, after.grants)
                || is_higher(before.amount, after.amount)
        }
    }
}

impl EventRow {
    fn bounds(&self) -> Bounds {
        Bounds {
            start_at: self.start_at,
            end_at: self.end_at,
            max_quantity: self.max_quantity,
            budget: self
                .budget_period
                .map(|period: Period| (period, self.budget_grants, self.budget_amount)),
        }
    }
}

impl EventService {
    /// What the event can still give out, as the transaction sees it. Part of the caller's transaction, after the event's
    /// rewards are stored.
    pub(super) async fn liability_of(&self, tx: &mut Tx, row: &EventRow) -> Result<Liability, EventError> {
        Ok(self.rewards.liability(tx, row.id, row.bounds()).await?)
    }

    /// Whether the setting protects the event, with what it can give out now. Part of the caller's transaction.
    pub(super) async fn is_protected(&self, tx: &mut Tx, id: Uuid) -> Result<bool, EventError> {
        let row = store::find(&mut *tx, id).await?.ok_or(EventError::NotFound(id))?;
        Ok(self.releases.protects(self.liability_of(tx, &row).await?))
    }

    /// Refuses a direct change that needs a release, and notes the revision at which the event was active last. `before` is the
    /// stored event; `after` is written already. Part of the caller's transaction.
    pub(super) async fn guard_change(
        &self,
        tx: &mut Tx,
        way: Way,
        before: Option<&EventRow>,
        after: &EventRow,
    ) -> Result<(), EventError> {
        let now = self.clock.now();
        if way == Way::Direct && after.is_active && after.end_at > now && !self.releases.is_off() {
            let liability = self.liability_of(tx, after).await?;
            if self.releases.protects(liability)
                && let Some(member) = self.raised(tx, before, after).await?
            {
                return Err(EventError::ReleaseRequired {
                    event: after.id,
                    member,
                    liability: in_words(liability),
                });
            }
        }
        if after.is_active {
            live::note(tx, after.id, after.revision).await?;
        }
        Ok(())
    }

    /// The first member by which the event gives more, or something else, than when it was active last.
    async fn raised(
        &self,
        tx: &mut Tx,
        before: Option<&EventRow>,
        after: &EventRow,
    ) -> Result<Option<&'static str>, EventError> {
        let after = Terms::of(&self.event_of(after.clone())?)?;
        let Some(before) = before else {
            return Ok(Some("isActive"));
        };
        let last = if before.is_active {
            Some(Terms::of(&self.event_of(before.clone())?)?)
        } else {
            let snapshot = live::last(tx, before.id).await?;
            snapshot.and_then(Terms::of_snapshot)
        };
        // An event that was never active goes live.
        Ok(last.map_or(Some("isActive"), |last| last.raised_by(&after)))
    }

    /// Refuses to raise the limit of a group of protected events. Part of the caller's transaction.
    pub(super) async fn guard_group(&self, tx: &mut Tx, name: &str) -> Result<(), EventError> {
        if self.releases.is_off() {
            return Ok(());
        }
        let most = i64::try_from(MOST_OF_A_GROUP).unwrap_or(i64::MAX);
        let events = live::of_group(tx, name, self.clock.now(), most + 1).await?;
        let are_too_many = events.len() > MOST_OF_A_GROUP;
        for event in events {
            let liability = self.liability_of(tx, &event).await?;
            if are_too_many || self.releases.protects(liability) {
                return Err(EventError::ReleaseRequired {
                    event: event.id,
                    member: "group",
                    liability: in_words(liability),
                });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn terms(changes: &[(&str, Value)]) -> Terms {
        let mut terms = json!({
            "startDate": "2026-03-01T00:00:00Z", "endDate": "2026-04-01T00:00:00Z", "isActive": true,
            "rewardIds": [Uuid::from_u128(1), Uuid::from_u128(2)], "timeZone": "UTC",
            "condition": {"plugin": "p", "version": "1.0.0", "digest": "sha256:00", "params": {"days": 7}},
            "recurrence": {"period": "DAILY", "count": 2}, "maxQuantity": 2, "group": "g",
            "budget": {"period": "DAILY", "grants": 10, "amount": 100},
        });
        for (member, value) in changes {
            terms[*member] = value.clone();
        }
        serde_json::from_value(terms).unwrap()
    }

    #[test]
    fn what_gives_more_or_something_else_is_named() {
        let condition = json!({"plugin": "p", "version": "1.0.0", "digest": "sha256:00", "params": {"days": 6}});
        let bytes = json!({"plugin": "p", "version": "1.0.0", "digest": "sha256:01", "params": {"days": 7}});
        for (member, value) in [
            ("condition", condition),
            ("condition", bytes),
            ("rewardIds", json!([Uuid::from_u128(3)])),
            ("budget", Value::Null),
            ("budget", json!({"period": "DAILY", "grants": 11, "amount": 100})),
            ("budget", json!({"period": "DAILY", "grants": 10})),
            ("budget", json!({"period": "WEEKLY", "grants": 10, "amount": 100})),
            ("recurrence", json!({"period": "DAILY", "count": 3})),
            ("recurrence", json!({"period": "WEEKLY", "count": 2})),
            ("group", Value::Null),
            ("group", json!("other")),
            ("maxQuantity", json!(3)),
            ("endDate", json!("2026-04-02T00:00:00Z")),
            ("startDate", json!("2026-02-28T00:00:00Z")),
            ("timeZone", json!("Asia/Seoul")),
        ] {
            assert_eq!(
                terms(&[]).raised_by(&terms(&[(member, value.clone())])),
                Some(member),
                "{value}"
            );
        }
    }

    #[test]
    fn what_gives_less_is_free() {
        for (member, value) in [
            ("rewardIds", json!([Uuid::from_u128(2)])),
            ("rewardIds", json!([Uuid::from_u128(2), Uuid::from_u128(1)])),
            ("budget", json!({"period": "DAILY", "grants": 9, "amount": 100})),
            ("recurrence", json!({"period": "DAILY", "count": 1})),
            ("maxQuantity", json!(1)),
            ("endDate", json!("2026-03-31T00:00:00Z")),
            ("startDate", json!("2026-03-02T00:00:00Z")),
            ("isActive", json!(false)),
        ] {
            assert_eq!(
                terms(&[]).raised_by(&terms(&[(member, value.clone())])),
                None,
                "{value}"
            );
        }
        let unlimited = terms(&[("budget", Value::Null), ("group", Value::Null)]);
        assert_eq!(unlimited.raised_by(&terms(&[])), None);
    }
}
