//! An event with its rewards, as claims see it. Must not know: where it is cached.

use std::sync::Arc;

use uuid::Uuid;

use super::candidate::{Arm, JointPlan, Mode, Trial};
use super::error::EventError;
use super::model::Event;
use crate::clock::Timestamp;
use crate::facts::Zone;
use crate::plugins::BoundCondition;
use crate::rewards::Reward;

/// An event with its rewards, for a claim.
#[derive(Clone, Debug)]
pub struct Offer {
    pub event: Event,
    pub rewards: Vec<Reward>,
    pub zone: Zone,
    /// If the event has a candidate.
    pub trial: Option<Arc<Trial>>,
    /// Of the rewards, before they were read.
    pub(super) generation: u64,
}

impl Offer {
    /// Who decides the claims of this user.
    pub fn arm(&self, user_id: Uuid) -> Arm {
        let event = &self.event;
        match self.trial.as_ref().map(|trial| trial.candidate.mode) {
            Some(mode @ Mode::Canary { .. }) if mode.decides(event.secret.ticket(event.id, user_id)) => Arm::Candidate,
            _ => Arm::Stable,
        }
    }

    pub fn condition(&self, arm: Arm) -> &BoundCondition {
        match &self.trial {
            Some(trial) if arm == Arm::Candidate => &trial.candidate.condition,
            _ => &self.event.condition,
        }
    }

    /// What was offered at another time, for a backtest.
    pub fn of_past(event: Event, rewards: Vec<Reward>, zone: Zone) -> Self {
        Self {
            event,
            rewards,
            zone,
            trial: None,
            generation: 0,
        }
    }

    /// The key of the recurrence period that contains this instant.
    pub fn period(&self, at: Timestamp) -> String {
        self.event.recurrence.period.key(at, &self.zone)
    }

    /// When the next recurrence period starts; `None` if there is none before the end of the event.
    pub fn next_period_start(&self, at: Timestamp) -> Option<Timestamp> {
        let next = self.event.recurrence.period.next_start(at, &self.zone);
        next.filter(|next| *next < self.event.end_date)
    }
}

/// What live claims try, if the event has a candidate.
pub(super) fn trial_of(event: &Event) -> Result<Option<Arc<Trial>>, EventError> {
    let Some(candidate) = &event.candidate else {
        return Ok(None);
    };
    Ok(Some(Arc::new(Trial {
        event_id: event.id,
        event_revision: event.revision,
        joint: JointPlan::new(&event.condition.plan, &candidate.condition.plan)?,
        stable: event.condition.clone(),
        candidate: candidate.clone(),
    })))
}
