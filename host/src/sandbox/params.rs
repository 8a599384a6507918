//! Checks params against a plugin's JSON Schema (2020-12). Only this file calls the validator.
//!
//! The schema and the params may both be hostile. `schema` limits the schema when it is uploaded, `price` the work of each
//! check before it begins. A check runs outside the async threads, and few run at the same time.

use std::sync::Arc;

use serde_json::Value;

use super::price::{self, MAX_STEPS};
use super::{Failure, Sandbox, schema, text};
use crate::contract::Issue;

/// Memory for one compiled pattern.
pub(super) const PATTERN_BYTES: usize = 256 << 10;
/// Checks that run at the same time.
pub(super) const CHECKS: usize = 2;

/// The maximum number of reported issues.
const MAX_ISSUES: usize = 32;
/// The validator collects all issues before it returns the first. A check that costs more than this reports only one.
const LISTED_STEPS: usize = 5_000;
const MESSAGE_BYTES: usize = 1024;

impl Sandbox {
    /// The issues of `params` by JSON Pointer; empty if there are none.
    pub async fn check_params(&self, schema: &Value, params: &Value) -> Result<Vec<Issue>, Failure> {
        let checks = Arc::clone(&self.0.params_checks).acquire_owned();
        let Ok(Ok(permit)) = tokio::time::timeout(self.settings().wait, checks).await else {
            return Err(Failure::Overloaded);
        };
        let (schema, params) = (schema.clone(), params.clone());
        tokio::task::spawn_blocking(move || {
            let _permit = permit;
            check_params(&schema, &params)
        })
        .await
        .map_err(|error| Failure::Sandbox(error.to_string()))
    }
}

/// The same, on this thread.
pub fn check_params(schema: &Value, params: &Value) -> Vec<Issue> {
    let validator = match validator(schema) {
        Ok(validator) => validator,
        Err(error) => return vec![issue("", &format!("the plugin's schema is invalid: {error}"))],
    };
    let Ok(steps) = price::of(schema, params) else {
        return vec![issue(
            "",
            &format!(
                "checking these params against the plugin's schema takes more than {MAX_STEPS} steps; send smaller params"
            ),
        )];
    };
    if validator.is_valid(params) {
        return Vec::new();
    }
    let listed = |error: jsonschema::ValidationError<'_>| issue(error.instance_path().as_str(), &error.to_string());
    if steps > LISTED_STEPS {
        return validator.validate(params).err().map(listed).into_iter().collect();
    }
    validator.iter_errors(params).take(MAX_ISSUES).map(listed).collect()
}

fn issue(path: &str, message: &str) -> Issue {
    Issue {
        path: path.to_owned(),
        message: text::line(message, MESSAGE_BYTES),
    }
}

/// The only constructor of a validator for a plugin's schema. Its patterns are small and match in linear time, its
/// references expand to a bounded size, and it reads nothing from outside.
pub(super) fn validator(schema: &Value) -> Result<jsonschema::Validator, String> {
    schema::check_cost(schema)?;
    let patterns = jsonschema::PatternOptions::regex()
        .size_limit(PATTERN_BYTES)
        .dfa_size_limit(PATTERN_BYTES);
    jsonschema::draft202012::options()
        .with_pattern_options(patterns)
        .build(schema)
        .map_err(|error| {
            text::line(
                &format!("{error} at {:?}", error.instance_path().as_str()),
                MESSAGE_BYTES,
            )
        })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn all_issues_of_usual_params_are_listed() {
        let schema = json!({"properties": {"days": {"type": "integer"}, "kind": {"type": "string"}}});
        let issues = check_params(&schema, &json!({"days": "x", "kind": 1}));
        let paths: Vec<_> = issues.iter().map(|issue| issue.path.as_str()).collect();
        assert_eq!(paths, ["/days", "/kind"]);
        assert_eq!(check_params(&schema, &json!({"days": 1})), []);
    }

    #[test]
    fn many_issues_are_one_and_too_much_work_is_refused() {
        let schema = json!({"items": {"allOf": vec![false; 900]}});
        let issues = check_params(&schema, &json!(vec![0; 10]));
        assert_eq!((issues.len(), issues[0].path.as_str()), (1, "/0"));
        let issues = check_params(&schema, &json!(vec![0; 2_000]));
        assert_eq!(issues.len(), 1);
        assert!(issues[0].message.contains("more than 50000 steps"), "{issues:?}");
    }

    #[test]
    fn a_long_value_is_not_repeated_whole() {
        let issues = check_params(&json!({"type": "integer"}), &json!("x".repeat(16_000)));
        assert!(issues[0].message.len() <= MESSAGE_BYTES, "{}", issues[0].message.len());
    }
}
