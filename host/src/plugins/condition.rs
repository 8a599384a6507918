//! A condition: a plugin version with its params bound. It is what a decision runs.

use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::facts::Plan;
use crate::sandbox::Digest;

/// The condition of an event. The digest pins the plugin version.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Condition)]
pub struct BoundCondition {
    #[schema(example = "login-streak")]
    pub plugin: String,
    #[schema(example = "1.0.0")]
    pub version: String,
    #[schema(value_type = String)]
    pub digest: Digest,
    #[schema(value_type = HashMap<String, Value>)]
    pub params: Value,
    /// The queries that `bind` returned for the params.
    #[serde(skip)]
    pub plan: Plan,
    /// The state that `bind` returned for the params.
    #[serde(skip)]
    pub state: Vec<u8>,
}

impl BoundCondition {
    /// The plugin version, for metrics: `login-streak@1.0.0`.
    pub fn label(&self) -> String {
        format!("{}@{}", self.plugin, self.version)
    }
}
