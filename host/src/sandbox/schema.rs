//! How much work a plugin's JSON Schema makes for the host, which checks params against it.
//!
//! A schema is code too: references that double at every level are exponential in a few lines, and references in a
//! circle make it worse. So references must lead to somewhere within the schema, never in a circle, and what is left
//! when each is replaced by what it refers to must be small.

use std::collections::HashMap;

use serde_json::Value;

/// Objects in the schema, those that are referred to counted once for every reference.
const SUBSCHEMAS: usize = 1_000;
/// References that lead to references.
const CHAIN: usize = 32;

pub(super) fn check_cost(schema: &Value) -> Result<(), String> {
    let mut walk = Walk {
        root: schema,
        known: HashMap::new(),
        open: Vec::new(),
    };
    walk.cost(schema, true).map(drop)
}

struct Walk<'a> {
    root: &'a Value,
    /// What was found out about the target of a reference.
    known: HashMap<&'a str, usize>,
    /// The references that led here.
    open: Vec<&'a str>,
}

impl<'a> Walk<'a> {
    fn cost(&mut self, value: &'a Value, is_root: bool) -> Result<usize, String> {
        let mut sum = 0_usize;
        match value {
            Value::Object(members) => {
                sum = 1;
                for (key, member) in members {
                    sum = sum.saturating_add(match (key.as_str(), member) {
                        ("$ref", Value::String(reference)) => self.referred(reference)?,
                        ("$dynamicRef" | "$recursiveRef", Value::String(_)) => {
                            return Err(format!("{key} is not supported; use $ref"));
                        }
                        // From there on, references would mean something else.
                        ("$id", Value::String(_)) if !is_root => {
                            return Err("$id may stand at the top level only".to_owned());
                        }
                        // Data, whatever it looks like.
                        ("const" | "enum" | "default" | "examples", _) => 0,
                        // Their members' names are no keywords: a schema may be called "enum".
                        (
                            "$defs" | "definitions" | "properties" | "patternProperties" | "dependentSchemas"
                            | "dependencies",
                            Value::Object(named),
                        ) => self.all(named.values())?,
                        _ => self.cost(member, false)?,
                    });
                }
            }
            Value::Array(items) => sum = self.all(items)?,
            _ => {}
        }
        if sum > SUBSCHEMAS {
            return Err(format!(
                "it has more than {SUBSCHEMAS} subschemas, those that are referred to counted once for every $ref"
            ));
        }
        Ok(sum)
    }

    fn all(&mut self, schemas: impl IntoIterator<Item = &'a Value>) -> Result<usize, String> {
        let mut sum = 0_usize;
        for schema in schemas {
            sum = sum.saturating_add(self.cost(schema, false)?);
        }
        Ok(sum)
    }

    fn referred(&mut self, reference: &'a str) -> Result<usize, String> {
        let shown = super::text::line(reference, 128);
        if let Some(cost) = self.known.get(reference) {
            return Ok(*cost);
        }
        if reference == "#" || self.open.contains(&reference) {
            return Err(format!("$ref {shown:?} leads in a circle"));
        }
        if self.open.len() >= CHAIN {
            return Err(format!("$ref {shown:?} is reached by more than {CHAIN} references"));
        }
        // Percent-encoding would be a second spelling of the same place.
        let pointer = reference
            .strip_prefix('#')
            .filter(|pointer| pointer.starts_with('/') && !pointer.contains('%'));
        let target = pointer
            .and_then(|pointer| self.root.pointer(pointer))
            .ok_or_else(|| format!("$ref {shown:?} must be a #/pointer to somewhere within the schema"))?;
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
    fn refused(schema: &Value, says: &str) {
        let fault = check_cost(schema).unwrap_err();
        assert!(fault.contains(says), "{fault}");
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
    fn references_that_double_are_refused() {
        let mut defs = serde_json::Map::new();
        for level in 0..30 {
            let next = json!({"$ref": format!("#/$defs/d{}", level + 1)});
            defs.insert(format!("d{level}"), json!({"anyOf": [next, next]}));
        }
        defs.insert("d30".to_owned(), json!({"type": "string"}));
        refused(
            &json!({"$defs": defs, "properties": {"a": {"$ref": "#/$defs/d0"}}}),
            "more than 1000",
        );
    }

    #[test]
    fn names_of_schemas_are_not_taken_for_keywords() {
        let mut named = serde_json::Map::new();
        for level in 0..30 {
            let next = json!({"$ref": format!("#/$defs/enum/anyOf/0/d{}", level + 1)});
            named.insert(format!("d{level}"), json!({"anyOf": [next, next]}));
        }
        named.insert("d30".to_owned(), json!({"type": "string"}));
        refused(
            &json!({
                "$defs": {"enum": {"anyOf": [named]}},
                "properties": {"default": {"$ref": "#/$defs/enum/anyOf/0/d0"}},
            }),
            "more than 1000",
        );
        refused(
            &json!({"$defs": {"d1": {"type": "string"}, "d%31": {}}, "$ref": "#/$defs/d%31"}),
            "within the schema",
        );
    }

    #[test]
    fn references_in_a_circle_are_refused() {
        refused(&json!({"allOf": [{"$ref": "#"}]}), "circle");
        refused(
            &json!({"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"not": {"$ref": "#/$defs/a"}}}}),
            "circle",
        );
        refused(&json!({"properties": {"a": {"$ref": "#/properties"}}}), "circle");
    }

    #[test]
    fn long_chains_and_references_to_elsewhere_are_refused() {
        let mut defs: serde_json::Map<_, _> = (0..40)
            .map(|level| (format!("d{level}"), json!({"$ref": format!("#/$defs/d{}", level + 1)})))
            .collect();
        defs.insert("d40".to_owned(), json!({}));
        refused(&json!({"$ref": "#/$defs/d0", "$defs": defs}), "more than 32");
        refused(&json!({"$ref": "#/nowhere"}), "within the schema");
        refused(&json!({"$ref": "#anchor", "$anchor": "anchor"}), "within the schema");
        refused(&json!({"$ref": "https://example.com/schema.json"}), "within the schema");
        refused(&json!({"items": {"$id": "https://example.com/"}}), "$id");
        refused(&json!({"items": {"$dynamicRef": "#node"}}), "$dynamicRef");
    }
}
