//! What users did, as rows: one JSON object per line, each with its `user`.
//!
//! The rows of a user follow each other, the row `user` first and each `invitee` before its activities; users come in the
//! order of their ids. A user that is not to be replayed has one row `skipped`.

use std::collections::BTreeMap;
use std::io;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::backtests::engine::{Claim, Owner, Recorded};
use crate::backtests::history::MAX_ROWS;
use crate::claims::ReviewOutcome;
use crate::clock::Timestamp;
use crate::facts::kernel::{Activity, AttributeChange, Invitee, Log};
use crate::sandbox::Digest;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(
    tag = "row",
    rename_all = "kebab-case",
    rename_all_fields = "camelCase",
    deny_unknown_fields
)]
pub enum Row {
    User {
        user: Uuid,
        registered_at: Timestamp,
        /// Another user invited them.
        invited: bool,
    },
    /// The user counts as seen, and is not replayed.
    Skipped { user: Uuid, reason: String },
    /// A user that the user invited.
    Invitee {
        user: Uuid,
        invitee: Uuid,
        registered_at: Timestamp,
    },
    Activity {
        user: Uuid,
        /// Of this invitee; absent: of the user
        #[serde(default, skip_serializing_if = "Option::is_none")]
        invitee: Option<Uuid>,
        kind: String,
        occurred_at: Timestamp,
        recorded_at: Timestamp,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        amount: Option<i64>,
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        attributes: BTreeMap<String, String>,
    },
    /// In the order in which the values follow each other; without a value, the attribute is removed.
    Attribute {
        user: Uuid,
        name: String,
        set_at: Timestamp,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        value: Option<String>,
    },
    /// A decided claim on the event, in the order of arrival.
    Claim {
        user: Uuid,
        received_at: Timestamp,
        status: Recorded,
        plugin: Digest,
        period: String,
        slot: u32,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reversed_at: Option<Timestamp>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        review: Option<ReviewOutcome>,
        /// The rewards and quantities that were granted
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        awards: Vec<(Uuid, u32)>,
        amount: i64,
    },
    /// A grant of another event of the group.
    Group {
        user: Uuid,
        granted_at: Timestamp,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reversed_at: Option<Timestamp>,
    },
}

#[derive(Debug, thiserror::Error)]
pub enum RowError {
    #[error("it is no row: {0}")]
    Malformed(#[from] serde_json::Error),
    #[error("the user {user} comes after the user {after}; sort the rows by user")]
    Order { user: Uuid, after: Uuid },
    #[error("the rows of the user {0} do not begin with the row `user`")]
    NoUser(Uuid),
    #[error("the user {0} has a second row `user` or `skipped`")]
    Twice(Uuid),
    #[error("an activity names the invitee {0}, who has no row `invitee` before it")]
    NoInvitee(Uuid),
}

impl Row {
    pub fn parse(line: &[u8]) -> Result<Self, RowError> {
        Ok(serde_json::from_slice(line)?)
    }

    pub fn user(&self) -> Uuid {
        match self {
            Self::User { user, .. }
            | Self::Skipped { user, .. }
            | Self::Invitee { user, .. }
            | Self::Activity { user, .. }
            | Self::Attribute { user, .. }
            | Self::Claim { user, .. }
            | Self::Group { user, .. } => *user,
        }
    }
}

/// What a row completed.
#[derive(Debug)]
pub(super) enum Next {
    More,
    Owner(Box<Owner>),
    Skipped(String),
}

/// Collects the rows of one user after the other.
#[derive(Debug, Default)]
pub(super) struct Owners {
    last: Option<Uuid>,
    open: Option<Open>,
}

#[derive(Debug)]
enum Open {
    Owner {
        owner: Box<Owner>,
        invitees: BTreeMap<Uuid, usize>,
        rows: usize,
    },
    Skipped(String),
}

impl Owners {
    /// Takes a row, and returns the user before it if the row is of another user.
    pub(super) fn add(&mut self, row: Row) -> Result<Next, RowError> {
        let user = row.user();
        let mut complete = Next::More;
        let is_new = self.last != Some(user);
        if let Some(after) = self.last.filter(|last| user < *last) {
            return Err(RowError::Order { user, after });
        }
        if is_new {
            complete = self.end();
            self.last = Some(user);
        }
        match (row, &mut self.open) {
            (
                Row::User {
                    registered_at, invited, ..
                },
                open @ None,
            ) => {
                let owner = Owner {
                    id: user,
                    registered: registered_at,
                    invited,
                    log: Log::default(),
                    claims: Vec::new(),
                    group: Vec::new(),
                };
                let (owner, invitees, rows) = (Box::new(owner), BTreeMap::new(), 0);
                *open = Some(Open::Owner { owner, invitees, rows });
            }
            (Row::Skipped { reason, .. }, open @ None) => *open = Some(Open::Skipped(reason)),
            (Row::User { .. } | Row::Skipped { .. }, Some(_)) => return Err(RowError::Twice(user)),
            (_, None | Some(Open::Skipped(_))) => return Err(RowError::NoUser(user)),
            (row, Some(Open::Owner { owner, invitees, rows })) => {
                *rows += 1;
                // The user is skipped; the memory stays bounded.
                if *rows <= MAX_ROWS {
                    take(row, owner, invitees)?;
                }
            }
        }
        Ok(complete)
    }

    /// The last user.
    pub(super) fn end(&mut self) -> Next {
        match self.open.take() {
            None => Next::More,
            Some(Open::Skipped(reason)) => Next::Skipped(reason),
            Some(Open::Owner { rows, .. }) if rows > MAX_ROWS => Next::Skipped("too-many-activities".to_owned()),
            Some(Open::Owner { owner, .. }) => Next::Owner(owner),
        }
    }
}

fn take(row: Row, owner: &mut Owner, invitees: &mut BTreeMap<Uuid, usize>) -> Result<(), RowError> {
    match row {
        Row::User { .. } | Row::Skipped { .. } => {}
        Row::Invitee {
            invitee, registered_at, ..
        } => {
            invitees.insert(invitee, owner.log.invitees.len());
            owner.log.invitees.push(Invitee {
                registered: registered_at,
                activities: Vec::new(),
            });
        }
        Row::Activity {
            invitee,
            kind,
            occurred_at,
            recorded_at,
            amount,
            attributes,
            ..
        } => {
            let activity = Activity {
                kind,
                occurred_at,
                recorded_at,
                amount,
                attributes,
            };
            match invitee {
                None => owner.log.activities.push(activity),
                Some(invitee) => {
                    let place = invitees.get(&invitee).ok_or(RowError::NoInvitee(invitee))?;
                    owner.log.invitees[*place].activities.push(activity);
                }
            }
        }
        Row::Attribute {
            name, set_at, value, ..
        } => owner.log.attributes.push(AttributeChange { name, set_at, value }),
        Row::Claim {
            received_at,
            status,
            plugin,
            period,
            slot,
            reversed_at,
            review,
            awards,
            amount,
            ..
        } => owner.claims.push(Claim {
            received_at,
            recorded: status,
            plugin,
            period,
            slot,
            reversed_at,
            review,
            awards,
            amount,
        }),
        Row::Group {
            granted_at,
            reversed_at,
            ..
        } => owner.group.push((granted_at, reversed_at)),
    }
    Ok(())
}

/// The row of a user that is not replayed.
pub(super) fn skip(user: Uuid, reason: &str, put: &mut impl FnMut(&Row) -> io::Result<()>) -> io::Result<()> {
    let reason = reason.to_owned();
    put(&Row::Skipped { user, reason })
}

/// The rows of a user.
pub(super) fn put(owner: &Owner, put: &mut impl FnMut(&Row) -> io::Result<()>) -> io::Result<()> {
    let user = owner.id;
    put(&Row::User {
        user,
        registered_at: owner.registered,
        invited: owner.invited,
    })?;
    let activity = |activity: &Activity, invitee| Row::Activity {
        user,
        invitee,
        kind: activity.kind.clone(),
        occurred_at: activity.occurred_at,
        recorded_at: activity.recorded_at,
        amount: activity.amount,
        attributes: activity.attributes.clone(),
    };
    for own in &owner.log.activities {
        put(&activity(own, None))?;
    }
    for (number, invited) in (1..).zip(&owner.log.invitees) {
        // Who they are does not matter.
        let invitee = Uuid::from_u128(number);
        put(&Row::Invitee {
            user,
            invitee,
            registered_at: invited.registered,
        })?;
        for theirs in &invited.activities {
            put(&activity(theirs, Some(invitee)))?;
        }
    }
    for change in &owner.log.attributes {
        put(&Row::Attribute {
            user,
            name: change.name.clone(),
            set_at: change.set_at,
            value: change.value.clone(),
        })?;
    }
    for claim in owner.claims.iter().cloned() {
        put(&Row::Claim {
            user,
            received_at: claim.received_at,
            status: claim.recorded,
            plugin: claim.plugin,
            period: claim.period,
            slot: claim.slot,
            reversed_at: claim.reversed_at,
            review: claim.review,
            awards: claim.awards,
            amount: claim.amount,
        })?;
    }
    for (granted_at, reversed_at) in owner.group.iter().copied() {
        put(&Row::Group {
            user,
            granted_at,
            reversed_at,
        })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
