//! Event groups: of the events of a group, a user may have so many grants together.
//!
//! The number of a grant in its group is a unique key of the claim's own row, so the limit holds whatever happens at the same
//! time. Must not know: claims, which check and store the numbers.

use garde::Validate;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::error::EventError;
use super::service::EventService;
use super::store::groups::{self as store, GroupRow};
use crate::audit::{self, Entry};
use crate::clock::Timestamp;
use crate::db::{Db, Tx};

/// The content of an event group.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema, Validate)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NewEventGroup {
    /// How many grants of all events of the group a user may have
    #[garde(range(min = 1, max = 1000))]
    #[schema(example = 1, minimum = 1, maximum = 1000)]
    pub max_per_user: u32,
    /// The change comes from a file: the server notes the new revision as `appliedRevision`, so that the next `meed apply`
    /// sees what others changed since
    #[garde(skip)]
    #[serde(default)]
    #[schema(default = false)]
    pub applied: bool,
}

/// An event group as stored.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct EventGroup {
    #[schema(example = "welcome")]
    pub name: String,
    #[schema(example = 1)]
    pub max_per_user: u32,
    /// The revision, which is the ETag. Each change increments it
    pub revision: i64,
    /// The revision that `meed apply` wrote last; null: it never wrote it
    pub applied_revision: Option<i64>,
    pub created_by: Uuid,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

impl From<GroupRow> for EventGroup {
    fn from(row: GroupRow) -> Self {
        Self {
            name: row.name,
            max_per_user: u32::try_from(row.max_per_user).unwrap_or(u32::MAX),
            revision: row.revision,
            applied_revision: row.applied_revision,
            created_by: row.created_by,
            created_at: row.created_at,
            updated_at: row.updated_at,
        }
    }
}

/// How many grants of a group's events a user may have.
pub async fn group_limit(db: &Db, name: &str) -> Result<u32, EventError> {
    let row = store::find(db, name).await?;
    let row = row.ok_or_else(|| EventError::NoGroup(name.to_owned()))?;
    Ok(EventGroup::from(row).max_per_user)
}

impl EventService {
    pub(super) async fn group(&self, name: &str) -> Result<EventGroup, EventError> {
        let row = store::find(&self.db, name).await?;
        row.map(EventGroup::from)
            .ok_or_else(|| EventError::NoGroup(name.to_owned()))
    }

    /// In the order of their names, up to `size + 1`.
    pub(super) async fn groups(&self, after: Option<String>, size: u32) -> Result<Vec<EventGroup>, EventError> {
        let rows = store::list(&self.db, after, i64::from(size) + 1).await?;
        Ok(rows.into_iter().map(EventGroup::from).collect())
    }

    /// Creates a group, or changes one at the expected revision; `Some(None)` is any revision. Grants that users have already
    /// stay, also beyond a lower limit. `true`: the group is new.
    #[expect(clippy::option_option, reason = "no header, any revision, or one")]
    pub(super) async fn put_group(
        &self,
        name: &str,
        expected: Option<Option<i64>>,
        new: NewEventGroup,
        by: Uuid,
    ) -> Result<(EventGroup, bool), EventError> {
        let now = self.clock.now();
        let mut tx = self.db.begin().await?;
        let new_row = GroupRow {
            name: name.to_owned(),
            max_per_user: i64::from(new.max_per_user),
            revision: 1,
            applied_revision: new.applied.then_some(1),
            created_by: by,
            created_at: now,
            updated_at: now,
        };
        // The first of two concurrent calls creates it; the other one finds it.
        let is_new = expected.is_none() && store::insert(&mut tx, new_row.clone()).await?;
        let group = if is_new {
            let group = EventGroup::from(new_row);
            let created = Entry::about("event-group", name).between(&(), &group);
            audit::record(&mut tx, &self.clock, created).await?;
            group
        } else {
            let current = store::lock(&mut tx, name).await?;
            let current = match (current, expected) {
                (None, _) => return Err(EventError::NoGroup(name.to_owned())),
                (Some(_), None) => return Err(EventError::GroupExists(name.to_owned())),
                (Some(current), Some(expected)) => at_revision(current, expected)?,
            };
            let row = GroupRow {
                max_per_user: i64::from(new.max_per_user),
                revision: current.revision + 1,
                applied_revision: if new.applied {
                    Some(current.revision + 1)
                } else {
                    current.applied_revision
                },
                updated_at: now,
                ..current.clone()
            };
            store::update(&mut tx, row.clone()).await?;
            if row.max_per_user > current.max_per_user {
                self.guard_group(&mut tx, name).await?;
            }
            let (before, group) = (EventGroup::from(current), EventGroup::from(row));
            let changed = Entry::about("event-group", name).between(&before, &group);
            audit::record(&mut tx, &self.clock, changed).await?;
            group
        };
        tx.commit().await?;
        Ok((group, is_new))
    }

    /// Deletes a group that no event is in. The grants keep their numbers in it.
    pub(super) async fn delete_group(&self, name: &str, expected: Option<i64>) -> Result<(), EventError> {
        let mut tx = self.db.begin().await?;
        let current = store::lock(&mut tx, name).await?;
        let current = current.ok_or_else(|| EventError::NoGroup(name.to_owned()))?;
        let current = at_revision(current, expected)?;
        if let Some(event) = store::event_in(&mut tx, name).await? {
            return Err(EventError::GroupInUse { event });
        }
        store::delete(&mut tx, name).await?;
        let deleted = Entry::about("event-group", name).between(&EventGroup::from(current), &());
        audit::record(&mut tx, &self.clock, deleted).await?;
        Ok(tx.commit().await?)
    }

    /// Confirms that the group of an event exists, and keeps it from being deleted. Part of the caller's transaction.
    pub(super) async fn enter_group(&self, tx: &mut Tx, name: Option<&str>) -> Result<(), EventError> {
        match name {
            Some(name) if !store::keep(tx, name).await? => Err(EventError::Field {
                pointer: "/group",
                message: format!("There is no event group {name:?}."),
            }),
            _ => Ok(()),
        }
    }
}

fn at_revision(current: GroupRow, expected: Option<i64>) -> Result<GroupRow, EventError> {
    let is = current.revision;
    match expected {
        Some(expected) if expected != is => Err(EventError::GroupChanged { is, expected }),
        _ => Ok(current),
    }
}
