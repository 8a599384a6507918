//! Make-goods as requests send them, and as responses show them.

use garde::Validate;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::state::{EntryState, Kind, State};
use super::store::MakeGoodRow;
use super::store::entries::EntryRow;
use super::terms::{Condition, Counts};
use crate::claims::Reason;
use crate::clock::Timestamp;
use crate::contract::Award;
use crate::text::legible;

/// A period whose claims are decided again.
#[derive(Clone, Debug, Deserialize, ToSchema, Validate)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(example = json!({
    "title": "The streak counted in UTC", "from": "2026-03-01T00:00:00Z", "to": "2026-03-08T00:00:00Z",
}))]
pub(super) struct NewMakeGood {
    /// What was wrong. Users read it as the reason of a reversal
    #[garde(length(chars, min = 1, max = 200), custom(legible))]
    #[schema(min_length = 1, max_length = 200)]
    pub title: String,
    /// The start of the period, inclusive; the default is the event's start
    #[garde(skip)]
    #[serde(default)]
    pub from: Option<Timestamp>,
    /// The end of the period, exclusive; the default is the event's end. Not in the future: then it is the current time
    #[garde(skip)]
    #[serde(default)]
    pub to: Option<Timestamp>,
    /// Whether claims that were wrongly granted are proposed for reversal
    #[garde(skip)]
    #[serde(default = "yes")]
    #[schema(default = true)]
    pub reversals: bool,
}

fn yes() -> bool {
    true
}

/// A make-good.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct MakeGood {
    pub id: Uuid,
    pub event_id: Uuid,
    pub state: State,
    pub title: String,
    pub from: Timestamp,
    pub to: Timestamp,
    /// What was recorded until then counts
    pub known_by: Timestamp,
    pub condition: Condition,
    pub reversals: bool,
    pub counts: Counts,
    /// The rewards of which more is needed than is left now. Only while it is PROPOSED
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shortages: Option<Vec<Shortage>>,
    /// The SHA-256 of everything that is approved. An approval names it; null until the state is PROPOSED
    #[schema(example = "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08")]
    pub hash: Option<String>,
    /// The people who proposed or changed it. None of them can approve it
    pub authors: Vec<Uuid>,
    pub created_by: Uuid,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    pub approved_by: Option<Uuid>,
    pub approved_at: Option<Timestamp>,
    /// Why it is FAILED or WITHDRAWN
    pub reason: Option<String>,
}

/// A stock that does not suffice for all entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Shortage {
    pub reward_id: Uuid,
    pub needed: i64,
    pub left: i64,
}

impl From<MakeGoodRow> for MakeGood {
    fn from(row: MakeGoodRow) -> Self {
        Self {
            id: row.id,
            event_id: row.event_id,
            state: row.state,
            title: row.title,
            from: row.from_at,
            to: row.to_at,
            known_by: row.known_by,
            condition: row.condition.0,
            reversals: row.reversals,
            counts: row.counts.0,
            shortages: None,
            hash: row.hash,
            authors: row.authors.0,
            created_by: row.created_by,
            created_at: row.created_at,
            updated_at: row.updated_at,
            approved_by: row.approved_by,
            approved_at: row.approved_at,
            reason: row.reason,
        }
    }
}

/// What a make-good proposes about one claim.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = MakeGoodEntry)]
pub(super) struct Entry {
    /// Once it is APPLIED, also the id of the new reward request or of the reversal
    pub id: Uuid,
    pub kind: Kind,
    pub state: EntryState,
    pub user_id: Uuid,
    /// The claim
    pub request_id: Uuid,
    pub received_at: Timestamp,
    pub period: String,
    /// What is granted; empty for a reversal
    pub awards: Vec<Award>,
    /// What was said to the user
    pub reasons_before: Vec<Reason>,
    /// What the condition says now
    pub reasons_now: Vec<Reason>,
    /// Why it was SKIPPED: `sold-out`, `budget-spent`, `group-limit-reached`, `already-granted`, `already-reversed`,
    /// `not-granted`, `claim-held`, `account-disabled`, `event-inactive`, `facts-unknown`, `decided-otherwise` or another
    /// code of the host
    #[schema(example = "sold-out")]
    pub skipped: Option<String>,
    pub updated_at: Timestamp,
}

impl From<EntryRow> for Entry {
    fn from(row: EntryRow) -> Self {
        Self {
            id: row.id,
            kind: row.kind,
            state: row.state,
            user_id: row.user_id,
            request_id: row.request_id,
            received_at: row.received_at,
            period: row.period,
            awards: row.awards.0,
            reasons_before: row.reasons_before.0,
            reasons_now: row.reasons_now.0,
            skipped: row.skipped,
            updated_at: row.updated_at,
        }
    }
}
