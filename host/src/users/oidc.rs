//! Staff log in with an identity provider: OpenID Connect, Authorization Code with PKCE (RFC 9700, section 2.1).
//!
//! The server stores nothing about a login that has begun. A cookie holds a random number and the time; `state`, `nonce` and
//! the PKCE verifier are MACs over it, so only this server can make them, and only the browser that began the login can
//! complete it.

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;

use super::identity::{Claims, Expected, Fetcher, Mapping, Metadata, Provider, Refused, Source, endpoint};
use super::{LoginError, LoginService, UserError, UserService};
use crate::audit;
use crate::auth::{Role, TokenPair};
use crate::clock::{Clock, Timestamp};
use crate::config;
use crate::keys::{KeyError, Keyring};

/// How long a login at the provider may take.
pub(super) const LOGIN_LIFETIME: Duration = Duration::from_mins(10);
/// Longer codes are not sent to the provider.
const MAX_CODE_BYTES: usize = 4096;
const RANDOM: usize = 32;

#[derive(Debug, thiserror::Error)]
pub enum OidcError {
    #[error("This server has no identity provider; log in with POST /auth/login.")]
    NotConfigured,
    #[error("The login failed: {0}. Begin again with GET /auth/oidc/login.")]
    Failed(String),
    #[error("The identity provider gives you no role of this server; ask its administrator.")]
    NoRole,
    #[error("The identity provider {0} cannot be reached; try again, or log in with POST /auth/login.")]
    Unavailable(String),
    #[error(transparent)]
    Login(#[from] LoginError),
    #[error(transparent)]
    User(#[from] UserError),
}

/// Wired by `app`; cheap to clone.
#[derive(Clone, Debug)]
pub struct OidcLogins(Option<Arc<Inner>>);

#[derive(Debug)]
struct Inner {
    clock: Clock,
    users: UserService,
    logins: LoginService,
    provider: Arc<Provider>,
    fetcher: Fetcher,
    expected: Expected,
    mapping: Mapping,
    client_id: String,
    client_secret: SecretString,
    redirect_url: String,
    scopes: String,
    counts_as_second_factor: bool,
    /// How long a proof of identity counts.
    step_up: Duration,
    key: hmac::Key,
}

/// A login that begins: where the browser goes, and its cookie.
#[derive(Debug)]
pub(super) struct Begun {
    pub location: String,
    pub cookie: String,
}

/// What the provider tells in the query of the callback.
#[derive(Debug, Default)]
pub(super) struct Answer {
    pub code: Option<String>,
    pub state: Option<String>,
    pub iss: Option<String>,
    pub error: Option<String>,
}

/// The part of a token response that is used.
#[derive(Deserialize)]
struct Tokens {
    id_token: String,
}

impl OidcLogins {
    pub fn new(
        auth: &config::Auth,
        keyring: &Keyring,
        users: UserService,
        logins: LoginService,
        clock: Clock,
    ) -> anyhow::Result<Self> {
        if auth.oidc.issuer.is_empty() {
            return Ok(Self(None));
        }
        let inner = Inner::new(auth, keyring, users, logins, clock);
        let inner = inner.map_err(|fault| anyhow::anyhow!("auth.oidc.{fault}"))?;
        Ok(Self(Some(Arc::new(inner))))
    }

    pub fn is_configured(&self) -> bool {
        self.0.is_some()
    }

    /// Fetches keys that will become too old.
    pub async fn refresh_keys(&self) {
        if let Some(inner) = &self.0 {
            inner.provider.refresh().await;
        }
    }

    pub(super) async fn begin(&self) -> Result<Begun, OidcError> {
        self.inner()?.begin().await
    }

    /// Opens a session for the user whom the provider authenticated.
    pub(super) async fn complete(&self, cookie: Option<&str>, answer: Answer) -> Result<TokenPair, OidcError> {
        self.inner()?.complete(cookie, answer).await
    }

    fn inner(&self) -> Result<&Inner, OidcError> {
        self.0.as_deref().ok_or(OidcError::NotConfigured)
    }
}

impl Inner {
    fn new(
        auth: &config::Auth,
        keyring: &Keyring,
        users: UserService,
        logins: LoginService,
        clock: Clock,
    ) -> Result<Self, String> {
        let settings = &auth.oidc;
        let fault = |name: &'static str| move |fault: String| format!("{name}: {fault}");
        let source = Source::of(&settings.issuer, &config::Jwks::Discovery).map_err(fault("issuer"))?;
        endpoint(&settings.redirect_url).map_err(fault("redirect_url"))?;
        let fetcher = Fetcher::new().map_err(|error| error.to_string())?;
        let (issuer, valid) = (settings.issuer.clone(), settings.keys_valid);
        let secret = keyring.derive("meed oidc logins");
        Ok(Self {
            provider: Arc::new(Provider::new(issuer, source, valid, fetcher.clone(), clock.clone())),
            expected: Expected::new(settings.client_id.clone(), &settings.algorithms, settings.leeway),
            mapping: Mapping::new(
                ("sub", &settings.external_id_prefix),
                &std::collections::BTreeMap::new(),
                (&settings.roles_claim, &settings.roles),
            )?,
            key: hmac::Key::new(hmac::HMAC_SHA256, &secret.map_err(|error: KeyError| error.to_string())?),
            client_id: settings.client_id.clone(),
            client_secret: settings.client_secret.clone(),
            redirect_url: settings.redirect_url.clone(),
            scopes: settings.scopes.clone(),
            counts_as_second_factor: settings.counts_as_second_factor,
            step_up: auth.step_up,
            fetcher,
            clock,
            users,
            logins,
        })
    }

    async fn begin(&self) -> Result<Begun, OidcError> {
        let metadata = self.metadata().await?;
        let pending = Pending {
            random: self.clock.random(),
            begun_at: self.clock.now().as_millis(),
        };
        let address = metadata.authorization_endpoint.as_deref().unwrap_or_default();
        let mut location = endpoint(address).map_err(|fault| self.unavailable(&fault))?;
        let challenge = aws_lc_rs::digest::digest(
            &aws_lc_rs::digest::SHA256,
            pending.derive(&self.key, "verifier").as_bytes(),
        );
        location
            .query_pairs_mut()
            .append_pair("response_type", "code")
            .append_pair("client_id", &self.client_id)
            .append_pair("redirect_uri", &self.redirect_url)
            .append_pair("scope", format!("openid {}", self.scopes).trim_end())
            .append_pair("state", &pending.derive(&self.key, "state"))
            .append_pair("nonce", &pending.derive(&self.key, "nonce"))
            .append_pair("code_challenge", &URL_SAFE_NO_PAD.encode(challenge))
            .append_pair("code_challenge_method", "S256")
            // A session opens with a recent proof of identity, so an old login at the provider is not enough.
            .append_pair("max_age", &self.step_up.as_secs().to_string());
        Ok(Begun {
            location: location.into(),
            cookie: pending.to_cookie(),
        })
    }

    async fn complete(&self, cookie: Option<&str>, answer: Answer) -> Result<TokenPair, OidcError> {
        let now = self.clock.now();
        let pending = cookie
            .and_then(Pending::of_cookie)
            .filter(|pending| pending.is_alive(now));
        let pending = pending.ok_or_else(|| failed("this browser did not begin it within ten minutes"))?;
        if !pending.has_derived(&self.key, "state", answer.state.as_deref().unwrap_or_default()) {
            return Err(failed("the state is not that of this browser"));
        }
        let metadata = self.metadata().await?;
        // A response of another provider must not be mixed up with this one (RFC 9207).
        let is_named = answer
            .iss
            .as_deref()
            .is_some_and(|issuer| issuer == self.provider.issuer());
        if !is_named && (answer.iss.is_some() || metadata.authorization_response_iss_parameter_supported) {
            return Err(failed("the response is not that of the identity provider"));
        }
        if let Some(error) = answer.error {
            tracing::info!(error, "login at the identity provider refused");
            return Err(failed("the identity provider refused it"));
        }
        let code = answer
            .code
            .filter(|code| !code.is_empty() && code.len() <= MAX_CODE_BYTES);
        let code = code.ok_or_else(|| failed("the response has no code"))?;
        let claims = self.redeem(&metadata, &code, &pending, now).await?;
        self.open_session(&claims).await
    }

    /// Exchanges the code for the ID token, and checks it.
    async fn redeem(
        &self,
        metadata: &Metadata,
        code: &str,
        pending: &Pending,
        now: Timestamp,
    ) -> Result<Claims, OidcError> {
        let url = endpoint(metadata.token_endpoint.as_deref().unwrap_or_default());
        let url = url.map_err(|fault| self.unavailable(&fault))?;
        let verifier = pending.derive(&self.key, "verifier");
        let form = [
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", &self.redirect_url),
            ("code_verifier", &verifier),
        ];
        let client = (self.client_id.as_str(), self.client_secret.expose_secret());
        let redeemed = self.fetcher.post_form::<Tokens>(&url, client, &form).await;
        let tokens = redeemed.map_err(|fault| match fault.status {
            // An answer about this code, or about this client.
            Some(400..=499) => {
                tracing::warn!(%fault, "code of a login not redeemed");
                failed("the identity provider did not accept its code")
            }
            _ => self.unavailable(&fault),
        })?;
        let claims = self.expected.verify(&self.provider, &tokens.id_token, now).await;
        let claims = claims.map_err(|refused| match refused {
            Refused::Forged(reason) | Refused::Untimely(reason) => {
                tracing::warn!(reason, "ID token refused");
                failed("the identity provider's token is not valid")
            }
            Refused::Unavailable => self.unavailable(&"its keys are not known"),
        })?;
        if !pending.has_derived(&self.key, "nonce", claims.text("nonce").unwrap_or_default()) {
            return Err(failed("the nonce is not that of this login"));
        }
        // A token for several audiences names the one that asked for it (OpenID Connect Core, section 3.1.3.7).
        let is_shared = claims.members.get("aud").and_then(|audiences| audiences.as_array());
        let is_shared = is_shared.is_some_and(|audiences| audiences.len() > 1);
        let presenter = claims.text("azp");
        if presenter.is_some_and(|presenter| presenter != self.client_id) || (is_shared && presenter.is_none()) {
            return Err(failed("the token was issued for another client"));
        }
        let authenticated_at = claims.members.get("auth_time").and_then(serde_json::Value::as_f64);
        #[expect(
            clippy::cast_precision_loss,
            reason = "milliseconds are exact in f64 for 285,000 years"
        )]
        let oldest = now.minus(self.step_up).minus(self.expected.leeway).as_millis() as f64 / 1000.0;
        if authenticated_at.is_some_and(|at| at < oldest) {
            return Err(failed("the login at the identity provider is too old"));
        }
        Ok(claims)
    }

    async fn open_session(&self, claims: &Claims) -> Result<TokenPair, OidcError> {
        let identity = self.mapping.read(&claims.members).map_err(|fault| {
            tracing::warn!(fault, "ID token names no user");
            failed("the identity provider's token names no user")
        })?;
        if !identity.has_mapped_role {
            return Err(OidcError::NoRole);
        }
        let account = self.users.provision(&identity, true, None).await?;
        let account = account.ok_or_else(|| failed("there is no such user"))?;
        audit::about("user", &account.id);
        if account.disabled {
            return Err(failed("the account is disabled"));
        }
        // Another change of the account may have set its role again.
        if identity.role.is_some_and(|role: Role| role != account.role) {
            return Err(failed("the role changed meanwhile"));
        }
        let opened = self
            .logins
            .open_session_of(account.id, self.provider.issuer(), self.counts_as_second_factor);
        Ok(opened.await?)
    }

    async fn metadata(&self) -> Result<Arc<Metadata>, OidcError> {
        let metadata = self.provider.metadata().await;
        metadata.ok_or_else(|| OidcError::Unavailable(self.provider.issuer().to_owned()))
    }

    fn unavailable(&self, fault: &dyn std::fmt::Display) -> OidcError {
        tracing::warn!(%fault, "identity provider not usable");
        OidcError::Unavailable(self.provider.issuer().to_owned())
    }
}

fn failed(reason: &str) -> OidcError {
    OidcError::Failed(reason.to_owned())
}

/// A login that has begun, as its cookie holds it.
struct Pending {
    random: [u8; RANDOM],
    /// Milliseconds since the Unix epoch.
    begun_at: i64,
}

impl Pending {
    fn to_cookie(&self) -> String {
        URL_SAFE_NO_PAD.encode([self.random.as_slice(), &self.begun_at.to_be_bytes()].concat())
    }

    fn of_cookie(text: &str) -> Option<Self> {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let (random, begun_at) = bytes.split_at_checked(RANDOM)?;
        Some(Self {
            random: random.try_into().ok()?,
            begun_at: i64::from_be_bytes(begun_at.try_into().ok()?),
        })
    }

    fn is_alive(&self, now: Timestamp) -> bool {
        let begun_at = Timestamp::from_millis(self.begun_at);
        begun_at.is_some_and(|at| at <= now && now < at.plus(LOGIN_LIFETIME))
    }

    fn derive(&self, key: &hmac::Key, purpose: &str) -> String {
        URL_SAFE_NO_PAD.encode(hmac::sign(key, &self.message(purpose)))
    }

    /// Compares in constant time.
    fn has_derived(&self, key: &hmac::Key, purpose: &str, text: &str) -> bool {
        let tag = URL_SAFE_NO_PAD.decode(text);
        tag.is_ok_and(|tag| hmac::verify(key, &self.message(purpose), &tag).is_ok())
    }

    fn message(&self, purpose: &str) -> Vec<u8> {
        [purpose.as_bytes(), b"\n", &self.random, &self.begun_at.to_be_bytes()].concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_browser_that_began_a_login_completes_it() {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &[7; 32]);
        let at = |millis| Timestamp::from_millis(millis).unwrap();
        let pending = Pending {
            random: [1; RANDOM],
            begun_at: 1_000_000,
        };
        let state = pending.derive(&key, "state");
        let again = Pending::of_cookie(&pending.to_cookie()).unwrap();
        assert!(again.has_derived(&key, "state", &state));
        assert!(!again.has_derived(&key, "nonce", &state));
        let other = Pending {
            random: [2; RANDOM],
            ..again
        };
        assert!(!other.has_derived(&key, "state", &state));
        // A later time in the cookie makes it another login.
        let later = Pending {
            begun_at: 1_000_001,
            random: [1; RANDOM],
        };
        assert!(!later.has_derived(&key, "state", &state));
        assert!(pending.is_alive(at(1_000_000)) && pending.is_alive(at(1_599_999)));
        assert!(!pending.is_alive(at(999_999)) && !pending.is_alive(at(1_600_000)));
        for text in ["", "!", "AAAA", &pending.to_cookie()[1..]] {
            assert!(Pending::of_cookie(text).is_none(), "{text}");
        }
    }
}
