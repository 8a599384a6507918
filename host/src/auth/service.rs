//! The rules for logging in, staying logged in and logging out.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use garde::Validate;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::store::{self, Hash};
use super::tokens::AccessTokens;
use super::{Caller, EndReason, Role, Sessions};
use crate::activities::{ActivityError, ActivityService, OwnActivity};
use crate::cache::{Cache, Invalidation, Policy, RateLimit};
use crate::clock::{Clock, Timestamp};
use crate::config;
use crate::db::{Db, DbError, Tx};
use crate::keys::{KeyError, Keyring};
use crate::users::{Email, NewUser, Password, User, UserError, UserService};

/// Who wants an account.
#[derive(Debug, Deserialize, ToSchema, Validate)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NewAccount {
    #[garde(skip)]
    #[schema(value_type = String, format = Email, example = "ada@example.com", max_length = 254)]
    pub email: Email,
    #[garde(skip)]
    #[schema(value_type = String, format = Password, example = "correct horse battery", min_length = 8, max_length = 128)]
    pub password: Password,
    /// The code of whoever invited you
    #[garde(length(chars, max = 64))]
    #[schema(example = "7K3M9QXZ2B", max_length = 64)]
    pub invite_code: Option<String>,
    /// USER unless said; another role needs an ADMIN's access token
    #[garde(skip)]
    pub role: Option<Role>,
}

/// What a login or a refresh gives.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TokenPair {
    /// Send it as `Authorization: Bearer …`
    #[schema(example = "eyJ0eXAiOiJhdCtqd3QiLCJhbGciOiJFZERTQSIsImtpZCI6IuKApiJ9.eyJpc3MiOiJtZWVkIn0.c2ln")]
    pub access_token: String,
    #[schema(example = "Bearer")]
    pub token_type: &'static str,
    /// Seconds until the access token expires
    #[schema(example = 600)]
    pub expires_in: i64,
    /// Good for one `POST /auth/refresh`; keep it secret
    #[schema(example = "pQ4J0mXh1s0m1xq3tV7n4k2a9c8b6d5e4f3g2h1i0jk")]
    pub refresh_token: String,
}

impl std::fmt::Debug for TokenPair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TokenPair(…)")
    }
}

#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    #[error("A new {0} account needs the access token of an ADMIN; leave role out for a USER.")]
    RoleNeedsLogin(Role),
    #[error("You are {by}; only an ADMIN makes {wanted} accounts.")]
    RoleNeedsAdmin { by: Role, wanted: Role },
    #[error("No account has this e-mail and this password.")]
    WrongCredentials,
    #[error("Too many attempts to log in to this account; wait {} s.", .0.retry_after)]
    TooManyAttempts(RateLimit),
    #[error("The refresh token is unknown or expired, or its session is over; log in again.")]
    InvalidRefreshToken,
    #[error("The refresh token was used before, so someone else may hold it. Its session is over; log in again.")]
    RefreshTokenReused,
    #[error(transparent)]
    User(#[from] UserError),
    #[error(transparent)]
    Activity(#[from] ActivityError),
    #[error("signing an access token failed: {0}")]
    Signing(#[from] jsonwebtoken::errors::Error),
    #[error(transparent)]
    Db(#[from] DbError),
}

/// Cheap to clone, as every request does.
#[derive(Clone, Debug)]
pub struct AuthService(Arc<Parts>);

#[derive(Debug)]
pub struct Parts {
    db: Db,
    clock: Clock,
    tokens: AccessTokens,
    cache: Cache,
    attempts: Option<Policy>,
    sessions: Sessions,
    users: UserService,
    activities: ActivityService,
    session_lifetime: Duration,
    refresh_idle: Duration,
}

impl Deref for AuthService {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}

impl AuthService {
    pub fn new(
        config: &config::Auth,
        keyring: &Keyring,
        (db, clock): (Db, Clock),
        (cache, attempts): (Cache, Option<Policy>),
        sessions: Sessions,
        users: UserService,
        activities: ActivityService,
    ) -> Result<Self, KeyError> {
        Ok(Self(Arc::new(Parts {
            db,
            clock,
            tokens: AccessTokens::new(config, keyring)?,
            cache,
            attempts,
            sessions,
            users,
            activities,
            session_lifetime: config.session,
            refresh_idle: config.refresh_idle,
        })))
    }

    /// Makes an account; only an ADMIN makes others than USERs.
    pub async fn register(&self, by: Option<Caller>, new: NewAccount) -> Result<User, AuthError> {
        let role = new.role.unwrap_or(Role::User);
        match by {
            _ if role == Role::User => {}
            None => return Err(AuthError::RoleNeedsLogin(role)),
            Some(caller) if caller.role != Role::Admin => {
                return Err(AuthError::RoleNeedsAdmin {
                    by: caller.role,
                    wanted: role,
                });
            }
            Some(_) => {}
        }
        let new = NewUser {
            email: new.email,
            password: new.password,
            role,
            invite_code: new.invite_code,
        };
        Ok(self.users.create(new).await?)
    }

    pub async fn login(&self, email: &str, password: SecretString) -> Result<TokenPair, AuthError> {
        self.count_attempt(email).await?;
        let user_id = self
            .users
            .with_credentials(email, password)
            .await?
            .ok_or(AuthError::WrongCredentials)?;
        self.open_session(user_id).await
    }

    /// Counts an attempt on an account, whether there is one or not. Only passwords are counted, so whoever holds a session
    /// keeps it; and the bucket fills again by itself, so nobody is kept out for long.
    async fn count_attempt(&self, email: &str) -> Result<(), AuthError> {
        let (Some(policy), Ok(email)) = (&self.attempts, email.parse::<Email>()) else {
            return Ok(());
        };
        let limit = self.cache.check(policy, &email.key(), self.clock.now()).await;
        if limit.allowed {
            return Ok(());
        }
        metrics::counter!("meed_rate_limited_total", "policy" => policy.name).increment(1);
        Err(AuthError::TooManyAttempts(limit))
    }

    /// Another process ended sessions.
    pub async fn on_invalidation(&self, invalidation: &Invalidation) {
        self.sessions.on_invalidation(invalidation).await;
    }

    /// Logs in a user whose identity was checked.
    pub async fn open_session(&self, user_id: Uuid) -> Result<TokenPair, AuthError> {
        let now = self.clock.now();
        let session_id = self.clock.new_id();
        let session_end = now.plus(self.session_lifetime);
        let mut tx = self.db.begin().await?;
        // Held, so that a change of role or a disabling comes before this session or ends it.
        let user = self
            .users
            .hold(&mut tx, user_id)
            .await?
            .filter(|user| !user.disabled)
            .ok_or(AuthError::WrongCredentials)?;
        store::insert_session(&mut tx, session_id, user.id, now, session_end).await?;
        let pair = self
            .issue(&mut tx, (user.id, user.role), (session_id, session_end))
            .await?;
        let login = OwnActivity {
            user_id: user.id,
            kind: "auth.login",
            source_id: format!("auth.login:{session_id}"),
            occurred_at: now,
            attributes: BTreeMap::new(),
        };
        self.activities.record_own(&mut tx, login).await?;
        tx.commit().await?;
        Ok(pair)
    }

    /// Exchanges a refresh token for a new pair. Using one twice ends the session: either its owner or a thief holds a
    /// copy, and we cannot tell which.
    pub async fn refresh(&self, refresh_token: &str) -> Result<TokenPair, AuthError> {
        let now = self.clock.now();
        let hash = hash(refresh_token);
        let mut tx = self.db.begin().await?;
        let Some(token) = store::consume_refresh_token(&mut tx, hash.clone(), now).await? else {
            let session_id = store::session_of_refresh_token(&mut tx, hash)
                .await?
                .ok_or(AuthError::InvalidRefreshToken)?;
            let ended = self.sessions.end(&mut tx, session_id, EndReason::RefreshReused).await?;
            tx.commit().await?;
            self.sessions.forget(ended).await;
            tracing::warn!(session.id = %session_id, "refresh token reused, session ended");
            return Err(AuthError::RefreshTokenReused);
        };
        let session = store::find_session(&mut tx, token.session_id)
            .await?
            .filter(|session| now < token.expires_at && session.lives(now))
            .ok_or(AuthError::InvalidRefreshToken)?;
        let pair = self
            .issue(&mut tx, session.holder(), (token.session_id, session.expires_at))
            .await?;
        tx.commit().await?;
        Ok(pair)
    }

    pub async fn logout(&self, caller: Caller) -> Result<(), AuthError> {
        let mut tx = self.db.begin().await?;
        let ended = self.sessions.end(&mut tx, caller.session_id, EndReason::Logout).await?;
        tx.commit().await?;
        self.sessions.forget(ended).await;
        Ok(())
    }

    /// Whoever holds this access token, if it is good and its session lives.
    pub(super) async fn check(&self, token: &str) -> Result<Option<Caller>, DbError> {
        let claims = match self.tokens.check(token, self.clock.now()) {
            Ok(claims) => claims,
            Err(reason) => {
                tracing::debug!(reason, "access token refused");
                return Ok(None);
            }
        };
        let caller = Caller {
            user_id: claims.sub,
            session_id: claims.sid,
            role: claims.role,
        };
        if self.sessions.is_living(&caller).await? {
            return Ok(Some(caller));
        }
        tracing::debug!(session.id = %caller.session_id, "access token refused: its session is over or its role changed");
        Ok(None)
    }

    async fn issue(
        &self,
        tx: &mut Tx,
        holder: (Uuid, Role),
        (session_id, session_end): (Uuid, Timestamp),
    ) -> Result<TokenPair, AuthError> {
        let now = self.clock.now();
        let refresh_token = URL_SAFE_NO_PAD.encode(self.clock.random::<32>());
        let expires_at = now.plus(self.refresh_idle).min(session_end);
        store::insert_refresh_token(tx, hash(&refresh_token), session_id, now, expires_at).await?;
        let access = self
            .tokens
            .issue(holder, (session_id, session_end), self.clock.new_id(), now)?;
        Ok(TokenPair {
            access_token: access.token,
            token_type: "Bearer",
            expires_in: access.expires_in,
            refresh_token,
        })
    }
}

fn hash(refresh_token: &str) -> Hash {
    digest::digest(&digest::SHA256, refresh_token.as_bytes())
        .as_ref()
        .to_vec()
}
