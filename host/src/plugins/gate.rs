//! The self-checks of an admitted module before it is stored: `bind` must accept the examples of its own schema, and
//! its own test cases must pass. Everything runs twice and must have the same result and fuel.

use std::time::{Duration, Instant};

use serde_json::{Map, Value};

use super::cases::{self, Case, CaseError, Expectation};
use super::params;
use super::service::PluginError;
use crate::sandbox::{Admitted, Failure, Sandbox, UploadRefusal};

/// The time limit of all runs of one upload together.
const TIME_LIMIT: Duration = Duration::from_secs(10);
/// The maximum number of examples of a schema that are checked.
const MAX_EXAMPLES: usize = 32;
/// The maximum number of lines, and of characters per line, of a reported mismatch.
const MAX_LINES: usize = 40;
const MAX_CHARS: usize = 200;
/// The pointer of an example that is combined from the members of the schema.
const COMBINED: &str = "/properties";

/// Why the self-checks refuse an admitted module. The message names the offending item.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GateRefusal {
    #[error("bind rejects the example at {pointer} of the plugin's own schema: {message}")]
    Example { pointer: String, message: String },
    #[error("the test cases cannot be read: {0}")]
    Section(String),
    #[error("test case {number} ({description}) cannot run: {message}")]
    Case {
        number: usize,
        description: String,
        message: String,
    },
    #[error("test case {number} ({description}) failed:\n{}", .mismatches.join("\n"))]
    CaseFailed {
        number: usize,
        description: String,
        mismatches: Vec<String>,
    },
    #[error("{what} is not deterministic: first {first}, then {second}")]
    NotDeterministic {
        what: String,
        first: String,
        second: String,
    },
    #[error("the examples and test cases took more than {} s", TIME_LIMIT.as_secs())]
    TooSlow,
}

impl GateRefusal {
    /// A stable code for clients, like `UploadRefusal::code`.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Example { .. } => "example-does-not-bind",
            Self::Section(_) | Self::Case { .. } => "bad-cases",
            Self::CaseFailed { .. } => "case-failed",
            Self::NotDeterministic { .. } => "not-deterministic",
            Self::TooSlow => "cases-too-slow",
        }
    }
}

/// Runs all checks and returns the first failure.
pub(super) async fn check(sandbox: &Sandbox, admitted: &Admitted, module: &[u8]) -> Result<(), PluginError> {
    let started = Instant::now();
    let check_time = || {
        if started.elapsed() > TIME_LIMIT {
            Err(PluginError::Gate(GateRefusal::TooSlow))
        } else {
            Ok(())
        }
    };
    for (pointer, params) in examples(&admitted.manifest.params_schema) {
        check_time()?;
        check_example(sandbox, admitted, pointer, &params).await?;
    }
    let cases = cases::read(module).map_err(|error| PluginError::Gate(GateRefusal::Section(error.to_string())))?;
    for (index, case) in cases.iter().enumerate() {
        check_time()?;
        check_case(sandbox, admitted, index + 1, case).await?;
    }
    Ok(())
}

/// Example params from the schema: its examples and its default. If it has neither, one example combined from the
/// defaults of its members and the examples of the required members. The combination is a guess, because a schema
/// cannot say which members are valid together ("give one of these two").
fn examples(schema: &Value) -> Vec<(String, Value)> {
    let mut found = Vec::new();
    if let Some(examples) = schema.get("examples").and_then(Value::as_array) {
        for (index, example) in examples.iter().enumerate() {
            found.push((format!("/examples/{index}"), example.clone()));
        }
    }
    if let Some(default) = schema.get("default") {
        found.push(("/default".to_owned(), default.clone()));
    }
    if found.is_empty()
        && let Some(members) = schema.get("properties").and_then(Value::as_object)
    {
        let required = schema.get("required").and_then(Value::as_array);
        let is_required = |name: &str| required.is_some_and(|names| names.iter().any(|one| one == name));
        let combined: Map<String, Value> = members
            .iter()
            .filter_map(|(name, member)| {
                // Optional members may exclude each other, so only their defaults are used.
                let example = || member.get("examples")?.get(0).filter(|_| is_required(name));
                let value = member.get("default").or_else(example)?;
                Some((name.clone(), value.clone()))
            })
            .collect();
        found.push((COMBINED.to_owned(), Value::Object(combined)));
    }
    found.truncate(MAX_EXAMPLES);
    found
}

async fn check_example(
    sandbox: &Sandbox,
    admitted: &Admitted,
    pointer: String,
    params: &Value,
) -> Result<(), PluginError> {
    let schema = &admitted.manifest.params_schema;
    let mut first = None;
    for _ in 0..2 {
        let bound = match params::bind(sandbox, &admitted.plugin, schema, params).await {
            Ok(bound) => bound,
            // Its author did not write the combination: a required member without an example is missing, or `bind` rejects it.
            Err(PluginError::Params(_)) if pointer == COMBINED => return Ok(()),
            Err(PluginError::Params(issues)) => {
                let messages: Vec<String> = issues
                    .iter()
                    .map(|issue| format!("{:?}: {}", issue.path, issue.message))
                    .collect();
                return refuse(GateRefusal::Example {
                    pointer,
                    message: messages.join("; "),
                });
            }
            Err(PluginError::BindFailed(failure)) if is_temporary(failure.code()) => {
                return Err(unavailable(failure.code()));
            }
            Err(error) => {
                return refuse(GateRefusal::Example {
                    pointer,
                    message: error.to_string(),
                });
            }
        };
        match &first {
            None => first = Some(bound),
            Some(first) if *first == bound => {}
            Some(first) => {
                return refuse(GateRefusal::NotDeterministic {
                    what: format!("bind with the params at {pointer}"),
                    first: format!(
                        "{} queries, {} bytes, {} fuel",
                        first.plan.queries().len(),
                        first.state.len(),
                        first.fuel
                    ),
                    second: format!(
                        "{} queries, {} bytes, {} fuel",
                        bound.plan.queries().len(),
                        bound.state.len(),
                        bound.fuel
                    ),
                });
            }
        }
    }
    Ok(())
}

async fn check_case(sandbox: &Sandbox, admitted: &Admitted, number: usize, case: &Case) -> Result<(), PluginError> {
    let description = || case.description.clone();
    let mut first = None;
    for _ in 0..2 {
        let schema = &admitted.manifest.params_schema;
        let run = match cases::run(sandbox, &admitted.plugin, schema, case, None).await {
            Ok(run) => run,
            Err(CaseError::Plugin(error)) => return Err(error),
            Err(error) => {
                return refuse(GateRefusal::Case {
                    number,
                    description: description(),
                    message: error.to_string(),
                });
            }
        };
        if let Expectation::Failure(code) = &run.actual
            && is_temporary(code)
        {
            return Err(unavailable(code));
        }
        let mut mismatches = case.mismatches(&run);
        if !mismatches.is_empty() {
            mismatches.truncate(MAX_LINES);
            for line in &mut mismatches {
                *line = line.chars().take(MAX_CHARS).collect();
            }
            return refuse(GateRefusal::CaseFailed {
                number,
                description: description(),
                mismatches,
            });
        }
        // The result is the expected one in both runs, so only the fuel can differ.
        match first.replace(run.fuel) {
            Some(first) if first != run.fuel => {
                return refuse(GateRefusal::NotDeterministic {
                    what: format!("case {number} ({})", case.description),
                    first: format!("{first} fuel"),
                    second: format!("{} fuel", run.fuel),
                });
            }
            _ => {}
        }
    }
    Ok(())
}

fn refuse(refusal: GateRefusal) -> Result<(), PluginError> {
    Err(PluginError::Gate(refusal))
}

/// Whether the failure may be caused by the machine instead of the module.
fn is_temporary(code: &str) -> bool {
    [
        Failure::Overloaded,
        Failure::Sandbox(String::new()),
        Failure::Deadline(Duration::ZERO),
    ]
    .iter()
    .any(|failure| failure.code() == code)
}

fn unavailable(code: &str) -> PluginError {
    PluginError::Refused(UploadRefusal::Unavailable(format!(
        "its self-checks ended with {code}; try again later"
    )))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_examples_are_those_of_the_schema_and_its_default() {
        let schema = json!({
            "type": "object",
            "examples": [{"days": 7}],
            "default": {"days": 3},
            "required": ["days"],
            "properties": {"days": {"type": "integer", "examples": [5, 6]}},
        });
        assert_eq!(
            examples(&schema),
            [
                ("/examples/0".to_owned(), json!({"days": 7})),
                ("/default".to_owned(), json!({"days": 3})),
            ]
        );
    }

    #[test]
    fn a_schema_without_examples_yields_a_combination_of_its_members() {
        let schema = json!({
            "type": "object",
            "required": ["days"],
            "properties": {
                "days": {"type": "integer", "examples": [5, 6]},
                "kind": {"type": "string", "examples": ["left out"]},
                "spent": {"type": "integer", "default": 0},
            },
        });
        assert_eq!(
            examples(&schema),
            [("/properties".to_owned(), json!({"days": 5, "spent": 0}))]
        );
    }
}
