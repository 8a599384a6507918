//! The public keys of a provider (RFC 7517). A key that cannot be used is left out, so that it does not make the others
//! unusable.

use std::sync::Arc;

use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, PublicKeyUse, ThumbprintHash};
use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Deserialize;
use serde_json::Value;

const MAX_KEYS: usize = 64;

/// The JSON of a key set.
#[derive(Debug, Deserialize)]
pub(super) struct Document {
    keys: Vec<Value>,
}

#[derive(Debug, Default)]
pub(super) struct KeySet(Vec<Arc<Key>>);

pub(super) struct Key {
    id: Option<String>,
    algorithms: &'static [Algorithm],
    pub decoding: DecodingKey,
    /// The same for the same key, whatever its id (RFC 7638).
    pub thumbprint: String,
}

impl KeySet {
    pub(super) fn of(document: Document) -> Result<Self, String> {
        let keys: Vec<_> = document
            .keys
            .into_iter()
            .take(MAX_KEYS)
            .filter_map(Key::of)
            .map(Arc::new)
            .collect();
        if keys.is_empty() {
            return Err("the key set has no key that verifies signatures".to_owned());
        }
        Ok(Self(keys))
    }

    /// The key that a token names. A token without a `kid` is only unambiguous if one key fits its algorithm.
    pub(super) fn find(&self, id: Option<&str>, algorithm: Algorithm) -> Option<&Arc<Key>> {
        let mut fitting = self
            .0
            .iter()
            .filter(|key| key.algorithms.contains(&algorithm) && id.is_none_or(|id| key.id.as_deref() == Some(id)));
        let found = fitting.next()?;
        fitting.next().is_none().then_some(found)
    }

    pub(super) fn has(&self, thumbprint: &str) -> bool {
        self.0.iter().any(|key| key.thumbprint == thumbprint)
    }
}

impl Key {
    fn of(value: Value) -> Option<Self> {
        let jwk: Jwk = serde_json::from_value(value).ok()?;
        if !matches!(jwk.common.public_key_use, None | Some(PublicKeyUse::Signature)) {
            return None;
        }
        // A symmetric key in a published set is no secret.
        let algorithms: &[Algorithm] = match &jwk.algorithm {
            AlgorithmParameters::RSA(_) => &[
                Algorithm::RS256,
                Algorithm::RS384,
                Algorithm::RS512,
                Algorithm::PS256,
                Algorithm::PS384,
                Algorithm::PS512,
            ],
            AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P256 => &[Algorithm::ES256],
            AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P384 => &[Algorithm::ES384],
            AlgorithmParameters::OctetKeyPair(key) if key.curve == EllipticCurve::Ed25519 => &[Algorithm::EdDSA],
            _ => return None,
        };
        let algorithms = match jwk.common.key_algorithm {
            None => algorithms,
            Some(named) => {
                let named = Algorithm::try_from(named).ok()?;
                let at = algorithms.iter().position(|algorithm| *algorithm == named)?;
                &algorithms[at..=at]
            }
        };
        Some(Self {
            decoding: DecodingKey::from_jwk(&jwk).ok()?,
            thumbprint: jwk.thumbprint(ThumbprintHash::SHA256).ok()?,
            id: jwk.common.key_id,
            algorithms,
        })
    }
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Key({:?})", self.id)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const X: &str = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";

    #[expect(clippy::needless_pass_by_value, reason = "json! makes values")]
    fn set(keys: Value) -> Result<KeySet, String> {
        KeySet::of(serde_json::from_value(json!({ "keys": keys })).unwrap())
    }

    fn ed(id: &str) -> Value {
        json!({"kty": "OKP", "crv": "Ed25519", "x": X, "kid": id})
    }

    #[test]
    fn keys_that_cannot_verify_a_signature_are_left_out() {
        let mut encrypting = ed("a");
        encrypting["use"] = json!("enc");
        let mut other = ed("b");
        other["alg"] = json!("RS256");
        let secret = json!({"kty": "oct", "k": X, "kid": "c", "alg": "HS256"});
        let all = json!([encrypting, other, secret, 7, {"kty": "AKP"}, ed("d")]);
        let keys = set(all).unwrap();
        for id in ["a", "b", "c"] {
            for algorithm in [Algorithm::EdDSA, Algorithm::RS256, Algorithm::HS256] {
                assert!(keys.find(Some(id), algorithm).is_none(), "{id} {algorithm:?}");
            }
        }
        assert!(keys.find(Some("d"), Algorithm::EdDSA).is_some());
        assert!(keys.find(Some("d"), Algorithm::HS256).is_none());
        assert!(set(json!([])).is_err());
        assert!(set(json!([secret])).is_err());
    }

    #[test]
    fn a_token_without_a_kid_needs_a_single_fitting_key() {
        assert!(set(json!([ed("a")])).unwrap().find(None, Algorithm::EdDSA).is_some());
        let two = set(json!([ed("a"), ed("b")])).unwrap();
        assert!(two.find(None, Algorithm::EdDSA).is_none());
        assert!(two.find(Some("b"), Algorithm::EdDSA).is_some());
        assert!(two.find(Some("c"), Algorithm::EdDSA).is_none());
    }
}
