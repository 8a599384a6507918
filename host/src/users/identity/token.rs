//! The check of a provider's tokens (RFC 7519, by the rules of RFC 8725): access tokens (RFC 9068) and ID tokens.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, Header, Validation};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::MAX_TOKEN_BYTES;
use super::provider::{NoKey, Provider};
use crate::clock::Timestamp;
use crate::config::TokenAlgorithm;

/// What a token must be.
#[derive(Debug)]
pub(in crate::users) struct Expected {
    pub audience: String,
    pub algorithms: Vec<Algorithm>,
    pub leeway: Duration,
}

/// The content of a token whose signature, issuer, audience and times are right.
#[derive(Debug)]
pub(in crate::users) struct Claims {
    pub members: Map<String, Value>,
    pub validity: Validity,
}

/// How long a token is valid: it is checked at each use. Times are seconds since the Unix epoch.
#[derive(Clone, Debug)]
pub(in crate::users) struct Validity {
    /// The thumbprint of the key that signed it.
    key: String,
    exp: f64,
    nbf: Option<f64>,
    pub iat: Option<f64>,
}

impl Validity {
    /// When the token expires.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a cast saturates, and a later instant is none"
    )]
    pub(in crate::users) fn end(&self) -> Option<Timestamp> {
        Timestamp::from_millis((self.exp * 1_000.0) as i64)
    }
}

/// Why a token is not accepted.
#[derive(Debug)]
pub(in crate::users) enum Refused {
    /// The issuer did not sign it for this server. The reason is for the log.
    Forged(String),
    /// It is expired, or not valid yet.
    Untimely(String),
    /// The provider's keys are not known.
    Unavailable,
}

impl Expected {
    pub(in crate::users) fn new(audience: String, algorithms: &BTreeSet<TokenAlgorithm>, leeway: Duration) -> Self {
        Self {
            audience,
            algorithms: algorithms.iter().copied().map(algorithm).collect(),
            leeway,
        }
    }

    pub(in crate::users) async fn verify(
        &self,
        provider: &Arc<Provider>,
        token: &str,
        now: Timestamp,
    ) -> Result<Claims, Refused> {
        let header = self.header(token).map_err(Refused::Forged)?;
        let key = provider.key(header.kid.as_deref(), header.alg).await;
        let key = key.map_err(|no_key| match no_key {
            NoKey::Unknown => Refused::Forged(format!("names the unknown key {:?}", header.kid)),
            NoKey::Unavailable => Refused::Unavailable,
        })?;
        let mut validation = Validation::new(header.alg);
        // `read` and `check_times` check the claims; the library reads the system clock.
        validation.validate_exp = false;
        validation.validate_aud = false;
        validation.required_spec_claims.clear();
        let data = jsonwebtoken::decode::<Map<String, Value>>(token, &key.decoding, &validation)
            .map_err(|error| Refused::Forged(error.to_string()))?;
        let claims = self
            .read(provider, data.claims, key.thumbprint.clone())
            .map_err(Refused::Forged)?;
        self.check_times(&claims.validity, now)?;
        Ok(claims)
    }

    /// Whether the key of a token that was valid is still published. An error if its time is over.
    pub(in crate::users) fn check_again(
        &self,
        provider: &Provider,
        validity: &Validity,
        now: Timestamp,
    ) -> Result<bool, Refused> {
        self.check_times(validity, now)?;
        Ok(provider.has(&validity.key))
    }

    fn header(&self, token: &str) -> Result<Header, String> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(format!("has {} bytes", token.len()));
        }
        let header = jsonwebtoken::decode_header(token).map_err(|error| error.to_string())?;
        if !self.algorithms.contains(&header.alg) {
            return Err(format!("names the algorithm {:?}", header.alg));
        }
        // Other types are tokens for another purpose, such as a logout or a proof of possession.
        let typ = header.typ.as_deref().unwrap_or("JWT").to_ascii_lowercase();
        let typ = typ.strip_prefix("application/").unwrap_or(&typ);
        if !["jwt", "at+jwt"].contains(&typ) {
            return Err(format!("has the type {typ:?}"));
        }
        if header.crit.is_some() || header.zip.is_some() || header.enc.is_some() {
            return Err("needs an extension that is not supported".to_owned());
        }
        Ok(header)
    }

    fn read(&self, provider: &Provider, members: Map<String, Value>, key: String) -> Result<Claims, String> {
        let issuer = members.get("iss").and_then(Value::as_str);
        if issuer != Some(provider.issuer()) {
            return Err(format!("has the issuer {issuer:?}"));
        }
        let is_for_us = match members.get("aud") {
            Some(Value::String(audience)) => *audience == self.audience,
            Some(Value::Array(all)) => all.iter().any(|audience| audience.as_str() == Some(&self.audience)),
            _ => false,
        };
        if !is_for_us {
            return Err(format!("has the audience {:?}", members.get("aud")));
        }
        // It only counts together with a proof that its sender has a key (RFC 7800).
        if members.contains_key("cnf") {
            return Err("is bound to a key of its sender".to_owned());
        }
        let number = |name: &str| match members.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => value
                .as_f64()
                .map(Some)
                .ok_or_else(|| format!("has the {name} {value}")),
        };
        let validity = Validity {
            exp: number("exp")?.ok_or("has no exp")?,
            nbf: number("nbf")?,
            iat: number("iat")?,
            key,
        };
        Ok(Claims { members, validity })
    }

    fn check_times(&self, validity: &Validity, now: Timestamp) -> Result<(), Refused> {
        #[expect(
            clippy::cast_precision_loss,
            reason = "milliseconds are exact in f64 for 285,000 years"
        )]
        let now = now.as_millis() as f64 / 1000.0;
        let leeway = self.leeway.as_secs_f64();
        if now >= validity.exp + leeway {
            return Err(Refused::Untimely(format!("expired at {}, it is {now}", validity.exp)));
        }
        let is_future = |at: Option<f64>| at.is_some_and(|at| now + leeway < at);
        if is_future(validity.nbf) || is_future(validity.iat) {
            let Validity { nbf, iat, .. } = validity;
            return Err(Refused::Untimely(format!(
                "starts in the future: iat {iat:?}, nbf {nbf:?}, it is {now}"
            )));
        }
        Ok(())
    }
}

impl Claims {
    pub(in crate::users) fn text(&self, name: &str) -> Option<&str> {
        self.members.get(name)?.as_str()
    }
}

/// The `iss` of a token that was not checked: only for choosing the issuer whose keys check it.
pub(in crate::users) fn issuer_of(token: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Named {
        iss: String,
    }
    if token.len() > MAX_TOKEN_BYTES {
        return None;
    }
    let payload = token.split('.').nth(1)?;
    let bytes = URL_SAFE_NO_PAD.decode(payload).ok()?;
    serde_json::from_slice::<Named>(&bytes).ok().map(|named| named.iss)
}

fn algorithm(named: TokenAlgorithm) -> Algorithm {
    match named {
        TokenAlgorithm::RS256 => Algorithm::RS256,
        TokenAlgorithm::RS384 => Algorithm::RS384,
        TokenAlgorithm::RS512 => Algorithm::RS512,
        TokenAlgorithm::PS256 => Algorithm::PS256,
        TokenAlgorithm::PS384 => Algorithm::PS384,
        TokenAlgorithm::PS512 => Algorithm::PS512,
        TokenAlgorithm::ES256 => Algorithm::ES256,
        TokenAlgorithm::ES384 => Algorithm::ES384,
        TokenAlgorithm::EdDSA => Algorithm::EdDSA,
    }
}
