//! Typed params: their JSON Schema and how they are read. `#[derive(Params)]` writes the implementations.
//!
//! The server has checked the params against the schema before it hands them over, so there is little left to say here.

use crate::Issue;
use crate::json::{Fault, Reader};
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
/// - Types: `bool`, `u8`, `u16`, `u32`, `i32`, `i64`, `String`, `Option`, `Vec`, `BTreeMap<String, _>`, other structs that
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
    fn read(reader: &mut Reader<'_>) -> Result<Self, Fault>;

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
pub(crate) fn read<P: Params>(text: &[u8]) -> Result<P, Issue> {
    let mut reader = Reader::new(text);
    let params = P::read(&mut reader).and_then(|params| reader.end().map(|()| params));
    params.map_err(|fault| reader.issue(fault))
}

/// Reads the value of a member.
#[doc(hidden)]
pub fn member<P: Param>(reader: &mut Reader<'_>, key: &str) -> Result<P, Fault> {
    let outside = reader.enter(key);
    let value = P::read(reader)?;
    reader.leave(outside);
    Ok(value)
}

/// What was read for a member, or what its absence means.
#[doc(hidden)]
pub fn given<P: Param>(reader: &mut Reader<'_>, value: Option<P>, key: &str) -> Result<P, Fault> {
    value.or_else(P::absent).ok_or_else(|| {
        reader.enter(key);
        "This must be given."
    })
}

/// The fault of a member that the params do not have.
#[doc(hidden)]
pub const UNKNOWN: Fault = "This has a member that the rule does not know; leave it out.";

/// The position of a text among the names of an enum.
#[doc(hidden)]
pub fn choice(reader: &mut Reader<'_>, names: &[&str]) -> Result<usize, Fault> {
    let name = reader.string()?;
    names
        .iter()
        .position(|known| *known == name)
        .ok_or("This must be one of the values of the schema.")
}

impl Params for () {}

impl Param for () {
    fn schema(out: &mut String) {
        out.push_str(r#""type":"object","properties":{},"additionalProperties":false"#);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Fault> {
        if reader.open(b'{', b'}')? { Err(UNKNOWN) } else { Ok(()) }
    }
}

impl Param for bool {
    fn schema(out: &mut String) {
        out.push_str(r#""type":"boolean""#);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Fault> {
        reader.boolean()
    }
}

impl Param for String {
    fn schema(out: &mut String) {
        out.push_str(r#""type":"string""#);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Fault> {
        reader.string()
    }
}

macro_rules! integers {
    ($($integer:ty),*) => {$(
        impl Param for $integer {
            fn schema(out: &mut String) {
                out.push_str(r#""type":"integer""#);
            }

            fn read(reader: &mut Reader<'_>) -> Result<Self, Fault> {
                Self::try_from(reader.integer()?).map_err(|_| "This must be a whole number within its bounds.")
            }
        }
    )*};
}

integers!(u8, u16, u32, i32, i64);

impl<P: Param> Param for Option<P> {
    fn schema(out: &mut String) {
        P::schema(out);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Fault> {
        P::read(reader).map(Some)
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

    fn read(reader: &mut Reader<'_>) -> Result<Self, Fault> {
        let mut items = Self::new();
        let mut more = reader.open(b'[', b']')?;
        while more {
            items.push(member(reader, &items.len().to_string())?);
            more = reader.more(b']')?;
        }
        Ok(items)
    }
}

impl<P: Param> Param for BTreeMap<String, P> {
    fn schema(out: &mut String) {
        out.push_str(r#""type":"object","additionalProperties":{"#);
        P::schema(out);
        out.push('}');
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Fault> {
        let mut map = Self::new();
        let mut more = reader.open(b'{', b'}')?;
        while more {
            let key = reader.key()?;
            let value = member(reader, &key)?;
            map.insert(key, value);
            more = reader.more(b'}')?;
        }
        Ok(map)
    }
}
