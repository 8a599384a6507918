//! A JSON body or message: how large it may be, and parsing that names each fault by its JSON Pointer.
//!
//! HTTP bodies and Kafka messages go through the same functions. Must not know: any protocol or feature.

use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::Value;

use crate::problem::{FieldError, MALFORMED_JSON, Problem};

/// The largest JSON body or message, in bytes. Plugin uploads have a separate limit.
pub const LIMIT: usize = 1 << 20;

/// Parses a JSON object. serde accepts an array for a struct, field by field, which would make the order of fields part of
/// the API.
pub fn parse_object<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    let is_array = bytes.trim_ascii_start().starts_with(b"[") && serde_json::from_slice::<IgnoredAny>(bytes).is_ok();
    if is_array {
        return Err(Problem::field("", "must be an object, not an array"));
    }
    parse(bytes)
}

/// Parses JSON; a problem names the faulty field by its JSON Pointer.
pub fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    // Syntax first: serde_json reports some wrong types as syntax errors.
    serde_json::from_slice::<IgnoredAny>(bytes)
        .map_err(|error| Problem::new(MALFORMED_JSON, format!("The body is not valid JSON: {error}.")))?;
    refuse_nul(bytes)?;
    serde_path_to_error::deserialize(&mut serde_json::Deserializer::from_slice(bytes)).map_err(|error| {
        let pointer = pointer_of(error.path());
        Problem::field(pointer, without_position(&error.into_inner()))
    })
}

/// PostgreSQL cannot store U+0000, so no text may contain it, on either database. JSON can only write it escaped.
fn refuse_nul(bytes: &[u8]) -> Result<(), Problem> {
    const ESCAPED: &[u8] = b"\\u0000";
    if !bytes.windows(ESCAPED.len()).any(|window| window == ESCAPED) {
        return Ok(());
    }
    // The caller has checked the syntax.
    let value = serde_json::from_slice(bytes).unwrap_or(Value::Null);
    match pointer_to_nul(&value) {
        Some(pointer) => Err(Problem::field(pointer, "contains U+0000, which cannot be stored")),
        None => Ok(()),
    }
}

/// The JSON Pointer to the first text that contains U+0000. For a member's name it is the pointer to its object.
fn pointer_to_nul(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => text.contains('\0').then(String::new),
        Value::Array(items) => items
            .iter()
            .enumerate()
            .find_map(|(index, item)| Some(format!("/{index}{}", pointer_to_nul(item)?))),
        Value::Object(members) => members.iter().find_map(|(name, member)| {
            if name.contains('\0') {
                return Some(String::new());
            }
            Some(format!("/{}{}", escaped(name), pointer_to_nul(member)?))
        }),
        Value::Null | Value::Bool(_) | Value::Number(_) => None,
    }
}

/// A member's name, escaped for a JSON Pointer (RFC 6901).
fn escaped(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

fn without_position(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.rsplit_once(" at line ")
        .map_or(text.clone(), |(message, _)| message.to_owned())
}

fn pointer_of(path: &serde_path_to_error::Path) -> String {
    use serde_path_to_error::Segment;
    let mut pointer = String::new();
    for segment in path {
        match segment {
            Segment::Seq { index } => {
                pointer.push('/');
                pointer.push_str(&index.to_string());
            }
            Segment::Map { key } | Segment::Enum { variant: key } => {
                pointer.push('/');
                pointer.push_str(&escaped(key));
            }
            Segment::Unknown => {}
        }
    }
    pointer
}

/// Translates garde's Rust paths (`reward_ids[0]`) into JSON Pointers (`/rewardIds/0`).
pub fn field_errors(report: &garde::Report) -> Vec<FieldError> {
    report
        .iter()
        .map(|(path, error)| {
            let path = path.to_string();
            let mut pointer = String::new();
            for segment in path.split(['.', '[', ']']).filter(|segment| !segment.is_empty()) {
                pointer.push('/');
                pointer.push_str(&camel_case(segment));
            }
            FieldError {
                pointer,
                message: error.message().to_owned(),
            }
        })
        .collect()
}

fn camel_case(snake: &str) -> String {
    let mut words = snake.split('_');
    let mut camel = words.next().unwrap_or_default().to_owned();
    for word in words {
        let mut letters = word.chars();
        camel.extend(letters.next().map(|letter| letter.to_ascii_uppercase()));
        camel.push_str(letters.as_str());
    }
    camel
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rust_paths_become_json_pointers() {
        assert_eq!(camel_case("reward_ids"), "rewardIds");
        assert_eq!(camel_case("title"), "title");
    }

    #[test]
    fn a_nul_is_found_at_every_position() {
        let found = |json: &str| refuse_nul(json.as_bytes()).err().map(|problem| format!("{problem:?}"));
        for (json, pointer) in [
            (r#""\u0000""#, r#"pointer: """#),
            (r#"{"a": [{"b/c": "x\u0000"}]}"#, r#"pointer: "/a/0/b~1c""#),
            (r#"{"a": {"\u0000": 1}}"#, r#"pointer: "/a""#),
        ] {
            assert!(found(json).is_some_and(|problem| problem.contains(pointer)), "{json}");
        }
        // An escaped backslash before it makes it plain text.
        assert_eq!(found(r#""\\u0000""#), None);
        assert_eq!(found(r#"{"a": "\u0000"#), None);
    }

    #[test]
    fn a_wrong_type_is_named_by_its_pointer() {
        #[derive(Debug, serde::Deserialize)]
        struct Outer {
            #[expect(dead_code, reason = "only parsed")]
            items: Vec<u32>,
        }
        let problem = parse::<Outer>(br#"{"items": [1, "two"]}"#).unwrap_err();
        assert!(format!("{problem:?}").contains("/items/1"), "{problem:?}");
    }
}
