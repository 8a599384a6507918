//! What a module that the sandbox has admitted must still show before it is stored: that `bind` accepts what its own
//! schema proposes, and that its own cases pass. Everything is run twice, and must come out the same, fuel included.

use std::time::{Duration, Instant};

use serde_json::{Map, Value};

use super::cases::{self, Case, CaseError, Expectation};
use super::params;
use super::service::PluginError;
use crate::sandbox::{Admitted, Failure, Refusal, Sandbox};

/// For all runs of one upload together.
const TIME_LIMIT: Duration = Duration::from_secs(10);
/// Proposals of a schema and lines of a difference beyond these are left out.
const MAX_EXAMPLES: usize = 32;
const MAX_LINES: usize = 40;
const MAX_CHARS: usize = 200;
/// Where the params stand in a schema that are put together from its members.
const TOGETHER: &str = "/properties";

/// Why an admitted module is not stored. The text names the offending item.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GateRefusal {
    #[error("the params at {pointer} of its schema, which it proposes itself, do not bind: {fault}")]
    Example { pointer: String, fault: String },
    #[error("its cases cannot be read: {0}")]
    Section(String),
    #[error("its case {number} ({description}) cannot be run: {fault}")]
    Case {
        number: usize,
        description: String,
        fault: String,
    },
    #[error("its case {number} ({description}) does not pass:\n{}", .faults.join("\n"))]
    CaseFailed {
        number: usize,
        description: String,
        faults: Vec<String>,
    },
    #[error("{what} came out differently the second time: {first}, then {second}")]
    NotDeterministic {
        what: String,
        first: String,
        second: String,
    },
    #[error("its examples and cases take longer than {} s", TIME_LIMIT.as_secs())]
    TooSlow,
}

impl GateRefusal {
    /// Stable, for clients; the counterpart of `Refusal::code`.
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

/// Runs all of it, or says what is wrong first.
pub(super) async fn check(sandbox: &Sandbox, admitted: &Admitted, module: &[u8]) -> Result<(), PluginError> {
    let started = Instant::now();
    let in_time = || {
        if started.elapsed() > TIME_LIMIT {
            Err(PluginError::Gate(GateRefusal::TooSlow))
        } else {
            Ok(())
        }
    };
    for (pointer, params) in proposals(&admitted.manifest.params_schema) {
        in_time()?;
        check_example(sandbox, admitted, pointer, &params).await?;
    }
    let cases = cases::read(module).map_err(|error| PluginError::Gate(GateRefusal::Section(error.to_string())))?;
    for (index, case) in cases.iter().enumerate() {
        in_time()?;
        check_case(sandbox, admitted, index + 1, case).await?;
    }
    Ok(())
}

/// Params that the schema itself holds up as fitting: its examples and its default. When it has none, its members'
/// defaults together with the examples of those that are required: whether members go together is more than a schema can
/// say ("give one of these two"), so this is a guess, and its author's own example is better.
fn proposals(schema: &Value) -> Vec<(String, Value)> {
    let mut proposals = Vec::new();
    if let Some(examples) = schema.get("examples").and_then(Value::as_array) {
        for (index, example) in examples.iter().enumerate() {
            proposals.push((format!("/examples/{index}"), example.clone()));
        }
    }
    if let Some(default) = schema.get("default") {
        proposals.push(("/default".to_owned(), default.clone()));
    }
    if proposals.is_empty()
        && let Some(members) = schema.get("properties").and_then(Value::as_object)
    {
        let required = schema.get("required").and_then(Value::as_array);
        let is_required = |name: &str| required.is_some_and(|names| names.iter().any(|one| one == name));
        let together: Map<String, Value> = members
            .iter()
            .filter_map(|(name, member)| {
                // Members that may be left out need not go together, so of these only the defaults count.
                let example = || member.get("examples")?.get(0).filter(|_| is_required(name));
                let value = member.get("default").or_else(example)?;
                Some((name.clone(), value.clone()))
            })
            .collect();
        let together = Value::Object(together);
        // A member without a proposal of its own may be required; then the others say nothing.
        if params::fits(schema, &together) {
            proposals.push((TOGETHER.to_owned(), together));
        }
    }
    proposals.truncate(MAX_EXAMPLES);
    proposals
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
        let planned = match params::bind(sandbox, &admitted.plugin, schema, params).await {
            Ok(planned) => planned,
            // Put together by us, and the rule may have a reason to want other members: it has said so, and not failed.
            Err(PluginError::Params(_)) if pointer == TOGETHER => return Ok(()),
            Err(PluginError::Params(issues)) => {
                let faults: Vec<String> = issues
                    .iter()
                    .map(|issue| format!("{:?}: {}", issue.path, issue.message))
                    .collect();
                return refuse(GateRefusal::Example {
                    pointer,
                    fault: faults.join("; "),
                });
            }
            Err(PluginError::BindFailed(failure)) if may_pass_later(failure.code()) => {
                return Err(later(failure.code()));
            }
            Err(error) => {
                return refuse(GateRefusal::Example {
                    pointer,
                    fault: error.to_string(),
                });
            }
        };
        match &first {
            None => first = Some(planned),
            Some(first) if *first == planned => {}
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
                        planned.plan.queries().len(),
                        planned.state.len(),
                        planned.fuel
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
        let ran = match cases::run(sandbox, &admitted.plugin, schema, case, None).await {
            Ok(ran) => ran,
            Err(CaseError::Plugin(error)) => return Err(error),
            Err(error) => {
                return refuse(GateRefusal::Case {
                    number,
                    description: description(),
                    fault: error.to_string(),
                });
            }
        };
        if let Expectation::Failure(code) = &ran.got
            && may_pass_later(code)
        {
            return Err(later(code));
        }
        let mut faults = case.faults(&ran);
        if !faults.is_empty() {
            faults.truncate(MAX_LINES);
            for line in &mut faults {
                *line = line.chars().take(MAX_CHARS).collect();
            }
            return refuse(GateRefusal::CaseFailed {
                number,
                description: description(),
                faults,
            });
        }
        // What came out is what the case expects, both times; its cost is left.
        match first.replace(ran.fuel) {
            Some(first) if first != ran.fuel => {
                return refuse(GateRefusal::NotDeterministic {
                    what: format!("case {number} ({})", case.description),
                    first: format!("{first} fuel"),
                    second: format!("{} fuel", ran.fuel),
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

/// Failures that say more about the machine than about the module.
fn may_pass_later(code: &str) -> bool {
    [
        Failure::Overloaded,
        Failure::Sandbox(String::new()),
        Failure::Deadline(Duration::ZERO),
    ]
    .iter()
    .any(|failure| failure.code() == code)
}

fn later(code: &str) -> PluginError {
    PluginError::Refused(Refusal::Unavailable(format!(
        "its runs ended with {code}; try again later"
    )))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_schema_proposes_its_examples_and_its_default() {
        let schema = json!({
            "type": "object",
            "examples": [{"days": 7}],
            "default": {"days": 3},
            "required": ["days"],
            "properties": {"days": {"type": "integer", "examples": [5, 6]}},
        });
        assert_eq!(
            proposals(&schema),
            [
                ("/examples/0".to_owned(), json!({"days": 7})),
                ("/default".to_owned(), json!({"days": 3})),
            ]
        );
    }

    #[test]
    fn a_schema_without_either_proposes_its_members_together() {
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
            proposals(&schema),
            [("/properties".to_owned(), json!({"days": 5, "spent": 0}))]
        );
    }

    #[test]
    fn members_without_a_proposal_that_are_required_leave_nothing_to_try() {
        let schema = json!({
            "type": "object",
            "required": ["kind"],
            "properties": {"kind": {"type": "string"}, "count": {"default": 1}},
        });
        assert_eq!(proposals(&schema), []);
    }
}
