//! A validated external id. Must not know: users.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, de};
use utoipa::ToSchema;

use crate::text::deceptive;

/// The id of a user in your own system: 1 to 255 bytes of UTF-8 without control characters and invisible characters. Meed
/// compares it exactly and does not interpret it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, ToSchema)]
#[serde(transparent)]
#[schema(value_type = String, example = "customer-1047", min_length = 1, max_length = 255)]
pub struct ExternalId(String);

impl ExternalId {
    const MAX_BYTES: usize = 255;

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ExternalId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("is empty; an external id has at least one character".to_owned());
        }
        if text.len() > Self::MAX_BYTES {
            return Err(format!(
                "has {} bytes; an external id has at most {}",
                text.len(),
                Self::MAX_BYTES
            ));
        }
        if let Some(letter) = text.chars().find(|letter| letter.is_control()).or(deceptive(text)) {
            return Err(format!(
                "contains the control character or invisible character U+{:04X}; remove it",
                u32::from(letter)
            ));
        }
        if text.trim().is_empty() {
            return Err("is blank".to_owned());
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for ExternalId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for ExternalId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_kept_as_it_is() {
        for text in ["1", "A/b c?", "auth0|5f7c", "고객-7", "  7 ", "me", &"é".repeat(127)] {
            assert_eq!(text.parse::<ExternalId>().unwrap().as_str(), text);
        }
    }

    #[test]
    fn what_cannot_be_read_or_stored_is_refused() {
        for text in [
            "",
            " ",
            "\u{3000}",
            "a\nb",
            "a\0",
            "a\u{200b}b",
            "\u{202e}a",
            &"é".repeat(128),
        ] {
            assert!(text.parse::<ExternalId>().is_err(), "{text:?}");
        }
    }
}
