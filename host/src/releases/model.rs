//! Releases as requests send them, and as responses show them.

use garde::Validate;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;
use uuid::Uuid;

use super::guard::Bounds;
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
    /// Keep it as a draft, which waits for nobody
    #[garde(skip)]
    #[serde(default)]
    #[schema(default = false)]
    pub draft: bool,
}

/// How an approved release becomes live. Part of what is approved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema, Validate)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = ReleasePlan)]
pub struct Plan {
    /// The steps before it is live; none: it is live at once
    #[garde(length(max = 16), custom(rising), dive)]
    #[serde(default)]
    #[schema(max_items = 16)]
    pub steps: Vec<Step>,
    /// When a step holds the release; null: never, the steps go by time alone
    #[garde(dive)]
    #[serde(default = "guarded")]
    pub guard: Option<Bounds>,
    /// Activate it as soon as it is approved
    #[garde(skip)]
    #[serde(default)]
    #[schema(default = false)]
    pub activate_when_approved: bool,
    /// Activate it at this time, if it is approved by then; otherwise a person must activate it
    #[garde(skip)]
    #[serde(default)]
    pub activate_at: Option<Timestamp>,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            steps: Vec::new(),
            guard: guarded(),
            activate_when_approved: false,
            activate_at: None,
        }
    }
}

#[expect(clippy::unnecessary_wraps, reason = "the default of a member that can be null")]
fn guarded() -> Option<Bounds> {
    Some(Bounds::default())
}

/// One step of the ramp.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema, Validate)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = ReleaseStep)]
pub struct Step {
    /// The share of users for whom the new condition decides, in thousandths; 0: it decides for nobody and is compared
    #[garde(range(max = 999))]
    #[schema(example = 100, maximum = 999)]
    pub permille: u16,
    /// How long the step lasts: a minute to 30 days
    #[garde(range(min = 60, max = 2_592_000))]
    #[schema(example = 3600, minimum = 60, maximum = 2_592_000)]
    pub seconds: u32,
}

fn rising(steps: &[Step], (): &()) -> garde::Result {
    match steps.windows(2).find(|pair| pair[1].permille <= pair[0].permille) {
        Some(pair) => Err(garde::Error::new(format!(
            "the share of a step must be above that of the step before; {} follows {}",
            pair[1].permille, pair[0].permille
        ))),
        None => Ok(()),
    }
}

fn one_of_both(plan: &Plan, (): &()) -> garde::Result {
    if plan.activate_when_approved && plan.activate_at.is_some() {
        return Err(garde::Error::new(
            "activateAt and activateWhenApproved exclude each other; send one of them",
        ));
    }
    Ok(())
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
    /// The SHA-256 of all that is approved: content, plugin, revision of the event, plan, evidence. An approval names it
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn fault(plan: Value) -> Option<String> {
        let plan: Plan = serde_json::from_value(plan).unwrap();
        plan.validate().err().map(|report| report.to_string())
    }

    #[test]
    fn the_shares_of_a_ramp_rise() {
        let step = |permille: u16| json!({"permille": permille, "seconds": 60});
        for good in [json!({}), json!({"steps": [step(0), step(1), step(999)]})] {
            assert_eq!(fault(good.clone()), None, "{good}");
        }
        for bad in [
            json!({"steps": [step(10), step(10)]}),
            json!({"steps": [step(10), step(0)]}),
            json!({"steps": [step(1000)]}),
            json!({"steps": [{"permille": 1, "seconds": 59}]}),
        ] {
            assert!(fault(bad.clone()).is_some(), "{bad}");
        }
        let both = json!({"activateWhenApproved": true, "activateAt": "2026-03-02T00:00:00Z"});
        assert!(one_of_both(&serde_json::from_value(both).unwrap(), &()).is_err());
    }
}
