//! Test cases of a condition: a user's history and the expected result. The author's `tests/*.json`, the custom section
//! of a module and cases exported from production have the same format.
//!
//! A case takes the steps of a claim: it validates the params, calls `bind`, reads the facts of the plan from a real
//! database ([`History`]), and calls `evaluate` under all limits. A case with explicit `facts` needs no database; the
//! cases in a module are of this kind. Must not know: events, claims, HTTP.

mod history;
mod run;
mod section;
mod store;

pub use history::{History, HistoryError};
pub use run::{CaseError, CaseRun, PreparedCase, prepare, run};
pub use section::{SECTION, SectionError, embed, read};

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use similar::{ChangeTag, TextDiff};

use crate::attributes::Attributes;
use crate::clock::Timestamp;
use crate::contract::{Decision, Fact, Issue, RewardInfo};
use crate::exact_json;

/// The input of a condition, and the expected result.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Case {
    /// What the case tests.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    #[serde(deserialize_with = "exact_json::value")]
    pub params: Value,
    #[serde(default, skip_serializing_if = "is_default")]
    pub context: CaseContext,
    /// The facts in the order of the plan's queries; replaces the next four members.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub facts: Option<Vec<Fact>>,
    #[serde(default, skip_serializing_if = "is_default")]
    pub activities: Vec<PastActivity>,
    /// The activities of each user that the claimant invited.
    #[serde(default, skip_serializing_if = "is_default")]
    pub invitees: Vec<Vec<PastActivity>>,
    #[serde(default, skip_serializing_if = "is_default")]
    pub attributes: Attributes,
    /// The number of earlier grants of the event to the user.
    #[serde(default, skip_serializing_if = "is_default")]
    pub grants: u32,
    /// Missing in a new case, until `meed plugin test --update` writes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expect: Option<Expectation>,
    /// The maximum fuel of `evaluate`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fuel_ceiling: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PastActivity {
    pub kind: String,
    pub occurred_at: Timestamp,
    /// Points, or minor units of money.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub amount: Option<i64>,
    #[serde(default, skip_serializing_if = "is_default")]
    pub attributes: Attributes,
}

/// The rest of a decision's input, besides facts and params. Every member has a fixed default.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct CaseContext {
    /// The default is 2026-03-02T00:30:00Z.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub now: Option<Timestamp>,
    /// An IANA name. The default is UTC.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<String>,
    #[serde(skip_serializing_if = "is_default")]
    pub event: CaseEvent,
    #[serde(skip_serializing_if = "is_default")]
    pub user: CaseUser,
    #[serde(skip_serializing_if = "is_default")]
    pub rewards: Vec<RewardInfo>,
    /// 64 hexadecimal digits. The default depends on the description and the params.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct CaseEvent {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// The default is 30 days before `now`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub starts: Option<Timestamp>,
    /// The default is 30 days after `now`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ends: Option<Timestamp>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct CaseUser {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The default is the event's start.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub registered: Option<Timestamp>,
}

/// The result of a run.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Expectation {
    Decision(Decision),
    /// The schema or `bind` rejected the params.
    Issues(Vec<Issue>),
    /// The condition failed with this stable code.
    Failure(String),
}

/// The time limit for computing a minimal diff; afterwards the diff is approximate.
const DIFF_TIMEOUT: Duration = Duration::from_millis(50);

impl Case {
    /// Whether the case has a history from which facts are computed.
    fn has_history(&self) -> bool {
        !self.activities.is_empty() || !self.invitees.is_empty() || !self.attributes.0.is_empty() || self.grants > 0
    }

    /// Replaces the history by explicit facts.
    #[must_use]
    pub fn with_facts(self, facts: Vec<Fact>) -> Self {
        Self {
            facts: Some(facts),
            activities: Vec::new(),
            invitees: Vec::new(),
            attributes: Attributes::default(),
            grants: 0,
            ..self
        }
    }

    /// The mismatches between a run and this case, as lines of text; empty if the case passed.
    pub fn mismatches(&self, run: &CaseRun) -> Vec<String> {
        let mut mismatches = Vec::new();
        if let Some(ceiling) = self.fuel_ceiling
            && run.fuel > ceiling
        {
            mismatches.push(format!("it used {} fuel, the case allows {ceiling}", run.fuel));
        }
        match &self.expect {
            None => mismatches.push("the case has no expected result; --update writes the actual one".to_owned()),
            Some(expected) if *expected == run.actual => {}
            Some(expected) => mismatches.extend(diff(expected, &run.actual)),
        }
        mismatches
    }
}

/// A line diff of both as indented JSON: `-` marks the expected, `+` the actual lines.
fn diff(expected: &Expectation, actual: &Expectation) -> Vec<String> {
    let pretty = |side: &Expectation| serde_json::to_string_pretty(side).unwrap_or_default();
    let (expected, actual) = (pretty(expected), pretty(actual));
    // The expected result may come from an upload, so the diff has a timeout.
    TextDiff::configure()
        .timeout(DIFF_TIMEOUT)
        .diff_lines(&expected, &actual)
        .iter_all_changes()
        .map(|change| {
            let sign = match change.tag() {
                ChangeTag::Delete => '-',
                ChangeTag::Insert => '+',
                ChangeTag::Equal => ' ',
            };
            format!("{sign} {}", change.value().trim_end_matches('\n'))
        })
        .collect()
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
