//! Finds users by the ways in which requests name them, and creates users by external id.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::time::Duration;

use moka::policy::EvictionPolicy;
use moka::sync::Cache;
use uuid::Uuid;

use super::store::{self, NewMember};
use super::{ExternalId, UserRef};
use crate::auth::Role;
use crate::clock::Clock;
use crate::db::{Db, Result, Tx};

/// The external ids that a process remembers.
const REMEMBERED: u64 = 100_000;
/// An external id names the same user until the user is erased. Other processes may name the erased user for so long, which
/// has no effect: an erased user can do nothing.
const REMEMBERED_FOR: Duration = Duration::from_mins(1);

/// The account that a request names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Account {
    pub id: Uuid,
    pub role: Role,
    pub disabled: bool,
}

/// The users of some external ids.
#[derive(Clone, Debug, Default)]
pub struct Members {
    pub ids: HashMap<ExternalId, Uuid>,
    /// Those of them that the call created.
    pub created: BTreeSet<ExternalId>,
}

/// Cheap to clone.
#[derive(Clone, Debug)]
pub struct Directory {
    db: Db,
    clock: Clock,
    remembered: Cache<ExternalId, Uuid>,
}

impl Directory {
    pub fn new(db: Db, clock: Clock) -> Self {
        let remembered = Cache::builder()
            .max_capacity(REMEMBERED)
            .eviction_policy(EvictionPolicy::lru())
            .time_to_live(REMEMBERED_FOR)
            .build();
        Self { db, clock, remembered }
    }

    /// The account that a request names; `None` if there is none.
    pub async fn resolve(&self, user: &UserRef) -> Result<Option<Account>> {
        let Some(id) = self.id_of(user).await? else {
            return Ok(None);
        };
        store::account(&self.db, id).await
    }

    /// The id of the user that a request names. An id is its own, whether or not it belongs to a user; `None` if no user has
    /// the external id.
    pub async fn id_of(&self, user: &UserRef) -> Result<Option<Uuid>> {
        let external = match user {
            UserRef::Id(id) => return Ok(Some(*id)),
            UserRef::External(external) => external,
        };
        if let Some(id) = self.remembered.get(external) {
            return Ok(Some(id));
        }
        let found = store::find(&self.db, external).await?;
        if let Some(id) = found {
            self.remembered.insert(external.clone(), id);
        }
        Ok(found)
    }

    /// The id to filter a list by. No row has the id that stands for an unknown external id.
    pub async fn filter(&self, user: Option<UserRef>) -> Result<Option<Uuid>> {
        match user {
            None => Ok(None),
            Some(user) => Ok(Some(self.id_of(&user).await?.unwrap_or(Uuid::nil()))),
        }
    }

    /// The ids of many users, in their order, by one statement at most.
    pub async fn ids_of(&self, users: &[UserRef]) -> Result<Vec<Option<Uuid>>> {
        let mut known: HashMap<&ExternalId, Uuid> = HashMap::new();
        let mut unknown: BTreeSet<&ExternalId> = BTreeSet::new();
        for user in users {
            let UserRef::External(external) = user else { continue };
            match self.remembered.get(external) {
                Some(id) => _ = known.insert(external, id),
                None => _ = unknown.insert(external),
            }
        }
        if !unknown.is_empty() {
            let found: HashMap<String, Uuid> = store::find_all(&self.db, unknown.iter().copied())
                .await?
                .into_iter()
                .collect();
            for external in unknown {
                if let Some(id) = found.get(external.as_str()) {
                    self.remembered.insert(external.clone(), *id);
                    known.insert(external, *id);
                }
            }
        }
        let id = |user: &UserRef| match user {
            UserRef::Id(id) => Some(*id),
            UserRef::External(external) => known.get(external).copied(),
        };
        Ok(users.iter().map(id).collect())
    }

    /// The user of this external id was erased.
    pub fn drop_copy(&self, external: &str) {
        if let Ok(external) = external.parse() {
            self.remembered.invalidate::<ExternalId>(&external);
        }
    }

    /// The users of these external ids as the transaction sees them.
    pub async fn find(&self, tx: &mut Tx, externals: &BTreeSet<ExternalId>) -> Result<HashMap<ExternalId, Uuid>> {
        let found: HashMap<String, Uuid> = store::find_all(tx, externals.iter()).await?.into_iter().collect();
        let user = |external: &ExternalId| Some((external.clone(), *found.get(external.as_str())?));
        Ok(externals.iter().filter_map(user).collect())
    }

    /// Creates a USER for each of these external ids that has none. Of concurrent calls, one creates the user; the others
    /// wait for its end and find the user. Part of the caller's transaction.
    pub async fn create_missing(&self, tx: &mut Tx, externals: &BTreeSet<ExternalId>) -> Result<Members> {
        let now = self.clock.now();
        // Sorted, so that two calls cannot deadlock.
        let rows = externals.iter().map(|external| NewMember {
            id: self.clock.new_id(),
            external,
            created_at: now,
        });
        let rows: Vec<NewMember<'_>> = rows.collect();
        let added: HashSet<Uuid> = store::insert(tx, &rows).await?.into_iter().collect();
        let mut members = Members::default();
        for row in rows.iter().filter(|row| added.contains(&row.id)) {
            members.ids.insert(row.external.clone(), row.id);
            members.created.insert(row.external.clone());
        }
        let others: BTreeSet<ExternalId> = externals.difference(&members.created).cloned().collect();
        if !others.is_empty() {
            members.ids.extend(self.find(tx, &others).await?);
        }
        Ok(members)
    }
}
