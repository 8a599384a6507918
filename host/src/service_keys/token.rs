//! The text of a service key: `meed_sk_`, then hexadecimal: the key's id, 20 random bytes, and a checksum of both
//! (the first four bytes of their SHA-256).
//!
//! The prefix and the checksum let scanners of source code find a leaked key without false alarms, and let the server refuse a
//! typing error without a look into the database. Must not know: the database.

use aws_lc_rs::{constant_time, digest};
use secrecy::SecretString;
use uuid::Uuid;

/// What every key begins with.
pub(super) const PREFIX: &str = "meed_sk_";

const ID_BYTES: usize = 16;
const SECRET_BYTES: usize = 20;
const CHECKSUM_BYTES: usize = 4;

/// A key as a program sends it.
pub(super) struct KeyToken {
    pub id: Uuid,
    secret: [u8; SECRET_BYTES],
}

impl KeyToken {
    pub(super) fn new(id: Uuid, secret: [u8; SECRET_BYTES]) -> Self {
        Self { id, secret }
    }

    /// `None`: it is no service key of any server.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut bytes = [0; ID_BYTES + SECRET_BYTES + CHECKSUM_BYTES];
        hex::decode_to_slice(text.strip_prefix(PREFIX)?, &mut bytes).ok()?;
        let (body, checksum) = bytes.split_at(ID_BYTES + SECRET_BYTES);
        if checksum != checksum_of(body) {
            return None;
        }
        let (id, secret) = body.split_at(ID_BYTES);
        Some(Self {
            id: Uuid::from_slice(id).ok()?,
            secret: secret.try_into().ok()?,
        })
    }

    pub(super) fn text(&self) -> SecretString {
        let body = [self.id.as_bytes().as_slice(), &self.secret].concat();
        format!("{PREFIX}{}{}", hex::encode(&body), hex::encode(checksum_of(&body))).into()
    }

    /// What is stored. The secret has 160 random bits, so a fast hash is enough.
    pub(super) fn hash(&self) -> Vec<u8> {
        sha256(&self.secret).as_ref().to_vec()
    }

    pub(super) fn has_hash(&self, stored: &[u8]) -> bool {
        constant_time::verify_slices_are_equal(&self.hash(), stored).is_ok()
    }
}

fn checksum_of(body: &[u8]) -> Vec<u8> {
    sha256(body).as_ref()[..CHECKSUM_BYTES].to_vec()
}

fn sha256(bytes: &[u8]) -> digest::Digest {
    digest::digest(&digest::SHA256, bytes)
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::*;

    #[test]
    fn a_key_survives_its_text() {
        let key = KeyToken::new(Uuid::from_u128(7), [9; SECRET_BYTES]);
        let text = key.text();
        let text = text.expose_secret();
        assert_eq!(text.len(), PREFIX.len() + 80);
        let parsed = KeyToken::parse(text).unwrap();
        assert_eq!(parsed.id, key.id);
        assert!(parsed.has_hash(&key.hash()));
        assert!(!parsed.has_hash(&KeyToken::new(key.id, [8; SECRET_BYTES]).hash()));
    }

    #[test]
    fn a_typing_error_is_noticed() {
        let text = KeyToken::new(Uuid::from_u128(7), [9; SECRET_BYTES]).text();
        let text = text.expose_secret();
        for (index, letter) in text.char_indices() {
            let other = if letter == '0' { "1" } else { "0" };
            let mut wrong = text.to_owned();
            wrong.replace_range(index..=index, other);
            assert!(KeyToken::parse(&wrong).is_none(), "{wrong}");
        }
        for wrong in [
            "",
            PREFIX,
            &text[1..],
            &text[..text.len() - 2],
            &format!("{text}00"),
            "é",
        ] {
            assert!(KeyToken::parse(wrong).is_none(), "{wrong}");
        }
    }
}
