//! Sessions and their tokens: opening, refreshing and ending a session, and checking an access token.

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::store::{self, Hash};
use super::tokens::AccessTokens;
use super::{EndReason, Principal, Role, Sessions};
use crate::cache::Invalidation;
use crate::clock::{Clock, Timestamp};
use crate::config;
use crate::db::{Db, DbError, Tx};
use crate::keys::{KeyError, Keyring};

/// The tokens of a login or a refresh.
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
    /// Valid for one `POST /auth/refresh`; keep it secret
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
    #[error("The refresh token is unknown or expired, or its session is over; log in again.")]
    InvalidRefreshToken,
    #[error("The refresh token was used before, so someone else may hold it. Its session is over; log in again.")]
    RefreshTokenReused,
    #[error("signing an access token failed: {0}")]
    Signing(#[from] jsonwebtoken::errors::Error),
    #[error(transparent)]
    Db(#[from] DbError),
}

/// Rows that one transaction deletes.
const PRUNED_AT_ONCE: i64 = 500;

/// Cheap to clone; every request clones it.
#[derive(Clone, Debug)]
pub struct AuthService(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    db: Db,
    clock: Clock,
    tokens: AccessTokens,
    sessions: Sessions,
    session_lifetime: Duration,
    refresh_idle: Duration,
    /// Zero: expired sessions are kept.
    retention: Duration,
}

impl AuthService {
    pub fn new(
        config: &config::Auth,
        keyring: &Keyring,
        db: Db,
        clock: Clock,
        sessions: Sessions,
    ) -> Result<Self, KeyError> {
        Ok(Self(Arc::new(Inner {
            db,
            clock,
            tokens: AccessTokens::new(config, keyring)?,
            sessions,
            session_lifetime: config.session,
            refresh_idle: config.refresh_idle,
            retention: config.session_retention,
        })))
    }

    /// Another process ended sessions.
    pub async fn on_invalidation(&self, invalidation: &Invalidation) {
        self.0.sessions.on_invalidation(invalidation).await;
    }

    /// Deletes sessions and refresh tokens that expired longer ago than the retention, in short transactions; returns their
    /// number.
    pub async fn prune(&self) -> Result<u64, AuthError> {
        let mut deleted = 0;
        if self.0.retention.is_zero() {
            return Ok(deleted);
        }
        let cutoff = self.0.clock.now().minus(self.0.retention);
        loop {
            let mut tx = self.0.db.begin().await?;
            let mut step = store::delete_expired_tokens(&mut tx, cutoff, PRUNED_AT_ONCE).await?;
            if step == 0 {
                step = store::delete_expired_sessions(&mut tx, cutoff, PRUNED_AT_ONCE).await?;
            }
            tx.commit().await?;
            deleted += step;
            if step == 0 {
                return Ok(deleted);
            }
        }
    }

    /// Opens the session `session_id` of a user whose identity was checked. Part of the caller's transaction, which
    /// must hold the account, so that a change of it either precedes this session or ends it.
    pub async fn open_session(
        &self,
        tx: &mut Tx,
        (user_id, role): (Uuid, Role),
        session_id: Uuid,
    ) -> Result<TokenPair, AuthError> {
        let now = self.0.clock.now();
        let session_end = now.plus(self.0.session_lifetime);
        store::insert_session(tx, session_id, user_id, now, session_end).await?;
        self.issue(tx, (user_id, role), (session_id, session_end)).await
    }

    /// Exchanges a refresh token for a new pair. Using one twice ends the session: either its owner or a thief holds a
    /// copy, and the server cannot tell which.
    pub async fn refresh(&self, refresh_token: &str) -> Result<TokenPair, AuthError> {
        let now = self.0.clock.now();
        let hash = hash(refresh_token);
        let mut tx = self.0.db.begin().await?;
        let Some(token) = store::consume_refresh_token(&mut tx, hash.clone(), now).await? else {
            let (user_id, id) = store::session_of_refresh_token(&mut tx, hash)
                .await?
                .ok_or(AuthError::InvalidRefreshToken)?;
            let ended = self
                .0
                .sessions
                .end(&mut tx, user_id, id, EndReason::RefreshReused)
                .await?;
            tx.commit().await?;
            self.0.sessions.forget(ended).await;
            tracing::warn!(session.id = %id, "refresh token reused, session ended");
            return Err(AuthError::RefreshTokenReused);
        };
        let session = store::find_session(&mut tx, token.user_id, token.session_id)
            .await?
            .filter(|session| now < token.expires_at && session.lives(now))
            .ok_or(AuthError::InvalidRefreshToken)?;
        let pair = self
            .issue(&mut tx, session.holder(), (token.session_id, session.expires_at))
            .await?;
        tx.commit().await?;
        Ok(pair)
    }

    /// Ends a session and its access token immediately.
    pub async fn logout(&self, user_id: Uuid, session_id: Uuid) -> Result<(), AuthError> {
        let mut tx = self.0.db.begin().await?;
        let ended = self
            .0
            .sessions
            .end(&mut tx, user_id, session_id, EndReason::Logout)
            .await?;
        tx.commit().await?;
        self.0.sessions.forget(ended).await;
        Ok(())
    }

    /// The principal of an access token, if the token is valid and its session is alive.
    pub(super) async fn check(&self, token: &str) -> Result<Option<Principal>, DbError> {
        let claims = match self.0.tokens.check(token, self.0.clock.now()) {
            Ok(claims) => claims,
            Err(reason) => {
                tracing::debug!(reason, "access token refused");
                return Ok(None);
            }
        };
        let (id, role, session) = (claims.sub, claims.role, claims.sid);
        if self.0.sessions.is_living(id, role, session).await? {
            return Ok(Some(Principal::User { id, role, session }));
        }
        tracing::debug!(session.id = %session, "access token refused: session ended or role changed");
        Ok(None)
    }

    async fn issue(
        &self,
        tx: &mut Tx,
        holder: (Uuid, Role),
        (session_id, session_end): (Uuid, Timestamp),
    ) -> Result<TokenPair, AuthError> {
        let now = self.0.clock.now();
        let refresh_token = URL_SAFE_NO_PAD.encode(self.0.clock.random::<32>());
        let expires_at = now.plus(self.0.refresh_idle).min(session_end);
        let session = (holder.0, session_id);
        store::insert_refresh_token(tx, hash(&refresh_token), session, now, expires_at).await?;
        let access = self
            .0
            .tokens
            .issue(holder, (session_id, session_end), self.0.clock.new_id(), now)?;
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
