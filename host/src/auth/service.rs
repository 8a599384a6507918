//! Sessions and their tokens: opening, refreshing and ending a session, and checking an access token.

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::{digest, hmac};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::cookies::{CookieSession, Cookies, RefusedCookie};
use super::guards::InvalidToken;
use super::passes::Passes;
use super::store::{self, Hash, SessionRow};
use super::tokens::{AccessTokens, Refused};
use super::{EndReason, Principal, REFRESH_TOKEN_REUSED, Role, Sessions};
use crate::audit::{self, Entry};
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
    #[error("You have no session {0}; GET /users/me/sessions lists yours.")]
    NoSuchSession(Uuid),
    #[error(
        "This needs a proof of your identity within the last {} s: send a code of your second factor, or your password if you \
         have none, to POST /auth/step-up.", .0.as_secs()
    )]
    StepUpRequired(Duration),
    #[error(
        "This needs a recent proof of your identity, which a token of your identity provider is not; log in at this server."
    )]
    NoSession,
    #[error(
        "This needs a person who proved who they are, which a service key cannot; log in and send that access token."
    )]
    NeedsPerson,
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
    cookies: Cookies,
    sessions: Sessions,
    passes: Passes,
    session_lifetime: Duration,
    staff_session_lifetime: Duration,
    refresh_idle: Duration,
    refresh_grace: Duration,
    /// How long a proof of identity counts.
    step_up: Duration,
    /// Whether staff need a second factor.
    require_totp: bool,
    /// Derives a refresh token from its predecessor, so that a repeated refresh returns the same one.
    refresh_key: hmac::Key,
    /// Zero: expired sessions are kept.
    retention: Duration,
}

/// The principal of a console session.
#[derive(Debug)]
pub(super) struct Found {
    pub principal: Principal,
    /// The end of the session.
    pub end: Option<Timestamp>,
    /// Replaces a cookie that was issued some time ago.
    pub renewed: Option<String>,
}

/// A login of a user that has not ended.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct OpenSession {
    pub id: Uuid,
    pub created_at: Timestamp,
    pub expires_at: Timestamp,
    /// Whether the request belongs to it
    pub current: bool,
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
            db: db.clone(),
            clock: clock.clone(),
            tokens: AccessTokens::new(config, keyring)?,
            cookies: Cookies::new(
                &keyring.derive("meed console sessions")?,
                config.refresh_idle,
                config.access_token,
            ),
            sessions,
            passes: Passes::new(db, clock),
            session_lifetime: config.session,
            staff_session_lifetime: config.staff_session,
            refresh_idle: config.refresh_idle,
            refresh_grace: config.refresh_grace,
            step_up: config.step_up,
            require_totp: config.require_totp,
            refresh_key: hmac::Key::new(hmac::HMAC_SHA256, &keyring.derive("meed refresh tokens")?),
            retention: config.session_retention,
        })))
    }

    /// Another process ended sessions.
    pub async fn on_invalidation(&self, invalidation: &Invalidation) {
        self.0.sessions.on_invalidation(invalidation).await;
    }

    /// The principals of responses that take long.
    pub fn passes(&self) -> &Passes {
        &self.0.passes
    }

    pub(super) fn db(&self) -> &Db {
        &self.0.db
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
    /// must hold the account, so that a change of it either precedes this session or ends it. `second_factor`: a code was
    /// checked, too.
    pub async fn open_session(
        &self,
        tx: &mut Tx,
        (user_id, role): (Uuid, Role),
        session_id: Uuid,
        second_factor: bool,
    ) -> Result<TokenPair, AuthError> {
        let now = self.0.clock.now();
        let lifetime = if role == Role::User {
            self.0.session_lifetime
        } else {
            self.0.staff_session_lifetime.min(self.0.session_lifetime)
        };
        let session_end = now.plus(lifetime);
        store::insert_session(tx, session_id, user_id, now, session_end).await?;
        store::prove(tx, user_id, session_id, now, second_factor).await?;
        let first = URL_SAFE_NO_PAD.encode(self.0.clock.random::<32>());
        self.issue(tx, (user_id, role), (session_id, session_end), first).await
    }

    /// Notes that the user of a session proved now who they are, with a code of the second factor or without, and returns until
    /// when this counts. Part of the caller's transaction; call [`Sessions::reread`] after its commit.
    pub async fn prove(
        &self,
        tx: &mut Tx,
        (user_id, session_id): (Uuid, Uuid),
        second_factor: bool,
    ) -> Result<Timestamp, AuthError> {
        let now = self.0.clock.now();
        store::prove(tx, user_id, session_id, now, second_factor).await?;
        Ok(now.plus(self.0.step_up))
    }

    /// Fails unless the principal is a user who proved a short time ago who they are. A service key cannot.
    pub async fn require_proof(&self, principal: &Principal) -> Result<(), AuthError> {
        let Principal::User { id, session, .. } = principal else {
            return Err(AuthError::NeedsPerson);
        };
        let session = session.as_ref().ok_or(AuthError::NoSession)?;
        let proved_at = store::proved_at(&self.0.db, *id, *session).await?;
        if proved_at.is_some_and(|at| self.0.clock.now() < at.plus(self.0.step_up)) {
            return Ok(());
        }
        Err(AuthError::StepUpRequired(self.0.step_up))
    }

    /// Exchanges a refresh token for a new pair. Using one twice ends the session: either its owner or a thief holds a
    /// copy, and the server cannot tell which. Only a repetition within the grace period, as after a lost response,
    /// returns the same refresh token again, while it is unused.
    pub async fn refresh(&self, refresh_token: &str) -> Result<TokenPair, AuthError> {
        let now = self.0.clock.now();
        let hash = hash(refresh_token);
        let mut tx = self.0.db.begin().await?;
        let Some(token) = store::consume_refresh_token(&mut tx, hash.clone(), now).await? else {
            let (user_id, id) = store::session_of_refresh_token(&mut tx, hash)
                .await?
                .ok_or(AuthError::InvalidRefreshToken)?;
            if let Some(pair) = self.repeat(&mut tx, refresh_token, (user_id, id), now).await? {
                return Ok(pair);
            }
            let ended = self
                .0
                .sessions
                .end(&mut tx, user_id, id, EndReason::RefreshReused)
                .await?;
            let reused = Entry::about("user", &user_id)
                .field("session", id, None::<Uuid>)
                .refused(REFRESH_TOKEN_REUSED.code);
            audit::record(&mut tx, &self.0.clock, reused).await?;
            tx.commit().await?;
            self.0.sessions.refuse(ended).await;
            tracing::warn!(session.id = %id, "refresh token reused, session ended");
            return Err(AuthError::RefreshTokenReused);
        };
        let session = store::find_session(&mut tx, token.user_id, token.session_id)
            .await?
            .filter(|session| now < token.expires_at && session.lives(now))
            .ok_or(AuthError::InvalidRefreshToken)?;
        let pair = self
            .issue(
                &mut tx,
                session.holder(),
                (token.session_id, session.expires_at),
                self.successor(refresh_token),
            )
            .await?;
        tx.commit().await?;
        Ok(pair)
    }

    /// The pair of an earlier refresh with the same token, with a new access token; `None` after the grace period.
    async fn repeat(
        &self,
        tx: &mut Tx,
        refresh_token: &str,
        (user_id, session_id): (Uuid, Uuid),
        now: Timestamp,
    ) -> Result<Option<TokenPair>, AuthError> {
        if self.0.refresh_grace.is_zero() {
            return Ok(None);
        }
        let next = self.successor(refresh_token);
        let (old, since) = (hash(refresh_token), now.minus(self.0.refresh_grace));
        if !store::was_just_consumed(tx, (user_id, old), hash(&next), since).await? {
            return Ok(None);
        }
        let session = store::find_session(tx, user_id, session_id).await?;
        let Some(session) = session.filter(|session| session.lives(now)) else {
            return Ok(None);
        };
        self.pair(session.holder(), (session_id, session.expires_at), next, now)
            .map(Some)
    }

    fn successor(&self, refresh_token: &str) -> String {
        URL_SAFE_NO_PAD.encode(hmac::sign(&self.0.refresh_key, refresh_token.as_bytes()))
    }

    /// The living sessions of a user, newest first, up to `size + 1`.
    pub(super) async fn sessions(
        &self,
        (user_id, current): (Uuid, Uuid),
        after: Option<Uuid>,
        size: u32,
    ) -> Result<Vec<OpenSession>, AuthError> {
        let rows = store::open_sessions(&self.0.db, user_id, self.0.clock.now(), after, i64::from(size) + 1).await?;
        Ok(rows
            .into_iter()
            .map(|row| OpenSession {
                id: row.id,
                created_at: row.created_at,
                expires_at: row.expires_at,
                current: row.id == current,
            })
            .collect())
    }

    /// Ends one of the user's sessions, which may be the current one.
    pub(super) async fn end_session(&self, user_id: Uuid, id: Uuid) -> Result<(), AuthError> {
        let now = self.0.clock.now();
        let mut tx = self.0.db.begin().await?;
        store::find_session(&mut tx, user_id, id)
            .await?
            .filter(|session| session.lives(now))
            .ok_or(AuthError::NoSuchSession(id))?;
        let ended = self
            .0
            .sessions
            .end(&mut tx, user_id, id, EndReason::EndedByUser)
            .await?;
        let entry = Entry::about("user", &user_id).field("session", id, None::<Uuid>);
        audit::record(&mut tx, &self.0.clock, entry).await?;
        tx.commit().await?;
        self.0.sessions.refuse(ended).await;
        Ok(())
    }

    /// Ends every session of the user, also the current one.
    pub(super) async fn end_sessions(&self, user_id: Uuid) -> Result<(), AuthError> {
        let mut tx = self.0.db.begin().await?;
        let ended = self
            .0
            .sessions
            .end_all(&mut tx, user_id, EndReason::EndedByUser)
            .await?;
        let entry = Entry::about("user", &user_id).field("sessions", ended.count(), 0);
        audit::record(&mut tx, &self.0.clock, entry).await?;
        tx.commit().await?;
        self.0.sessions.refuse(ended).await;
        Ok(())
    }

    /// Ends a session and its access token immediately.
    pub async fn logout(&self, user_id: Uuid, session_id: Uuid) -> Result<(), AuthError> {
        let mut tx = self.0.db.begin().await?;
        let ended = self
            .0
            .sessions
            .end(&mut tx, user_id, session_id, EndReason::Logout)
            .await?;
        let logout = Entry::about("user", &user_id).field("session", session_id, None::<Uuid>);
        audit::record(&mut tx, &self.0.clock, logout).await?;
        tx.commit().await?;
        self.0.sessions.refuse(ended).await;
        Ok(())
    }

    /// The principal of an access token, if the token is valid and its session is alive.
    pub(super) async fn check(
        &self,
        token: &str,
    ) -> Result<Result<(Principal, Option<Timestamp>), InvalidToken>, DbError> {
        let claims = match self.0.tokens.check(token, self.0.clock.now()) {
            Ok(claims) => claims,
            Err(Refused { is_forged, reason }) => {
                tracing::debug!(reason, "access token refused");
                return Ok(Err(InvalidToken { is_forged }));
            }
        };
        let (id, role, session) = (claims.sub, claims.role, claims.sid);
        if let Some(living) = self.0.sessions.living(id, role, session).await? {
            return Ok(Ok((
                self.principal(id, role, session, &living),
                Timestamp::from_millis(claims.exp.saturating_mul(1_000)),
            )));
        }
        tracing::debug!(session.id = %session, "access token refused: session ended or role changed");
        Ok(Err(InvalidToken { is_forged: false }))
    }

    /// The principal and the cookie for the session of a login that was just made. The client does not get the tokens; the sweep
    /// deletes the refresh token.
    pub async fn cookie(&self, tokens: &TokenPair) -> Result<(Principal, String), AuthError> {
        let found = self.check(&tokens.access_token).await?;
        let Ok((principal, _)) = found else {
            return Err(AuthError::NoSession);
        };
        let Principal::User {
            id,
            role,
            session: Some(session_id),
            ..
        } = principal
        else {
            return Err(AuthError::NoSession);
        };
        let cookie = self.0.cookies.issue(CookieSession {
            user_id: id,
            session_id,
            role,
            issued_at: self.0.clock.now(),
        });
        Ok((principal, cookie))
    }

    /// The principal of a console session, if the cookie is valid and the session is alive.
    pub(super) async fn check_cookie(&self, cookie: &str) -> Result<Result<Found, InvalidToken>, DbError> {
        let now = self.0.clock.now();
        let named = match self.0.cookies.check(cookie, now) {
            Ok(named) => named,
            Err(refused) => {
                tracing::debug!(?refused, "console session refused");
                let is_forged = refused == RefusedCookie::Forged;
                return Ok(Err(InvalidToken { is_forged }));
            }
        };
        let (id, role, session) = (named.user_id, named.role, named.session_id);
        let Some(living) = self.0.sessions.living(id, role, session).await? else {
            tracing::debug!(session.id = %session, "console session refused: session ended or role changed");
            return Ok(Err(InvalidToken { is_forged: false }));
        };
        let renewed = self.0.cookies.is_old(named, now).then(|| {
            let issued_at = now;
            self.0.cookies.issue(CookieSession { issued_at, ..named })
        });
        Ok(Ok(Found {
            principal: self.principal(id, role, session, &living),
            end: Some(living.expires_at),
            renewed,
        }))
    }

    fn principal(&self, id: Uuid, role: Role, session: Uuid, living: &SessionRow) -> Principal {
        Principal::User {
            id,
            role,
            session: Some(session),
            needs_second_factor: self.0.require_totp && role != Role::User && !living.second_factor,
        }
    }

    async fn issue(
        &self,
        tx: &mut Tx,
        holder: (Uuid, Role),
        (session_id, session_end): (Uuid, Timestamp),
        refresh_token: String,
    ) -> Result<TokenPair, AuthError> {
        let now = self.0.clock.now();
        let expires_at = now.plus(self.0.refresh_idle).min(session_end);
        let session = (holder.0, session_id);
        store::insert_refresh_token(tx, hash(&refresh_token), session, now, expires_at).await?;
        self.pair(holder, (session_id, session_end), refresh_token, now)
    }

    fn pair(
        &self,
        holder: (Uuid, Role),
        (session_id, session_end): (Uuid, Timestamp),
        refresh_token: String,
        now: Timestamp,
    ) -> Result<TokenPair, AuthError> {
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
