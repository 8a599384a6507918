//! The role and the state of users who act without a session, because a trusted issuer signed their tokens.
//!
//! Every request checks them, so each process caches them for `auth.session_cache_seconds`. The process that changes a user
//! notices the change immediately, the others when they receive the invalidation.

use std::time::Duration;

use moka::future::Cache;
use uuid::Uuid;

use crate::cache::{Cache as Shared, Invalidation, Topic};
use crate::clock::{Clock, Timestamp};
use crate::db::Result;
use crate::directory::{Account, Directory, UserRef};

/// Cached users; about 150 bytes each.
const CAPACITY: u64 = 100_000;
/// Longer than any read of the database takes.
const SLOWEST_READ: Duration = Duration::from_mins(1);

#[derive(Clone, Debug)]
pub struct Standings {
    directory: Directory,
    clock: Clock,
    shared: Shared,
    trusted_for: Duration,
    known: Cache<Uuid, (Account, Timestamp)>,
    /// Users that changed a moment ago. They are not cached: a slow read that began before the change may end after it.
    changed: Cache<Uuid, ()>,
}

impl Standings {
    pub fn new(directory: Directory, clock: Clock, shared: Shared, trusted_for: Duration) -> Self {
        Self {
            directory,
            clock,
            shared,
            trusted_for,
            known: Cache::builder()
                .max_capacity(CAPACITY)
                .time_to_live(trusted_for)
                .build(),
            changed: Cache::builder()
                .max_capacity(CAPACITY)
                .time_to_live(trusted_for + SLOWEST_READ)
                .build(),
        }
    }

    /// The account, without the database while the answer is fresh. `None` if there is none.
    pub(super) async fn of(&self, id: Uuid) -> Result<Option<Account>> {
        let now = self.clock.now();
        let known = self.known.get(&id).await;
        if let Some((account, read_at)) = known
            && now < read_at.plus(self.trusted_for)
            && !self.changed.contains_key(&id)
        {
            return Ok(Some(account));
        }
        let found = self.directory.resolve(&UserRef::Id(id)).await?;
        if let Some(account) = found
            && !self.changed.contains_key(&id)
        {
            self.known.insert(id, (account, now)).await;
        }
        Ok(found)
    }

    /// A committed transaction changed the user: no process trusts a copy.
    pub(super) async fn forget(&self, id: Uuid) {
        self.changed.insert(id, ()).await;
        self.known.invalidate(&id).await;
        self.shared.publish(Topic::User(id)).await;
    }

    /// Another process changed a user.
    pub(super) async fn on_invalidation(&self, invalidation: &Invalidation) {
        match invalidation {
            Invalidation::Changed(Topic::User(id)) => {
                self.changed.insert(*id, ()).await;
                self.known.invalidate(id).await;
            }
            Invalidation::Changed(_) => {}
            Invalidation::All => self.known.invalidate_all(),
        }
    }
}
