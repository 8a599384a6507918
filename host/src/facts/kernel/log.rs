//! The log of one owner: everything that the queries of a plan can ask about a user.

use std::collections::BTreeMap;

use crate::clock::Timestamp;
use crate::contract::{Filter, Selection};
use crate::mutations;

/// What a user and the users that they invited did, and what the user was given.
#[derive(Clone, Debug, Default)]
pub struct Log {
    /// In any order; that of time is the fastest.
    pub activities: Vec<Activity>,
    pub invitees: Vec<Invitee>,
    /// In the order in which the values follow each other.
    pub attributes: Vec<AttributeChange>,
    /// Of the event that asks.
    pub grants: Vec<Grant>,
}

#[derive(Clone, Debug)]
pub struct Activity {
    pub kind: String,
    pub occurred_at: Timestamp,
    pub recorded_at: Timestamp,
    pub amount: Option<i64>,
    pub attributes: BTreeMap<String, String>,
}

/// A user that the owner invited. The activities count from the registration on, those before it included.
#[derive(Clone, Debug)]
pub struct Invitee {
    pub registered: Timestamp,
    pub activities: Vec<Activity>,
}

/// A new value of an attribute; `None` removes the attribute.
#[derive(Clone, Debug)]
pub struct AttributeChange {
    pub name: String,
    pub set_at: Timestamp,
    pub value: Option<String>,
}

/// A granted claim.
#[derive(Clone, Copy, Debug)]
pub struct Grant {
    /// From then on it counts.
    pub received_at: Timestamp,
    /// From then on it is known.
    pub decided_at: Timestamp,
    pub reversed_at: Option<Timestamp>,
}

/// What the answers may know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KnownBy {
    /// What was recorded until this instant.
    Instant(Timestamp),
    /// What was recorded until the instant as of which is asked: what a claim at that time knew.
    AsOf,
}

impl KnownBy {
    /// From which instant on an answer counts what happened at `at` and was recorded at `recorded`; `None`: never.
    pub(super) fn counts_from(self, at: Timestamp, recorded: Timestamp) -> Option<Timestamp> {
        match self {
            Self::Instant(until) => (recorded <= until || mutations::active("kernel-knows-all")).then_some(at),
            Self::AsOf => Some(at.max(recorded)),
        }
    }
}

impl Activity {
    pub(super) fn is_selected_by(&self, selection: &Selection) -> bool {
        let passes = |filter: &Filter| self.attributes.get(&filter.attribute) == Some(&filter.equals);
        self.kind == selection.kind && selection.filters.iter().all(passes)
    }
}
