//! Attributes of users and activities: names with short text values, which conditions compare. The same rules hold for
//! both.
//!
//! Must not know: any feature, the database, HTTP.

use std::collections::BTreeMap;
use std::fmt;

use garde::Validate;
use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::openapi::schema::{ObjectBuilder, OneOfBuilder, Type};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use crate::canonical;
use crate::contract::MAX_INTEGER;

pub const MAX_ATTRIBUTES: usize = 64;
pub const MAX_NAME_BYTES: usize = 64;
pub const MAX_TEXT_CHARS: usize = 256;

/// At most 64 attributes. A name is 1 to 64 of `A-Z a-z 0-9 . _ -`. A value is stored as text of at most 256
/// characters; numbers and booleans are stored as their JSON text. Equal numbers have the same text: `10.0` and `1e1`
/// are `10`. A null is an attribute that is not there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, ToSchema, Validate)]
#[serde(transparent)]
#[schema(value_type = BTreeMap<String, AttributeValue>, example = json!({"level": 42, "region": "KR", "beta": true}))]
pub struct Attributes(#[garde(skip)] pub BTreeMap<String, String>);

/// Whether the text is a valid attribute name: `[A-Za-z0-9._-]{1,64}`.
pub fn is_name(text: &str) -> bool {
    (1..=MAX_NAME_BYTES).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

/// Whether the text is a valid attribute value: at most 256 characters, without U+0000, which PostgreSQL cannot store.
pub fn is_text(text: &str) -> bool {
    text.chars().count() <= MAX_TEXT_CHARS && !text.contains('\0')
}

impl Attributes {
    /// The attributes of a protocol whose values are texts.
    pub fn of(values: impl IntoIterator<Item = (String, String)>) -> Result<Self, String> {
        let values: BTreeMap<String, String> = values.into_iter().collect();
        if let Some(name) = values.keys().find(|name| !is_name(name)) {
            return Err(not_a_name(name));
        }
        if let Some((name, text)) = values.iter().find(|(_, text)| !is_text(text)) {
            return Err(format!("{name}: {}", not_a_text(text)));
        }
        check_count(values.len())?;
        Ok(Self(values))
    }
}

fn not_a_name(name: &str) -> String {
    format!("{name:?} is not an attribute name: use 1 to {MAX_NAME_BYTES} of A-Z a-z 0-9 . _ -")
}

fn not_a_text(text: &str) -> String {
    let chars = text.chars().count();
    if chars > MAX_TEXT_CHARS {
        format!("has {chars} characters; the maximum is {MAX_TEXT_CHARS}")
    } else {
        "contains U+0000, which cannot be stored".to_owned()
    }
}

fn check_count(count: usize) -> Result<(), String> {
    if count > MAX_ATTRIBUTES {
        return Err(format!("there are {count} attributes; the maximum is {MAX_ATTRIBUTES}"));
    }
    Ok(())
}

impl<'de> Deserialize<'de> for Attributes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ObjectVisitor)
    }
}

struct ObjectVisitor;

impl<'de> Visitor<'de> for ObjectVisitor {
    type Value = Attributes;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of strings, numbers and booleans")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Attributes, A::Error> {
        let mut attributes = BTreeMap::new();
        while let Some((AttributeName(name), value)) = map.next_entry::<_, Option<AttributeValue>>()? {
            if attributes.insert(name.clone(), value).is_some() {
                return Err(de::Error::custom(format!("{name:?} occurs twice")));
            }
        }
        let attributes: BTreeMap<_, _> = attributes
            .into_iter()
            .filter_map(|(name, value)| Some((name, value?.0)))
            .collect();
        check_count(attributes.len()).map_err(de::Error::custom)?;
        Ok(Attributes(attributes))
    }
}

struct AttributeName(String);

impl<'de> Deserialize<'de> for AttributeName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        if is_name(&name) {
            return Ok(Self(name));
        }
        Err(de::Error::custom(not_a_name(&name)))
    }
}

/// A JSON scalar as text.
struct AttributeValue(String);

impl<'de> Deserialize<'de> for AttributeValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ScalarVisitor)
    }
}

struct ScalarVisitor;

impl Visitor<'_> for ScalarVisitor {
    type Value = AttributeValue;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string, a number or a boolean")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<AttributeValue, E> {
        if is_text(text) {
            return Ok(AttributeValue(text.to_owned()));
        }
        Err(E::custom(not_a_text(text)))
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<AttributeValue, E> {
        Ok(AttributeValue(value.to_string()))
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<AttributeValue, E> {
        Ok(AttributeValue(number.to_string()))
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<AttributeValue, E> {
        Ok(AttributeValue(number.to_string()))
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<AttributeValue, E> {
        #[expect(clippy::cast_precision_loss, reason = "the bound is below 2^53, where f64 is exact")]
        if number.abs() > MAX_INTEGER as f64 {
            // The parser has lost digits already; storing a rounded number would hide that.
            return Err(E::custom(format!(
                "the number {number} is too large to store exactly; send it as a string"
            )));
        }
        // The number format of ECMAScript and RFC 8785.
        canonical::to_string(&number).map(AttributeValue).map_err(E::custom)
    }
}

impl PartialSchema for AttributeValue {
    fn schema() -> RefOr<Schema> {
        let scalar = |type_| ObjectBuilder::new().schema_type(type_);
        OneOfBuilder::new()
            .item(scalar(Type::String).max_length(Some(MAX_TEXT_CHARS)))
            .item(scalar(Type::Number))
            .item(scalar(Type::Boolean))
            .item(scalar(Type::Null))
            .into()
    }
}

impl ToSchema for AttributeValue {}

#[cfg(test)]
mod tests {
    use super::*;

    fn attributes(json: &str) -> Result<BTreeMap<String, String>, String> {
        serde_json::from_str::<Attributes>(json)
            .map(|Attributes(attributes)| attributes)
            .map_err(|error| error.to_string())
    }

    fn text(json: &str) -> Result<String, String> {
        attributes(&format!("{{\"a\": {json}}}")).map(|mut attributes| attributes.remove("a").unwrap())
    }

    #[test]
    fn scalars_are_stored_as_their_json_text() {
        for (json, expected) in [
            ("\"\"", ""),
            ("\"x\\\"\\u00e9\\n\"", "x\"é\n"),
            ("true", "true"),
            ("-7", "-7"),
            ("18446744073709551615", "18446744073709551615"),
            ("9007199254740993", "9007199254740993"),
            ("1.50", "1.5"),
            ("10.0", "10"),
            ("1e1", "10"),
            ("-0.0", "0"),
            ("1e-7", "1e-7"),
        ] {
            assert_eq!(text(json).as_deref(), Ok(expected), "{json}");
        }
    }

    #[test]
    fn values_that_are_not_scalars_or_would_lose_digits_are_rejected() {
        for json in ["[]", "{}", "18446744073709551616", "1e300", "\"\\u0000\""] {
            assert!(text(json).is_err(), "{json}");
        }
        for json in ["[]", "\"a\"", "{\"a\": 1, \"a\": 2}", "{\"a\": null, \"a\": 2}"] {
            assert!(attributes(json).is_err(), "{json}");
        }
    }

    #[test]
    fn a_null_is_left_out() {
        let found = attributes("{\"a\": null, \"b\": 1}").unwrap();
        assert_eq!(found, BTreeMap::from([("b".to_owned(), "1".to_owned())]));
        assert!(attributes("{\"a b\": null}").is_err());
    }

    #[test]
    fn invalid_names_are_rejected() {
        for name in ["a", "A-z_0.9", "0", "-", ".", &"n".repeat(64)] {
            assert!(attributes(&format!("{{\"{name}\": 1}}")).is_ok(), "{name}");
        }
        for name in [
            "",
            "a b",
            "é",
            "지역",
            "$[0]",
            "a'b",
            "a\\u0007",
            "a\\u0000",
            &"n".repeat(65),
        ] {
            let refusal = attributes(&format!("{{\"{name}\": 1}}")).unwrap_err();
            assert!(refusal.contains("is not an attribute name"), "{refusal}");
        }
    }

    #[test]
    fn texts_and_their_number_have_maximums() {
        assert!(text(&format!("\"{}\"", "é".repeat(256))).is_ok());
        assert!(text(&format!("\"{}\"", "v".repeat(257))).unwrap_err().contains("257"));
        let many = |count: usize| {
            let members: Vec<_> = (0..count).map(|index| format!("\"{index}\": 1")).collect();
            attributes(&format!("{{{}}}", members.join(",")))
        };
        assert!(many(64).is_ok());
        assert!(many(65).unwrap_err().contains("65"));
    }
}
