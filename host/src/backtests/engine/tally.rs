//! The counts of many owners. They can be merged in any order, so shards and their number do not change a report.

use std::collections::BTreeMap;
use std::ops::AddAssign;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::counts::add;
use super::examples::{Example, Examples};
use super::flips::{self, Flips};
use super::fuel::FuelHistogram;
use super::owner::{Owner, Recorded, claims_in, standing_before};
use super::walk::{Answer, Granted, Walk};
use crate::backtests::state::Population;
use crate::backtests::terms::Terms;
use crate::clock::Timestamp;
use crate::facts::Zone;

const HOUR: i64 = 3_600_000;
const DAY: i64 = 24 * HOUR;
/// The longest period whose forecast has a step for each hour.
const LONGEST_IN_HOURS: i64 = 31 * DAY;
/// An account is new for so long.
const NEW: Duration = Duration::from_hours(24);

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Tally {
    pub coverage: Coverage,
    /// The baseline and the candidate.
    pub sides: [SideTally; 2],
    pub flips: Flips,
    pub reproduction: Reproduction,
    /// What the event really granted since the start of the period and did not take back, by reward.
    pub taken: BTreeMap<Uuid, i64>,
    /// Grants and amount before the period, by the period of the budget.
    pub used_before: BTreeMap<String, (i64, i64)>,
}

/// Whom the backtest saw.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Coverage {
    pub seen: u64,
    pub claimants: u64,
    /// Users without a claim in the period, who are asked about whenever the answer could change.
    pub silent: u64,
    pub skipped: BTreeMap<String, u64>,
    /// The condition failed too often about them, so the questions end early.
    pub stopped: u64,
    pub claims: u64,
    pub activities: u64,
    /// The newest activity of all: the log up to it was read.
    pub last_recorded: Option<Timestamp>,
}

/// How decisions ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Outcomes {
    pub granted: u64,
    pub refused: u64,
    pub failed: u64,
    pub held: u64,
    pub value: i64,
}

/// What happens in one step of time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepTally {
    /// To users who really claimed then.
    pub claimed: u64,
    /// To users who never claimed, if they had claimed as soon as they could.
    pub silent: u64,
    pub claimed_value: i64,
    pub silent_value: i64,
}

/// A grant for the merge of all owners: when, to whom, the rewards and quantities, the value.
pub type GrantRow = (Timestamp, Uuid, Vec<(Uuid, u32)>, i64);

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SideTally {
    /// By real claim.
    pub claims: Outcomes,
    /// By user who never claimed: granted at least once, or not.
    pub silent: Outcomes,
    pub asks: u64,
    pub equal: u64,
    pub reasons: BTreeMap<String, u64>,
    /// Users by the local day of their first grant.
    pub first_eligible: BTreeMap<String, u64>,
    pub steps: BTreeMap<i64, StepTally>,
    /// Users by the number of their grants, and by their value.
    pub by_grants: BTreeMap<u64, u64>,
    pub by_value: BTreeMap<i64, u64>,
    /// Grants to accounts that were registered within the day before.
    pub new_account_grants: u64,
    pub invited_users: u64,
    pub invited_grants: u64,
    pub fuel: FuelHistogram,
    pub failures: BTreeMap<String, u64>,
    /// Only if the event has limits.
    pub grants: Vec<GrantRow>,
    /// The last question about anyone, which a change of the limits before it concerns.
    pub last_ask: Option<Timestamp>,
}

/// How far the baseline decides real claims as they were decided.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Reproduction {
    pub same: u64,
    /// By the status then and the status of the replay.
    pub different: BTreeMap<String, u64>,
    /// Another plugin version decided then, or the server failed.
    pub not_comparable: u64,
    pub examples: Examples,
}

impl AddAssign for Outcomes {
    fn add_assign(&mut self, other: Self) {
        self.granted += other.granted;
        self.refused += other.refused;
        self.failed += other.failed;
        self.held += other.held;
        self.value = self.value.saturating_add(other.value);
    }
}

impl AddAssign for StepTally {
    fn add_assign(&mut self, other: Self) {
        self.claimed += other.claimed;
        self.silent += other.silent;
        self.claimed_value = self.claimed_value.saturating_add(other.claimed_value);
        self.silent_value = self.silent_value.saturating_add(other.silent_value);
    }
}

impl Coverage {
    pub fn skip(&mut self, reason: &str) {
        *self.skipped.entry(reason.to_owned()).or_default() += 1;
    }

    fn merge(&mut self, other: &Self) {
        self.seen += other.seen;
        self.claimants += other.claimants;
        self.silent += other.silent;
        self.stopped += other.stopped;
        self.claims += other.claims;
        self.activities += other.activities;
        self.last_recorded = self.last_recorded.max(other.last_recorded);
        add(&mut self.skipped, &other.skipped);
    }
}

impl Tally {
    pub fn merge(&mut self, other: &Self) {
        self.coverage.merge(&other.coverage);
        for (side, other) in self.sides.iter_mut().zip(&other.sides) {
            side.merge(other);
        }
        self.flips.merge(&other.flips);
        self.reproduction.merge(&other.reproduction);
        add(&mut self.taken, &other.taken);
        for (period, (grants, amount)) in &other.used_before {
            let used = self.used_before.entry(period.clone()).or_default();
            *used = (used.0 + grants, used.1.saturating_add(*amount));
        }
    }

    /// Counts an owner, except for flips.
    pub(super) fn count(&mut self, terms: &Terms, owner: &Owner, walks: [&Walk; 2]) {
        let coverage = &mut self.coverage;
        coverage.activities += owner.log.activities.len() as u64;
        let recorded = owner.log.activities.iter().map(|activity| activity.recorded_at).max();
        coverage.last_recorded = coverage.last_recorded.max(recorded);
        coverage.stopped += u64::from(walks.iter().any(|walk| walk.stopped));
        let claims: Vec<_> = claims_in(terms, owner).collect();
        coverage.claims += claims.len() as u64;
        if !claims.is_empty() {
            coverage.claimants += 1;
        } else if terms.population == Population::All {
            coverage.silent += 1;
        }
        for claim in owner.claims.iter().filter(|claim| claim.received_at >= terms.from) {
            if claim.recorded == Recorded::Granted && claim.reversed_at.is_none() {
                for (reward, quantity) in &claim.awards {
                    *self.taken.entry(*reward).or_default() += i64::from(*quantity);
                }
            }
        }
        if let (Some(budget), Ok(zone)) = (terms.budget, terms.time_zone.parse::<Zone>()) {
            for claim in standing_before(terms, owner) {
                let used = self
                    .used_before
                    .entry(budget.period.key(claim.received_at, &zone))
                    .or_default();
                *used = (used.0 + 1, used.1.saturating_add(claim.amount));
            }
        }
        for (side, walk) in self.sides.iter_mut().zip(walks) {
            side.count(terms, owner, claims.len(), walk);
        }
        for (claim, answer) in claims.iter().zip(&walks[0].answers) {
            let is_other = claim.plugin != terms.baseline.digest;
            match flips::same(claim.recorded, &answer.status).filter(|_| !is_other) {
                None => self.reproduction.not_comparable += 1,
                Some(true) => self.reproduction.same += 1,
                Some(false) => {
                    let was = format!("{:?}", claim.recorded).to_uppercase();
                    let kind = format!("{was} → {}", answer.status);
                    *self.reproduction.different.entry(kind).or_default() += 1;
                    self.reproduction.examples.add(Example {
                        user_id: owner.id,
                        as_of: claim.received_at,
                        period: claim.period.clone(),
                        claimed: true,
                        before: Answer::new(claim.received_at, &was, &[]),
                        after: answer.clone(),
                    });
                }
            }
        }
    }
}

impl Reproduction {
    fn merge(&mut self, other: &Self) {
        self.same += other.same;
        self.not_comparable += other.not_comparable;
        add(&mut self.different, &other.different);
        self.examples.merge(&other.examples);
    }
}

impl SideTally {
    fn merge(&mut self, other: &Self) {
        self.claims += other.claims;
        self.silent += other.silent;
        self.asks += other.asks;
        self.equal += other.equal;
        add(&mut self.reasons, &other.reasons);
        add(&mut self.first_eligible, &other.first_eligible);
        add(&mut self.steps, &other.steps);
        add(&mut self.by_grants, &other.by_grants);
        add(&mut self.by_value, &other.by_value);
        self.new_account_grants += other.new_account_grants;
        self.invited_users += other.invited_users;
        self.invited_grants += other.invited_grants;
        self.fuel.merge(&other.fuel);
        add(&mut self.failures, &other.failures);
        self.grants.extend(other.grants.iter().cloned());
        self.last_ask = self.last_ask.max(other.last_ask);
    }

    fn count(&mut self, terms: &Terms, owner: &Owner, claims: usize, walk: &Walk) {
        self.asks += walk.asks;
        self.equal += walk.equal;
        self.fuel.merge(&walk.fuel);
        add(&mut self.failures, &walk.failures);
        self.last_ask = self.last_ask.max(walk.last_ask);
        self.count_answers(claims, walk);
        let value = walk.grants.iter().map(|grant| grant.value).fold(0, i64::saturating_add);
        if claims > 0 {
            self.claims.value = self.claims.value.saturating_add(value);
        } else {
            self.silent.value = self.silent.value.saturating_add(value);
        }
        let Some(first) = walk.grants.first() else { return };
        if let Ok(zone) = terms.time_zone.parse::<Zone>() {
            *self.first_eligible.entry(zone.date(first.at).to_string()).or_default() += 1;
        }
        *self.by_grants.entry(walk.grants.len() as u64).or_default() += 1;
        *self.by_value.entry(value).or_default() += 1;
        if owner.invited {
            self.invited_users += 1;
            self.invited_grants += walk.grants.len() as u64;
        }
        for grant in &walk.grants {
            self.new_account_grants += u64::from(grant.at < owner.registered.plus(NEW));
            let step = Steps::of(terms).index(grant.at);
            *self.steps.entry(step).or_default() += in_step(grant);
            if terms.has_limits() {
                self.grants
                    .push((grant.at, owner.id, grant.awards.clone(), grant.value));
            }
        }
    }

    fn count_answers(&mut self, claims: usize, walk: &Walk) {
        if claims > 0 {
            for answer in &walk.answers {
                self.claims.add(&answer.status);
                *self.reasons.entry(answer.key()).or_default() += 1;
            }
            return;
        }
        // A user who never claimed counts once: with the grant, or with the last answer.
        let last = walk.answers.last();
        let counted = if walk.grants.is_empty() { last.cloned() } else { None };
        let (status, key) = match (&counted, walk.grants.is_empty()) {
            (Some(answer), _) => (answer.status.clone(), answer.key()),
            (None, false) => ("GRANTED".to_owned(), "granted".to_owned()),
            (None, true) => return,
        };
        self.silent.add(&status);
        *self.reasons.entry(key).or_default() += 1;
    }
}

impl Outcomes {
    fn add(&mut self, status: &str) {
        match status {
            "GRANTED" => self.granted += 1,
            "HELD" => self.held += 1,
            "FAILED" => self.failed += 1,
            _ => self.refused += 1,
        }
    }
}

fn in_step(grant: &Granted) -> StepTally {
    if grant.claimed {
        StepTally {
            claimed: 1,
            claimed_value: grant.value,
            ..StepTally::default()
        }
    } else {
        StepTally {
            silent: 1,
            silent_value: grant.value,
            ..StepTally::default()
        }
    }
}

/// The steps of a forecast.
#[derive(Clone, Copy, Debug)]
pub struct Steps {
    pub from: Timestamp,
    pub millis: i64,
    pub count: i64,
}

impl Steps {
    pub fn of(terms: &Terms) -> Self {
        let length = terms.to.as_millis() - terms.from.as_millis();
        let millis = if length <= LONGEST_IN_HOURS { HOUR } else { DAY };
        Self {
            from: terms.from,
            millis,
            count: ((length + millis - 1) / millis).max(1),
        }
    }

    pub fn index(self, at: Timestamp) -> i64 {
        (at.as_millis() - self.from.as_millis()).div_euclid(self.millis)
    }

    pub fn start(self, index: i64) -> Timestamp {
        let millis = self.from.as_millis().saturating_add(index.saturating_mul(self.millis));
        Timestamp::from_millis(millis).unwrap_or(self.from)
    }
}
