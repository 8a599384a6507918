//! Params against a plugin's JSON Schema (2020-12), and their one canonical spelling.

use serde_json::Value;

use crate::contract::Issue;
use crate::sandbox::params_validator;

/// What the params may have as canonical JSON: they are in every receipt of the event.
const MAX_BYTES: usize = 16 << 10;

/// Faults beyond these are left out: the operator mends the first ones and tries again.
const MAX_ISSUES: usize = 32;

/// What is wrong with `params`, by JSON Pointer; empty when nothing is. The sandbox has checked that `schema` is one.
pub(super) fn check(schema: &Value, params: &Value) -> Vec<Issue> {
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

/// What is wrong with the size of params, given as [`canonical`] JSON.
pub(super) fn check_size(canonical: &str) -> Vec<Issue> {
    let bytes = canonical.len();
    if bytes <= MAX_BYTES {
        return Vec::new();
    }
    vec![Issue {
        path: String::new(),
        message: format!("the params have {bytes} bytes as JSON; at most {MAX_BYTES} are kept"),
    }]
}

/// RFC 8785: `bind` sees the same bytes when the operator saves the params and when a third party replays a receipt,
/// whatever the database did to white space and key order in between.
pub(super) fn canonical(params: &Value) -> Result<String, serde_json::Error> {
    serde_json_canonicalizer::to_string(params)
}
