//! A text in canonical JSON with its signature: how a signed document is stored.
//!
//! Must not know: what the document says.

use serde::Serialize;

use super::Keyring;
use crate::canonical;

/// The canonical JSON (RFC 8785) of a document, and the Ed25519 signature over it.
#[derive(Clone, Debug)]
pub struct Signed {
    pub text: String,
    pub key_id: String,
    pub signature: Vec<u8>,
}

impl Keyring {
    /// Signs a document with the newest key.
    pub fn sign_canonical(&self, document: &impl Serialize) -> Result<Signed, serde_json::Error> {
        let text = canonical::to_string(document)?;
        let key = self.signing();
        let signature = key.sign(text.as_bytes());
        Ok(Signed {
            text,
            key_id: key.id().to_owned(),
            signature,
        })
    }
}
