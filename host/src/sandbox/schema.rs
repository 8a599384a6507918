//! Limits the cost of validating params against a plugin's JSON Schema.
//!
//! A hostile schema is a few lines long and takes exponential time if its references double at every level, or endless
//! time if they form a cycle. Therefore every reference must point into the schema, cycles are rejected, and the size
//! of the schema with all references expanded is limited.

use std::collections::HashMap;

use serde_json::Value;

/// The maximum number of subschemas with all references expanded.
const MAX_SUBSCHEMAS: usize = 1_000;
/// The maximum length of a chain of references.
const MAX_CHAIN: usize = 32;
/// The maximum depth with all references expanded. Validators are recursive.
const MAX_DEPTH: usize = 128;

pub(super) fn check_cost(schema: &Value) -> Result<(), String> {
    let mut walk = Walk {
        root: schema,
        known: HashMap::new(),
        open: Vec::new(),
        depth: 0,
    };
    walk.cost(schema, true).map(drop)
}

struct Walk<'a> {
    root: &'a Value,
    /// The cost of the targets of references visited so far.
    known: HashMap<&'a str, Cost>,
    /// The chain of references to the current subschema.
    open: Vec<&'a str>,
    depth: usize,
}

/// What a subschema costs with all references expanded.
#[derive(Clone, Copy, Default)]
struct Cost {
    subschemas: usize,
    /// The subschemas within each other.
    depth: usize,
}

impl Cost {
    fn and(self, other: Self) -> Self {
        Self {
            subschemas: self.subschemas.saturating_add(other.subschemas),
            depth: self.depth.max(other.depth),
        }
    }
}

impl<'a> Walk<'a> {
    fn cost(&mut self, value: &'a Value, is_root: bool) -> Result<Cost, String> {
        let mut sum = Cost::default();
        match value {
            Value::Object(members) => {
                self.enter(1)?;
                self.depth += 1;
                sum.subschemas = 1;
                for (key, member) in members {
                    sum = sum.and(match (key.as_str(), member) {
                        ("$ref", Value::String(reference)) => self.referenced(reference)?,
                        ("$dynamicRef" | "$recursiveRef", Value::String(_)) => {
                            return Err(format!("{key} is not supported; use $ref"));
                        }
                        // A nested $id would change the base of all references below it.
                        ("$id", Value::String(_)) if !is_root => {
                            return Err("$id is allowed at the top level only".to_owned());
                        }
                        // The values of these keywords are data, not subschemas.
                        ("const" | "enum" | "default" | "examples", _) => Cost::default(),
                        // The member names of these keywords are not keywords: a subschema may be named "enum".
                        (
                            "$defs" | "definitions" | "properties" | "patternProperties" | "dependentSchemas"
                            | "dependencies",
                            Value::Object(named),
                        ) => self.all(named.values())?,
                        _ => self.cost(member, false)?,
                    });
                }
                self.depth -= 1;
                sum.depth += 1;
            }
            Value::Array(items) => sum = self.all(items)?,
            // `true` and `false` are schemas: a validator applies them, and `false` makes an issue each time.
            Value::Bool(_) => sum.subschemas = 1,
            _ => {}
        }
        if sum.subschemas > MAX_SUBSCHEMAS {
            return Err(format!(
                "it has more than {MAX_SUBSCHEMAS} subschemas with every $ref expanded"
            ));
        }
        Ok(sum)
    }

    /// Refuses to go this much deeper, if that is too deep.
    fn enter(&self, depth: usize) -> Result<(), String> {
        if self.depth + depth > MAX_DEPTH {
            return Err(format!(
                "it has more than {MAX_DEPTH} subschemas within each other with every $ref expanded"
            ));
        }
        Ok(())
    }

    fn all(&mut self, schemas: impl IntoIterator<Item = &'a Value>) -> Result<Cost, String> {
        let mut sum = Cost::default();
        for schema in schemas {
            sum = sum.and(self.cost(schema, false)?);
        }
        Ok(sum)
    }

    fn referenced(&mut self, reference: &'a str) -> Result<Cost, String> {
        let shown = super::text::line(reference, 128);
        if let Some(cost) = self.known.get(reference) {
            self.enter(cost.depth)?;
            return Ok(*cost);
        }
        if reference == "#" || self.open.contains(&reference) {
            return Err(format!("$ref {shown:?} is part of a cycle"));
        }
        if self.open.len() >= MAX_CHAIN {
            return Err(format!(
                "$ref {shown:?} ends a chain of more than {MAX_CHAIN} references"
            ));
        }
        // Percent-encoding would give the same target a second name.
        let pointer = reference
            .strip_prefix('#')
            .filter(|pointer| pointer.starts_with('/') && !pointer.contains('%'));
        let target = pointer
            .and_then(|pointer| self.root.pointer(pointer))
            .ok_or_else(|| format!("$ref {shown:?} must be a JSON pointer (#/...) to a subschema within the schema"))?;
        self.open.push(reference);
        let cost = self.cost(target, false)?;
        self.open.pop();
        self.known.insert(reference, cost);
        Ok(cost)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn rejected(schema: &Value, says: &str) {
        let message = check_cost(schema).unwrap_err();
        assert!(message.contains(says), "{message}");
    }

    #[test]
    fn references_within_a_schema_are_followed() {
        let schema = json!({
            "$id": "https://example.com/params",
            "$defs": {"days": {"type": "integer"}, "both": {"items": {"$ref": "#/$defs/days"}}},
            "properties": {"a": {"$ref": "#/$defs/both"}, "b": {"$ref": "#/$defs/days"}, "$ref": {"type": "string"}},
            "default": {"$ref": "not a reference"},
        });
        assert_eq!(check_cost(&schema), Ok(()));
    }

    #[test]
    fn references_that_double_at_every_level_are_rejected() {
        let mut defs = serde_json::Map::new();
        for level in 0..30 {
            let next = json!({"$ref": format!("#/$defs/d{}", level + 1)});
            defs.insert(format!("d{level}"), json!({"anyOf": [next, next]}));
        }
        defs.insert("d30".to_owned(), json!({"type": "string"}));
        rejected(
            &json!({"$defs": defs, "properties": {"a": {"$ref": "#/$defs/d0"}}}),
            "more than 1000",
        );
    }

    #[test]
    fn names_of_subschemas_are_not_treated_as_keywords() {
        let mut named = serde_json::Map::new();
        for level in 0..30 {
            let next = json!({"$ref": format!("#/$defs/enum/anyOf/0/d{}", level + 1)});
            named.insert(format!("d{level}"), json!({"anyOf": [next, next]}));
        }
        named.insert("d30".to_owned(), json!({"type": "string"}));
        rejected(
            &json!({
                "$defs": {"enum": {"anyOf": [named]}},
                "properties": {"default": {"$ref": "#/$defs/enum/anyOf/0/d0"}},
            }),
            "more than 1000",
        );
        rejected(
            &json!({"$defs": {"d1": {"type": "string"}, "d%31": {}}, "$ref": "#/$defs/d%31"}),
            "within the schema",
        );
    }

    #[test]
    fn cyclic_references_are_rejected() {
        rejected(&json!({"allOf": [{"$ref": "#"}]}), "cycle");
        rejected(
            &json!({"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"not": {"$ref": "#/$defs/a"}}}}),
            "cycle",
        );
        rejected(&json!({"properties": {"a": {"$ref": "#/properties"}}}), "cycle");
    }

    #[test]
    fn boolean_subschemas_count() {
        rejected(&json!({"items": {"allOf": vec![false; 1_001]}}), "more than 1000");
    }

    #[test]
    fn references_cannot_nest_deeply() {
        // Each of ten references ends fifteen levels deeper.
        let mut defs = serde_json::Map::new();
        for level in 0..10 {
            let mut nested = json!({"$ref": format!("#/$defs/d{}", level + 1)});
            for _ in 0..15 {
                nested = json!({"not": nested});
            }
            defs.insert(format!("d{level}"), nested);
        }
        defs.insert("d10".to_owned(), json!({}));
        rejected(&json!({"$ref": "#/$defs/d0", "$defs": defs}), "within each other");
    }

    #[test]
    fn long_chains_and_external_references_are_rejected() {
        let mut defs: serde_json::Map<_, _> = (0..40)
            .map(|level| (format!("d{level}"), json!({"$ref": format!("#/$defs/d{}", level + 1)})))
            .collect();
        defs.insert("d40".to_owned(), json!({}));
        rejected(&json!({"$ref": "#/$defs/d0", "$defs": defs}), "more than 32");
        rejected(&json!({"$ref": "#/nowhere"}), "within the schema");
        rejected(&json!({"$ref": "#anchor", "$anchor": "anchor"}), "within the schema");
        rejected(&json!({"$ref": "https://example.com/schema.json"}), "within the schema");
        rejected(&json!({"items": {"$id": "https://example.com/"}}), "$id");
        rejected(&json!({"items": {"$dynamicRef": "#node"}}), "$dynamicRef");
    }
}
