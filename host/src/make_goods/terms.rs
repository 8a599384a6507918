//! The condition that a make-good asks, and what it found. Must not know: tables, and how both are shown beside others.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::sandbox::Digest;

/// The condition that decided again: the one of the event at the proposal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = MakeGoodCondition)]
pub(super) struct Condition {
    pub plugin: String,
    pub version: String,
    #[schema(value_type = String)]
    pub digest: Digest,
    #[schema(value_type = HashMap<String, Value>)]
    pub params: Value,
}

/// What the proposal found, and what was applied of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = MakeGoodCounts)]
pub(super) struct Counts {
    /// The claims of the period that the condition was asked about
    pub claims: u64,
    /// Entries, without those that were excluded
    pub grants: u64,
    pub reversals: u64,
    /// Claims for which the condition now wants a review, and that stay as they are
    pub reviews: u64,
    /// Refused claims that another grant of the same period makes good already
    pub granted_otherwise: u64,
    /// Claims whose facts cannot be told any more, or whose condition failed
    pub unknown: u64,
    /// Units of each reward that the grants need
    #[schema(value_type = HashMap<String, i64>)]
    pub units: BTreeMap<String, i64>,
    pub applied: u64,
    pub skipped: u64,
}
