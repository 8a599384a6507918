//! Validates params against a plugin's JSON Schema (2020-12), canonicalizes them, and calls the plugin's `bind`.

use serde_json::Value;

use super::service::PluginError;
use crate::canonical;
use crate::contract::Issue;
use crate::exact_json;
use crate::facts::Plan;
use crate::sandbox::{Failure, Plugin, Sandbox, params_validator};

/// The maximum size of params as canonical JSON. Every receipt of the event contains them.
const MAX_BYTES: usize = 16 << 10;

/// The maximum number of reported issues.
const MAX_ISSUES: usize = 32;

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
    let mut issues = check_size(&canonical);
    issues.extend(exact_json::find_inexact(params).map(|(path, message)| Issue { path, message }));
    if issues.is_empty() {
        // A large schema with large params takes long, so it must not block a thread that serves requests.
        let (schema, params) = (schema.clone(), params.clone());
        issues = tokio::task::spawn_blocking(move || check(&schema, &params))
            .await
            .map_err(|error| PluginError::BindFailed(Failure::Sandbox(error.to_string())))?;
    }
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

/// The issues of `params` by JSON Pointer; empty if there are none. The sandbox has validated `schema` itself.
fn check(schema: &Value, params: &Value) -> Vec<Issue> {
    let validator = match params_validator(schema) {
        Ok(validator) => validator,
        Err(error) => {
            return vec![Issue {
                path: String::new(),
                message: format!("the plugin's schema is invalid: {error}"),
            }];
        }
    };
    validator
        .iter_errors(params)
        .take(MAX_ISSUES)
        .map(|error| Issue {
            path: error.instance_path().to_string(),
            message: error.to_string(),
        })
        .collect()
}

/// Whether the params match the schema.
pub(super) fn matches(schema: &Value, params: &Value) -> bool {
    check(schema, params).is_empty()
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
