//! Principals of responses that take long. A request checks its principal once; a stream may outlive the token, the session,
//! the role and the account.
//!
//! A task checks all of them every few seconds, many in one statement. Must not know: what the streams tell.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::principal::{KeyHolder, Principal, Role};
use super::store;
use crate::clock::{Clock, Timestamp};
use crate::db::{Db, Result};

/// Principals that one statement checks.
const AT_ONCE: usize = 512;

/// A clock cannot wait for ever.
const LONGEST: Duration = Duration::from_hours(24 * 365);

/// Cheap to clone.
#[derive(Clone, Debug)]
pub struct Passes {
    db: Db,
    clock: Clock,
    open: Arc<Mutex<Open>>,
}

#[derive(Debug, Default)]
struct Open {
    next_id: u64,
    held: HashMap<u64, Held>,
}

#[derive(Clone, Debug)]
struct Held {
    principal: Principal,
    /// The user that it watches, if it watches one.
    user_id: Option<Uuid>,
    until: Option<Timestamp>,
    ended: CancellationToken,
}

impl Held {
    /// The user that it watches, if that is another one: the check of a user's own session covers the user.
    fn watched(&self) -> Option<Uuid> {
        self.user_id.filter(|user_id| !self.principal.is_user(*user_id))
    }
}

impl Passes {
    pub(super) fn new(db: Db, clock: Clock) -> Self {
        let open = Arc::default();
        Self { db, clock, open }
    }

    /// For a principal that goes on until its token ends, and watches this user.
    pub(super) fn hold(&self, principal: Principal, user_id: Option<Uuid>, until: Option<Timestamp>) -> Pass {
        let now = self.clock.now().as_millis();
        let rest = until.map(|until| u64::try_from(until.as_millis() - now).unwrap_or_default());
        let ended = CancellationToken::new();
        let mut open = self.open.lock();
        let id = open.next_id;
        open.next_id += 1;
        let held = Held {
            principal,
            user_id,
            until,
            ended: ended.clone(),
        };
        open.held.insert(id, held);
        Pass {
            id,
            open: Arc::clone(&self.open),
            ended,
            // Far ends are those of other limits.
            until: rest.map(|rest| Instant::now() + Duration::from_millis(rest).min(LONGEST)),
        }
    }

    /// Ends the passes of principals that may no longer act, or whose watched user is gone. `keys` returns those
    /// programs whose keys are still valid and may do the same.
    pub async fn check<K>(&self, keys: impl FnOnce(Vec<Arc<KeyHolder>>) -> K) -> Result<()>
    where
        K: Future<Output = Result<HashSet<Arc<KeyHolder>>>>,
    {
        let held: Vec<Held> = self.open.lock().held.values().cloned().collect();
        if held.is_empty() {
            return Ok(());
        }
        let now = self.clock.now();
        let (mut sessions, mut users, mut holders) = (HashSet::new(), HashSet::new(), HashSet::new());
        for one in &held {
            users.extend(one.watched());
            match &one.principal {
                Principal::User { id, session, .. } => match session {
                    Some(session) => drop(sessions.insert((*id, *session))),
                    None => drop(users.insert(*id)),
                },
                Principal::ServiceKey(holder) => drop(holders.insert(Arc::clone(holder))),
            }
        }
        let sessions = self.living_sessions(sessions.into_iter().collect(), now).await?;
        let users = self.enabled_users(users.into_iter().collect()).await?;
        let keys = keys(holders.into_iter().collect()).await?;
        for one in held {
            let may_act = match &one.principal {
                Principal::User { id, role, session, .. } => {
                    let found = session.map_or_else(|| users.get(id), |session| sessions.get(&session));
                    found == Some(role)
                }
                Principal::ServiceKey(holder) => keys.contains(holder),
            };
            let is_gone = one.watched().is_some_and(|user_id| !users.contains_key(&user_id));
            if !may_act || is_gone || one.until.is_some_and(|until| until <= now) {
                one.ended.cancel();
            }
        }
        Ok(())
    }

    async fn living_sessions(&self, keys: Vec<(Uuid, Uuid)>, now: Timestamp) -> Result<HashMap<Uuid, Role>> {
        let mut found = HashMap::new();
        for keys in keys.chunks(AT_ONCE) {
            found.extend(store::living_sessions(&self.db, keys, now).await?);
        }
        Ok(found)
    }

    async fn enabled_users(&self, ids: Vec<Uuid>) -> Result<HashMap<Uuid, Role>> {
        let mut found = HashMap::new();
        for ids in ids.chunks(AT_ONCE) {
            found.extend(store::enabled_users(&self.db, ids).await?);
        }
        Ok(found)
    }
}

/// The right of a principal to go on, until it is dropped.
#[derive(Debug)]
pub struct Pass {
    id: u64,
    open: Arc<Mutex<Open>>,
    ended: CancellationToken,
    until: Option<Instant>,
}

impl Pass {
    /// For responses that are read in parts: an error if the principal may not go on.
    pub fn require(&self) -> std::result::Result<(), Ended> {
        let is_past = self.until.is_some_and(|until| until <= Instant::now());
        if is_past || self.ended.is_cancelled() {
            return Err(Ended);
        }
        Ok(())
    }

    /// Completes when the principal may not go on: within seconds after a change, and when the token ends.
    pub async fn ended(&self) {
        match self.until {
            Some(until) => drop(timeout_at(until, self.ended.cancelled()).await),
            None => self.ended.cancelled().await,
        }
    }
}

#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the principal may not go on")]
pub struct Ended;

impl Drop for Pass {
    fn drop(&mut self) {
        self.open.lock().held.remove(&self.id);
    }
}
