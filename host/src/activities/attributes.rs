//! What else is known of an activity: a flat object, kept as texts, so that a filter compares texts on both engines.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use utoipa::ToSchema;

use crate::contract::MAX_INTEGER;
use crate::facts::{is_attribute_name, is_attribute_text};

pub(super) const MAX_ATTRIBUTES: usize = 32;

/// Names and texts. Read from JSON, numbers and booleans become the text that JSON has for them: `true`, `12`, `1.5`.
/// There is one text per number: `10.0` and `1e1` are `10`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attributes(pub BTreeMap<String, String>);

/// A string of at most 500 characters, a number or a boolean.
#[derive(ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "only the document names it")]
pub(super) enum Scalar {
    Text(String),
    Number(f64),
    Boolean(bool),
}

impl Attributes {
    /// What is wrong with them, if anything.
    pub(super) fn fault(&self) -> Option<String> {
        if self.0.len() > MAX_ATTRIBUTES {
            let count = self.0.len();
            return Some(format!(
                "there are {count} attributes; at most {MAX_ATTRIBUTES} are kept"
            ));
        }
        self.0.iter().find_map(|(name, text)| {
            if !is_attribute_name(name) {
                Some(format!(
                    "{name:?} is not a name of 1 to 64 characters without control characters"
                ))
            } else if !is_attribute_text(text) {
                Some(format!("{name:?} is longer than 500 characters or holds U+0000"))
            } else {
                None
            }
        })
    }
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
        while let Some((name, Text(text))) = map.next_entry::<String, Text>()? {
            if attributes.insert(name.clone(), text).is_some() {
                return Err(de::Error::custom(format!("{name:?} is there twice")));
            }
        }
        Ok(Attributes(attributes))
    }
}

/// A JSON scalar as text.
struct Text(String);

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ScalarVisitor)
    }
}

struct ScalarVisitor;

impl Visitor<'_> for ScalarVisitor {
    type Value = Text;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string, a number or a boolean")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Text, E> {
        Ok(Text(text.to_owned()))
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Text, E> {
        Ok(Text(value.to_string()))
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Text, E> {
        Ok(Text(number.to_string()))
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Text, E> {
        Ok(Text(number.to_string()))
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<Text, E> {
        #[expect(clippy::cast_precision_loss, reason = "the bound is below 2^53, where f64 is exact")]
        if number.abs() > MAX_INTEGER as f64 {
            // The sender's digits are gone already, so it must not look as if they were kept.
            return Err(E::custom(format!(
                "the number {number} is too large to keep; send it as a string"
            )));
        }
        // One text per number, the one that ECMAScript and RFC 8785 have.
        serde_json_canonicalizer::to_string(&number)
            .map(Text)
            .map_err(E::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(json: &str) -> Result<String, String> {
        serde_json::from_str::<Attributes>(&format!("{{\"a\": {json}}}"))
            .map(|Attributes(mut attributes)| attributes.remove("a").unwrap())
            .map_err(|error| error.to_string())
    }

    #[test]
    fn scalars_become_the_text_json_has_for_them() {
        for (json, expected) in [
            ("\"\"", ""),
            ("\"x\\\"\\u00e9\"", "x\"é"),
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
    fn what_is_no_scalar_or_would_lose_digits_is_refused() {
        for json in ["null", "[]", "{}", "18446744073709551616", "1e300"] {
            assert!(text(json).is_err(), "{json}");
        }
        assert!(serde_json::from_str::<Attributes>("{\"a\": 1, \"a\": 2}").is_err());
    }

    #[test]
    fn names_and_texts_are_bounded() {
        let fault = |name: &str, text: &str| Attributes([(name.to_owned(), text.to_owned())].into()).fault();
        assert_eq!(fault("지역 $.a[0]\"'", ""), None);
        assert!(fault("", "x").is_some());
        assert!(fault("a\u{7}", "x").is_some());
        assert!(fault("a", "\0").is_some());
        assert!(fault("a", &"v".repeat(501)).is_some());
        let many = (0..33).map(|index| (index.to_string(), String::new())).collect();
        assert!(Attributes(many).fault().unwrap().contains("33"));
    }
}
