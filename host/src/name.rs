//! Names that operators choose for objects, so that files and scripts can name them on every server. Must not know: any feature.

use uuid::Uuid;

/// The largest number of bytes of a name.
pub const LONGEST: usize = 64;

/// Validates a name: 1 to 64 of a-z, 0-9, `.`, `_` and `-`, beginning with a letter or digit.
pub fn stable_name(name: &str, (): &()) -> garde::Result {
    let mut bytes = name.bytes();
    let is_word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let fits = name.len() <= LONGEST
        && bytes.next().is_some_and(is_word)
        && bytes.all(|byte| is_word(byte) || b"._-".contains(&byte));
    if fits {
        Ok(())
    } else {
        Err(garde::Error::new(format!(
            "{name:?} is not 1 to {LONGEST} lower-case letters, digits, dots, underscores and hyphens, beginning with a letter \
            or digit, such as summer-coupon"
        )))
    }
}

/// The chosen name, or that of an object without one: its id as text.
pub fn or_id(name: Option<String>, id: Uuid) -> String {
    name.unwrap_or_else(|| id.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_lower_case_and_short() {
        for name in [
            "a",
            "7",
            "seven-day.streak_2",
            &"x".repeat(64),
            &Uuid::max().to_string(),
        ] {
            assert!(stable_name(name, &()).is_ok(), "{name}");
        }
        for name in [
            "",
            "A",
            "-a",
            ".a",
            "_a",
            "a b",
            "a/b",
            "é",
            "a\u{200b}",
            &"x".repeat(65),
        ] {
            assert!(stable_name(name, &()).is_err(), "{name}");
        }
    }
}
