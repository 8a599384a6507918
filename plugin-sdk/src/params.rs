//! Typed params: their JSON Schema and how they are read. `#[derive(Params)]` writes the implementations.
//!
//! The server has checked the params against the schema before it hands them over, so the messages here are short.

use crate::Issue;
use miniserde::json::{self, Number, Value};
use std::collections::BTreeMap;

/// What an operator fills in. Derive it for a struct with named fields:
///
/// ```
/// use meed_plugin_sdk::Params;
///
/// /// Buy things.
/// #[derive(Params)]
/// struct Purchases {
///     /// How many.
///     #[param(minimum = 1, maximum = 1000, example = 3)]
///     count: u32,
///     /// Only of this shop.
///     #[param(max_length = 64, pattern = "^[a-z-]+$")]
///     shop: Option<String>,
///     /// How many days back.
///     #[param(minimum = 1, maximum = 90, default = 30)]
///     last_days: u32,
///     /// Prices by article.
///     #[param(max_properties = 8, keys(max_length = 64), values(minimum = 1, maximum = 1_000_000))]
///     prices: std::collections::BTreeMap<String, i64>,
/// }
/// ```
///
/// - Names become camelCase: `last_days` is `lastDays`.
/// - Comments become descriptions. Members that are not declared are refused.
/// - Types: `bool`, `u8` to `u64`, `i32`, `i64`, `String`, `Option`, `Vec`, `BTreeMap<String, _>`, other structs that
///   derive `Params`, and enums without data that do (their schema lists the names in kebab-case).
/// - Words of `#[param(...)]`: `minimum`, `maximum`, `min_length`, `max_length`, `pattern`, `min_items`, `max_items`,
///   `min_properties`, `max_properties`, `default`, `example`; `items(...)` for what a `Vec` holds, `keys(...)` and
///   `values(...)` for a map.
/// - What a schema cannot say belongs in [`Condition::check`](crate::Condition::check).
pub trait Params: Param {
    /// The members that only the whole schema has: its description and examples, each followed by a comma.
    #[doc(hidden)]
    const ABOUT: &'static str = "";
}

/// A type that a field of [`Params`] may have.
pub trait Param: Sized {
    /// Writes the members of its schema, without the braces.
    #[doc(hidden)]
    fn schema(out: &mut String);

    #[doc(hidden)]
    fn read(value: Value) -> Result<Self, Issue>;

    /// What an absent member means, if it may be absent.
    #[doc(hidden)]
    fn absent() -> Option<Self> {
        None
    }
}

/// The whole schema of some params.
pub(crate) fn schema<P: Params>() -> String {
    let mut schema = String::from(r#"{"$schema":"https://json-schema.org/draft/2020-12/schema","#);
    schema.push_str(P::ABOUT);
    P::schema(&mut schema);
    schema.push('}');
    schema
}

/// Reads params from their JSON text.
pub(crate) fn read<P: Params>(text: &str) -> Result<P, Issue> {
    let value = json::from_str(text).map_err(|_| wrong("valid JSON"))?;
    P::read(value)
}

fn wrong(expected: &str) -> Issue {
    Issue::at("", ["This must be ", expected, "."].concat())
}

impl Issue {
    /// The same issue, seen from the object or array that holds the faulty value under `key`.
    fn under(mut self, key: &str) -> Self {
        self.path = ["/", &key.replace('~', "~0").replace('/', "~1"), &self.path].concat();
        self
    }
}

/// An object while its members are taken out of it.
#[doc(hidden)]
pub struct Object(json::Object);

impl Object {
    pub fn open(value: Value) -> Result<Self, Issue> {
        match value {
            Value::Object(object) => Ok(Self(object)),
            _ => Err(wrong("an object")),
        }
    }

    pub fn take<P: Param>(&mut self, key: &str) -> Result<P, Issue> {
        match self.0.remove(key) {
            Some(value) => P::read(value).map_err(|issue| issue.under(key)),
            None => P::absent().ok_or_else(|| wrong("given").under(key)),
        }
    }

    pub fn take_or<P: Param>(&mut self, key: &str, default: P) -> Result<P, Issue> {
        if self.0.contains_key(key) {
            self.take(key)
        } else {
            Ok(default)
        }
    }

    /// Refuses what was not taken.
    pub fn close(self) -> Result<(), Issue> {
        match self.0.keys().next() {
            Some(key) => Err(wrong("left out: the rule does not know it").under(key)),
            None => Ok(()),
        }
    }
}

/// The position of a text among the names of an enum.
#[doc(hidden)]
pub fn choice(value: Value, names: &[&str]) -> Result<usize, Issue> {
    let name = String::read(value)?;
    names
        .iter()
        .position(|known| *known == name)
        .ok_or_else(|| wrong(&["one of ", &names.join(", ")].concat()))
}

impl Params for () {}

impl Param for () {
    fn schema(out: &mut String) {
        out.push_str(r#""type":"object","properties":{},"additionalProperties":false"#);
    }

    fn read(value: Value) -> Result<Self, Issue> {
        Object::open(value)?.close()
    }
}

impl Param for bool {
    fn schema(out: &mut String) {
        out.push_str(r#""type":"boolean""#);
    }

    fn read(value: Value) -> Result<Self, Issue> {
        match value {
            Value::Bool(flag) => Ok(flag),
            _ => Err(wrong("true or false")),
        }
    }
}

impl Param for String {
    fn schema(out: &mut String) {
        out.push_str(r#""type":"string""#);
    }

    fn read(value: Value) -> Result<Self, Issue> {
        match value {
            Value::String(text) => Ok(text),
            _ => Err(wrong("a text")),
        }
    }
}

macro_rules! integers {
    ($($integer:ty),*) => {$(
        impl Param for $integer {
            fn schema(out: &mut String) {
                out.push_str(r#""type":"integer""#);
            }

            fn read(value: Value) -> Result<Self, Issue> {
                integer(value)?.try_into().map_err(|_| wrong("a number within its bounds"))
            }
        }
    )*};
}

integers!(u8, u16, u32, u64, i32, i64);

fn integer(value: Value) -> Result<i128, Issue> {
    match value {
        Value::Number(Number::U64(integer)) => Ok(integer.into()),
        Value::Number(Number::I64(integer)) => Ok(integer.into()),
        // For JSON Schema, 7.0 is an integer too.
        #[expect(
            clippy::cast_possible_truncation,
            reason = "the guard lets only whole numbers of 53 bits pass"
        )]
        Value::Number(Number::F64(number)) if number % 1.0 == 0.0 && number.abs() <= 9_007_199_254_740_992.0 => {
            Ok((number as i64).into())
        }
        _ => Err(wrong("a whole number")),
    }
}

impl<P: Param> Param for Option<P> {
    fn schema(out: &mut String) {
        P::schema(out);
    }

    fn read(value: Value) -> Result<Self, Issue> {
        P::read(value).map(Some)
    }

    fn absent() -> Option<Self> {
        Some(None)
    }
}

impl<P: Param> Param for Vec<P> {
    fn schema(out: &mut String) {
        out.push_str(r#""type":"array","items":{"#);
        P::schema(out);
        out.push('}');
    }

    fn read(value: Value) -> Result<Self, Issue> {
        let Value::Array(array) = value else {
            return Err(wrong("an array"));
        };
        let read = |(index, value): (usize, _)| P::read(value).map_err(|issue| issue.under(&index.to_string()));
        array.into_iter().enumerate().map(read).collect()
    }
}

impl<P: Param> Param for BTreeMap<String, P> {
    fn schema(out: &mut String) {
        out.push_str(r#""type":"object","additionalProperties":{"#);
        P::schema(out);
        out.push('}');
    }

    fn read(value: Value) -> Result<Self, Issue> {
        let Value::Object(object) = value else {
            return Err(wrong("an object"));
        };
        let mut map = Self::new();
        for (key, value) in object {
            let value = P::read(value).map_err(|issue| issue.under(&key))?;
            map.insert(key, value);
        }
        Ok(map)
    }
}
