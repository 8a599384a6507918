//! A value that is copied between engines, and its canonical form for comparisons.

use aws_lc_rs::digest::{Context, SHA256};
use uuid::Uuid;

use super::table::Kind;
use crate::db::Query;

/// The value of a column, independent of the engine. Values sort as in both engines.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Value {
    Null,
    /// A truth value is 0 or 1.
    Integer(i64),
    /// Also JSON.
    Text(String),
    /// Also ids.
    Bytes(Vec<u8>),
}

impl Value {
    /// The approximate size in bytes.
    pub(super) fn size(&self) -> usize {
        size_of::<Self>()
            + match self {
                Self::Null | Self::Integer(_) => 0,
                Self::Text(text) => text.len(),
                Self::Bytes(bytes) => bytes.len(),
            }
    }

    /// Binds the value with the type of the target's column. An error says what the value is instead.
    pub(super) fn bind(self, query: Query, kind: Kind) -> Result<Query, &'static str> {
        Ok(match (kind, self) {
            (Kind::Integer, Self::Null) => query.bind(None::<i64>),
            (Kind::Integer, Self::Integer(number)) => query.bind(number),
            (Kind::Truth, Self::Null) => query.bind(None::<bool>),
            (Kind::Truth, Self::Integer(number @ 0..=1)) => query.bind(number == 1),
            (Kind::Truth, _) => return Err("neither true nor false"),
            (Kind::Text | Kind::Json, Self::Null) => query.bind(None::<String>),
            (Kind::Text | Kind::Json, Self::Text(text)) => query.bind(text),
            (Kind::Bytes, Self::Null) => query.bind(None::<Vec<u8>>),
            (Kind::Bytes, Self::Bytes(bytes)) => query.bind(bytes),
            (Kind::Id, Self::Null) => query.bind(None::<Uuid>),
            (Kind::Id, Self::Bytes(bytes)) => query.bind(Uuid::from_slice(&bytes).map_err(|_| "not an id")?),
            _ => return Err("of another type"),
        })
    }

    /// A form that is the same for equal values of both engines: PostgreSQL has its own order of the members of an
    /// object, and its own number format.
    pub(super) fn canonical(&self, json: bool) -> Value {
        match self {
            Self::Text(text) if json => match serde_json::from_str(text) {
                Ok(value) => {
                    let mut form = String::with_capacity(text.len());
                    write_json(&value, &mut form);
                    Self::Text(form)
                }
                Err(_) => self.clone(),
            },
            other => other.clone(),
        }
    }

    /// The value as text, for messages.
    pub(super) fn show(&self, kind: Kind) -> String {
        match self {
            Self::Null => "NULL".to_owned(),
            Self::Integer(number) => number.to_string(),
            Self::Text(text) => text.clone(),
            Self::Bytes(bytes) => match (kind, Uuid::from_slice(bytes)) {
                (Kind::Id, Ok(id)) => id.to_string(),
                _ => hex::encode(bytes),
            },
        }
    }
}

fn write_json(value: &serde_json::Value, form: &mut String) {
    match value {
        serde_json::Value::Array(items) => {
            form.push('[');
            for item in items {
                write_json(item, form);
                form.push(',');
            }
            form.push(']');
        }
        serde_json::Value::Object(members) => {
            let mut names: Vec<_> = members.keys().collect();
            names.sort_unstable();
            form.push('{');
            for name in names {
                form.push_str(&serde_json::json!(name).to_string());
                form.push(':');
                write_json(&members[name], form);
                form.push(',');
            }
            form.push('}');
        }
        // A whole number is the same as an integer and as a float: 100, 1e2, 100.0.
        serde_json::Value::Number(number) if number.is_f64() => {
            form.push_str(&number.as_f64().unwrap_or_default().to_string());
        }
        other => form.push_str(&other.to_string()),
    }
}

/// SHA-256 over every value of a table, in order.
pub(super) struct Digest(Context);

impl Digest {
    pub(super) fn new() -> Self {
        Self(Context::new(&SHA256))
    }

    pub(super) fn add(&mut self, value: &Value) {
        let mut part = |tag: u8, bytes: &[u8]| {
            // With its length, so that different rows never yield the same bytes.
            self.0.update(&[tag]);
            self.0.update(&(bytes.len() as u64).to_be_bytes());
            self.0.update(bytes);
        };
        match value {
            Value::Null => part(0, &[]),
            Value::Integer(number) => part(1, &number.to_be_bytes()),
            Value::Text(text) => part(2, text.as_bytes()),
            Value::Bytes(bytes) => part(3, bytes),
        }
    }

    pub(super) fn finish(self) -> String {
        hex::encode(self.0.finish())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(text: &str) -> Value {
        Value::Text(text.to_owned()).canonical(true)
    }

    #[test]
    fn the_same_json_has_one_form() {
        for (left, right) in [
            (r#"{"b":1,"a":[1,2]}"#, r#"{ "a": [1, 2], "b": 1 }"#),
            ("1e2", "100"),
            ("100.0", "100"),
            ("0.5", "0.50"),
            (r#""\u00fc\/""#, "\"ü/\""),
        ] {
            assert_eq!(form(left), form(right), "{left} {right}");
        }
    }

    #[test]
    fn other_json_has_another_form() {
        for (left, right) in [
            ("[1,2]", "[2,1]"),
            ("[12]", "[1,2]"),
            ("9007199254740993", "9007199254740992"),
            (r#"{"a":null}"#, "{}"),
            ("\"1\"", "1"),
        ] {
            assert_ne!(form(left), form(right), "{left} {right}");
        }
        // Text that is not JSON is compared unchanged.
        assert_ne!(
            Value::Text("1e2".to_owned()).canonical(false),
            Value::Text("100".to_owned()).canonical(false)
        );
    }

    #[test]
    fn the_digest_separates_adjacent_values() {
        let digest = |texts: &[&str]| {
            let mut digest = Digest::new();
            for text in texts {
                digest.add(&Value::Text((*text).to_owned()));
            }
            digest.finish()
        };
        assert_ne!(digest(&["ab", "c"]), digest(&["a", "bc"]));
        assert_eq!(digest(&["ab", "c"]), digest(&["ab", "c"]));
    }
}
