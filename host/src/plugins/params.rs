//! Validates params against a plugin's JSON Schema (2020-12), canonicalizes them, and calls the plugin's `bind`.

use serde_json::Value;

use super::service::PluginError;
use crate::canonical;
use crate::contract::Issue;
use crate::exact_json;
use crate::facts::Plan;
use crate::sandbox::{Plugin, Sandbox};

/// The maximum size of params as canonical JSON. Every receipt of the event contains them.
const MAX_BYTES: usize = 16 << 10;

/// The result of `bind`: the plan, and the state that `evaluate` gets back.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct BoundParams {
    pub plan: Plan,
    pub state: Vec<u8>,
    pub fuel: u64,
}

/// Validates params with the plugin's schema and its `bind`.
pub(super) async fn bind(
    sandbox: &Sandbox,
    plugin: &Plugin,
    schema: &Value,
    params: &Value,
) -> Result<BoundParams, PluginError> {
    // `bind` must get the same bytes from the operator's request and from a replayed receipt. The database may change
    // white space and the order of keys.
    let canonical = canonical::to_string(params)?;
    let issues = issues_of(sandbox, schema, params, &canonical).await?;
    if !issues.is_empty() {
        return Err(PluginError::Params(issues));
    }
    let call = sandbox.bind(plugin, &canonical).await;
    let fuel = call.fuel;
    match call.outcome {
        Ok(Ok(binding)) => Ok(BoundParams {
            plan: binding.queries.try_into()?,
            state: binding.state,
            fuel,
        }),
        Ok(Err(issues)) => Err(PluginError::Params(issues)),
        Err(failure) => Err(PluginError::BindFailed(failure)),
    }
}

/// What `bind` would refuse before it calls the plugin: the issues of the size and of the schema.
pub async fn check(sandbox: &Sandbox, schema: &Value, params: &Value) -> Result<Vec<Issue>, PluginError> {
    issues_of(sandbox, schema, params, &canonical::to_string(params)?).await
}

async fn issues_of(
    sandbox: &Sandbox,
    schema: &Value,
    params: &Value,
    canonical: &str,
) -> Result<Vec<Issue>, PluginError> {
    let mut issues = check_size(canonical);
    issues.extend(exact_json::find_inexact(params).map(|(path, message)| Issue { path, message }));
    if !issues.is_empty() {
        return Ok(issues);
    }
    let issues = sandbox.check_params(schema, params).await;
    issues.map_err(PluginError::BindFailed)
}

/// The issue of params that are too large as [`canonical`] JSON.
fn check_size(canonical: &str) -> Vec<Issue> {
    let bytes = canonical.len();
    if bytes <= MAX_BYTES {
        return Vec::new();
    }
    vec![Issue {
        path: String::new(),
        message: format!("the params have {bytes} bytes as JSON; the maximum is {MAX_BYTES}"),
    }]
}
