//! Access tokens: short-lived signed JWTs that name a user, a role and a session (profile RFC 9068, checked by the rules
//! of RFC 8725).
//!
//! There is one algorithm, keys come from the server's key directory only, and the header must be exactly the one that
//! the server writes: a token that names another algorithm, type or key URL is invalid.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use moka::sync::Cache;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::Role;
use crate::clock::Timestamp;
use crate::config;
use crate::keys::{KeyError, Keyring};

/// Cached verified tokens, at about 300 bytes each.
const CHECKED: u64 = 50_000;

/// How far ahead the clock of the replica that issued a token may be. `/readyz` reports a difference of one second, and
/// times are whole seconds.
const CLOCK_LEEWAY_SECONDS: i64 = 5;
/// The server's tokens have about 500 bytes; longer ones are not parsed.
const MAX_BYTES: usize = 2048;

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Claims {
    pub iss: String,
    pub aud: String,
    pub sub: Uuid,
    pub sid: Uuid,
    pub role: Role,
    /// Seconds since the Unix epoch; the token is invalid from then on.
    pub exp: i64,
    pub iat: i64,
    pub jti: Uuid,
    /// The server never sets it, but honours it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nbf: Option<i64>,
}

/// Signs and checks access tokens. Does not know sessions: a token of an ended session is valid here.
pub(super) struct AccessTokens {
    issuer: String,
    audience: String,
    lifetime: Duration,
    signing: (Header, EncodingKey),
    verifying: HashMap<String, DecodingKey>,
    validation: Validation,
    /// The claims of tokens that were issued or verified here, by the SHA-256 of the token: verifying a signature costs more
    /// than the rest of a request that needs no database.
    checked: Cache<[u8; 32], Arc<Claims>>,
}

/// Why a token is invalid.
#[derive(Debug)]
pub(super) struct Refused {
    /// The server never issued it; otherwise it expired.
    pub is_forged: bool,
    /// For the log.
    pub reason: String,
}

/// An access token and its lifetime in seconds.
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
        // The library reads the system clock; `check_times` below reads `Clock`.
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
            checked: Cache::builder()
                .max_capacity(CHECKED)
                .time_to_live(config.access_token)
                .build(),
        })
    }

    /// A token for this session; it expires no later than the session.
    pub(super) fn issue(
        &self,
        (user_id, role): (Uuid, Role),
        (session_id, session_end): (Uuid, Timestamp),
        id: Uuid,
        now: Timestamp,
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
        let token = jsonwebtoken::encode(header, &claims, key)?;
        // Its first use is usually at this process, which then need not verify its own signature.
        self.checked.insert(sha256(&token), Arc::new(claims));
        Ok(Issued {
            token,
            expires_in: exp - iat,
        })
    }

    /// The claims of a token that the server signed and that is valid now.
    pub(super) fn check(&self, token: &str, now: Timestamp) -> Result<Arc<Claims>, Refused> {
        let forged = |reason| Refused {
            is_forged: true,
            reason,
        };
        if token.len() > MAX_BYTES {
            return Err(forged(format!("has {} bytes", token.len())));
        }
        let digest = sha256(token);
        let claims = if let Some(claims) = self.checked.get(&digest) {
            claims
        } else {
            let claims = Arc::new(self.verify(token).map_err(forged)?);
            self.checked.insert(digest, Arc::clone(&claims));
            claims
        };
        self.check_times(&claims, now).map_err(|reason| Refused {
            is_forged: false,
            reason,
        })?;
        Ok(claims)
    }

    /// The claims of a token that the server signed, without a check of its times.
    fn verify(&self, token: &str) -> Result<Claims, String> {
        let kid = jsonwebtoken::decode_header(token)
            .map_err(|error| error.to_string())?
            .kid
            .ok_or("names no key")?;
        let key = self.verifying.get(&kid).ok_or("names a key that is not ours")?;
        let data = jsonwebtoken::decode::<Claims>(token, key, &self.validation).map_err(|error| error.to_string())?;
        if data.header != header(&kid) {
            return Err(format!("has the header {:?}", data.header));
        }
        Ok(data.claims)
    }

    fn check_times(&self, claims: &Claims, now: Timestamp) -> Result<(), String> {
        let now = whole_seconds(now);
        let Claims { iat, exp, nbf, .. } = *claims;
        let lifetime = i64::try_from(self.lifetime.as_secs()).unwrap_or(i64::MAX);
        if now >= exp {
            return Err(format!("expired at {exp}, it is {now}"));
        }
        let latest = now.saturating_add(CLOCK_LEEWAY_SECONDS);
        if iat > latest || nbf.is_some_and(|nbf| nbf > latest) {
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

fn sha256(token: &str) -> [u8; 32] {
    let mut value = [0; 32];
    value.copy_from_slice(digest::digest(&digest::SHA256, token.as_bytes()).as_ref());
    value
}

fn whole_seconds(instant: Timestamp) -> i64 {
    instant.as_millis().div_euclid(1000)
}
