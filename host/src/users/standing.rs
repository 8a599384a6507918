//! The role and the state of users who act without a session, because a trusted issuer signed their tokens.
//!
//! Every request checks them, so each process caches them for `auth.session_cache_seconds`. The process that changes a user
//! notices the change immediately, the others when they receive the invalidation.

use std::time::Duration;

use uuid::Uuid;

use crate::cache::{Cache, Copies, Invalidation, Topic};
use crate::clock::Clock;
use crate::db::Result;
use crate::directory::{Account, Directory, UserRef};

/// Cached users; about 150 bytes each.
const CAPACITY: u64 = 100_000;

#[derive(Clone, Debug)]
pub struct Standings {
    directory: Directory,
    clock: Clock,
    shared: Cache,
    copies: Copies<Account>,
}

impl Standings {
    pub fn new(directory: Directory, clock: Clock, shared: Cache, trusted_for: Duration) -> Self {
        Self {
            directory,
            clock,
            shared,
            copies: Copies::new(CAPACITY, trusted_for),
        }
    }

    /// The account, without the database while the answer is fresh. `None` if there is none.
    pub(super) async fn of(&self, id: Uuid) -> Result<Option<Account>> {
        let now = self.clock.now();
        if let Some(account) = self.copies.get(id, now).await {
            return Ok(Some(account));
        }
        let found = self.directory.resolve(&UserRef::Id(id)).await?;
        if let Some(account) = found {
            self.copies.keep(id, account, now).await;
        }
        Ok(found)
    }

    /// A committed transaction changed the user: no process trusts a copy.
    pub(super) async fn drop_copies(&self, id: Uuid) {
        self.copies.drop_copy(id).await;
        self.shared.publish(Topic::User(id)).await;
    }

    /// Another process changed a user.
    pub(super) async fn on_invalidation(&self, invalidation: &Invalidation) {
        match invalidation {
            Invalidation::Changed(Topic::User(id)) => self.copies.drop_copy(*id).await,
            Invalidation::Changed(_) => {}
            Invalidation::All => self.copies.drop_all(),
        }
    }
}
