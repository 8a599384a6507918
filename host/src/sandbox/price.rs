//! The price of validating params against a plugin's JSON Schema, before a library does it.
//!
//! A schema is code of its author: subschemas that all apply to each item of an array, and patterns on long texts, make a few
//! kilobytes cost seconds and gigabytes. The walk applies every subschema to every value that it can reach, as a validator does
//! in the worst case, and stops at the limit. Its own work is bounded by the price.

use std::collections::HashMap;

use regex_automata::nfa::thompson;
use serde_json::Value;

/// The maximum price. A subschema that is applied to a value costs one step, and one for each keyword.
pub(super) const MAX_STEPS: usize = 50_000;
/// States of a pattern times bytes of the text that cost as much as one step.
const PATTERN_STEP: usize = 64;
/// The price of a text for keywords that read it once.
const TEXT_STEP: usize = 256;
/// The states of a pattern that is not written as the engine writes it. No accepted pattern has more.
const MOST_STATES: usize = 8_192;

/// Beyond [`MAX_STEPS`].
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooExpensive;

/// The steps of validating `params`. `schema` must have passed [`super::schema::check_cost`], so its references end.
pub(super) fn of(schema: &Value, params: &Value) -> Result<usize, TooExpensive> {
    let mut walk = Walk {
        root: schema,
        steps: 0,
        states: HashMap::new(),
    };
    walk.apply(schema, params, 1)?;
    Ok(walk.steps)
}

struct Walk<'a> {
    root: &'a Value,
    steps: usize,
    /// The states of the patterns seen so far.
    states: HashMap<&'a str, usize>,
}

impl<'a> Walk<'a> {
    fn spend(&mut self, steps: usize, times: usize) -> Result<(), TooExpensive> {
        self.steps = self.steps.saturating_add(steps.saturating_mul(times));
        if self.steps > MAX_STEPS {
            return Err(TooExpensive);
        }
        Ok(())
    }

    /// `times`: how often a validator may apply this subschema to the same value.
    fn apply(&mut self, schema: &'a Value, value: &Value, times: usize) -> Result<(), TooExpensive> {
        let Value::Object(keywords) = schema else {
            return self.spend(1, times);
        };
        // `unevaluated…` applies the keywords beside it once more, to learn what they evaluate.
        let again = ["unevaluatedProperties", "unevaluatedItems"]
            .iter()
            .filter(|keyword| keywords.contains_key(**keyword))
            .count();
        let times = times.saturating_mul(1 + again);
        self.spend(1 + keywords.len(), times)?;
        for (keyword, argument) in keywords {
            self.keyword(keyword, argument, value, times)?;
        }
        Ok(())
    }

    fn keyword(&mut self, keyword: &str, argument: &'a Value, value: &Value, times: usize) -> Result<(), TooExpensive> {
        // A validator tests these first, and applies them again to say why none of them fits.
        let twice = times.saturating_mul(2);
        match (keyword, argument, value) {
            ("$ref", Value::String(reference), _) => {
                let target = reference
                    .strip_prefix('#')
                    .and_then(|pointer| self.root.pointer(pointer));
                target.map_or(Ok(()), |target| self.apply(target, value, times))
            }
            ("allOf", Value::Array(schemas), _) => self.all(schemas, value, times),
            ("anyOf" | "oneOf", Value::Array(schemas), _) => self.all(schemas, value, twice),
            ("not" | "if" | "then" | "else", schema, _) => self.apply(schema, value, twice),
            ("dependentSchemas" | "dependencies", Value::Object(schemas), _) => {
                self.all(schemas.values(), value, times)
            }
            ("properties", Value::Object(schemas), Value::Object(members)) => {
                self.spend(schemas.len(), times)?;
                for (name, schema) in schemas {
                    if let Some(member) = members.get(name) {
                        self.apply(schema, member, times)?;
                    }
                }
                Ok(())
            }
            ("patternProperties", Value::Object(schemas), Value::Object(members)) => {
                for (pattern, schema) in schemas {
                    for (name, member) in members {
                        self.pattern(pattern, name, times)?;
                        self.apply(schema, member, times)?;
                    }
                }
                Ok(())
            }
            ("additionalProperties" | "unevaluatedProperties", schema, Value::Object(members)) => {
                self.each(schema, members.values(), times)
            }
            ("propertyNames", schema, Value::Object(members)) => {
                let names: Vec<Value> = members.keys().map(|name| name.as_str().into()).collect();
                self.each(schema, &names, times)
            }
            ("items" | "unevaluatedItems" | "additionalItems", schema, Value::Array(items)) => {
                self.each(schema, items, times)
            }
            ("contains", schema, Value::Array(items)) => self.each(schema, items, twice),
            ("prefixItems", Value::Array(schemas), Value::Array(items)) => schemas
                .iter()
                .zip(items)
                .try_for_each(|(schema, item)| self.apply(schema, item, times)),
            ("pattern", Value::String(pattern), Value::String(text)) => self.pattern(pattern, text, times),
            ("enum" | "const", choices, _) => self.spend(values_in(choices), times),
            ("required", Value::Array(names), Value::Object(_)) => self.spend(names.len(), times),
            ("dependentRequired", names, Value::Object(_)) => self.spend(values_in(names), times),
            ("uniqueItems", _, Value::Array(_)) => self.spend(4 * values_in(value), times),
            (_, _, Value::String(text)) => self.spend(text.len() / TEXT_STEP, times),
            _ => Ok(()),
        }
    }

    fn all(
        &mut self,
        schemas: impl IntoIterator<Item = &'a Value>,
        value: &Value,
        times: usize,
    ) -> Result<(), TooExpensive> {
        schemas
            .into_iter()
            .try_for_each(|schema| self.apply(schema, value, times))
    }

    fn each<'v>(
        &mut self,
        schema: &'a Value,
        values: impl IntoIterator<Item = &'v Value>,
        times: usize,
    ) -> Result<(), TooExpensive> {
        values
            .into_iter()
            .try_for_each(|value| self.apply(schema, value, times))
    }

    /// The engine takes at most a step per state and byte.
    fn pattern(&mut self, pattern: &'a str, text: &str, times: usize) -> Result<(), TooExpensive> {
        let states = *self.states.entry(pattern).or_insert_with(|| {
            let config = thompson::Config::new().nfa_size_limit(Some(super::params::PATTERN_BYTES));
            let nfa = thompson::Compiler::new().configure(config).build(pattern);
            nfa.map_or(MOST_STATES, |nfa| nfa.states().len())
        });
        self.spend(1 + states.saturating_mul(text.len() + 1) / PATTERN_STEP, times)
    }
}

/// How many values a value consists of.
fn values_in(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(values_in).sum::<usize>(),
        Value::Object(members) => 1 + members.values().map(values_in).sum::<usize>(),
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn usual_params_cost_little() {
        let schema = json!({
            "type": "object",
            "required": ["tiers"],
            "additionalProperties": false,
            "properties": {"tiers": {"type": "array", "minItems": 1, "uniqueItems": true, "items": {
                "type": "object",
                "required": ["kind", "amount"],
                "properties": {
                    "kind": {"type": "string", "pattern": "^[A-Za-z0-9._-]{1,64}$"},
                    "amount": {"type": "integer", "minimum": 1, "maximum": 1_000_000},
                },
            }}},
        });
        let tiers: Vec<_> = (0..100)
            .map(|number| json!({"kind": "shop.purchase", "amount": number}))
            .collect();
        let steps = of(&schema, &json!({"tiers": tiers})).unwrap();
        assert!((1_000..20_000).contains(&steps), "{steps}");
    }

    #[test]
    fn every_way_to_multiply_work_has_its_price() {
        let zeros = json!(vec![0; 2_000]);
        let a_text = json!("a".repeat(16_000));
        let hundred = |schema: Value| vec![schema; 100];
        for (schema, params) in [
            (json!({"items": {"allOf": hundred(json!(false))}}), &zeros),
            (json!({"items": {"anyOf": hundred(json!(true))}}), &zeros),
            (
                json!({"contains": {"oneOf": hundred(json!({"type": "string"}))}}),
                &zeros,
            ),
            (json!({"items": {"enum": vec![1; 200]}}), &zeros),
            (json!({"pattern": "[ab]*a[ab]{1000}[c-z]"}), &a_text),
            (
                json!({"$defs": {"p": {"pattern": "[ab]{0,100}c"}}, "allOf": vec![json!({"$ref": "#/$defs/p"}); 20]}),
                &a_text,
            ),
            // Not the engine's way to write it.
            (json!({"pattern": r"\cA"}), &a_text),
        ] {
            assert_eq!(of(&schema, params), Err(TooExpensive), "{schema:.200}");
        }
        let mut nested = json!(false);
        for _ in 0..20 {
            nested = json!({"anyOf": [nested]});
        }
        assert_eq!(of(&nested, &json!(0)), Err(TooExpensive));
        let mut nested = json!(false);
        for _ in 0..20 {
            nested = json!({"allOf": [nested], "unevaluatedProperties": false});
        }
        assert_eq!(of(&nested, &json!({})), Err(TooExpensive));
    }
}
