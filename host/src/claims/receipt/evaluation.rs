//! One run of a condition as receipts record it: the plugin, the limits, the inputs and the outcome.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::contract::{Context, Decision, Fact, Query};
use crate::exact_json;
use crate::plugins::Signer;
use crate::sandbox::{CallLimits, Digest, Failure};

/// The inputs and the outcome of one run of the condition.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EvaluationRecord {
    pub plugin: PluginRecord,
    /// The engine and those of its settings that can affect the outcome
    pub engine: String,
    pub limits: Limits,
    #[serde(deserialize_with = "exact_json::value")]
    #[schema(value_type = HashMap<String, Value>)]
    pub params: Value,
    /// The result of `bind` for the params: its queries, and its state in base64
    pub queries: Vec<Query>,
    pub state: String,
    pub context: Context,
    /// `facts[i]` is the answer to `queries[i]`
    pub facts: Vec<Fact>,
    pub outcome: Outcome,
    pub fuel: u64,
    /// The amount that the event's budget had left, but at most the value of all rewards; absent if the event has no such
    /// budget
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget_amount: Option<i64>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PluginRecord {
    pub name: String,
    pub version: String,
    /// SHA-256 of the module's bytes
    #[schema(value_type = String)]
    pub digest: Digest,
    /// The signer of the module, as the server attests; absent if no key that it trusted had signed it
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signer: Option<Signer>,
}

/// The limits of `bind` and the run that can affect the outcome
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Limits {
    pub evaluate_fuel: u64,
    pub setup_fuel: u64,
    pub memory_bytes: usize,
    pub table_elements: usize,
    pub input_bytes: usize,
    pub state_bytes: usize,
    pub decision_bytes: usize,
}

impl From<&CallLimits> for Limits {
    fn from(call: &CallLimits) -> Self {
        Self {
            evaluate_fuel: call.evaluate_fuel,
            setup_fuel: call.setup_fuel,
            memory_bytes: call.memory_bytes,
            table_elements: call.table_elements,
            input_bytes: call.input_bytes,
            state_bytes: call.state_bytes,
            decision_bytes: call.decision_bytes,
        }
    }
}

impl Limits {
    /// Sets these limits of a sandbox and leaves the others.
    pub fn set(&self, call: &mut CallLimits) {
        call.evaluate_fuel = self.evaluate_fuel;
        call.setup_fuel = self.setup_fuel;
        call.memory_bytes = self.memory_bytes;
        call.table_elements = self.table_elements;
        call.input_bytes = self.input_bytes;
        call.state_bytes = self.state_bytes;
        call.decision_bytes = self.decision_bytes;
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = ReceiptOutcome)]
pub enum Outcome {
    Decision(Decision),
    Failure(FailureRecord),
}

/// A run without a decision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FailureRecord {
    #[schema(example = "out-of-fuel")]
    pub code: String,
    /// Whether a replay fails in the same way; a deadline, for example, depends on the machine
    pub deterministic: bool,
}

impl From<&Failure> for FailureRecord {
    fn from(failure: &Failure) -> Self {
        Self {
            code: failure.code().to_owned(),
            deterministic: failure.is_deterministic(),
        }
    }
}
