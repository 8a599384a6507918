//! What was counted of one arm of one step: numbers that add up over hours and processes.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::model::{Kind, Status};
use super::observation::Decision;
use super::sketch::Sketch;

/// The parts into which a fuel limit is divided.
pub const FUEL_PARTS: usize = 20;
/// Different codes of failures that are told apart; there are about a dozen.
const MOST_CODES: usize = 32;

/// Of one arm. A user's decisions count once as long as they stay the same.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default)]
#[schema(as = TrialTotals)]
pub struct Totals {
    pub decisions: u64,
    /// Users whose first decision in this step it was, per process
    pub first_decisions: u64,
    pub granted: u64,
    pub held: u64,
    pub rejected: u64,
    /// The value of what was granted
    pub value: i64,
    /// Failures of the arm's condition, by their code. In a canary, the event's condition decided these claims
    pub failures: BTreeMap<String, u64>,
    /// Decisions that were compared with that of the other condition
    pub compared: u64,
    /// Those that differed
    pub divergences: BTreeMap<Kind, u64>,
    /// Runs of the condition by the share of its fuel limit, in twentieths
    #[schema(value_type = Vec<u64>)]
    pub fuel: [u64; FUEL_PARTS],
    /// Decisions that were not counted, because too many waited
    pub dropped: u64,
    #[serde(rename = "sketch", skip_serializing_if = "Sketch::is_empty")]
    #[schema(ignore)]
    users: Sketch,
}

impl Totals {
    pub fn failed(&self) -> u64 {
        self.failures.values().sum()
    }

    /// Failures of which the condition is the cause.
    pub fn faults(&self) -> u64 {
        self.failed() - self.failures.get("overloaded").copied().unwrap_or_default()
    }

    /// Runs that were measured.
    pub fn measured(&self) -> u64 {
        self.fuel.iter().sum()
    }

    /// Runs that used more than this share of the limit.
    pub fn above(&self, twentieths: usize) -> u64 {
        self.fuel.iter().skip(twentieths).sum()
    }

    pub fn diverged(&self, kind: Kind) -> u64 {
        self.divergences.get(&kind).copied().unwrap_or_default()
    }

    pub fn users(&self) -> u64 {
        self.users.count()
    }

    #[cfg(test)]
    pub fn add_user(&mut self, user: Uuid) {
        self.users.add(user);
    }

    #[cfg(test)]
    pub fn forget_users(&mut self) {
        self.users = Sketch::default();
    }

    /// Without what only the database needs.
    pub(super) fn shown(self) -> Self {
        Self {
            users: Sketch::default(),
            ..self
        }
    }

    /// Counts a decision. `enforced`: what the user got or would have got. `own`: the decision of the arm's condition.
    pub(super) fn count(&mut self, user: Uuid, is_first: bool, enforced: &Decision, own: &Decision) {
        self.decisions += 1;
        self.first_decisions += u64::from(is_first);
        self.users.add(user);
        match enforced.status {
            Status::Granted => {
                self.granted += 1;
                self.value = self.value.saturating_add(enforced.value);
            }
            Status::Held => self.held += 1,
            Status::Rejected => self.rejected += 1,
            Status::Failed => {}
        }
        if let Some(code) = &own.failure
            && (self.failures.len() < MOST_CODES || self.failures.contains_key(code))
        {
            *self.failures.entry(code.clone()).or_default() += 1;
        }
        if let Some((used, limit)) = own.fuel {
            let part = u128::from(used) * FUEL_PARTS as u128 / u128::from(limit.max(1));
            let part = usize::try_from(part).unwrap_or(FUEL_PARTS).min(FUEL_PARTS - 1);
            self.fuel[part] += 1;
        }
    }

    pub(super) fn diverge(&mut self, kind: Option<Kind>) {
        self.compared += 1;
        if let Some(kind) = kind {
            *self.divergences.entry(kind).or_default() += 1;
        }
    }

    pub(super) fn add(&mut self, more: &Self) {
        self.decisions += more.decisions;
        self.first_decisions += more.first_decisions;
        self.granted += more.granted;
        self.held += more.held;
        self.rejected += more.rejected;
        self.value = self.value.saturating_add(more.value);
        for (code, count) in &more.failures {
            *self.failures.entry(code.clone()).or_default() += count;
        }
        self.compared += more.compared;
        for (kind, count) in &more.divergences {
            *self.divergences.entry(*kind).or_default() += count;
        }
        for (part, count) in self.fuel.iter_mut().zip(more.fuel) {
            *part += count;
        }
        self.dropped += more.dropped;
        self.users.join(&more.users);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decision(status: Status, fuel: u64) -> Decision {
        Decision {
            status,
            reasons: serde_json::json!([]),
            reason_codes: Vec::new(),
            awards: Vec::new(),
            value: 5,
            failure: (status == Status::Failed).then(|| "trap".to_owned()),
            fuel: Some((fuel, 1000)),
        }
    }

    #[test]
    fn totals_of_two_processes_add_up_and_survive_storage() {
        let (mut one, mut other) = (Totals::default(), Totals::default());
        one.count(
            Uuid::from_u128(1),
            true,
            &decision(Status::Granted, 10),
            &decision(Status::Granted, 10),
        );
        one.diverge(Some(Kind::DenyToAllow));
        other.count(
            Uuid::from_u128(1),
            true,
            &decision(Status::Rejected, 0),
            &decision(Status::Failed, 999),
        );
        other.count(
            Uuid::from_u128(2),
            true,
            &decision(Status::Granted, 0),
            &decision(Status::Granted, 1000),
        );
        other.diverge(None);
        let text = serde_json::to_string(&other).unwrap();
        one.add(&serde_json::from_str(&text).unwrap());
        assert_eq!(
            (one.decisions, one.users(), one.granted, one.rejected, one.value),
            (3, 2, 2, 1, 10)
        );
        assert_eq!((one.faults(), one.compared, one.diverged(Kind::DenyToAllow)), (1, 2, 1));
        assert_eq!((one.measured(), one.above(0), one.above(19)), (3, 3, 2));
    }
}
