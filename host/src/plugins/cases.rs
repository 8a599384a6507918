//! Test cases of a condition: what a user did, and what must come out. One format for the author's `tests/*.json`, for
//! the custom section that a module carries, and for a decision taken from production.
//!
//! A case runs as a claim would: params against the schema, `bind`, the facts of the plan out of a real database
//! ([`History`]), `evaluate` under all limits. A case with `facts` of its own needs no history, so that is what a module
//! carries. Must not know: events, requests, HTTP.

mod history;
mod run;
mod section;
mod store;

pub use history::{History, HistoryError};
pub use run::{CaseError, Ran, Ready, prepare, run};
pub use section::{SECTION, SectionError, embed, read};

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use similar::{ChangeTag, TextDiff};

use crate::attributes::Attributes;
use crate::clock::Timestamp;
use crate::contract::{Decision, Fact, Issue, RewardInfo};

/// What a condition is run on, and what is expected of it.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Case {
    /// What the case shows, for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    pub params: Value,
    #[serde(default, skip_serializing_if = "is_default")]
    pub context: Circumstances,
    /// Answers to the plan's queries, in their order; instead of the four members that follow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub facts: Option<Vec<Fact>>,
    #[serde(default, skip_serializing_if = "is_default")]
    pub activities: Vec<PastActivity>,
    /// The activities of each user whom the claimant invited.
    #[serde(default, skip_serializing_if = "is_default")]
    pub invitees: Vec<Vec<PastActivity>>,
    #[serde(default, skip_serializing_if = "is_default")]
    pub attributes: Attributes,
    /// How often the user was granted the event before.
    #[serde(default, skip_serializing_if = "is_default")]
    pub grants: u32,
    /// Absent in a case that is yet to be blessed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expect: Option<Expectation>,
    /// The most fuel that `evaluate` may take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fuel_ceiling: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PastActivity {
    pub kind: String,
    pub occurred_at: Timestamp,
    /// Minor units.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub amount: Option<i64>,
    #[serde(default, skip_serializing_if = "is_default")]
    pub attributes: Attributes,
}

/// Everything besides facts and params that a decision may depend on; what is left out gets a fixed value.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Circumstances {
    /// 2026-03-02T00:30:00Z unless said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub now: Option<Timestamp>,
    /// IANA name; UTC unless said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<String>,
    #[serde(skip_serializing_if = "is_default")]
    pub event: CaseEvent,
    #[serde(skip_serializing_if = "is_default")]
    pub user: CaseUser,
    #[serde(skip_serializing_if = "is_default")]
    pub rewards: Vec<RewardInfo>,
    /// 64 hexadecimal digits; zeros unless said.
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
    /// 30 days before `now` unless said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub starts: Option<Timestamp>,
    /// 30 days after `now` unless said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ends: Option<Timestamp>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct CaseUser {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The event's start unless said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub registered: Option<Timestamp>,
}

/// What comes out of a run.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Expectation {
    Decision(Decision),
    /// The params are refused, by the schema or by `bind`.
    Issues(Vec<Issue>),
    /// The stable code of how the condition failed.
    Failure(String),
}

/// After this, the shortest difference is no longer looked for.
const DIFFERENCE_WITHIN: Duration = Duration::from_millis(50);

impl Case {
    /// Whether it tells what the user did or has, from which facts are to be taken.
    fn has_past(&self) -> bool {
        !self.activities.is_empty() || !self.invitees.is_empty() || !self.attributes.0.is_empty() || self.grants > 0
    }

    /// The case with the facts that it was run with, instead of the past they were taken from.
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

    /// What is wrong with a run of this case, in lines for people; empty when it passed.
    pub fn faults(&self, ran: &Ran) -> Vec<String> {
        let mut faults = Vec::new();
        if let Some(ceiling) = self.fuel_ceiling
            && ran.fuel > ceiling
        {
            faults.push(format!("it took {} fuel, the case allows {ceiling}", ran.fuel));
        }
        match &self.expect {
            None => faults.push("the case does not say what it expects; --update writes down what came out".to_owned()),
            Some(expected) if *expected == ran.got => {}
            Some(expected) => faults.extend(difference(expected, &ran.got)),
        }
        faults
    }
}

/// Both as indented JSON, line by line: `-` was expected, `+` came out.
fn difference(expected: &Expectation, got: &Expectation) -> Vec<String> {
    let pretty = |side: &Expectation| serde_json::to_string_pretty(side).unwrap_or_default();
    let (expected, got) = (pretty(expected), pretty(got));
    // What is expected may come with an upload, so it may be anything.
    TextDiff::configure()
        .timeout(DIFFERENCE_WITHIN)
        .diff_lines(&expected, &got)
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
