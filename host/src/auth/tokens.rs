//! Access tokens: short-lived signed statements of who is calling (JWT in the profile of RFC 9068, checked by the rules
//! of RFC 8725).
//!
//! One algorithm, keys from our own directory only, and a header that must be exactly the one we write: a token that
//! names another algorithm, type or place to fetch a key from is not ours.

use std::collections::HashMap;
use std::time::Duration;

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::Role;
use crate::clock::Instant;
use crate::config;
use crate::keys::{KeyError, Keyring};

/// Ours have about 500 bytes; nothing longer is even parsed.
const MAX_BYTES: usize = 2048;

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Claims {
    pub iss: String,
    pub aud: String,
    pub sub: Uuid,
    pub sid: Uuid,
    pub role: Role,
    /// Seconds since the Unix epoch; the token is dead from this instant on.
    pub exp: i64,
    pub iat: i64,
    pub jti: Uuid,
    /// We do not write one, but obey it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nbf: Option<i64>,
}

/// Signs and checks access tokens. Knows nothing of sessions: a good token of an ended session is good here.
pub(super) struct AccessTokens {
    issuer: String,
    audience: String,
    lifetime: Duration,
    signing: (Header, EncodingKey),
    verifying: HashMap<String, DecodingKey>,
    validation: Validation,
}

/// An access token and how many seconds it lives.
pub(super) struct Issued {
    pub token: String,
    pub expires_in: i64,
}

impl AccessTokens {
    pub(super) fn new(config: &config::Auth, keyring: &Keyring) -> Result<Self, KeyError> {
        let key = keyring.signing();
        let mut validation = Validation::new(Algorithm::EdDSA);
        validation.set_issuer(&[&config.issuer]);
        validation.set_audience(&[&config.audience]);
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        // The library reads the system clock; `check_times` below reads ours.
        validation.validate_exp = false;
        validation.validate_nbf = false;
        validation.leeway = 0;
        Ok(Self {
            issuer: config.issuer.clone(),
            audience: config.audience.clone(),
            lifetime: config.access_token,
            signing: (header(key.id()), EncodingKey::from_ed_der(key.pkcs8()?.as_ref())),
            verifying: keyring
                .all()
                .map(|key| (key.id().to_owned(), DecodingKey::from_ed_der(key.public())))
                .collect(),
            validation,
        })
    }

    /// A token for this session, which it does not outlive.
    pub(super) fn issue(
        &self,
        (user_id, role): (Uuid, Role),
        (session_id, session_end): (Uuid, Instant),
        id: Uuid,
        now: Instant,
    ) -> jsonwebtoken::errors::Result<Issued> {
        let iat = whole_seconds(now);
        let exp = whole_seconds(now.plus(self.lifetime).min(session_end));
        let claims = Claims {
            iss: self.issuer.clone(),
            aud: self.audience.clone(),
            sub: user_id,
            sid: session_id,
            role,
            exp,
            iat,
            jti: id,
            nbf: None,
        };
        let (header, key) = &self.signing;
        Ok(Issued {
            token: jsonwebtoken::encode(header, &claims, key)?,
            expires_in: exp - iat,
        })
    }

    /// The claims of a token that we signed and that is valid now. An error says why not, for the log.
    pub(super) fn check(&self, token: &str, now: Instant) -> Result<Claims, String> {
        if token.len() > MAX_BYTES {
            return Err(format!("has {} bytes", token.len()));
        }
        let kid = jsonwebtoken::decode_header(token)
            .map_err(|error| error.to_string())?
            .kid
            .ok_or("names no key")?;
        let key = self.verifying.get(&kid).ok_or("names a key that is not ours")?;
        let data = jsonwebtoken::decode::<Claims>(token, key, &self.validation).map_err(|error| error.to_string())?;
        if data.header != header(&kid) {
            return Err(format!("has the header {:?}", data.header));
        }
        self.check_times(&data.claims, now)?;
        Ok(data.claims)
    }

    fn check_times(&self, claims: &Claims, now: Instant) -> Result<(), String> {
        let now = whole_seconds(now);
        let Claims { iat, exp, nbf, .. } = *claims;
        let lifetime = i64::try_from(self.lifetime.as_secs()).unwrap_or(i64::MAX);
        if now >= exp {
            return Err(format!("expired at {exp}, it is {now}"));
        }
        if iat > now || nbf.is_some_and(|nbf| nbf > now) {
            return Err(format!("starts in the future: iat {iat}, nbf {nbf:?}, it is {now}"));
        }
        if exp.checked_sub(iat).is_none_or(|seconds| seconds > lifetime) {
            return Err(format!("lives from {iat} to {exp}, longer than ours do"));
        }
        Ok(())
    }
}

/// Shows no key.
impl std::fmt::Debug for AccessTokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AccessTokens")
            .field("keys", &self.verifying.keys())
            .finish_non_exhaustive()
    }
}

fn header(kid: &str) -> Header {
    let mut header = Header::new(Algorithm::EdDSA);
    header.typ = Some("at+jwt".to_owned());
    header.kid = Some(kid.to_owned());
    header
}

fn whole_seconds(instant: Instant) -> i64 {
    instant.as_millis().div_euclid(1000)
}
