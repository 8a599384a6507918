//! Sessions: one per login. Logout, disabling the account and a change of its role end them immediately.
//!
//! Every request checks whether its session is alive, so each process caches the answer, and Redis caches it for all of
//! them. The process that ends a session refuses its tokens immediately, the others when they receive the invalidation.
//! No process trusts an answer that is older than `auth.session_cache_seconds`.

use std::time::Duration;

use strum::Display;
use uuid::Uuid;

use super::Role;
use super::store::{self, SessionRow};
use crate::cache::{Cache, Copies, Invalidation, SLOWEST_READ, Topic};
use crate::clock::{Clock, Timestamp};
use crate::db::{Db, Result, Tx};

/// Cached sessions; about 200 bytes each.
const CAPACITY: u64 = 100_000;

/// Why a session is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Display)]
#[strum(serialize_all = "SCREAMING_SNAKE_CASE")]
pub enum EndReason {
    Logout,
    RefreshReused,
    UserDisabled,
    RoleChanged,
    PasswordChanged,
    SecondFactorChanged,
    EndedByUser,
}

/// Sessions that a transaction ended: pass them to [`Sessions::refuse`] after its commit.
#[must_use = "after the commit, Sessions::refuse makes this process refuse their tokens"]
#[derive(Debug)]
pub struct EndedSessions(Vec<Uuid>);

impl EndedSessions {
    pub(super) fn count(&self) -> usize {
        self.0.len()
    }
}

#[derive(Clone, Debug)]
pub struct Sessions {
    db: Db,
    clock: Clock,
    shared: Cache,
    trusted_for: Duration,
    copies: Copies<SessionRow>,
}

impl Sessions {
    pub fn new(db: Db, clock: Clock, shared: Cache, trusted_for: Duration) -> Self {
        Self {
            db,
            clock,
            shared,
            trusted_for,
            copies: Copies::new(CAPACITY, trusted_for),
        }
    }

    /// The session, if it is a living one of this user in this role. Without the database while the answer is fresh.
    pub(super) async fn living(&self, user_id: Uuid, role: Role, id: Uuid) -> Result<Option<SessionRow>> {
        let now = self.clock.now();
        let session = match self.copies.get(id, now).await {
            Some(session) => session,
            None => match self.read(user_id, id, now).await? {
                Some(session) => session,
                None => return Ok(None),
            },
        };
        // A slow read that began before the end of the session may have found a living one.
        let lives = session.lives(now) && session.holder() == (user_id, role) && !self.copies.was_dropped(id);
        Ok(lives.then_some(session))
    }

    /// From Redis, where another process may have stored it, or from the database.
    async fn read(&self, user_id: Uuid, id: Uuid, now: Timestamp) -> Result<Option<SessionRow>> {
        let key = shared_key(id);
        if let Some((read_at, value)) = self.shared.get(&key, now, self.trusted_for).await
            && let Ok(session) = serde_json::from_slice::<SessionRow>(&value)
        {
            self.copies.keep(id, session.clone(), read_at).await;
            return Ok(Some(session));
        }
        let Some(session) = store::read_session(&self.db, user_id, id).await? else {
            return Ok(None);
        };
        self.copies.keep(id, session.clone(), now).await;
        if session.lives(now)
            && let Ok(value) = serde_json::to_vec(&session)
        {
            self.shared.put(&key, now, &value, self.trusted_for);
        }
        Ok(Some(session))
    }

    /// Ends one session. Part of the caller's transaction.
    pub(super) async fn end(&self, tx: &mut Tx, user_id: Uuid, id: Uuid, reason: EndReason) -> Result<EndedSessions> {
        store::end_session(tx, user_id, id, reason, self.clock.now()).await?;
        Ok(EndedSessions(vec![id]))
    }

    /// Ends every session of a user. Part of the caller's transaction.
    pub async fn end_all(&self, tx: &mut Tx, user_id: Uuid, reason: EndReason) -> Result<EndedSessions> {
        let ids = store::end_sessions_of(tx, user_id, reason, self.clock.now()).await?;
        Ok(EndedSessions(ids))
    }

    /// Ends every session of a user except one. Part of the caller's transaction.
    pub async fn end_others(&self, tx: &mut Tx, user_id: Uuid, kept: Uuid, reason: EndReason) -> Result<EndedSessions> {
        let ids = store::end_other_sessions(tx, user_id, kept, reason, self.clock.now()).await?;
        Ok(EndedSessions(ids))
    }

    /// Refuses the tokens of these sessions from now on, here and in the other processes.
    pub async fn refuse(&self, EndedSessions(ids): EndedSessions) {
        for id in ids {
            self.copies.drop_copy(id).await;
            // Longer than any process that read the session before its end may take to store it.
            self.shared
                .invalidate(&shared_key(id), self.trusted_for + SLOWEST_READ)
                .await;
            self.shared.publish(Topic::Session(id)).await;
        }
    }

    /// Reads a changed session again at its next request. Other processes do so when their copies are outdated.
    pub async fn reread(&self, id: Uuid) {
        self.copies.refresh(id).await;
        self.shared
            .invalidate(&shared_key(id), self.trusted_for + SLOWEST_READ)
            .await;
    }

    /// Another process ended sessions.
    pub async fn on_invalidation(&self, invalidation: &Invalidation) {
        match invalidation {
            Invalidation::Changed(Topic::Session(id)) => self.copies.drop_copy(*id).await,
            Invalidation::Changed(_) => {}
            Invalidation::All => self.copies.drop_all(),
        }
    }
}

fn shared_key(id: Uuid) -> String {
    format!("session:{id}")
}

impl SessionRow {
    pub(super) fn lives(&self, now: Timestamp) -> bool {
        self.ended_at.is_none() && now < self.expires_at && !self.disabled
    }

    pub(super) fn holder(&self) -> (Uuid, Role) {
        (self.user_id, self.role)
    }
}
