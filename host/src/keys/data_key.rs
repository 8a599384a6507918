//! The key of one record for its many small secrets. The key itself is sealed (`sealing`), so a rotation of sealing keys seals
//! one value again, and not each secret.
//!
//! It encrypts secrets (AES-256-GCM-SIV) and tells whether two are equal (HMAC-SHA256), so that a unique key can refuse a
//! repetition. Must not know: what the secrets are, the database.

use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::hmac;

/// The first byte of an encrypted value: its layout is this byte, the nonce, and the encrypted value with its tag.
const VERSION: u8 = 1;

/// The length of the key as it is stored.
pub const DATA_KEY_BYTES: usize = 32;

pub struct DataKey {
    cipher: LessSafeKey,
    digests: hmac::Key,
}

impl DataKey {
    /// `None`: the bytes are no key.
    pub fn new(secret: &[u8]) -> Option<Self> {
        if secret.len() != DATA_KEY_BYTES {
            return None;
        }
        let root = hmac::Key::new(hmac::HMAC_SHA256, secret);
        let derived = |purpose: &str| hmac::sign(&root, purpose.as_bytes());
        let cipher = UnboundKey::new(&AES_256_GCM_SIV, derived("meed data key\nencryption").as_ref()).ok()?;
        Some(Self {
            cipher: LessSafeKey::new(cipher),
            digests: hmac::Key::new(hmac::HMAC_SHA256, derived("meed data key\ndigests").as_ref()),
        })
    }

    /// Encrypts a value that opens only with the same `context`. `None`: it is too long.
    pub fn encrypt(&self, nonce: [u8; NONCE_LEN], context: &[u8], value: &[u8]) -> Option<Vec<u8>> {
        let mut encrypted = value.to_vec();
        let nonce_used = Nonce::assume_unique_for_key(nonce);
        let sealed = self
            .cipher
            .seal_in_place_append_tag(nonce_used, Aad::from(context), &mut encrypted);
        sealed.ok()?;
        Some([&[VERSION], nonce.as_slice(), &encrypted].concat())
    }

    /// `None`: the value was changed, or belongs to another context or key.
    pub fn decrypt(&self, context: &[u8], encrypted: &[u8]) -> Option<Vec<u8>> {
        let (version, rest) = encrypted.split_first()?;
        let (nonce, rest) = rest.split_first_chunk::<NONCE_LEN>()?;
        if *version != VERSION {
            return None;
        }
        let mut value = rest.to_vec();
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let length = self
            .cipher
            .open_in_place(nonce, Aad::from(context), &mut value)
            .ok()?
            .len();
        value.truncate(length);
        Some(value)
    }

    /// The same for equal values. Without the key it tells nothing about the value.
    pub fn digest(&self, value: &[u8]) -> Vec<u8> {
        hmac::sign(&self.digests, value).as_ref().to_vec()
    }
}

/// Shows no key.
impl fmt::Debug for DataKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DataKey")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_opens_with_its_key_and_context_only() {
        let (key, other) = (DataKey::new(&[7; 32]).unwrap(), DataKey::new(&[8; 32]).unwrap());
        let encrypted = key.encrypt([1; NONCE_LEN], b"here", b"SUMMER-1").unwrap();
        assert!(!encrypted.windows(6).any(|bytes| bytes == b"SUMMER"));
        assert_eq!(key.decrypt(b"here", &encrypted).unwrap(), b"SUMMER-1");
        assert_eq!(key.decrypt(b"there", &encrypted), None);
        assert_eq!(other.decrypt(b"here", &encrypted), None);
        for at in 0..encrypted.len() {
            let mut changed = encrypted.clone();
            changed[at] ^= 1;
            assert_eq!(key.decrypt(b"here", &changed), None, "byte {at}");
        }
        assert_eq!(key.decrypt(b"here", b""), None);
        assert!(DataKey::new(&[7; 31]).is_none());
    }

    #[test]
    fn a_digest_depends_on_value_and_key() {
        let (key, other) = (DataKey::new(&[7; 32]).unwrap(), DataKey::new(&[8; 32]).unwrap());
        assert_eq!(key.digest(b"A"), key.digest(b"A"));
        assert_ne!(key.digest(b"A"), key.digest(b"B"));
        assert_ne!(key.digest(b"A"), other.digest(b"A"));
    }
}
