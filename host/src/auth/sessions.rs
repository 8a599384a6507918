//! Sessions: one login each, and over at once when someone logs out, is disabled or changes roles.
//!
//! Every request asks whether its session still lives, so the answer is kept for a moment. The process that ends a
//! session knows at once; another process learns when what it kept is too old (`auth.session_cache_seconds`).

use std::fmt;
use std::time::Duration;

use moka::future::Cache;
use moka::policy::EvictionPolicy;
use uuid::Uuid;

use super::store::{self, SessionRow};
use super::{Caller, Role};
use crate::clock::{Clock, Instant};
use crate::db::{Db, Result, Tx};

/// What is kept of this many sessions at most; about 200 bytes each.
const CAPACITY: u64 = 100_000;

/// Longer than any read of the database takes.
const SLOWEST_READ: Duration = Duration::from_mins(1);

/// Why a session is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndReason {
    Logout,
    RefreshReused,
    UserDisabled,
    RoleChanged,
}

impl fmt::Display for EndReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Logout => "LOGOUT",
            Self::RefreshReused => "REFRESH_REUSED",
            Self::UserDisabled => "USER_DISABLED",
            Self::RoleChanged => "ROLE_CHANGED",
        })
    }
}

/// Sessions that a transaction ended: hand them to [`Sessions::forget`] once it is committed.
#[must_use = "after the commit, Sessions::forget makes this process refuse their tokens"]
#[derive(Debug)]
pub struct EndedSessions(Vec<Uuid>);

#[derive(Clone, Debug)]
pub struct Sessions {
    db: Db,
    clock: Clock,
    known: Cache<Uuid, SessionRow>,
    /// Sessions that this process ended. It is asked after `known`: a slow read that began before the end may put a
    /// living session into `known` after the end.
    ended: Cache<Uuid, ()>,
}

impl Sessions {
    pub fn new(db: Db, clock: Clock, trusted_for: Duration) -> Self {
        Self {
            db,
            clock,
            known: Cache::builder()
                .max_capacity(CAPACITY)
                .time_to_live(trusted_for)
                .build(),
            ended: Cache::builder()
                .max_capacity(CAPACITY)
                .eviction_policy(EvictionPolicy::lru())
                .time_to_live(trusted_for + SLOWEST_READ)
                .build(),
        }
    }

    /// Whether this is a living session of this user in this role. No database while the answer is fresh.
    pub(super) async fn is_living(&self, caller: &Caller) -> Result<bool> {
        let session = match self.known.get(&caller.session_id).await {
            Some(session) => session,
            None => match store::find_session(&self.db, caller.session_id).await? {
                Some(session) => {
                    self.known.insert(caller.session_id, session.clone()).await;
                    session
                }
                None => return Ok(false),
            },
        };
        Ok(session.lives(self.clock.now())
            && (session.user_id, session.role) == (caller.user_id, caller.role)
            && !self.ended.contains_key(&caller.session_id))
    }

    /// Ends one session. Part of the caller's transaction.
    pub(super) async fn end(&self, tx: &mut Tx, id: Uuid, reason: EndReason) -> Result<EndedSessions> {
        store::end_session(tx, id, reason, self.clock.now()).await?;
        Ok(EndedSessions(vec![id]))
    }

    /// Ends every session of a user. Part of the caller's transaction.
    pub async fn end_all(&self, tx: &mut Tx, user_id: Uuid, reason: EndReason) -> Result<EndedSessions> {
        let ids = store::end_sessions_of(tx, user_id, reason, self.clock.now()).await?;
        Ok(EndedSessions(ids))
    }

    /// Refuses the tokens of these sessions from now on.
    pub async fn forget(&self, EndedSessions(ids): EndedSessions) {
        for id in ids {
            self.ended.insert(id, ()).await;
        }
    }
}

impl SessionRow {
    pub(super) fn lives(&self, now: Instant) -> bool {
        self.ended_at.is_none() && now < self.expires_at && !self.disabled
    }

    pub(super) fn holder(&self) -> (Uuid, Role) {
        (self.user_id, self.role)
    }
}
