//! The terms of a backtest: the conditions, the event and the period as they were when it was created. With the log they
//! determine the report.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use super::error::BacktestError;
use super::state::Population;
use crate::clock::Timestamp;
use crate::contract::{Query, Selection, Subject};
use crate::events::{Budget, Event, Offer, Recurrence, Secret};
use crate::facts::{Plan, UnknownZone};
use crate::plugins::BoundCondition;
use crate::rewards::Reward;
use crate::sandbox::Digest;

/// The longest period.
const MAX_PERIOD: Duration = Duration::from_hours(400 * 24);

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Terms {
    pub event_id: Uuid,
    pub event_revision: i64,
    pub title: String,
    pub starts: Timestamp,
    pub ends: Timestamp,
    pub time_zone: String,
    pub recurrence: Recurrence,
    pub budget: Option<Budget>,
    pub group: Option<GroupTerms>,
    pub max_quantity: u32,
    pub rewards: Vec<RewardTerms>,
    pub baseline: ConditionTerms,
    pub candidate: ConditionTerms,
    /// The period, half-open.
    pub from: Timestamp,
    pub to: Timestamp,
    pub population: Population,
    /// So many users, by a stable hash; `None`: all.
    pub sample: Option<u32>,
    /// When the stock was read: `remaining` is without the grants until then.
    pub stock_at: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GroupTerms {
    pub name: String,
    pub max_per_user: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RewardTerms {
    pub id: Uuid,
    #[serde(rename = "type")]
    pub type_: String,
    pub value: Option<i64>,
    pub revision: i64,
    /// What was left when the backtest was created; in a report, at the start of the period. `None`: no limit.
    pub remaining: Option<i64>,
}

/// A condition, pinned by the digest of its plugin.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ConditionTerms {
    pub plugin: String,
    pub version: String,
    pub digest: Digest,
    pub params: Value,
    pub plan: Plan,
    /// Base64.
    pub state: String,
}

impl From<&BoundCondition> for ConditionTerms {
    fn from(bound: &BoundCondition) -> Self {
        Self {
            plugin: bound.plugin.clone(),
            version: bound.version.clone(),
            digest: bound.digest,
            params: bound.params.clone(),
            plan: bound.plan.clone(),
            state: STANDARD.encode(&bound.state),
        }
    }
}

impl ConditionTerms {
    pub fn bound(&self) -> BoundCondition {
        BoundCondition {
            plugin: self.plugin.clone(),
            version: self.version.clone(),
            digest: self.digest,
            params: self.params.clone(),
            plan: self.plan.clone(),
            state: STANDARD.decode(&self.state).unwrap_or_default(),
        }
    }
}

impl Terms {
    pub fn new(offer: &Offer, group: Option<GroupTerms>, sides: [&BoundCondition; 2]) -> Self {
        let event = &offer.event;
        Self {
            event_id: event.id,
            event_revision: event.revision,
            title: event.title.clone(),
            starts: event.start_date,
            ends: event.end_date,
            time_zone: event.time_zone.clone(),
            recurrence: event.recurrence,
            budget: event.budget,
            group,
            max_quantity: event.max_quantity,
            rewards: offer.rewards.iter().map(RewardTerms::from).collect(),
            baseline: sides[0].into(),
            candidate: sides[1].into(),
            from: event.start_date,
            to: event.end_date,
            population: Population::All,
            sample: None,
            stock_at: event.end_date,
        }
    }

    /// The event as a claim sees it, with one of the conditions. It is active throughout the period.
    pub fn offer(&self, condition: &ConditionTerms, secret: Secret) -> Result<Offer, UnknownZone> {
        let zone = self.time_zone.parse()?;
        let event = Event {
            id: self.event_id,
            name: self.event_id.to_string(),
            title: self.title.clone(),
            description: String::new(),
            start_date: self.starts,
            end_date: self.ends,
            is_active: true,
            tags: Vec::new(),
            reward_ids: self.rewards.iter().map(|reward| reward.id).collect(),
            time_zone: self.time_zone.clone(),
            condition: condition.bound(),
            candidate: None,
            recurrence: self.recurrence,
            budget: self.budget,
            group: self.group.as_ref().map(|group| group.name.clone()),
            max_quantity: self.max_quantity,
            respond_async: false,
            seed_commitment: secret.commitment(),
            seed_secret: None,
            revision: self.event_revision,
            applied_revision: None,
            created_by: Uuid::nil(),
            created_at: self.starts,
            updated_at: self.starts,
            secret,
        };
        let rewards = self.rewards.iter();
        let rewards =
            rewards.map(|reward| Reward::of_past(reward.id, reward.type_.clone(), reward.value, reward.revision));
        Ok(Offer::of_past(event, rewards.collect(), zone))
    }

    /// Sets the period and the users.
    pub fn choose(
        &mut self,
        (from, to): (Option<Timestamp>, Option<Timestamp>),
        population: Population,
        sample: Option<u32>,
        now: Timestamp,
    ) -> Result<(), BacktestError> {
        self.from = from.unwrap_or(self.starts);
        self.to = to.unwrap_or(self.ends).min(now);
        self.population = population;
        self.sample = sample;
        self.stock_at = now;
        let field = |pointer, message| BacktestError::Field { pointer, message };
        if self.from >= self.to {
            let message = format!("{} is not before the end of the period, {}", self.from, self.to);
            return Err(field("/from", message));
        }
        if self.from.plus(MAX_PERIOD) < self.to {
            let days = MAX_PERIOD.as_secs() / 86_400;
            let message = format!("the period is longer than {days} days; choose a shorter one");
            return Err(field("/to", message));
        }
        Ok(())
    }

    pub fn sides(&self) -> [&ConditionTerms; 2] {
        [&self.baseline, &self.candidate]
    }

    /// Whether the grants to one user can leave fewer for another.
    pub fn has_limits(&self) -> bool {
        self.budget.is_some() || self.rewards.iter().any(|reward| reward.remaining.is_some())
    }

    pub fn queries(&self) -> impl Iterator<Item = &Query> {
        self.sides().into_iter().flat_map(|side| side.plan.queries())
    }

    pub fn selections(&self) -> impl Iterator<Item = &Selection> {
        self.queries().filter_map(|query| match query {
            Query::Count(selection)
            | Query::Sum(selection)
            | Query::DistinctDays(selection)
            | Query::Streak(selection)
            | Query::First(selection)
            | Query::Last(selection) => Some(selection),
            Query::Attribute(_) | Query::Grants => None,
        })
    }

    /// The kinds of activities that a plan asks for, of the user or of the invitees.
    pub fn kinds(&self, subject: Subject) -> Vec<String> {
        let selections = self.selections().filter(|selection| selection.subject == subject);
        let mut kinds: Vec<String> = selections.map(|selection| selection.kind.clone()).collect();
        kinds.sort();
        kinds.dedup();
        kinds
    }
}

impl From<&Reward> for RewardTerms {
    fn from(reward: &Reward) -> Self {
        Self {
            id: reward.id,
            type_: reward.type_.clone(),
            value: reward.value,
            revision: reward.revision,
            remaining: reward.stock_remaining,
        }
    }
}

/// The secret of draws where the event's own is not at hand.
pub(super) fn stand_in_secret(event_id: Uuid) -> Secret {
    let text = format!("meed-backtest/1\n{event_id}");
    Secret::of(Digest::of(text.as_bytes()))
}
