//! A JSON body or message: how large it may be, and parsing that names each fault by its JSON Pointer.
//!
//! HTTP bodies and Kafka messages go through the same functions. Must not know: any protocol or feature.

pub mod many;

use std::borrow::Cow;

use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::Value;

use crate::contract::MAX_INTEGER;
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
    let bytes = with_plain_integers(bytes);
    serde_path_to_error::deserialize(&mut serde_json::Deserializer::from_slice(&bytes)).map_err(|error| {
        let pointer = pointer_of(error.path());
        Problem::field(pointer, in_json_words(&without_position(&error.into_inner())))
    })
}

/// A message of serde without the names of Rust's types.
fn in_json_words(message: &str) -> String {
    const WORDS: [(&str, &str); 13] = [
        ("expected a borrowed string", "expected a string"),
        ("expected i64", "expected an integer"),
        ("expected i32", "expected an integer"),
        ("expected i16", "expected an integer"),
        ("expected isize", "expected an integer"),
        ("expected u64", "expected an integer from 0"),
        ("expected usize", "expected an integer from 0"),
        ("expected u32", "expected an integer from 0 to 4294967295"),
        ("expected u16", "expected an integer from 0 to 65535"),
        ("expected u8", "expected an integer from 0 to 255"),
        ("expected f64", "expected a number"),
        ("expected f32", "expected a number"),
        ("expected unit", "expected null"),
    ];
    // What was found stands before it, and may be anything.
    let Some((found, expected)) = message.rsplit_once(", expected ") else {
        return message.to_owned();
    };
    let expected = format!("expected {expected}");
    if ["expected struct ", "expected internally tagged enum ", "expected a map"]
        .iter()
        .any(|kind| expected.starts_with(kind))
    {
        return format!("{found}, expected an object");
    }
    if expected.starts_with("expected a sequence") {
        return format!("{found}, expected an array");
    }
    if expected.starts_with("expected enum ") {
        return format!("{found}, expected a string");
    }
    let plain = WORDS.iter().find(|(rust, _)| *rust == expected);
    format!("{found}, {}", plain.map_or(expected.as_str(), |(_, plain)| plain))
}

/// The message about a body that is one line of several.
pub fn of_one_line(message: &str) -> String {
    message.replace(" at line 1 column ", " at column ")
}

/// The same JSON with integers as serde reads them: `2500.00` and `25e2` are integers for JSON Schema (and for RFC 8785, which
/// writes them as `2500`), but not for serde. The caller has checked the syntax.
fn with_plain_integers(bytes: &[u8]) -> Cow<'_, [u8]> {
    let mut plain: Option<Vec<u8>> = None;
    let (mut at, mut copied) = (0, 0);
    while let Some(byte) = bytes.get(at) {
        if *byte == b'"' {
            at += 1;
            while bytes.get(at).is_some_and(|byte| *byte != b'"') {
                at += if bytes[at] == b'\\' { 2 } else { 1 };
            }
            at += 1;
            continue;
        }
        if !byte.is_ascii_digit() && *byte != b'-' {
            at += 1;
            continue;
        }
        let rest = &bytes[at..];
        let length = rest
            .iter()
            .take_while(|byte| byte.is_ascii_digit() || b"+-.eE".contains(byte))
            .count();
        if let Some(integer) = plain_integer(&rest[..length]) {
            let plain = plain.get_or_insert_default();
            plain.extend_from_slice(&bytes[copied..at]);
            plain.extend_from_slice(integer.to_string().as_bytes());
            copied = at + length;
        }
        at += length;
    }
    match plain {
        None => Cow::Borrowed(bytes),
        Some(mut plain) => {
            plain.extend_from_slice(&bytes[copied..]);
            Cow::Owned(plain)
        }
    }
}

/// The value of a JSON number that is written with a fraction or an exponent, if it is exactly an integer within ±(2^53 - 1).
fn plain_integer(number: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(number).ok()?.to_ascii_lowercase();
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let (integer, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    if integer == text {
        return None;
    }
    let exponent: i32 = exponent.parse().ok()?;
    let (sign, integer) = integer.strip_prefix('-').map_or((1, integer), |digits| (-1, digits));
    let digits = format!("{integer}{fraction}");
    let point = i32::try_from(integer.len()).ok()?.checked_add(exponent)?;
    let significant = digits.trim_start_matches('0');
    if significant.is_empty() {
        return Some(0);
    }
    let point = usize::try_from(point).ok()?;
    // 2^53 has 16 digits; `digits` may begin with one zero and more in the fraction.
    if point > digits.len() + 16
        || digits
            .get(point..)
            .is_some_and(|beyond| beyond.bytes().any(|byte| byte != b'0'))
    {
        return None;
    }
    let whole = digits.get(..point).unwrap_or(&digits);
    let zeros = "0".repeat(point.saturating_sub(digits.len()));
    let value: i64 = format!("{whole}{zeros}").parse().ok()?;
    (value <= MAX_INTEGER).then_some(sign * value)
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

/// The message of serde, which adds the position to it.
pub fn without_position(error: &serde_json::Error) -> String {
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
    fn integers_may_have_a_fraction_of_zeros_or_an_exponent() {
        for (json, expected) in [
            (r#"{"amount": 2500.00}"#, r#"{"amount": 2500}"#),
            ("[25e2, -2.50E+1,0.0 ,-0.0,1.0e0]", "[2500, -25,0 ,0,1]"),
            ("[500e-2, 9007199254740991.0]", "[5, 9007199254740991]"),
            // No integers, or too large to be exact; and texts.
            (
                "[1.5, 5e-1, 1.0000000000000000001, 9007199254740992.0, 1e300, 1e-300]",
                "",
            ),
            (r#"{"2.0": "a \" 2.0", "b\\": "2.0"}"#, ""),
            ("[1, -7, 18446744073709551615]", ""),
        ] {
            let plain = with_plain_integers(json.as_bytes());
            let expected = if expected.is_empty() { json } else { expected };
            assert_eq!(String::from_utf8_lossy(&plain), expected);
        }
        assert_eq!(parse::<Vec<u32>>(b"[2500.00]").unwrap(), [2500]);
        assert!(parse::<Vec<u32>>(b"[2500.01]").is_err());
    }

    #[test]
    fn messages_name_no_types_of_rust() {
        for (said, plain) in [
            (
                "invalid type: string \"a, expected u8\", expected u8",
                "invalid type: string \"a, expected u8\", expected an integer from 0 to 255",
            ),
            (
                "invalid type: integer `7`, expected struct NewActivity",
                "invalid type: integer `7`, expected an object",
            ),
            (
                "invalid type: floating point `0.5`, expected i64",
                "invalid type: floating point `0.5`, expected an integer",
            ),
            (
                "invalid type: null, expected a sequence",
                "invalid type: null, expected an array",
            ),
            (
                "invalid type: null, expected a string",
                "invalid type: null, expected a string",
            ),
            (
                "unknown field `x`, expected `a` or `b`",
                "unknown field `x`, expected `a` or `b`",
            ),
            ("missing field `kind`", "missing field `kind`"),
        ] {
            assert_eq!(in_json_words(said), plain);
        }
        assert_eq!(of_one_line("EOF at line 1 column 7."), "EOF at column 7.");
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
