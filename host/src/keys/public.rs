//! Public keys, for verifiers without the private keys.

use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;

use super::thumbprint;

/// An Ed25519 public key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PublicKey([u8; 32]);

impl PublicKey {
    pub fn new(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    pub fn from_base64url(text: &str) -> Option<Self> {
        Self::new(&URL_SAFE_NO_PAD.decode(text).ok()?)
    }

    pub fn to_base64url(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.0)
    }

    /// The 32 bytes of the key.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// The key's JWK thumbprint (RFC 7638).
    pub fn id(&self) -> String {
        thumbprint(&self.0)
    }

    /// Whether the signature of these bytes is valid.
    pub fn verify(&self, bytes: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ED25519, &self.0)
            .verify(bytes, signature)
            .is_ok()
    }

    /// The Ed25519 keys of a JWK Set such as `/.well-known/receipt-keys.json`.
    pub fn of_jwks(text: &str) -> Result<Vec<Self>, serde_json::Error> {
        #[derive(Deserialize)]
        struct Set {
            keys: Vec<Entry>,
        }
        #[derive(Deserialize)]
        struct Entry {
            #[serde(default)]
            crv: String,
            #[serde(default)]
            x: String,
        }
        let set: Set = serde_json::from_str(text)?;
        let keys = set.keys.iter().filter(|entry| entry.crv == "Ed25519");
        Ok(keys.filter_map(|entry| Self::from_base64url(&entry.x)).collect())
    }
}
