//! One owner: a user with everything that the conditions and the limits can ask about them.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::backtests::terms::Terms;
use crate::claims::ReviewOutcome;
use crate::clock::Timestamp;
use crate::facts::kernel::Log;
use crate::sandbox::Digest;

#[derive(Clone, Debug)]
pub struct Owner {
    pub id: Uuid,
    pub registered: Timestamp,
    /// Another user invited the user.
    pub invited: bool,
    /// Without grants, which the replay makes itself.
    pub log: Log,
    /// The decided claims on the event, in the order of their arrival.
    pub claims: Vec<Claim>,
    /// The grants of other events of the group: from when on, and until which reversal.
    pub group: Vec<(Timestamp, Option<Timestamp>)>,
}

/// How a claim was decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Recorded {
    Granted,
    Held,
    Rejected,
    Failed,
}

/// A claim that was really made.
#[derive(Clone, Debug)]
pub struct Claim {
    pub received_at: Timestamp,
    pub recorded: Recorded,
    /// The plugin version that decided.
    pub plugin: Digest,
    pub period: String,
    pub slot: u32,
    pub reversed_at: Option<Timestamp>,
    pub review: Option<ReviewOutcome>,
    /// The rewards and quantities that were granted.
    pub awards: Vec<(Uuid, u32)>,
    /// What it took from the budget.
    pub amount: i64,
}

impl Claim {
    /// Whether its grant stands at an instant.
    pub fn stands_at(&self, at: Timestamp) -> bool {
        self.recorded == Recorded::Granted
            && self.received_at <= at
            && self.reversed_at.is_none_or(|reversed| reversed > at)
    }
}

/// The claims of a user in the period.
pub(super) fn claims_in<'a>(terms: &Terms, owner: &'a Owner) -> impl Iterator<Item = &'a Claim> {
    let period = terms.from..terms.to;
    owner
        .claims
        .iter()
        .filter(move |claim| period.contains(&claim.received_at))
}

/// The claims before the period of the backtest. What they were granted stays.
pub(super) fn prior(owner: &Owner, from: Timestamp) -> impl Iterator<Item = &Claim> {
    owner.claims.iter().filter(move |claim| claim.received_at < from)
}

/// The grants that count for the stock and the budget before the period begins.
pub(super) fn standing_before(terms: &Terms, owner: &Owner) -> Vec<Claim> {
    let standing = prior(owner, terms.from).filter(|claim| claim.stands_at(terms.from));
    standing.cloned().collect()
}
