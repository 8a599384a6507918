//! Flips: which users the candidate would grant more, and which less, and why.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::counts;
use super::examples::{Example, Examples};
use super::owner::{Owner, Recorded, claims_in};
use super::walk::{Granted, Walk};
use crate::backtests::terms::Terms;
use crate::clock::Timestamp;

/// The flips in both directions.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Flips {
    /// The candidate grants, and the baseline does not.
    pub gained: Flip,
    /// The baseline grants, and the candidate does not.
    pub lost: Flip,
    /// Both grant, but other rewards.
    pub changed: Flip,
    /// Both grant the same, but one of them later.
    pub moved: Flip,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Flip {
    pub users: u64,
    /// Grants, over all periods of the recurrence.
    pub grants: u64,
    /// The difference of the value.
    pub value: i64,
    /// The reasons before and after, and how many users.
    pub reasons: BTreeMap<String, u64>,
    pub examples: Examples,
}

impl Flip {
    fn merge(&mut self, other: &Self) {
        self.users += other.users;
        self.grants += other.grants;
        self.value = self.value.saturating_add(other.value);
        counts::add(&mut self.reasons, &other.reasons);
        self.examples.merge(&other.examples);
    }
}

impl Flips {
    pub fn merge(&mut self, other: &Self) {
        self.gained.merge(&other.gained);
        self.lost.merge(&other.lost);
        self.changed.merge(&other.changed);
        self.moved.merge(&other.moved);
    }
}

/// Counts the flips of one owner: in each period of the recurrence, the grants of both sides.
pub(super) fn count(terms: &Terms, owner: &Owner, [before, after]: [&Walk; 2], flips: &mut Flips) {
    let has_claims = claims_in(terms, owner).next().is_some();
    let periods: BTreeSet<&str> = [before, after]
        .iter()
        .flat_map(|walk| walk.grants.iter().map(|grant| grant.period.as_str()))
        .collect();
    let mut seen = [false; 4];
    for period in periods {
        let of = |walk: &'_ Walk| -> Vec<Granted> {
            let grants = walk.grants.iter().filter(|grant| grant.period == period);
            grants.cloned().collect()
        };
        let (old, new) = (of(before), of(after));
        let value = |grants: &[Granted]| grants.iter().map(|grant| grant.value).fold(0, i64::saturating_add);
        let difference = value(&new).saturating_sub(value(&old));
        let awards = |grants: &[Granted]| {
            let mut awards: Vec<_> = grants.iter().map(|grant| grant.awards.clone()).collect();
            awards.sort();
            awards
        };
        let at = |grants: &[Granted]| -> Vec<Timestamp> { grants.iter().map(|grant| grant.at).collect() };
        let (kind, flip, instant, grants) = if new.len() > old.len() {
            (0, &mut flips.gained, first_extra(&new, &old), new.len() - old.len())
        } else if new.len() < old.len() {
            (1, &mut flips.lost, first_extra(&old, &new), old.len() - new.len())
        } else if awards(&new) != awards(&old) {
            (2, &mut flips.changed, new.first().map(|grant| grant.at), new.len())
        } else if at(&new) != at(&old) {
            (3, &mut flips.moved, first_extra(&new, &old), new.len())
        } else {
            continue;
        };
        let Some(instant) = instant else { continue };
        flip.users += u64::from(!seen[kind]);
        seen[kind] = true;
        flip.grants += grants as u64;
        flip.value = flip.value.saturating_add(difference);
        let (was, is) = (before.answer_at(instant), after.answer_at(instant));
        *flip.reasons.entry(format!("{} → {}", was.key(), is.key())).or_default() += 1;
        flip.examples.add(Example {
            user_id: owner.id,
            as_of: instant,
            period: period.to_owned(),
            claimed: has_claims,
            before: was,
            after: is,
        });
    }
}

/// The first grant at an instant at which the other side has none.
fn first_extra(grants: &[Granted], others: &[Granted]) -> Option<Timestamp> {
    let mut extra = grants
        .iter()
        .filter(|grant| others.iter().all(|other| other.at != grant.at));
    extra.next().map(|grant| grant.at)
}

/// Whether the baseline decides a claim as it was really decided. `None`: it cannot be compared.
pub(super) fn same(recorded: Recorded, status: &str) -> Option<bool> {
    match recorded {
        // A failure of the machine, or a plugin that was stopped.
        Recorded::Failed => None,
        Recorded::Granted => Some(status == "GRANTED"),
        Recorded::Held => Some(status == "HELD"),
        Recorded::Rejected => Some(matches!(status, "REJECTED" | "ALREADY_GRANTED")),
    }
}
