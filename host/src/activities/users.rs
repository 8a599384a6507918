//! The users of reported activities: they exist, or an activity of an unknown external id creates one.

use std::collections::{BTreeSet, HashMap, HashSet};

use uuid::Uuid;

use super::report::NewActivity;
use super::service::{ActivityError, ActivityService, ItemError, require_none};
use super::store;
use crate::db::Tx;
use crate::directory::{ExternalId, UserRef};

/// The users as the activities name them.
pub(super) fn named_users(activities: &[NewActivity]) -> Result<Vec<UserRef>, ActivityError> {
    let named = activities.iter().map(NewActivity::named_user).enumerate();
    let named = named.map(|(index, user)| {
        user.map_err(|error| {
            // A batch was validated, so only other callers can get here.
            ActivityError::Invalid(vec![ItemError {
                index,
                field: "userId",
                message: error.message,
            }])
        })
    });
    named.collect()
}

impl ActivityService {
    /// The ids of the named users. `found` are those that the directory remembers; the transaction proves that they exist.
    pub(super) async fn check_users(
        &self,
        tx: &mut Tx,
        named: &[UserRef],
        found: Vec<Option<Uuid>>,
    ) -> Result<Vec<Uuid>, ActivityError> {
        let ids: HashSet<Uuid> = found.iter().flatten().copied().collect();
        let ids: Vec<Uuid> = ids.into_iter().collect();
        let known: HashSet<Uuid> = store::known_users(tx, &ids).await?.into_iter().collect();
        let exists = |id: &Option<Uuid>| id.is_some_and(|id| known.contains(&id));
        let missing = named.iter().zip(&found).filter(|(_, id)| !exists(id));
        let missing: BTreeSet<ExternalId> = missing
            .filter_map(|(user, _)| match user {
                UserRef::External(external) => Some(external.clone()),
                UserRef::Id(_) => None,
            })
            .collect();
        let others = self.others(tx, &missing).await?;
        let user = |(user, id): (&UserRef, Option<Uuid>)| match user {
            UserRef::External(external) if !exists(&id) => others.get(external).copied(),
            _ => id.filter(|id| known.contains(id)),
        };
        let users: Vec<Option<Uuid>> = named.iter().zip(found).map(user).collect();
        let unknown = named.iter().zip(&users).enumerate().filter(|(_, (_, id))| id.is_none());
        require_none(unknown.map(|(index, (user, _))| ItemError {
            index,
            field: user.member(),
            message: format!("there is no user {user}"),
        }))
        .map_err(ActivityError::Invalid)?;
        Ok(users.into_iter().flatten().collect())
    }

    /// The users of external ids that the directory does not remember, or remembers wrongly.
    async fn others(
        &self,
        tx: &mut Tx,
        externals: &BTreeSet<ExternalId>,
    ) -> Result<HashMap<ExternalId, Uuid>, ActivityError> {
        if externals.is_empty() {
            return Ok(HashMap::new());
        }
        if self.creates_users {
            return Ok(self.directory.create_missing(tx, externals).await?.ids);
        }
        Ok(self.directory.find(tx, externals).await?)
    }
}
