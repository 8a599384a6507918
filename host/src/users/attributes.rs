//! A set of attributes, checked: short names, and values that are kept as text.

use std::collections::BTreeMap;
use std::fmt;

use garde::Validate;
use serde::{Deserialize, Deserializer, de};
use utoipa::openapi::schema::{ObjectBuilder, OneOfBuilder, Type};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

const MAX_CHARS: usize = 256;
const MAX_NAME_BYTES: usize = 64;

/// All attributes of a user, by name: at most 64, names of `A-Z a-z 0-9 . _ -`.
#[derive(Debug, Deserialize, ToSchema, Validate)]
#[serde(transparent)]
#[schema(value_type = BTreeMap<String, AttributeValue>, example = json!({"level": 42, "region": "KR", "beta": true}))]
pub(super) struct NewAttributes(#[garde(length(max = 64))] pub BTreeMap<AttributeName, AttributeValue>);

impl NewAttributes {
    pub(super) fn into_texts(self) -> BTreeMap<String, String> {
        self.0.into_iter().map(|(name, value)| (name.0, value.0)).collect()
    }
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct AttributeName(String);

impl<'de> Deserialize<'de> for AttributeName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        let fits = (1..=MAX_NAME_BYTES).contains(&name.len())
            && name
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
        if fits {
            return Ok(Self(name));
        }
        Err(de::Error::custom(format!(
            "{name:?} is not an attribute name: 1 to {MAX_NAME_BYTES} of A-Z a-z 0-9 . _ -"
        )))
    }
}

#[derive(Debug)]
pub(super) struct AttributeValue(String);

impl<'de> Deserialize<'de> for AttributeValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Scalar;
        impl de::Visitor<'_> for Scalar {
            type Value = AttributeValue;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string, a number or a boolean")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<AttributeValue, E> {
                let chars = text.chars().count();
                if chars > MAX_CHARS {
                    return Err(E::custom(format!(
                        "has {chars} characters; at most {MAX_CHARS} are kept"
                    )));
                }
                if text.contains(char::is_control) {
                    return Err(E::custom("holds a control character; send printable text"));
                }
                Ok(AttributeValue(text.to_owned()))
            }

            fn visit_bool<E: de::Error>(self, value: bool) -> Result<AttributeValue, E> {
                Ok(AttributeValue(value.to_string()))
            }

            fn visit_i64<E: de::Error>(self, value: i64) -> Result<AttributeValue, E> {
                Ok(AttributeValue(value.to_string()))
            }

            fn visit_u64<E: de::Error>(self, value: u64) -> Result<AttributeValue, E> {
                Ok(AttributeValue(value.to_string()))
            }

            fn visit_f64<E: de::Error>(self, value: f64) -> Result<AttributeValue, E> {
                serde_json::Number::from_f64(value)
                    .map(|number| AttributeValue(number.to_string()))
                    .ok_or_else(|| E::custom(format!("{value} is not a number")))
            }
        }
        deserializer.deserialize_any(Scalar)
    }
}

impl PartialSchema for AttributeValue {
    fn schema() -> RefOr<Schema> {
        let scalar = |type_| ObjectBuilder::new().schema_type(type_);
        OneOfBuilder::new()
            .item(scalar(Type::String).max_length(Some(MAX_CHARS)))
            .item(scalar(Type::Number))
            .item(scalar(Type::Boolean))
            .into()
    }
}

impl ToSchema for AttributeValue {}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(json: &str) -> Result<BTreeMap<String, String>, String> {
        serde_json::from_str::<NewAttributes>(json)
            .map_err(|error| error.to_string())
            .map(NewAttributes::into_texts)
    }

    #[test]
    fn every_scalar_is_kept_as_text() {
        let texts =
            texts(r#"{"a": "x", "b": -7, "c": true, "d": 1.50, "e": 18446744073709551615, "f": 1e300}"#).unwrap();
        let values: Vec<_> = texts.values().map(String::as_str).collect();
        assert_eq!(values, ["x", "-7", "true", "1.5", "18446744073709551615", "1e+300"]);
    }

    #[test]
    fn nothing_else_is() {
        for json in [
            r#"{"a": null}"#,
            r#"{"a": []}"#,
            r#"{"a": {}}"#,
            r#"{"a": "\u0000"}"#,
            r#"{"": 1}"#,
            r#"{"a b": 1}"#,
            r#"{"é": 1}"#,
            "[]",
        ] {
            assert!(texts(json).is_err(), "{json}");
        }
        assert!(texts(&format!(r#"{{"{}": 1}}"#, "n".repeat(65))).is_err());
        assert!(texts(&format!(r#"{{"a": "{}"}}"#, "é".repeat(257))).is_err());
        assert!(texts(&format!(r#"{{"a": "{}"}}"#, "é".repeat(256))).is_ok());
    }
}
