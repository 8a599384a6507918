//! Releases as requests send them, and as responses show them.

use garde::Validate;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;
use uuid::Uuid;

use super::plan::{Plan, one_of_both};
use super::state::{Action, State};
use super::store::{EntryRow, ReleaseRow};
use crate::clock::Timestamp;
use crate::events::{NewCondition, NewEvent};
use crate::sandbox::Digest;
use crate::text::legible;

/// A release to propose, or the new content of one.
#[derive(Clone, Debug, Deserialize, ToSchema, Validate)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(example = json!({
    "eventId": "0199a3b0-5c1e-7a51-8f5e-0d6f2c1b9e77", "eventRevision": 3, "title": "Five days instead of seven",
    "condition": {"plugin": "login-streak", "version": "1.0.0", "params": {"days": 5}},
    "plan": {"steps": [{"permille": 0, "seconds": 3600}, {"permille": 100, "seconds": 3600}]},
}))]
pub struct NewRelease {
    #[garde(skip)]
    pub event_id: Uuid,
    /// The revision of the event that you read
    #[garde(range(min = 1))]
    #[schema(minimum = 1)]
    pub event_revision: i64,
    /// What changes, and why
    #[garde(length(chars, min = 1, max = 200), custom(legible))]
    #[schema(min_length = 1, max_length = 200)]
    pub title: String,
    /// The new condition; everything else stays. Either this or `event`
    #[garde(dive)]
    #[serde(default)]
    pub condition: Option<NewCondition>,
    /// The new content of the event, as for `PUT /events/{id}`. Either this or `condition`
    #[garde(dive)]
    #[serde(default)]
    pub event: Option<NewEvent>,
    #[garde(dive, custom(one_of_both))]
    #[serde(default)]
    pub plan: Plan,
    /// The backtest of exactly this condition
    #[garde(skip)]
    #[serde(default)]
    pub backtest_id: Option<Uuid>,
    /// Keep it as a draft, which waits for no approval
    #[garde(skip)]
    #[serde(default)]
    #[schema(default = false)]
    pub draft: bool,
}

/// A release.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Release {
    pub id: Uuid,
    pub event_id: Uuid,
    /// The revision, which is the ETag. Each change increments it
    pub revision: i64,
    pub state: State,
    pub title: String,
    /// The SHA-256 of all that is approved: title, content, plugin, revision of the event, plan, evidence. An approval names it
    #[schema(example = "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08")]
    pub hash: String,
    /// The content that the event gets
    #[schema(value_type = HashMap<String, Value>)]
    pub event: Value,
    /// The revision of the event that it was made from. If the event has another one, it must be edited and approved again
    pub event_revision: i64,
    #[schema(value_type = String)]
    pub plugin_digest: Digest,
    pub plan: Plan,
    pub backtest_id: Option<Uuid>,
    /// The digest of the backtest's report
    pub report_digest: Option<String>,
    /// Why no backtest is needed
    pub waiver: Option<String>,
    pub waived_by: Option<Uuid>,
    /// The people who wrote any of it. None of them can approve it
    pub authors: Vec<Uuid>,
    pub created_by: Uuid,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    pub approved_by: Option<Uuid>,
    pub approved_at: Option<Timestamp>,
    /// The step of the ramp, counted from 0
    pub step: Option<i64>,
    pub step_at: Option<Timestamp>,
    /// The revision of the event that a rollback restores; null: the event becomes inactive
    pub previous_revision: Option<i64>,
    /// Why it is held, was rejected, rolled back or withdrawn
    pub reason: Option<String>,
}

impl Release {
    pub(super) fn of(row: ReleaseRow, hash: String) -> Self {
        let is_running = row.state.is_running();
        Self {
            id: row.id,
            event_id: row.event_id,
            revision: row.revision,
            state: row.state,
            title: row.title,
            hash,
            event: serde_json::json!(row.content.0),
            event_revision: row.event_revision,
            plugin_digest: row.plugin_digest,
            plan: row.plan.0,
            backtest_id: row.backtest_id,
            report_digest: row.report_digest,
            waiver: row.waiver,
            waived_by: row.waived_by,
            authors: row.authors.0,
            created_by: row.created_by,
            created_at: row.created_at,
            updated_at: row.updated_at,
            approved_by: row.approved_by,
            approved_at: row.approved_at,
            step: is_running.then_some(row.step),
            step_at: row.step_at.filter(|_| is_running),
            previous_revision: row.previous_revision,
            reason: row.reason,
        }
    }
}

/// A comment on a release, or something that happened to it.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReleaseEntry {
    pub number: i64,
    pub action: Action,
    /// null: the server
    pub by: Option<Uuid>,
    pub at: Timestamp,
    pub text: Option<String>,
    /// The hash of the release at that time
    pub hash: String,
}

impl From<EntryRow> for ReleaseEntry {
    fn from(row: EntryRow) -> Self {
        Self {
            number: row.number,
            action: row.action,
            by: row.made_by,
            at: row.made_at,
            text: row.text,
            hash: row.hash,
        }
    }
}
