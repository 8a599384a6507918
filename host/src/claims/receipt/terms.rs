//! The terms of a claim: everything in its receipt that is the same for all claims under one revision of the event.
//!
//! They are a document of their own that receipts name by digest, so a database stores them once. They contain nothing about
//! a user.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;
use uuid::Uuid;

use super::evaluation::{Limits, PluginRecord};
use crate::clock::Timestamp;
use crate::contract::Query;
use crate::events::Recurrence;
use crate::exact_json;

/// The rules of an event's revision, and what it offers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Terms {
    /// `meed-terms/1`
    #[schema(example = "meed-terms/1")]
    pub format: String,
    pub event_id: Uuid,
    pub event_revision: i64,
    pub title: String,
    pub starts: Timestamp,
    pub ends: Timestamp,
    #[schema(example = "Asia/Seoul")]
    pub time_zone: String,
    pub recurrence: Recurrence,
    /// SHA-256 of the secret behind the seeds; the event reveals the secret after its end
    pub seed_commitment: String,
    /// In the event's order
    pub rewards: Vec<OfferedReward>,
    pub plugin: PluginRecord,
    #[serde(deserialize_with = "exact_json::value")]
    #[schema(value_type = HashMap<String, Value>)]
    pub params: Value,
    /// The result of `bind` for the params: its queries, and its state in base64
    pub queries: Vec<Query>,
    pub state: String,
    /// The engine and those of its settings that can affect the outcome
    pub engine: String,
    /// Null if the host decided without the condition
    pub limits: Option<Limits>,
}

/// A revision of a reward.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = TermsReward)]
pub struct OfferedReward {
    pub id: Uuid,
    pub revision: i64,
    #[serde(rename = "type")]
    pub type_: String,
    pub item_id: Option<String>,
    pub value: Option<i64>,
    pub duration: Option<String>,
}

impl Terms {
    pub(in crate::claims) const FORMAT: &str = "meed-terms/1";

    /// The offered reward with this id.
    pub(in crate::claims) fn reward(&self, id: Uuid) -> Option<&OfferedReward> {
        self.rewards.iter().find(|reward| reward.id == id)
    }
}
