//! Params against a plugin's JSON Schema (2020-12), their one canonical spelling, and what `bind` makes of them.

use serde_json::Value;

use super::service::PluginError;
use crate::canonical;
use crate::contract::Issue;
use crate::facts::Plan;
use crate::sandbox::{Failure, Plugin, Sandbox, params_validator};

/// What the params may have as canonical JSON: they are in every receipt of the event.
const MAX_BYTES: usize = 16 << 10;

/// Faults beyond these are left out: the operator mends the first ones and tries again.
const MAX_ISSUES: usize = 32;

/// What a plugin wants to know for these params, and wants back.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Planned {
    pub plan: Plan,
    pub state: Vec<u8>,
    pub fuel: u64,
}

/// Checks params against the plugin's schema and its `bind`.
pub(super) async fn bind(
    sandbox: &Sandbox,
    plugin: &Plugin,
    schema: &Value,
    params: &Value,
) -> Result<Planned, PluginError> {
    // `bind` sees the same bytes when the operator saves the params and when a third party replays a receipt, whatever the
    // database did to white space and key order in between.
    let canonical = canonical::to_string(params)?;
    let mut issues = check_size(&canonical);
    if issues.is_empty() {
        // A schema may be a thousand subschemas and the params many items: not for a thread that serves requests.
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
        Ok(Ok(binding)) => Ok(Planned {
            plan: binding.queries.try_into()?,
            state: binding.state,
            fuel,
        }),
        Ok(Err(issues)) => Err(PluginError::Params(issues)),
        Err(failure) => Err(PluginError::BindFailed(failure)),
    }
}

/// What is wrong with `params`, by JSON Pointer; empty when nothing is. The sandbox has checked that `schema` is one.
fn check(schema: &Value, params: &Value) -> Vec<Issue> {
    let validator = match params_validator(schema) {
        Ok(validator) => validator,
        Err(error) => {
            return vec![Issue {
                path: String::new(),
                message: format!("the plugin's schema is not usable: {error}"),
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

/// Whether the schema has nothing against the params.
pub(super) fn fits(schema: &Value, params: &Value) -> bool {
    check(schema, params).is_empty()
}

/// What is wrong with the size of params, given as [`canonical`] JSON.
fn check_size(canonical: &str) -> Vec<Issue> {
    let bytes = canonical.len();
    if bytes <= MAX_BYTES {
        return Vec::new();
    }
    vec![Issue {
        path: String::new(),
        message: format!("the params have {bytes} bytes as JSON; at most {MAX_BYTES} are kept"),
    }]
}
