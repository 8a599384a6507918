//! Free-form JSON without ambiguity (I-JSON, RFC 7493): objects have no duplicate members, and numbers lie within the
//! integers that a double represents exactly. Anything else would be stored, evaluated and signed as something that its
//! sender did not write.
//!
//! Fields of the type [`Value`] are read with `#[serde(deserialize_with = "exact_json::value")]`. Must not know: what the
//! JSON is for.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// The largest integer that every JSON reader reads exactly: 2^53 − 1.
const LARGEST: u64 = (1 << 53) - 1;

/// Reads a value, or names the duplicate member or the number.
pub fn value<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Value, D::Error> {
    Exact::deserialize(deserializer).map(|Exact(value)| value)
}

/// The same for a text.
pub fn parse(text: &str) -> Result<Value, serde_json::Error> {
    serde_json::from_str(text).map(|Exact(value)| value)
}

/// Reads a JSON Schema. Its bounds may be larger than any value that they bound.
pub fn parse_schema(text: &str) -> Result<Value, serde_json::Error> {
    serde_json::from_str(text).map(|Unique(value)| value)
}

/// The JSON Pointer to the first number that cannot be kept exactly, and why. For values that did not come from
/// [`value`], such as the examples in a schema.
pub fn find_inexact(value: &Value) -> Option<(String, String)> {
    match value {
        Value::Number(number) => {
            let is_exact = match (number.as_i64(), number.as_u64()) {
                (Some(integer), _) => integer.unsigned_abs() <= LARGEST,
                (None, Some(integer)) => integer <= LARGEST,
                (None, None) => number.as_f64().is_some_and(is_small),
            };
            (!is_exact).then(|| (String::new(), message(number)))
        }
        Value::Array(items) => items.iter().enumerate().find_map(|(index, item)| {
            let (pointer, message) = find_inexact(item)?;
            Some((format!("/{index}{pointer}"), message))
        }),
        Value::Object(members) => members.iter().find_map(|(name, member)| {
            let (pointer, message) = find_inexact(member)?;
            let name = name.replace('~', "~0").replace('/', "~1");
            Some((format!("/{name}{pointer}"), message))
        }),
        Value::Null | Value::Bool(_) | Value::String(_) => None,
    }
}

/// Reads an integer between −(2^53 − 1) and 2^53 − 1.
pub fn integer<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
    let number = i64::deserialize(deserializer)?;
    if number.unsigned_abs() > LARGEST {
        return Err(inexact(number));
    }
    Ok(number)
}

/// The same, or null.
pub fn optional_integer<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<i64>, D::Error> {
    let number = Option::<i64>::deserialize(deserializer)?;
    match number {
        Some(number) if number.unsigned_abs() > LARGEST => Err(inexact(number)),
        number => Ok(number),
    }
}

struct Exact(Value);

impl<'de> Deserialize<'de> for Exact {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = deserializer.deserialize_any(ValueVisitor::<Self>::default())?;
        Ok(Self(value))
    }
}

/// Any numbers, but no duplicate members.
struct Unique(Value);

impl<'de> Deserialize<'de> for Unique {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = deserializer.deserialize_any(ValueVisitor::<Self>::default())?;
        Ok(Self(value))
    }
}

impl From<Exact> for Value {
    fn from(Exact(value): Exact) -> Self {
        value
    }
}

impl From<Unique> for Value {
    fn from(Unique(value): Unique) -> Self {
        value
    }
}

/// Reads items and members as `T`.
struct ValueVisitor<T> {
    item: PhantomData<T>,
    keeps_any_number: bool,
}

impl Default for ValueVisitor<Exact> {
    fn default() -> Self {
        Self {
            item: PhantomData,
            keeps_any_number: false,
        }
    }
}

impl Default for ValueVisitor<Unique> {
    fn default() -> Self {
        Self {
            item: PhantomData,
            keeps_any_number: true,
        }
    }
}

impl<'de, T: Deserialize<'de> + Into<Value>> Visitor<'de> for ValueVisitor<T> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Value, E> {
        Ok(Value::String(text.to_owned()))
    }

    fn visit_string<E: de::Error>(self, text: String) -> Result<Value, E> {
        Ok(Value::String(text))
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Value, E> {
        if number > LARGEST && !self.keeps_any_number {
            return Err(inexact(number));
        }
        Ok(Value::Number(number.into()))
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Value, E> {
        if number.unsigned_abs() > LARGEST && !self.keeps_any_number {
            return Err(inexact(number));
        }
        Ok(Value::Number(number.into()))
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<Value, E> {
        if !is_small(number) && !self.keeps_any_number {
            return Err(inexact(number));
        }
        // JSON has no other numbers that are not finite.
        let number = Number::from_f64(number).ok_or_else(|| inexact(number))?;
        Ok(Value::Number(number))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(item) = items.next_element::<T>()? {
            values.push(item.into());
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some((name, member)) = members.next_entry::<String, T>()? {
            if object.contains_key(&name) {
                return Err(de::Error::custom(format!(
                    "the member {name:?} occurs twice; send each member once"
                )));
            }
            object.insert(name, member.into());
        }
        Ok(Value::Object(object))
    }
}

#[expect(clippy::cast_precision_loss, reason = "the bound is below 2^53, where f64 is exact")]
fn is_small(number: f64) -> bool {
    number.abs() <= LARGEST as f64
}

fn inexact<E: de::Error>(number: impl fmt::Display) -> E {
    E::custom(message(number))
}

fn message(number: impl fmt::Display) -> String {
    format!("the number {number} is outside ±(2^53 − 1) and cannot be kept exactly; send it as a string")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unambiguous_json_is_read_as_it_is() {
        for text in [
            r#"{"a":[1,-2,0.5,"x",null,true,{}],"b":{"a":1}}"#,
            "9007199254740991",
            "-9007199254740991",
        ] {
            assert_eq!(parse(text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn a_number_that_would_be_rounded_is_refused() {
        for text in [
            "1610521604143693812",
            "9007199254740992",
            "-9007199254740992",
            "9007199254740993.0",
            "1e16",
            "123456789012345678901234567890",
            r#"{"a":[{"b":18446744073709551615}]}"#,
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.contains("outside ±(2^53 − 1)"), "{text}: {error}");
        }
        let error = parse("1610521604143693812").unwrap_err().to_string();
        assert!(
            error.starts_with("the number 1610521604143693812 is outside"),
            "{error}"
        );
    }

    #[test]
    fn a_number_that_was_not_read_here_is_found() {
        let value: Value = serde_json::from_str(r#"{"a":[1,{"b/c":1610521604143693812}]}"#).unwrap();
        let (pointer, message) = find_inexact(&value).unwrap();
        assert_eq!(pointer, "/a/1/b~1c");
        assert!(message.starts_with("the number 1610521604143693812"), "{message}");
        assert_eq!(find_inexact(&parse(r#"{"a":[1,-0.5]}"#).unwrap()), None);
    }

    #[test]
    fn a_schema_may_have_large_bounds_but_no_duplicate_member() {
        let schema = r#"{"maximum":9223372036854775807}"#;
        assert_eq!(parse_schema(schema).unwrap().to_string(), schema);
        assert!(parse_schema(r#"{"a":{"maximum":1,"maximum":2}}"#).is_err());
    }

    #[test]
    fn a_duplicate_member_is_refused_at_every_depth() {
        for text in [r#"{"a":1,"a":1}"#, r#"[{"b":{"a":1,"\u0061":2}}]"#] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.starts_with("the member \"a\" occurs twice"), "{text}: {error}");
        }
    }
}
