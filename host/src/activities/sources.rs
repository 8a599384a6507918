//! Sources of activities: a source belongs to the principal that reported under it first, so that one reporter cannot
//! occupy or imitate the ids of another. An ADMIN can give it to another principal.

use std::collections::{BTreeSet, HashMap};

use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::report::NewActivity;
use super::service::{ActivityError, ActivityService, ItemError};
use super::store::sources;
use crate::audit::{self, Entry};
use crate::auth::KeyHolder;
use crate::clock::Timestamp;
use crate::db::Tx;

/// The owner of a source.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SourceOwner {
    #[schema(example = "shop")]
    pub source: String,
    pub owner_id: Uuid,
    pub since: Timestamp,
}

/// Fails if the service key is bound to other sources than those of the activities.
pub(super) fn require_allowed(holder: &KeyHolder, activities: &[NewActivity]) -> Result<(), ActivityError> {
    let foreign = activities
        .iter()
        .enumerate()
        .filter(|(_, activity)| !holder.may_use(&activity.source));
    let errors: Vec<ItemError> = foreign
        .map(|(index, activity)| ItemError {
            index,
            field: "source",
            message: format!(
                "{:?} is not a source of the service key {:?}",
                activity.source, holder.name
            ),
        })
        .collect();
    if errors.is_empty() {
        return Ok(());
    }
    Err(ActivityError::SourceNotAllowed(errors))
}

impl ActivityService {
    /// Takes the free sources among those of the activities, and fails if one belongs to another principal. `by` is
    /// `None` for a topic, whose producers the broker checks. Part of the caller's transaction.
    pub(super) async fn take_sources(
        &self,
        tx: &mut Tx,
        activities: &[NewActivity],
        by: Option<Uuid>,
        now: Timestamp,
    ) -> Result<(), ActivityError> {
        let named: BTreeSet<&str> = activities.iter().map(|activity| activity.source.as_str()).collect();
        let named: Vec<String> = named.into_iter().map(str::to_owned).collect();
        let mut owners: HashMap<String, Option<Uuid>> = sources::owners(tx, &named).await?.into_iter().collect();
        if owners.len() < named.len() {
            sources::take(tx, &named, by, now).await?;
            // Another principal may have been first.
            owners = sources::owners(tx, &named).await?.into_iter().collect();
        }
        if by.is_none() {
            return Ok(());
        }
        let taken = activities.iter().enumerate().filter_map(|(index, activity)| {
            let owner = owners.get(&activity.source).copied().unwrap_or(by);
            let message = match owner {
                owner if owner == by => return None,
                Some(owner) => format!("{:?} belongs to {owner}", activity.source),
                None => format!("{:?} belongs to the server or to a topic", activity.source),
            };
            Some(ItemError {
                index,
                field: "source",
                message,
            })
        });
        let taken: Vec<ItemError> = taken.collect();
        if taken.is_empty() {
            return Ok(());
        }
        Err(ActivityError::SourceTaken(taken))
    }

    /// Gives a source to a user or service key, also one that is not in use yet.
    pub async fn give_source(&self, source: String, to: Uuid) -> Result<SourceOwner, ActivityError> {
        let since = self.clock.now();
        let mut tx = self.db.begin().await?;
        if !sources::is_principal(&mut tx, to).await? {
            return Err(ActivityError::NoSuchOwner(to));
        }
        let before = sources::owners(&mut tx, std::slice::from_ref(&source)).await?.pop();
        let before = before.and_then(|(_, owner)| owner);
        sources::give(&mut tx, source.clone(), to, since).await?;
        let entry = Entry::about("activity-source", &source).field("ownerId", before, to);
        audit::record(&mut tx, &self.clock, entry).await?;
        tx.commit().await?;
        Ok(SourceOwner {
            source,
            owner_id: to,
            since,
        })
    }
}
