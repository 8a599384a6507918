//! Canonical JSON (RFC 8785), the form that is hashed and signed.

use serde::Serialize;
use serde_json::{Error, Number, Value};

/// Integers that a double represents exactly. RFC 8785 rounds others to the nearest double, as JavaScript does.
const SAFE_INTEGERS: std::ops::RangeInclusive<i64> = -(1 << 53)..=1 << 53;

/// Serializes a value as canonical JSON.
///
/// Every claim serializes a receipt, and nearly all receipts are plain. `serde_json` keeps maps sorted already, so for
/// plain values it is several times as fast as the canonicalizer, which parses and sorts all keys again.
pub fn to_string(value: &impl Serialize) -> Result<String, Error> {
    let value = serde_json::to_value(value)?;
    if is_plain(&value) {
        serde_json::to_string(&value)
    } else {
        serde_json_canonicalizer::to_string(&value)
    }
}

/// Whether the output of `serde_json` is canonical already: all numbers are safe integers, and all keys sort by UTF-8
/// bytes as they do by UTF-16 code units.
fn is_plain(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(_) | Value::String(_) => true,
        Value::Number(number) => is_safe(number),
        Value::Array(values) => values.iter().all(is_plain),
        Value::Object(members) => members
            .iter()
            .all(|(key, value)| sorts_like_utf16(key) && is_plain(value)),
    }
}

fn is_safe(number: &Number) -> bool {
    number.as_i64().is_some_and(|number| SAFE_INTEGERS.contains(&number))
}

fn sorts_like_utf16(key: &str) -> bool {
    // The two orders differ only for U+E000 and above, whose first UTF-8 byte is 0xEE or more.
    key.bytes().all(|byte| byte < 0xEE)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn values() -> impl Strategy<Value = Value> {
        let numbers = prop_oneof![
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            (-1000..1000_i64).prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
        ];
        let leaves = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            numbers,
            any::<String>().prop_map(Value::from),
            "[\\x00-\\x7f\u{e000}\u{fffd}\u{10000}]{0,4}".prop_map(Value::from),
        ];
        leaves.prop_recursive(4, 64, 8, |inner| {
            let keys = "[\\x00-\\x7fé\u{d7ff}\u{e000}\u{fffd}\u{10000}]{0,3}";
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                prop::collection::btree_map(keys, inner, 0..8)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn output_equals_that_of_the_canonicalizer(value in values()) {
            prop_assert_eq!(to_string(&value).unwrap(), serde_json_canonicalizer::to_string(&value).unwrap());
        }
    }

    #[test]
    fn keys_sort_by_utf_16_and_numbers_print_as_in_javascript() {
        let value =
            json!({"\u{fffd}": 1.0, "\u{10000}": 1e21, "b": 9_007_199_254_740_993_i64, "a": [true, null, "\u{1f}/"]});
        let canonical = "{\"a\":[true,null,\"\\u001f/\"],\"b\":9007199254740992,\"\u{10000}\":1e+21,\"\u{fffd}\":1}";
        assert_eq!(to_string(&value).unwrap(), canonical);
        let plain = json!({"b": 1, "a": {"d": 2, "c": -3}});
        assert!(is_plain(&plain));
        assert_eq!(to_string(&plain).unwrap(), r#"{"a":{"c":-3,"d":2},"b":1}"#);
    }
}
