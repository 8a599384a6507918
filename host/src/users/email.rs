//! A validated e-mail address.

use std::fmt;
use std::str::FromStr;

use garde::rules::email::parse_email;
use serde::{Deserialize, Deserializer, de};

/// An e-mail address as its owner writes it, without the white space around it.
///
/// Only ASCII: an address in another script is written in its ASCII form, so that addresses that look alike stay distinct.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Email(String);

impl Email {
    /// The longest valid address (RFC 5321).
    const MAX_BYTES: usize = 254;

    /// The unique key of an account: the address in lower case.
    pub fn key(&self) -> String {
        self.0.to_ascii_lowercase()
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Email {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if text.len() > Self::MAX_BYTES {
            return Err(format!(
                "has {} bytes; an e-mail address has at most {}",
                text.len(),
                Self::MAX_BYTES
            ));
        }
        parse_email(text).map_err(|error| format!("{text:?} is not an e-mail address: {error}"))?;
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for Email {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Email {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_ignores_case_and_outer_white_space() {
        let email: Email = "  Ada.Lovelace@Example.COM\n".parse().unwrap();
        assert_eq!(email.as_str(), "Ada.Lovelace@Example.COM");
        assert_eq!(email.key(), "ada.lovelace@example.com");
    }

    #[test]
    fn invalid_addresses_are_refused() {
        let long = format!("{}@example.com", "a".repeat(250));
        for text in [
            "",
            " ",
            "ada",
            "@example.com",
            "ada@",
            "a b@example.com",
            "ada@exam ple.com",
            "ada\0@example.com",
            "аda@example.com",
            &long,
        ] {
            assert!(text.parse::<Email>().is_err(), "{text:?}");
        }
    }
}
