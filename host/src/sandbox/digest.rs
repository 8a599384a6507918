//! The identity of a plugin version: the SHA-256 digest of the uploaded bytes.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// The text form is always `sha256:` and 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; 32]);

impl Digest {
    const PREFIX: &'static str = "sha256:";

    pub fn of(bytes: &[u8]) -> Self {
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes);
        let mut value = [0; 32];
        value.copy_from_slice(digest.as_ref());
        Self(value)
    }

    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Only the 64 digits, for file names.
    pub fn hex(&self) -> String {
        hex::encode(self.0)
    }
}

impl TryFrom<&[u8]> for Digest {
    type Error = String;

    /// From the 32 bytes of [`Digest::as_bytes`].
    fn try_from(bytes: &[u8]) -> Result<Self, String> {
        let value = bytes.try_into();
        value
            .map(Self)
            .map_err(|_| format!("a digest has 32 bytes, not {}", bytes.len()))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", Self::PREFIX, self.hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Digest {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let digits = text.strip_prefix(Self::PREFIX).unwrap_or_default();
        let mut value = [0; 32];
        // Upper case is rejected, so that equal digests have equal texts.
        if digits.bytes().any(|byte| byte.is_ascii_uppercase()) || hex::decode_to_slice(digits, &mut value).is_err() {
            return Err(format!(
                "{text:?} is not a digest; expected sha256: and 64 lower-case hexadecimal digits"
            ));
        }
        Ok(Self(value))
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_has_one_text_form() {
        let digest = Digest::of(b"abc");
        let text = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(digest.to_string(), text);
        assert_eq!(text.parse(), Ok(digest));
        assert!(text.to_uppercase().replace("SHA", "sha").parse::<Digest>().is_err());
        assert!(text[..70].parse::<Digest>().is_err());
        assert!(text[7..].parse::<Digest>().is_err());
    }
}
